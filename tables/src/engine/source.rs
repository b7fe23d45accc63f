//! Where the bytes of a content come from: its file, what a decoder makes of it, or what is no file of its own.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use super::Watch;
use super::decompress::{self, Format};
use crate::column::Content;

/// Goes back to the beginning of a content; what is no file begins there whenever it is opened.
pub(super) fn rewind(content: &Content) -> io::Result<()> {
    match content {
        Content::File { file, .. } => {
            let mut file = file;
            file.rewind()
        }
        Content::Stream(_) => Ok(()),
    }
}

/// A content's bytes as they lie there, or what they are when decompressed.
pub(super) enum Source<'a> {
    File(&'a File),
    Other(Box<dyn Read + 'a>),
}

impl<'a> Source<'a> {
    /// Opens a content, with the number of bytes at which it ends, where that is known.
    pub fn open(content: &'a Content, memory_max: Option<u64>, watch: &'a Watch<'a>) -> io::Result<(Source<'a>, u64)> {
        let (file, size) = match content {
            Content::File { file, size } => (file, size),
            Content::Stream(stream) => return Ok((Source::Other(stream.begin()), 0)),
        };
        let plain = (Source::File(file), *size);
        let Some(memory_max) = memory_max else { return Ok(plain) };
        let mut head = [0; decompress::HEAD_BYTES];
        let mut filled = 0;
        let mut reader = file;
        while filled < head.len() {
            match reader.read(&mut head[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        reader.rewind()?;
        let Some(format) = Format::of(&head[..filled]) else { return Ok(plain) };
        let source = Watched { file, watch };
        Ok((Source::Other(decompress::open(format, source, *size, memory_max)?), 0))
    }

    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::File(file) => file.read(buffer),
            Source::Other(reader) => reader.read(buffer),
        }
    }
}

/// A compressed file, which fails once the scan is over: a decoder may read for long before it has anything to say.
struct Watched<'a> {
    file: &'a File,
    watch: &'a Watch<'a>,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.is_over() {
            return Err(io::Error::other("the scan is over"));
        }
        self.file.read(buffer)
    }
}
