//! Formats whose files are members in a row, each whole in itself: gzip, bzip2 and the frames of zstd.

use std::io::{self, BufRead, Read};

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;

use super::corrupt;

/// Decodes one member.
pub(super) trait Member<I>: Read + Sized {
    /// Begins where `input` stands.
    fn start(input: I) -> io::Result<Self>;

    /// The input, right after the member.
    fn into_input(self) -> I;

    /// Whether another member begins here rather than the end of the input.
    fn follows(input: &mut I) -> io::Result<bool>;
}

/// Decodes members until the input ends.
pub(super) struct Members<I, M> {
    at: At<I, M>,
}

enum At<I, M> {
    /// Before the first member, which has to be there.
    Start(I),
    Inside(M),
    Between(I),
    End,
}

impl<I, M: Member<I>> Members<I, M> {
    pub fn new(input: I) -> Members<I, M> {
        Members { at: At::Start(input) }
    }
}

impl<I, M: Member<I>> Read for Members<I, M> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let At::Inside(member) = &mut self.at {
                let count = member.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            self.at = match std::mem::replace(&mut self.at, At::End) {
                At::Start(input) => At::Inside(M::start(input)?),
                At::Inside(member) => At::Between(member.into_input()),
                At::Between(mut input) => match M::follows(&mut input)? {
                    true => At::Inside(M::start(input)?),
                    false => return Ok(0),
                },
                At::End => return Ok(0),
            };
        }
    }
}

const TRAILING: &str = "something else follows its end";

/// Whether `input` goes on, and with `mark`.
fn goes_on(input: &mut impl BufRead, mark: u8) -> io::Result<bool> {
    match input.fill_buf()?.first() {
        None => Ok(false),
        Some(&byte) if byte == mark => Ok(true),
        Some(_) => Err(corrupt(TRAILING)),
    }
}

impl<I: BufRead> Member<I> for GzDecoder<I> {
    fn start(input: I) -> io::Result<Self> {
        Ok(GzDecoder::new(input))
    }

    fn into_input(self) -> I {
        self.into_inner()
    }

    /// Zeros to the end are padding, as on a tape; gzip passes over them, too.
    fn follows(input: &mut I) -> io::Result<bool> {
        if input.fill_buf()?.first() != Some(&0) {
            return goes_on(input, 0x1f);
        }
        loop {
            let bytes = input.fill_buf()?;
            if bytes.is_empty() {
                return Ok(false);
            }
            if bytes.iter().any(|&byte| byte != 0) {
                return Err(corrupt(TRAILING));
            }
            let length = bytes.len();
            input.consume(length);
        }
    }
}

impl<I: BufRead> Member<I> for BzDecoder<I> {
    fn start(input: I) -> io::Result<Self> {
        Ok(BzDecoder::new(input))
    }

    fn into_input(self) -> I {
        self.into_inner()
    }

    fn follows(input: &mut I) -> io::Result<bool> {
        goes_on(input, b'B')
    }
}
