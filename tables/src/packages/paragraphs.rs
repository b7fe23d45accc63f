//! Files of paragraphs, as dpkg, apk and pip write them: lines of `Field: value`, an empty line after each paragraph.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;

/// What is kept of a line; no field that is shown is longer, and fields of thousands of dependencies are not shown.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Visits each line without its end until told to break; of a line that is too long, the beginning. An empty line ends the
/// file too.
pub fn lines(file: impl Read, visit: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> io::Result<ControlFlow<()>> {
    let mut file = BufReader::with_capacity(64 << 10, file);
    let mut line = Vec::new();
    loop {
        let buffer = match file.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if buffer.is_empty() {
            if !line.is_empty() && visit(&line).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            return Ok(visit(b""));
        }
        let end = memchr::memchr(b'\n', buffer);
        let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or(buffer);
        let taken = part.len() + usize::from(end.is_some());
        let room = LINE_BYTES_MAX.saturating_sub(line.len());
        // A whole line in the buffer, as nearly all are, is not copied.
        let flow = if end.is_some() && line.is_empty() {
            visit(cut(part, room))
        } else {
            line.extend_from_slice(cut(part, room));
            if end.is_some() { visit(&line) } else { ControlFlow::Continue(()) }
        };
        if end.is_some() {
            line.clear();
        }
        file.consume(taken);
        if flow.is_break() {
            return Ok(flow);
        }
    }
}

fn cut(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

/// Splits a line into a field's name and its value; `None` for lines that go on from the one before.
pub fn field(line: &[u8]) -> Option<(&[u8], &[u8])> {
    if line.first().is_none_or(u8::is_ascii_whitespace) {
        return None;
    }
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    Some((name, value.get(1..)?.trim_ascii()))
}

/// A value as text; an empty one says nothing.
pub fn text(value: &[u8]) -> Option<String> {
    (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
}

/// A number of units, in bytes.
pub fn size(value: &[u8], unit: u64) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<String> {
        let mut seen = Vec::new();
        let flow = lines(bytes, &mut |line| {
            seen.push(format!("{}:{}", line.len(), String::from_utf8_lossy(cut(line, 3))));
            ControlFlow::Continue(())
        });
        assert_eq!(flow.unwrap(), ControlFlow::Continue(()));
        seen
    }

    #[test]
    fn lines_of_any_length() {
        assert_eq!(read(b""), ["0:"]);
        assert_eq!(read(b"\n\na"), ["0:", "0:", "1:a", "0:"]);
        assert_eq!(read(b"a\nbc\n"), ["1:a", "2:bc", "0:"]);
        let long = [vec![b'x'; 200_000], b"\nnext\n".to_vec(), vec![b'y'; 70_000]].concat();
        assert_eq!(read(&long), ["16384:xxx", "4:nex", "16384:yyy", "0:"]);
        let flow = lines(&b"a\nb\n"[..], &mut |_| ControlFlow::Break(()));
        assert_eq!(flow.unwrap(), ControlFlow::Break(()));
    }

    #[test]
    fn fields() {
        assert_eq!(field(b""), None);
        assert_eq!(field(b" continued: yes"), None);
        assert_eq!(field(b"no colon"), None);
        assert_eq!(field(b":"), Some((&b""[..], &b""[..])));
        assert_eq!(field(b"Version:\t1:2.3 "), Some((&b"Version"[..], &b"1:2.3"[..])));
        assert_eq!(size(b"12", 1024), Some(12_288));
        assert_eq!(size(b"99999999999999999999", 1), None);
        assert_eq!(size(b"9999999999999999999", 1024), None);
        assert_eq!(size(b"-1", 1), None);
    }
}
