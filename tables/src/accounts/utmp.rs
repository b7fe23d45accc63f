//! Records of utmp, wtmp, btmp and lastlog, in the layouts that C libraries of 64-bit systems have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The layout of a record of utmp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// Times of 32 bits, as on x86_64: 384 bytes.
    Short,
    /// Times of 64 bits, as on aarch64: 400 bytes.
    Long,
}

/// Types of records.
pub(super) const RUN_LVL: i16 = 1;
pub(super) const BOOT_TIME: i16 = 2;
pub(super) const NEW_TIME: i16 = 3;
pub(super) const OLD_TIME: i16 = 4;
pub(super) const USER_PROCESS: i16 = 7;
pub(super) const DEAD_PROCESS: i16 = 8;
const ACCOUNTING: i16 = 9;

/// A record of utmp.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub kind: i16,
    pub pid: i32,
    pub line: String,
    pub user: String,
    pub host: String,
    pub ip: Option<IpAddr>,
    pub at_ns: i64,
}

impl Layout {
    pub fn size(self) -> usize {
        match self {
            Layout::Short => 384,
            Layout::Long => 400,
        }
    }

    /// The layout in which more of a file's beginning makes sense; where both do, that of the file's length.
    pub fn guess(start: &[u8], file_bytes: u64) -> Layout {
        let sane = |layout: Layout| {
            let records = start.chunks_exact(layout.size());
            records.filter(|bytes| parse(bytes, layout).is_some()).count() * layout.size()
        };
        let (short, long) = (sane(Layout::Short), sane(Layout::Long));
        let whole = |layout: Layout| file_bytes.is_multiple_of(layout.size() as u64);
        // A record more or less is nothing that tells them apart.
        match short.abs_diff(long) {
            0..384 if whole(Layout::Long) && !whole(Layout::Short) => Layout::Long,
            0..384 if whole(Layout::Short) => Layout::Short,
            _ if long > short => Layout::Long,
            _ => Layout::Short,
        }
    }
}

/// Reads a record; `None` where its bytes are none.
pub(super) fn parse(bytes: &[u8], layout: Layout) -> Option<Record> {
    let kind = i16::from_le_bytes(array(bytes, 0)?);
    let (seconds, micros, address) = match layout {
        Layout::Short => {
            let seconds = i64::from(u32::from_le_bytes(array(bytes, 340)?));
            (seconds, i64::from(i32::from_le_bytes(array(bytes, 344)?)), array(bytes, 348)?)
        }
        Layout::Long => {
            (i64::from_le_bytes(array(bytes, 344)?), i64::from_le_bytes(array(bytes, 352)?), array(bytes, 360)?)
        }
    };
    if !(0..=ACCOUNTING).contains(&kind) || !(0..1_000_000).contains(&micros) {
        return None;
    }
    let host = text(bytes.get(76..332)?);
    Some(Record {
        kind,
        pid: i32::from_le_bytes(array(bytes, 4)?),
        line: text(bytes.get(8..40)?),
        user: text(bytes.get(44..76)?),
        ip: ip(address).or_else(|| ip_of(&host)),
        host,
        at_ns: seconds.checked_mul(1_000_000_000)?.checked_add(micros * 1000)?,
    })
}

/// A record of lastlog, whose place in the file is the number of its user; `None` where it is empty or none.
pub(super) fn parse_last(bytes: &[u8], layout: Layout) -> Option<Record> {
    let (seconds, line) = match layout {
        Layout::Short => (i64::from(u32::from_le_bytes(array(bytes, 0)?)), 4),
        Layout::Long => (i64::from_le_bytes(array(bytes, 0)?), 8),
    };
    let host = text(bytes.get(line + 32..line + 288)?);
    let at_ns = seconds.checked_mul(1_000_000_000).filter(|at| *at > 0)?;
    Some(Record { line: text(bytes.get(line..line + 32)?), ip: ip_of(&host), host, at_ns, ..Record::default() })
}

/// The size of a record of lastlog.
pub(super) fn last_size(layout: Layout) -> u64 {
    match layout {
        Layout::Short => 292,
        Layout::Long => 296,
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A text that a zero ends, or its field.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(field.get(..end).unwrap_or_default()).into_owned()
}

/// An address as recorded: IPv4 has the first four bytes; none is all zeros.
fn ip(bytes: [u8; 16]) -> Option<IpAddr> {
    let [a, b, c, d, rest @ ..] = bytes;
    match (rest == [0; 12], [a, b, c, d] == [0; 4]) {
        (true, true) => None,
        (true, false) => Some(Ipv4Addr::new(a, b, c, d).into()),
        (false, _) => Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical()),
    }
}

/// The address that a host's name is, if it is one; of an interface behind it nothing is told.
pub(super) fn ip_of(host: &str) -> Option<IpAddr> {
    let address = host.split_once('%').map_or(host, |(address, _)| address);
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_records() {
        for layout in [Layout::Short, Layout::Long] {
            assert_eq!(parse(&[], layout), None);
            assert_eq!(parse(&vec![0; layout.size()], layout), Some(Record::default()));
            assert_eq!(parse(&vec![255; layout.size()], layout), None);
            assert_eq!(parse_last(&[0; 300], layout), None);
            assert_eq!(Layout::guess(&[], 0), Layout::Short);
        }
        assert_eq!(Layout::guess(&[0; 400], 400), Layout::Long);
    }

    #[test]
    fn addresses() {
        assert_eq!(ip([0; 16]), None);
        assert_eq!(ip([1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), ip_of("1.2.3.4"));
        assert_eq!(ip([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4]), ip_of("1.2.3.4"));
        assert_eq!(ip_of("::ffff:1.2.3.4"), ip_of("1.2.3.4"));
        assert_eq!(ip_of("fe80::1%eth0"), ip_of("fe80::1"));
        assert_eq!(ip_of("host"), None);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(10_000))]

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..1000), length: u64) {
            for layout in [Layout::Short, Layout::Long] {
                let _ = parse(&bytes, layout);
                let _ = parse_last(&bytes, layout);
            }
            let _ = Layout::guess(&bytes, length);
        }
    }
}
