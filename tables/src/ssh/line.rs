//! A line of an `authorized_keys` or `.pub` file: options, key and comment.

use super::public::{Public, base64, is_same_type, is_type};

/// What a line says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub public: Public,
    /// As written, quotes included.
    pub options: Option<&'a [u8]>,
    pub comment: Option<&'a [u8]>,
}

/// Reads a line as sshd does; an error where it holds no key that can be read, `None` where it is blank or a comment.
pub(super) fn parse(line: &[u8]) -> Option<Result<Line<'_>, ()>> {
    // To sshd a line is a text of C, which ends at a zero byte.
    let line = line.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    if line.is_empty() || line.starts_with(b"#") {
        return None;
    }
    Some(with_options(line).ok_or(()))
}

fn with_options(line: &[u8]) -> Option<Line<'_>> {
    let (word, _) = split(line);
    if is_type(word) {
        return key(line, None);
    }
    let (options, rest) = line.split_at_checked(options_end(line)?)?;
    key(rest.trim_ascii_start(), Some(options))
}

/// Where the options end: at the first blank outside quotes; a quote after a backslash is none.
fn options_end(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    let mut bytes = line.iter().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' if bytes.peek().is_some_and(|(_, next)| **next == b'"') => {
                bytes.next();
            }
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn key<'a>(text: &'a [u8], options: Option<&'a [u8]>) -> Option<Line<'a>> {
    let (name, rest) = split(text);
    let (encoded, comment) = split(rest);
    // Its decoder passes over white space.
    let encoded: Vec<u8> = encoded.iter().copied().filter(|byte| !is_space(*byte)).collect();
    let blob = base64(&encoded)?;
    // What the line calls the key has to be what it is.
    if !is_same_type(name, super::wire::Reader(&blob).string()?) {
        return None;
    }
    let comment = Some(comment).filter(|comment| !comment.is_empty());
    Some(Line { public: Public::decode(&blob)?, options, comment })
}

fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// The first word, and what comes after it and its blanks.
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, &[]));
    (word, rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    fn check(line: &str, options: Option<&str>, comment: Option<&str>) {
        let parsed = parse(line.as_bytes()).unwrap_or_else(|| panic!("{line}: nothing")).unwrap();
        assert_eq!(
            (parsed.options, parsed.comment),
            (options.map(str::as_bytes), comment.map(str::as_bytes)),
            "{line}"
        );
        assert_eq!((parsed.public.algorithm, parsed.public.bits), ("ED25519", Some(256)));
    }

    #[test]
    fn odd_lines_hold_no_key() {
        for line in ["", " \t\r", "# x", "  # ssh-ed25519"] {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        let other = KEY.replace("ssh-ed25519 ", "ssh-rsa ");
        let long = format!("{KEY}AA==");
        let cut = &KEY[..KEY.len() - 8];
        for line in ["x", "ssh-ed25519", "ssh-ed25519 not-a-key me", "command=\"x ssh-ed25519 A", &other, &long, cut] {
            assert_eq!(parse(line.as_bytes()), Some(Err(())), "{line}");
        }
        assert_eq!(parse(format!("a=\"{KEY}").as_bytes()), Some(Err(())));
    }

    #[test]
    fn options_and_comments() {
        check(KEY, None, None);
        check(&format!("\t{KEY}  me and you \r"), None, Some("me and you"));
        check(&format!("restrict,pty {KEY} me"), Some("restrict,pty"), Some("me"));
        let options = r#"command="/bin/sh -c \"a, b\"",environment="A=B C",no-pty"#;
        check(&format!("{options} \t {KEY} me"), Some(options), Some("me"));
        check(&KEY.replace(' ', "\t"), None, None);
        let long = format!("command=\"{}\"", "x ".repeat(1 << 16));
        check(&format!("{long} {KEY}"), Some(&long), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at in 0..100_usize) {
            let _ = parse(&bytes);
            let _ = Public::decode(&bytes);
            let mut mixed = KEY.as_bytes().to_vec();
            mixed.splice(at.min(mixed.len())..at.saturating_add(3).min(mixed.len()), bytes);
            let _ = parse(&mixed);
        }
    }
}
