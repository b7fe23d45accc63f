//! Lines of `/proc/self/mountinfo`: what is mounted, as the kernel tells it.

/// One mount; texts are escaped as in the file until they are [decoded](decoded).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mount<'a> {
    pub id: u64,
    /// The number of the file system's device.
    pub device: u64,
    /// The folder of the file system that is mounted.
    pub root: &'a [u8],
    /// Where it is mounted.
    pub path: &'a [u8],
    /// Options of this mount.
    pub options: &'a [u8],
    /// The file system's type.
    pub kind: &'a [u8],
    /// What is mounted, a device for the most part; may be empty.
    pub source: &'a [u8],
    /// Options of the file system, wherever it is mounted.
    pub super_options: &'a [u8],
}

/// The lines of the file that are none of [`parse`]'s are `None`.
pub(crate) fn lines(file: &[u8]) -> impl Iterator<Item = Option<Mount<'_>>> {
    file.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).map(parse)
}

/// Reads one line.
pub(crate) fn parse(line: &[u8]) -> Option<Mount<'_>> {
    // Fields are parted by one blank each: a source can be empty.
    let mut fields = line.split(|&byte| byte == b' ');
    let id = number(fields.next()?)?;
    let _parent = fields.next()?;
    let mut numbers = fields.next()?.splitn(2, |&byte| byte == b':');
    let (major, minor) = (number(numbers.next()?)?, number(numbers.next()?)?);
    let device = rustix::fs::makedev(u32::try_from(major).ok()?, u32::try_from(minor).ok()?);
    let (root, path, options) = (fields.next()?, fields.next()?, fields.next()?);
    // Any number of tags such as `master:1`, ended by a dash.
    fields.find(|field| *field == b"-")?;
    let (kind, source) = (fields.next()?, fields.next()?);
    let super_options = fields.next().unwrap_or_default();
    Some(Mount { id, device, root, path, options, kind, source, super_options })
}

fn number(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Turns `\040` and the like, which the kernel writes for blanks, into the bytes that they stand for.
pub(crate) fn decoded(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let digits = after.split_first_chunk::<3>().filter(|_| first == b'\\');
        let octal = digits.and_then(|(digits, after)| Some((octal(*digits)?, after)));
        let (byte, after) = octal.unwrap_or((first, after));
        bytes.push(byte);
        rest = after;
    }
    bytes
}

fn octal(digits: [u8; 3]) -> Option<u8> {
    let value = digits.iter().try_fold(0u16, |value, digit| match digit {
        b'0'..=b'7' => Some(value * 8 + u16::from(digit - b'0')),
        _ => None,
    })?;
    u8::try_from(value).ok()
}

/// The same as text, with U+FFFD for what is not UTF-8.
pub(crate) fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(&decoded(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn odd_lines() {
        for line in ["", "nonsense", "1 2 3:4 / /mnt rw", "1 2 3 / /mnt rw - ext4 a rw", "+1 2 3:4 / / rw - ext4 a rw"]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
        let mount = parse(b"36 35 8:1 /a\\040b /mnt/\\134\\400\\12 rw,noatime - tmpfs  rw").unwrap();
        assert_eq!((text(mount.root), text(mount.path)), ("/a b".to_owned(), "/mnt/\\\\400\\12".to_owned()));
        assert_eq!((mount.source, mount.super_options), (&b""[..], &b"rw"[..]));
        let mount = parse(b"36 35 8:1 / / rw shared:1 master:2 - fuse.sshfs me@there:/\xff rw").unwrap();
        assert_eq!((mount.kind, text(mount.source).as_str()), (&b"fuse.sshfs"[..], "me@there:/\u{fffd}"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]
        #[test]
        fn no_line_is_too_odd(line in prop::collection::vec(prop::sample::select(b"0189 :/-,\\ax\xff".to_vec()), 0..60)) {
            if let Some(mount) = parse(&line) {
                prop_assert!(decoded(mount.path).len() <= mount.path.len());
            }
        }
    }
}
