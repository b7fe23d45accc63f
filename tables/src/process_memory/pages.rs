//! The memory of a region, page by page: those that the process holds, in RAM or swapped out, and no others.
//!
//! What a process has reserved and not touched has no pages, however much of it there is, and reading it would make some;
//! what it has not touched of a mapped file lies on a disk, or wherever a file system brings it from. `/proc/PID/pagemap`
//! tells them apart. The kernel locks the process's list of regions for one page at a time, so that nobody waits for long.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use crate::column::Stream;

/// Bytes of one entry of pagemap.
const ENTRY_BYTES: usize = 8;
/// Entries that are read at once: of 32 MiB.
const ENTRIES_MAX: usize = 8192;
/// Reads of pagemap without a page that is held, after which whoever reads may look at the clock.
const VAIN_MAX: usize = 16;

/// Bits of an entry.
const PRESENT: u64 = 1 << 63;
const SWAPPED: u64 = 1 << 62;
/// Whoever touches it is ended, so it holds nothing.
const GUARD: u64 = 1 << 58;

/// A process's `mem` and `pagemap`, opened once for all its regions.
pub struct Files {
    pub mem: File,
    pub pagemap: File,
    /// Bytes of a page.
    pub page: u64,
}

/// A region's memory.
pub struct Memory {
    pub files: Rc<Files>,
    pub start: u64,
    pub end: u64,
}

impl Stream for Memory {
    fn begin(&self) -> Box<dyn Read + '_> {
        Box::new(Pages {
            files: &self.files,
            next: self.start,
            end: self.end,
            entries: Vec::new(),
            first: 0,
            loads: 0,
            given: false,
            gap: false,
            unreadable: 0,
        })
    }
}

/// Reads on from `next`.
struct Pages<'a> {
    files: &'a Files,
    next: u64,
    end: u64,
    /// Of the pages from number `first` on.
    entries: Vec<u8>,
    first: u64,
    loads: usize,
    /// Some bytes were given.
    given: bool,
    /// Bytes that are not there lie between the last that were given and `next`.
    gap: bool,
    /// Pages that are there and cannot be read.
    unreadable: u64,
}

/// The process has ended, or is another program now.
fn gone() -> io::Error {
    rustix::io::Errno::SRCH.into()
}

fn is_held(entry: u64) -> bool {
    entry & (PRESENT | SWAPPED) != 0 && entry & GUARD == 0
}

impl Pages<'_> {
    /// The number of the page that holds an address.
    fn number(&self, address: u64) -> u64 {
        address / self.files.page
    }

    fn load(&mut self) -> io::Result<()> {
        let first = self.number(self.next);
        let count = (self.number(self.end - 1) - first + 1).min(ENTRIES_MAX as u64);
        self.entries.resize(usize::try_from(count).unwrap_or(ENTRIES_MAX) * ENTRY_BYTES, 0);
        self.first = first;
        self.loads += 1;
        let read = self.files.pagemap.read_at(&mut self.entries, first * ENTRY_BYTES as u64);
        // After an error nothing is known.
        self.entries.truncate(read.as_ref().map_or(0, |count| count / ENTRY_BYTES * ENTRY_BYTES));
        read.and_then(|_| if self.entries.is_empty() { Err(gone()) } else { Ok(()) })
    }

    /// Whether the process holds what lies at `next`, and how far on that is so.
    fn run(&mut self) -> io::Result<(bool, u64)> {
        let place = |pages: &Self| usize::try_from(pages.number(pages.next).checked_sub(pages.first)?).ok();
        let known = |pages: &Self| place(pages).filter(|place| *place < pages.entries.len() / ENTRY_BYTES);
        if known(self).is_none() {
            self.load()?;
        }
        let place = known(self).unwrap_or_default();
        let mut entries =
            self.entries.as_chunks().0.iter().skip(place).map(|entry| is_held(u64::from_ne_bytes(*entry)));
        let held = entries.next().unwrap_or(false);
        let pages = 1 + entries.take_while(|other| *other == held).count() as u64;
        let end = (self.number(self.next) + pages).saturating_mul(self.files.page);
        Ok((held, end.min(self.end)))
    }

    /// Passes over the page at `next`, which cannot be read; what the process has let go meanwhile is not missing.
    fn pass_over(&mut self) -> io::Result<()> {
        let mut entry = [0; ENTRY_BYTES];
        let at = self.number(self.next) * ENTRY_BYTES as u64;
        if self.files.pagemap.read_at(&mut entry, at)? == ENTRY_BYTES && is_held(u64::from_ne_bytes(entry)) {
            self.unreadable += 1;
        }
        let end = (self.number(self.next) + 1).saturating_mul(self.files.page);
        self.skip_to(end.min(self.end));
        Ok(())
    }

    fn skip_to(&mut self, address: u64) {
        self.next = address;
        self.gap = self.given;
    }

    /// Fills a part of the buffer, and says how much; none where what follows is not there, or cannot be read.
    fn step(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (held, end) = self.run()?;
        if !held {
            self.skip_to(end);
            return Ok(0);
        }
        if self.gap
            && let Some(first) = buffer.first_mut()
        {
            // What lies on both sides of a gap is no one line.
            *first = b'\n';
            self.gap = false;
            return Ok(1);
        }
        let room = usize::try_from(end - self.next).unwrap_or(usize::MAX).min(buffer.len());
        let Some(buffer) = buffer.get_mut(..room) else { return Ok(0) };
        match self.files.mem.read_at(buffer, self.next) {
            Ok(0) => Err(gone()),
            Ok(count) => {
                self.next += count as u64;
                self.given = true;
                Ok(count)
            }
            Err(error) if is_unreadable(&error) => self.pass_over().map(|()| 0),
            Err(error) => Err(error),
        }
    }
}

fn is_unreadable(error: &io::Error) -> bool {
    const IO: i32 = rustix::io::Errno::IO.raw_os_error();
    const FAULT: i32 = rustix::io::Errno::FAULT.raw_os_error();
    matches!(error.raw_os_error(), Some(IO | FAULT))
}

impl Read for Pages<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let loads = self.loads;
        // As many steps as there are pages in the buffer, even if none of them holds anything that can be read.
        for _ in 0..=buffer.len() as u64 / self.files.page {
            let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) else { break };
            if self.next >= self.end || self.loads > loads + VAIN_MAX {
                break;
            }
            match self.step(free) {
                Ok(count) => filled += count,
                // It comes again where it is not for once.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        if filled == 0 && !buffer.is_empty() {
            if self.next < self.end {
                return Err(io::ErrorKind::Interrupted.into());
            }
            // What was not found may lie in them: that leaves open whether it is there.
            if std::mem::take(&mut self.unreadable) > 0 {
                return Err(io::Error::other("some of its memory cannot be read"));
            }
        }
        Ok(filled)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Three pages of which `pagemap` says that they are held, at an address where nothing ever is.
    fn nowhere(entry: u64) -> Memory {
        let page = rustix::param::page_size() as u64;
        let mut pagemap = tempfile::tempfile().unwrap();
        (0..4).for_each(|_| pagemap.write_all(&entry.to_ne_bytes()).unwrap());
        let files = Files { mem: File::open("/proc/self/mem").unwrap(), pagemap, page };
        Memory { files: Rc::new(files), start: page, end: page * 4 }
    }

    /// What is read, and the error at which that ends.
    fn read(memory: &Memory, room: usize) -> (Vec<u8>, Option<io::Error>) {
        let (mut reader, mut buffer, mut all) = (memory.begin(), vec![0; room], Vec::new());
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return (all, None),
                Ok(count) => all.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (all, Some(error)),
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_of_at_the_end() {
        for room in [1, 100_000] {
            let (bytes, error) = read(&nowhere(PRESENT), room);
            assert_eq!((bytes.len(), error.unwrap().to_string()), (0, "some of its memory cannot be read".to_owned()));
            let (bytes, error) = read(&nowhere(0), room);
            assert!(bytes.is_empty() && error.is_none());
        }
    }

    #[test]
    fn a_part_of_this_very_process_is_what_it_is() {
        let text: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
        let start = text.as_ptr() as u64;
        let open = |file: &str| File::open(format!("/proc/self/{file}")).unwrap();
        let files = Files { mem: open("mem"), pagemap: open("pagemap"), page: rustix::param::page_size() as u64 };
        let memory = Memory { files: Rc::new(files), start, end: start + text.len() as u64 };
        for room in [1000, 4096, 1 << 20] {
            let (bytes, error) = read(&memory, room);
            assert!(bytes == text && error.is_none());
        }
    }
}
