//! stub
use std::io::{self, Read};
pub(crate) const HEAD_BYTES: usize = 8;
pub(crate) enum Format {}
impl Format {
    pub fn of(_: &[u8]) -> Option<Format> {
        None
    }
}
pub(crate) fn open<'a>(_: Format, s: impl Read + 'a, _: u64, _: u64) -> io::Result<Box<dyn Read + 'a>> {
    Ok(Box::new(s))
}
