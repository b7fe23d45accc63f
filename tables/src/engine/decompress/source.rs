//! The compressed bytes, and what became of reading them: decoders lose that among errors of their own.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// What became of reading a source.
#[derive(Default)]
pub(super) struct Fate {
    error: Cell<Option<io::Error>>,
}

impl Fate {
    /// The error of the source itself, once.
    pub fn take_error(&self) -> Option<io::Error> {
        self.error.take()
    }
}

/// A source that notes its fate.
pub(super) struct Source<R> {
    inner: R,
    fate: Rc<Fate>,
}

impl<R: Read> Source<R> {
    pub fn new(inner: R) -> (Source<R>, Rc<Fate>) {
        let fate = Rc::new(Fate::default());
        (Source { inner, fate: fate.clone() }, fate)
    }
}

impl<R: Read> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The decoder is told as little as it needs: no kind that it would take for its own.
                    self.fate.error.set(Some(error));
                    return Err(io::ErrorKind::Other.into());
                }
                Ok(count) => return Ok(count),
            }
        }
    }
}
