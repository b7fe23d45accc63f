//! The write-ahead log: which of its frames are committed, and what page each holds.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::be32;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Frames that are looked at; SQLite itself begins anew after some thousand.
const FRAMES_MAX: usize = 1 << 16;

/// The committed frames of a log.
pub struct Wal {
    file: File,
    frame_bytes: u64,
    /// How many pages the database has after the last commit.
    pub pages: u32,
    salts: [u8; 8],
    /// Page and frame, by page; of each page the frame that was written last.
    frames: Vec<(u32, u32)>,
}

/// The running checksum over pairs of words, in the order of bytes that the log's first word names.
struct Checksum {
    big_endian: bool,
    sums: (u32, u32),
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let word = |chunk: &[u8]| {
            let bytes: [u8; 4] = chunk.try_into().unwrap_or_default();
            if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
        };
        let (mut one, mut two) = self.sums;
        for pair in bytes.chunks_exact(8) {
            let (first, second) = pair.split_at(4);
            one = one.wrapping_add(word(first)).wrapping_add(two);
            two = two.wrapping_add(word(second)).wrapping_add(one);
        }
        self.sums = (one, two);
    }
}

impl Wal {
    /// Reads a log up to its last valid commit; `None` where it holds none, as after a checkpoint.
    pub fn open(file: File, page_bytes: usize) -> Result<Option<Wal>, String> {
        let mut header = [0; HEADER_BYTES];
        if file.read_exact_at(&mut header, 0).is_err() {
            return Ok(None);
        }
        let big_endian = match be32(&header, 0) {
            Some(0x377f_0682) => false,
            Some(0x377f_0683) => true,
            _ => return Ok(None),
        };
        let mut checksum = Checksum { big_endian, sums: (0, 0) };
        checksum.add(&header[..24]);
        let sums = |bytes: &[u8], at: usize| be32(bytes, at).zip(be32(bytes, at + 4));
        if sums(&header, 24) != Some(checksum.sums) || be32(&header, 8) != u32::try_from(page_bytes).ok() {
            return Ok(None);
        }
        let mut salts = [0; 8];
        salts.copy_from_slice(&header[16..24]);
        let frame_bytes = (FRAME_HEADER_BYTES + page_bytes) as u64;
        let mut wal = Wal { file, frame_bytes, pages: 0, salts, frames: Vec::new() };
        let mut frame = vec![0; FRAME_HEADER_BYTES + page_bytes];
        let mut committed = 0;
        for index in 0.. {
            if wal.file.read_exact_at(&mut frame, wal.offset(index)).is_err() {
                break;
            }
            let (head, page) = frame.split_at(FRAME_HEADER_BYTES);
            let Some((number, pages)) = be32(head, 0).zip(be32(head, 4)) else { break };
            checksum.add(&head[..8]);
            checksum.add(page);
            if number == 0 || head[8..16] != salts || sums(head, 16) != Some(checksum.sums) {
                break;
            }
            if wal.frames.len() >= FRAMES_MAX {
                return Err(format!("a write-ahead log of more than {FRAMES_MAX} frames"));
            }
            wal.frames.push((number, index));
            if pages > 0 {
                committed = wal.frames.len();
                wal.pages = pages;
            }
        }
        wal.frames.truncate(committed);
        wal.frames.sort_unstable();
        Ok((committed > 0).then_some(wal))
    }

    fn offset(&self, frame: u32) -> u64 {
        HEADER_BYTES as u64 + u64::from(frame) * self.frame_bytes
    }

    /// Reads a page if the log holds it.
    pub fn read(&self, number: u32, page: &mut [u8]) -> Result<bool, String> {
        let after = self.frames.partition_point(|(known, _)| *known <= number);
        let last = after.checked_sub(1).and_then(|last| self.frames.get(last));
        let Some((_, frame)) = last.filter(|(known, _)| *known == number) else { return Ok(false) };
        let at = self.offset(*frame);
        let mut head = [0; FRAME_HEADER_BYTES];
        let read = self.file.read_exact_at(&mut head, at);
        let read = read.and_then(|()| self.file.read_exact_at(page, at + FRAME_HEADER_BYTES as u64));
        // Once all of it is in the database, the log is begun anew in place, with other salts.
        if read.is_err() || be32(&head, 0) != Some(number) || head[8..16] != self.salts {
            return Err("the database was written while it was read".to_owned());
        }
        Ok(true)
    }
}
