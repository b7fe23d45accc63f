//! Frames of zstd (RFC 8878), those to be skipped among them.

use std::error::Error;
use std::io::{self, BufRead, Read};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use super::members::Member;
use super::{corrupt, needs};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Whether a file begins with a frame; after one to be skipped, which LZ4 has too, the next counts as far as it is seen.
pub(super) fn begins(mut head: &[u8]) -> bool {
    loop {
        let Some((magic, rest)) = head.split_first_chunk() else { return false };
        if *magic == MAGIC {
            return true;
        }
        let Some((length, rest)) = is_skipped(magic).then(|| rest.split_first_chunk()).flatten() else { return false };
        match usize::try_from(u32::from_le_bytes(*length)).ok().and_then(|length| rest.get(length..)) {
            Some(next) if next.len() >= MAGIC.len() => head = next,
            _ => return true,
        }
    }
}

fn is_skipped(magic: &[u8; 4]) -> bool {
    matches!(magic, [0x50..=0x5f, 0x2a, 0x4d, 0x18])
}

/// The compressed bytes, and the memory that windows may take.
pub(super) struct Input<R> {
    pub bytes: R,
    pub memory_max: u64,
}

/// A frame that is being decoded.
pub(super) enum Frame<R> {
    Data { input: Input<R>, decoder: Box<FrameDecoder>, header: Header, plain_bytes: u64 },
    Skipped(Input<R>),
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    window: u64,
    content: Option<u64>,
    dictionary: bool,
    checksum: bool,
}

/// Magic number, descriptor, window, number of the dictionary, size of the content.
const HEADER_BYTES: usize = 4 + 1 + 1 + 4 + 8;

impl Header {
    /// How long the fields are that follow the descriptor: window, dictionary, content.
    fn lengths(descriptor: u8) -> [usize; 3] {
        let single = descriptor & 0x20 != 0;
        let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let content = [usize::from(single), 2, 4, 8][usize::from(descriptor >> 6)];
        [usize::from(!single), dictionary, content]
    }

    /// Takes a header apart from the descriptor on.
    fn parse(bytes: &[u8]) -> Option<Header> {
        let (&descriptor, rest) = bytes.split_first()?;
        let [window, dictionary, content] = Header::lengths(descriptor);
        let (window, rest) = rest.split_at_checked(window)?;
        let (dictionary, rest) = rest.split_at_checked(dictionary)?;
        let content = match rest.get(..content)? {
            [] => None,
            // Less than 256 has a shorter form.
            content @ [_, _] => Some(number(content) + 256),
            content => Some(number(content)),
        };
        let window = match window {
            [byte, ..] => {
                let base = 1 << (10 + (byte >> 3));
                base + base / 8 * u64::from(byte & 7)
            }
            [] => content?,
        };
        let reserved = descriptor & 8 != 0;
        let checksum = descriptor & 4 != 0;
        (!reserved).then_some(Header { window, content, dictionary: number(dictionary) != 0, checksum })
    }

    /// The decoder for what follows. It keeps no more of the window than fits; what reaches further back fails.
    fn decoder(&self, window_max: u64) -> io::Result<Box<FrameDecoder>> {
        let checksum = u8::from(self.checksum) << 2;
        let window = self.window.min(window_max).max(1 << 10);
        // As the format has it: a power of two and eighths of it, here rounded up so that nothing that fits is lost.
        let exponent = window.ilog2() - 10;
        let eighths = (window - (1 << (10 + exponent))).div_ceil(1 << (7 + exponent));
        let byte = (u64::from(exponent) << 3) + eighths;
        let byte = u8::try_from(byte).map_err(|_| corrupt("a frame's window"))?;
        let mut bytes = [0; 6];
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..].copy_from_slice(&[checksum, byte]);
        let mut decoder = Box::new(FrameDecoder::new());
        decoder.set_max_window_size(u64::MAX);
        decoder.init(&bytes[..]).map_err(|_| corrupt("a frame's header"))?;
        Ok(decoder)
    }
}

/// A number, its lowest byte first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// Whether what went wrong is that there was no more to read.
fn ends_early(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.kind() == io::ErrorKind::UnexpectedEof,
        None => error.source().is_some_and(ends_early),
    }
}

/// The bytes of window that fit: the decoder's buffer grows by doubling, and while it does the old one is still there.
fn window_max(memory_max: u64) -> u64 {
    memory_max / 3
}

impl<R: BufRead> Member<Input<R>> for Frame<R> {
    fn start(mut input: Input<R>) -> io::Result<Self> {
        let mut bytes = [0; HEADER_BYTES];
        input.bytes.read_exact(&mut bytes[..5])?;
        let [magic @ .., descriptor] = [bytes[0], bytes[1], bytes[2], bytes[3], bytes[4]];
        if is_skipped(&magic) {
            let mut length = [descriptor, 0, 0, 0];
            input.bytes.read_exact(&mut length[1..])?;
            skip(&mut input.bytes, u32::from_le_bytes(length).into())?;
            return Ok(Frame::Skipped(input));
        }
        if magic != MAGIC {
            return Err(corrupt("something else follows its end"));
        }
        let length = 5 + Header::lengths(descriptor).iter().sum::<usize>();
        input.bytes.read_exact(&mut bytes[5..length])?;
        let header = Header::parse(&bytes[4..length]).ok_or_else(|| corrupt("a frame's header"))?;
        if header.dictionary {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "needs a dictionary that it does not hold"));
        }
        let decoder = header.decoder(window_max(input.memory_max))?;
        Ok(Frame::Data { input, decoder, header, plain_bytes: 0 })
    }

    fn into_input(self) -> Input<R> {
        match self {
            Frame::Data { input, .. } | Frame::Skipped(input) => input,
        }
    }

    fn follows(input: &mut Input<R>) -> io::Result<bool> {
        Ok(!input.bytes.fill_buf()?.is_empty())
    }
}

fn skip(input: &mut impl BufRead, mut left: u64) -> io::Result<()> {
    while left > 0 {
        let length = input.fill_buf()?.len();
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        input.consume(length);
        left -= length as u64;
    }
    Ok(())
}

impl<R: BufRead> Read for Frame<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Frame::Data { input, decoder, header, plain_bytes } = self else { return Ok(0) };
        while decoder.can_collect() == 0 && !decoder.is_finished() {
            let decoded = decoder.decode_blocks(&mut input.bytes, BlockDecodingStrategy::UptoBlocks(1));
            decoded.map_err(|error| {
                if ends_early(&error) {
                    io::ErrorKind::UnexpectedEof.into()
                } else if header.window > window_max(input.memory_max) {
                    needs(Some(header.window.saturating_mul(3)))
                } else {
                    corrupt("a block cannot be decoded")
                }
            })?;
        }
        let count = decoder.read(buffer)?;
        *plain_bytes += count as u64;
        if count == 0 {
            if header.checksum && decoder.get_checksum_from_data() != decoder.get_calculated_checksum() {
                return Err(corrupt("its checksum is another"));
            }
            if header.content.is_some_and(|content| content != *plain_bytes) {
                return Err(corrupt("it is not as long as it says"));
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_window_content_and_dictionary() {
        let parse = |bytes: &[u8]| Header::parse(bytes);
        let header = |window, content| Header { window, content, dictionary: false, checksum: false };
        assert_eq!(parse(&[0x00, 0x00]), Some(header(1 << 10, None)));
        assert_eq!(parse(&[0x00, 0x59]), Some(header((2 << 20) + (1 << 18), None)));
        assert_eq!(parse(&[0x00, 0xff]), Some(header((1 << 41) + 7 * (1 << 38), None)));
        assert_eq!(parse(&[0x20, 7]), Some(header(7, Some(7))));
        assert_eq!(parse(&[0x60, 1, 1]), Some(header(513, Some(513))));
        assert_eq!(parse(&[0x80, 0x00, 4, 3, 2, 1]), Some(header(1 << 10, Some(0x0102_0304))));
        assert_eq!(parse(&[0x24, 7]).map(|header| header.checksum), Some(true));
        assert_eq!(parse(&[0x03, 0x00, 0, 0, 0, 0]).map(|header| header.dictionary), Some(false));
        assert_eq!(parse(&[0x01, 0x00, 9]).map(|header| header.dictionary), Some(true));
        assert_eq!(parse(&[0x28, 7]), None);
        assert_eq!(parse(&[0x60, 1]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn a_decoder_takes_any_window() {
        for window in (0..=u8::MAX).map(|byte| [0, byte]).filter_map(|bytes| Header::parse(&bytes)) {
            assert!(window.decoder(u64::MAX).is_ok() || window.window >= (1 << 41));
            assert!(window.decoder(1 << 20).is_ok());
            assert!(window.decoder(0).is_ok());
        }
    }
}
