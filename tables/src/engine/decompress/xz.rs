//! Streams of xz, padding between them.

use std::io::{self, BufRead, Chain, Cursor, Read};

use lzma_rust2::XzReader;

use super::needs;

pub(super) const MAGIC: &[u8] = &[0xfd, b'7', b'z', b'X', b'Z', 0];

/// The header of a stream, and the longest one of a block.
const HEAD_BYTES: u64 = 12 + 1024;

/// The decoder, with what its dictionary may take.
pub(super) struct Streams<R: Read> {
    at: At<R>,
    memory_max: u64,
    /// Set where the first block claims a dictionary that does not fit.
    cut: Option<Cut>,
}

enum At<R: Read> {
    /// `None` only while it is taken.
    Start(Option<R>),
    Inside(Box<XzReader<Chain<Cursor<Vec<u8>>, R>>>),
}

/// A dictionary holds no more than was decoded, whatever size it claims: small files are read all the same.
struct Cut {
    /// Bytes that may still be decoded.
    left: u64,
    /// What a full dictionary takes.
    memory: u64,
}

impl<R: BufRead> Streams<R> {
    pub fn new(input: R, memory_max: u64) -> Streams<R> {
        Streams { at: At::Start(Some(input)), memory_max, cut: None }
    }

    fn start(&mut self, mut input: R) -> io::Result<At<R>> {
        let mut head = Vec::new();
        input.by_ref().take(HEAD_BYTES).read_to_end(&mut head)?;
        let mut dictionary_max = dictionary_max(self.memory_max);
        if let Some(claimed) = dictionary(&head).filter(|&claimed| claimed > dictionary_max) {
            // The buffer grows by doubling, and while it does the old one is still there.
            self.cut = Some(Cut { left: self.memory_max / 3, memory: memory_of(claimed) });
            dictionary_max = claimed;
        }
        // The decoder adds up in kilobytes, its own 104 among them.
        let kilobytes = u32::try_from(dictionary_max.div_ceil(1024) + 104).unwrap_or(u32::MAX);
        Ok(At::Inside(Box::new(XzReader::new_mem_limit(Cursor::new(head).chain(input), true, kilobytes))))
    }
}

/// The dictionary that fits: it grows by doubling until it is whole, and while it does the old one is still there.
fn dictionary_max(memory_max: u64) -> u64 {
    memory_max / 5 * 3
}

/// The reverse.
fn memory_of(dictionary: u64) -> u64 {
    dictionary.div_ceil(3) * 5
}

impl<R: BufRead> Read for Streams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.at {
                At::Start(input) => {
                    let Some(input) = input.take() else { return Ok(0) };
                    self.at = self.start(input)?;
                }
                At::Inside(reader) => {
                    let error = match reader.read(buffer) {
                        Ok(count) => return self.spend(count),
                        Err(error) => error,
                    };
                    return Err(if error.kind() == io::ErrorKind::OutOfMemory { needs(None) } else { error });
                }
            }
        }
    }
}

impl<R: Read> Streams<R> {
    fn spend(&mut self, count: usize) -> io::Result<usize> {
        if let Some(cut) = &mut self.cut {
            cut.left = cut.left.checked_sub(count as u64).ok_or_else(|| needs(Some(cut.memory)))?;
        }
        Ok(count)
    }
}

/// The size of the dictionary of a file's first block; `None` where there is none, or the file is corrupt.
fn dictionary(head: &[u8]) -> Option<u64> {
    const LZMA2: u64 = 0x21;
    let block = head.get(12..)?;
    let (&size, _) = block.split_first()?;
    // A zero begins the index: there is no block.
    let mut fields = block.get(1..(usize::from(size) + 1) * 4).filter(|_| size > 0)?;
    let (&flags, rest) = fields.split_first()?;
    fields = rest;
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            number(&mut fields)?;
        }
    }
    for _ in 0..=flags & 3 {
        let filter = number(&mut fields)?;
        let length = usize::try_from(number(&mut fields)?).ok()?;
        let (properties, rest) = fields.split_at_checked(length)?;
        fields = rest;
        if filter == LZMA2 {
            return match *properties.first()? {
                40 => Some(u64::from(u32::MAX)),
                bits @ 0..40 => Some((2 | u64::from(bits & 1)) << (bits / 2 + 11)),
                _ => None,
            };
        }
    }
    None
}

/// Takes a number of seven bits a byte, the lowest first.
fn number(fields: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..63).step_by(7) {
        let (&byte, rest) = fields.split_first()?;
        *fields = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
