//! The lines of a file in `/proc`, one after another, however many there are.

use std::io::{self, BufRead, BufReader, Read as _};
use std::ops::ControlFlow;
use std::path::Path;

use crate::host::Host;

/// More than a million sockets of one protocol; what a file of fixtures may hold is bounded too.
const FILE_BYTES_MAX: u64 = 256 << 20;
/// The longest that the kernel writes tells the path of a socket, in 108 bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// Hands over each line without its end; `None` for one that is too long to be what it should.
pub(super) fn for_each_line(
    host: &Host,
    path: &Path,
    visit: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let file = host.open_file(path)?.ok_or_else(|| io::Error::other("not a regular file"))?;
    let mut reader = BufReader::with_capacity(64 << 10, file.take(FILE_BYTES_MAX));
    visit_lines(&mut reader, visit)
}

fn visit_lines(
    reader: &mut impl BufRead,
    visit: &mut dyn FnMut(Option<&[u8]>) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(ControlFlow::Continue(()));
        }
        let is_long = line.len() as u64 == LINE_BYTES_MAX && line.last() != Some(&b'\n');
        let flow = if is_long {
            reader.skip_until(b'\n')?;
            visit(None)
        } else {
            visit(Some(line.strip_suffix(b"\n").unwrap_or(&line)))
        };
        if flow.is_break() {
            return Ok(flow);
        }
    }
}

/// Like [`for_each_line`] of lines that stand for an entry each, after so many that do not; says how many were malformed.
pub(super) fn for_each_entry<T>(
    host: &Host,
    path: &Path,
    headings: usize,
    parse: &dyn Fn(&[u8]) -> Option<T>,
    take: &mut dyn FnMut(T) -> ControlFlow<()>,
) -> io::Result<(usize, ControlFlow<()>)> {
    let (mut before, mut malformed) = (headings, 0);
    let flow = for_each_line(host, path, &mut |line| {
        if before > 0 {
            before -= 1;
            return ControlFlow::Continue(());
        }
        match line.map(|line| (line, parse(line))) {
            Some((_, Some(entry))) => return take(entry),
            Some((line, None)) if line.iter().all(u8::is_ascii_whitespace) => {}
            _ => malformed += 1,
        }
        ControlFlow::Continue(())
    })?;
    Ok((malformed, flow))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_none_and_the_next_is_whole() {
        let long = "x".repeat(usize::try_from(LINE_BYTES_MAX).unwrap());
        let short = &long[1..];
        let text = format!("a\n\n{long}\n{short}\n{long}{long}\nlast");
        let mut seen = Vec::new();
        let flow = visit_lines(&mut text.as_bytes(), &mut |line| {
            seen.push(line.map(|line| String::from_utf8(line.to_vec()).unwrap()));
            ControlFlow::Continue(())
        });
        assert_eq!(flow.unwrap(), ControlFlow::Continue(()));
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(seen, [some("a"), some(""), None, some(short), None, some("last")]);
    }
}
