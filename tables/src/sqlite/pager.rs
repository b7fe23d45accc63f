//! Pages: where each lies, in the file or in its write-ahead log, and a few of them kept.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::Arc;

use super::wal::Wal;
use super::{be16, be32};

/// The header at the beginning of the first page.
pub const HEADER_BYTES: usize = 100;
const MAGIC: &[u8] = b"SQLite format 3\0";
/// Bytes of pages that are kept: a path from the root to a leaf, for pages of common sizes.
const CACHE_BYTES: usize = 512 << 10;
/// Pages of the largest database that is read; 16 GiB at the usual size.
const PAGES_MAX: u64 = 1 << 22;
/// The smallest page, reserved space taken away, that the format allows.
const USABLE_BYTES_MIN: usize = 480;

/// How texts are encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Utf8,
    Utf16Le,
    Utf16Be,
}

/// Looks that must give the same before and after, or the file was written meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stamp {
    length: u64,
    modified: (i64, i64),
    change_counter: [u8; 4],
}

pub struct Pager {
    file: File,
    wal: Option<Wal>,
    page_bytes: usize,
    /// Bytes of a page that are used, without the reserved space at its end.
    pub usable: usize,
    pub encoding: Encoding,
    /// How many pages there are.
    pub pages: u32,
    stamp: Stamp,
    /// The pages used last, the newest at the end.
    cache: Vec<(u32, Arc<[u8]>)>,
}

impl Pager {
    /// Reads the header, and the log's frames that are committed.
    pub fn open(file: File, wal: Option<File>) -> Result<Pager, String> {
        let stamp = stamp(&file)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(|_| "too short for a database".to_owned())?;
        let page_bytes = page_bytes(&header)?;
        let mut log = None;
        // A log beside a file that does not use one is left over, and SQLite ignores it as well.
        if let (Some(wal), 2) = (wal, header[19]) {
            log = Wal::open(wal, page_bytes)?;
        }
        let pages = match &log {
            Some(log) => log.pages.into(),
            None => stamp.length / page_bytes as u64,
        };
        if pages > PAGES_MAX {
            return Err(format!("more than {PAGES_MAX} pages"));
        }
        let mut pager = Pager {
            file,
            wal: log,
            page_bytes,
            usable: page_bytes,
            encoding: Encoding::Utf8,
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
            stamp,
            cache: Vec::new(),
        };
        // The log may hold a newer first page.
        let first = pager.page(1)?;
        pager.read_header(&first)?;
        Ok(pager)
    }

    fn read_header(&mut self, first: &[u8]) -> Result<(), String> {
        if page_bytes(first)? != self.page_bytes {
            return Err("two sizes of pages".to_owned());
        }
        let byte = |at: usize| first.get(at).copied().unwrap_or_default();
        if byte(19) > 2 {
            return Err(format!("a database of format {}, which is not known", byte(19)));
        }
        if first.get(21..24) != Some(&[64, 32, 32]) {
            return Err("a header that is malformed".to_owned());
        }
        self.usable = self.page_bytes.saturating_sub(byte(20).into());
        if self.usable < USABLE_BYTES_MIN {
            return Err("pages with too much reserved space".to_owned());
        }
        self.encoding = match be32(first, 56) {
            Some(0 | 1) => Encoding::Utf8,
            Some(2) => Encoding::Utf16Le,
            Some(3) => Encoding::Utf16Be,
            _ => return Err("texts in an encoding that is not known".to_owned()),
        };
        Ok(())
    }

    /// A page, without the space at its end that is reserved once the header is known.
    pub fn page(&mut self, number: u32) -> Result<Arc<[u8]>, String> {
        if let Some(at) = self.cache.iter().position(|(kept, _)| *kept == number) {
            let kept = self.cache.remove(at);
            let page = Arc::clone(&kept.1);
            self.cache.push(kept);
            return Ok(page);
        }
        if number == 0 || number > self.pages {
            return Err(format!("page {number} is not in the file"));
        }
        let mut bytes = vec![0; self.page_bytes];
        if !self.wal.as_ref().map_or(Ok(false), |wal| wal.read(number, &mut bytes))? {
            let at = u64::from(number - 1) * self.page_bytes as u64;
            self.file.read_exact_at(&mut bytes, at).map_err(|error| match error.kind() {
                std::io::ErrorKind::UnexpectedEof => format!("page {number} is not in the file"),
                _ => format!("page {number}: {error}"),
            })?;
        }
        let page: Arc<[u8]> = bytes.into();
        if self.cache.len() >= (CACHE_BYTES / self.page_bytes).clamp(1, 64) {
            self.cache.remove(0);
        }
        self.cache.push((number, Arc::clone(&page)));
        Ok(page)
    }

    /// Whether the file is still what it was when it was opened: nobody waits for a reader that takes no lock.
    pub fn is_unchanged(&self) -> bool {
        stamp(&self.file).is_ok_and(|now| now == self.stamp)
    }
}

fn page_bytes(header: &[u8]) -> Result<usize, String> {
    if !header.starts_with(MAGIC) {
        return Err("not a SQLite database".to_owned());
    }
    match be16(header, 16) {
        Some(1) => Ok(65_536),
        Some(size) if size >= 512 && size.is_power_of_two() => Ok(size.into()),
        _ => Err("pages of a size that is not allowed".to_owned()),
    }
}

fn stamp(file: &File) -> Result<Stamp, String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let mut change_counter = [0; 4];
    // A file too short for it is refused for that.
    let _ = file.read_exact_at(&mut change_counter, 24);
    Ok(Stamp { length: metadata.len(), modified: (metadata.mtime(), metadata.mtime_nsec()), change_counter })
}
