//! Hashes of a file's content, all that are wanted in one read.

use std::io::{self, Read as _};

use canvass_protocol::answer::Trouble;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::row::{FileRow, trouble};
use crate::column::Cell;
use crate::engine::Watch;
use crate::host::Host;

/// Bytes of one read.
const BLOCK_BYTES: usize = 128 << 10;

/// Which hashes the scan names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub md5: bool,
    pub sha1: bool,
    pub sha256: bool,
}

/// Lower-case hexadecimal, each where it was wanted.
#[derive(Default)]
pub(super) struct Hashes {
    pub md5: Option<String>,
    pub sha1: Option<String>,
    pub sha256: Option<String>,
}

pub(super) fn of(
    row: &FileRow,
    host: &Host,
    watch: &Watch<'_>,
    pick: fn(&Hashes) -> &Option<String>,
) -> Result<Cell<'static>, Trouble> {
    if row.hashes.get().is_none() {
        let hashes = read(row, host, watch);
        let failed = hashes.as_ref().err().cloned();
        let _ = row.hashes.set(hashes.ok().flatten());
        if let Some(trouble) = failed {
            return Err(trouble);
        }
    }
    Ok(row.hashes.get().and_then(Option::as_ref).and_then(|hashes| pick(hashes).clone()).into())
}

/// `None` where there is no content to hash, or the scan is over.
fn read(row: &FileRow, host: &Host, watch: &Watch<'_>) -> Result<Option<Hashes>, Trouble> {
    let Some(mut file) = row.open(host)? else { return Ok(None) };
    let wanted = row.search.hashes;
    let mut md5 = wanted.md5.then(Md5::new);
    let mut sha1 = wanted.sha1.then(Sha1::new);
    let mut sha256 = wanted.sha256.then(Sha256::new);
    let mut buffer = row.search.buffer.borrow_mut();
    buffer.resize(BLOCK_BYTES, 0);
    loop {
        if watch.is_over() {
            return Ok(None);
        }
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(trouble(row.path(), &error)),
        };
        let block = &buffer[..count];
        md5.iter_mut().for_each(|hash| hash.update(block));
        sha1.iter_mut().for_each(|hash| hash.update(block));
        sha256.iter_mut().for_each(|hash| hash.update(block));
    }
    Ok(Some(Hashes {
        md5: md5.map(|hash| hex(&hash.finalize())),
        sha1: sha1.map(|hash| hex(&hash.finalize())),
        sha256: sha256.map(|hash| hex(&hash.finalize())),
    }))
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    digits.map(char::from).collect()
}
