//! Plain bytes out of gzip, xz, zstd and bzip2: the input is hostile, memory and expansion are bounded.

mod members;
mod source;
#[cfg(test)]
mod tests;
mod xz;
mod zstd;

use std::io::{self, BufReader, Read};
use std::rc::Rc;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

use members::Members;
use source::{Fate, Source};

/// What every stream may expand to, however short it is: a second's work or two.
const PLAIN_BYTES: u64 = 1 << 30;

/// How many times its size a longer stream may expand to. Logs and archives shrink to a tenth or a thirtieth, dumps full
/// of zeros to a hundredth; a bomb to a thousandth or less.
const EXPANSION_MAX: u64 = 200;

/// Bytes of one read of the compressed stream.
const INPUT_BYTES: usize = 64 << 10;

/// How many bytes of a file [`Format::of`] wants to see; fewer will do for most.
pub(crate) const HEAD_BYTES: usize = 64;

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Gzip,
    Xz,
    Zstd,
    Bzip2,
}

impl Format {
    /// Tells by the first bytes; what is too short to tell is not compressed.
    pub fn of(head: &[u8]) -> Option<Format> {
        if head.starts_with(&[0x1f, 0x8b, 8]) {
            Some(Format::Gzip)
        } else if head.starts_with(xz::MAGIC) {
            Some(Format::Xz)
        } else if zstd::begins(head) {
            Some(Format::Zstd)
        } else {
            begins_bzip2(head).then_some(Format::Bzip2)
        }
    }

    fn name(self) -> &'static str {
        match self {
            Format::Gzip => "gzip",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
            Format::Bzip2 => "bzip2",
        }
    }

    /// What decoding takes beside a window or dictionary that the stream chooses the size of.
    fn memory(self) -> u64 {
        match self {
            Format::Gzip | Format::Xz => 1 << 20,
            // Its blocks of 900 kB take four bytes for each byte.
            Format::Bzip2 => 5 << 20,
            // Literals, sequences and the block itself.
            Format::Zstd => 4 << 20,
        }
    }
}

/// A head of text may well begin with `BZh`: the first block's mark, or that of the end, has to follow.
fn begins_bzip2(head: &[u8]) -> bool {
    const BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    let Some([b'1'..=b'9', mark @ ..]) = head.strip_prefix(b"BZh") else { return false };
    mark.starts_with(BLOCK) || mark.starts_with(END)
}

/// Reads the plain bytes of a compressed stream, all its members, streams or frames as one.
///
/// `compressed_bytes` is the size of the whole stream, from which follows how far it may expand. A stream that would
/// take more than `memory_max` bytes to decode is an error, as is one that is corrupt, ends early or goes on with
/// something else; the message says which. An error of `source` comes back as it is. A stream may hold much that yields
/// nothing, and a read does not return in the meantime: whoever wants to stop lets `source` fail.
pub(crate) fn open<'a>(
    format: Format,
    source: impl Read + 'a,
    compressed_bytes: u64,
    memory_max: u64,
) -> io::Result<Box<dyn Read + 'a>> {
    bounded(format, source, PLAIN_BYTES.max(compressed_bytes.saturating_mul(EXPANSION_MAX)), memory_max)
}

/// Like [`open`], by the number of plain bytes that there may be.
pub(super) fn bounded<'a>(
    format: Format,
    source: impl Read + 'a,
    plain_bytes: u64,
    memory_max: u64,
) -> io::Result<Box<dyn Read + 'a>> {
    let memory = format.memory();
    if memory > memory_max {
        return Err(explain(format, &needs(Some(memory))));
    }
    let memory_max = memory_max - memory;
    let (source, fate) = Source::new(source);
    let input = BufReader::with_capacity(INPUT_BYTES, source);
    Ok(match format {
        Format::Gzip => Box::new(Plain::new(format, Members::<_, GzDecoder<_>>::new(input), fate, plain_bytes)),
        Format::Bzip2 => Box::new(Plain::new(format, Members::<_, BzDecoder<_>>::new(input), fate, plain_bytes)),
        Format::Zstd => {
            let frames = Members::<_, zstd::Frame<_>>::new(zstd::Input { bytes: input, memory_max });
            Box::new(Plain::new(format, frames, fate, plain_bytes))
        }
        Format::Xz => Box::new(Plain::new(format, xz::Streams::new(input, memory_max), fate, plain_bytes)),
    })
}

/// A decoder with what holds for all of them: its bounds and its errors.
struct Plain<D> {
    format: Format,
    /// Dropped by the first error: what a decoder does after one is its own affair.
    decoder: Option<D>,
    fate: Rc<Fate>,
    /// Bytes that it may still yield.
    left: u64,
}

impl<D: Read> Plain<D> {
    fn new(format: Format, decoder: D, fate: Rc<Fate>, left: u64) -> Plain<D> {
        Plain { format, decoder: Some(decoder), fate, left }
    }

    fn explain(&self, error: &io::Error) -> io::Error {
        if let Some(error) = self.fate.take_error() {
            return error;
        }
        // A wrong length makes a decoder ask for more than there is, too; either way the stream is not whole.
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the {} stream ends early", self.format.name()),
            );
        }
        explain(self.format, error)
    }
}

impl<D: Read> Read for Plain<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(decoder) = &mut self.decoder else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the stream has failed before"));
        };
        if buffer.is_empty() {
            return Ok(0);
        }
        // One byte beyond tells whether there is more than may be.
        let length = usize::try_from(self.left.saturating_add(1)).map_or(buffer.len(), |left| left.min(buffer.len()));
        let error = match decoder.read(&mut buffer[..length]) {
            Ok(count) if count as u64 <= self.left => {
                self.left -= count as u64;
                return Ok(count);
            }
            Ok(_) => explain(self.format, &too_big()),
            Err(error) => self.explain(&error),
        };
        self.decoder = None;
        Err(error)
    }
}

/// Whether an error is ours and says already what is the matter.
fn is_verdict(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::OutOfMemory | io::ErrorKind::FileTooLarge | io::ErrorKind::Unsupported)
}

fn explain(format: Format, error: &io::Error) -> io::Error {
    let corrupt = if is_verdict(error) { "" } else { "is corrupt: " };
    let kind = if is_verdict(error) { error.kind() } else { io::ErrorKind::InvalidData };
    io::Error::new(kind, format!("the {} stream {corrupt}{error}", format.name()))
}

fn too_big() -> io::Error {
    let reason = format!("expands to more than {} GB and {EXPANSION_MAX} times its size", PLAIN_BYTES >> 30);
    io::Error::new(io::ErrorKind::FileTooLarge, reason)
}

/// The error of a stream that takes too much memory: so many bytes, where it says how many.
fn needs(bytes: Option<u64>) -> io::Error {
    let reason = match bytes {
        Some(bytes) => {
            let megabytes = bytes.div_ceil(1 << 20);
            format!("needs {megabytes} MB to be decompressed, more than its share of limit_memory")
        }
        None => "needs more to be decompressed than its share of limit_memory".to_owned(),
    };
    io::Error::new(io::ErrorKind::OutOfMemory, reason)
}

fn corrupt(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}
