//! Sockets, and the lines of `/proc/net` that list them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;

use canvass_protocol::answer::Trouble;

use super::holders::Holder;
use super::lines::for_each_entry;
use crate::host::Host;
use crate::processes::proc;

/// One socket; sockets that several processes share are one row, as in `ss -p`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Socket {
    pub(super) protocol: &'static str,
    pub(super) local: Option<(IpAddr, u16)>,
    pub(super) remote: Option<(IpAddr, u16)>,
    pub(super) state: &'static str,
    pub(super) uid: Option<u32>,
    pub(super) inode: Option<u64>,
    /// Bytes received and not read yet, and bytes to be sent; what listens has none.
    pub(super) queues: Option<(u32, u32)>,
    pub(super) local_path: Option<String>,
    pub(super) net_namespace: Option<u64>,
    pub(super) pids: Vec<u32>,
    pub(super) holder: Option<Rc<Holder>>,
}

/// The words of ss, spelt out; in the kernel's numbering from 1.
pub(super) static STATES: [&str; 11] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "TIME_WAIT",
    "UNCONN",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
];

pub(super) const LISTEN: &str = "LISTEN";

/// The word for the kernel's number of a state.
pub(super) fn state(number: u8) -> Option<&'static str> {
    match number {
        // The kernel's name for a request that has not become a connection yet.
        12 => Some("SYN_RECV"),
        number => STATES.get(usize::from(number).checked_sub(1)?).copied(),
    }
}

/// A list of sockets: what the kernel calls its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct List {
    pub file: &'static str,
    pub protocol: &'static str,
}

/// The lists that there are, in the order of their rows.
pub(super) const LISTS: [List; 7] = [
    List { file: "tcp", protocol: "tcp" },
    List { file: "tcp6", protocol: "tcp" },
    List { file: "udp", protocol: "udp" },
    List { file: "udp6", protocol: "udp" },
    List { file: "raw", protocol: "raw" },
    List { file: "raw6", protocol: "raw" },
    List { file: "unix", protocol: "unix" },
];

impl List {
    /// Whether every kernel with sockets has it.
    fn is_everywhere(self) -> bool {
        matches!(self.file, "tcp" | "udp")
    }
}

/// How a file was read.
pub(super) enum Read {
    /// How many lines were no sockets, and whether more are wanted.
    Whole(usize, ControlFlow<()>),
    /// There is no such file, nor such sockets.
    Missing,
}

/// Reads the sockets of one list from a folder such as `/proc/net`, however many.
pub(super) fn read(
    host: &Host,
    folder: &str,
    list: List,
    take: &mut dyn FnMut(Socket) -> ControlFlow<()>,
) -> Result<Read, Trouble> {
    let path = format!("{folder}/{}", list.file);
    let path = Path::new(&path);
    let little_endian = cfg!(target_endian = "little") || !host.is_live();
    let parse = |line: &[u8]| match list.protocol {
        "unix" => parse_unix(line),
        protocol => parse(std::str::from_utf8(line).ok()?, protocol, little_endian),
    };
    match for_each_entry(host, path, 1, &parse, take) {
        Ok((malformed, flow)) => Ok(Read::Whole(malformed, flow)),
        Err(error) if proc::gone(&error) && !list.is_everywhere() => Ok(Read::Missing),
        Err(error) => Err(proc::trouble(path, &error)),
    }
}

fn parse(line: &str, protocol: &'static str, little_endian: bool) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?, little_endian)?;
    let (remote_ip, remote_port) = address(fields.next()?, little_endian)?;
    let state = state(u8::from_str_radix(fields.next()?, 16).ok()?)?;
    let queues = fields.next().and_then(queues).filter(|_| state != LISTEN);
    let mut fields = fields.skip(2);
    let uid = proc::number(fields.next()?)?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    Some(Socket {
        protocol,
        local: Some(local),
        remote: (remote_port != 0 || !remote_ip.is_unspecified()).then_some((remote_ip, remote_port)),
        state,
        // Without an inode the kernel writes 0 for a user that it no longer knows.
        uid: (inode != 0).then_some(uid),
        inode: (inode != 0).then_some(inode),
        queues,
        ..Socket::default()
    })
}

/// Parses `00000000:0000001F`: what is to be sent, then what was received.
fn queues(text: &str) -> Option<(u32, u32)> {
    let (sent, received) = text.split_once(':')?;
    Some((u32::from_str_radix(received, 16).ok()?, u32::from_str_radix(sent, 16).ok()?))
}

/// Parses `0100007F:0016`: words of 32 bits in the machine's own order, then the port.
fn address(text: &str, little_endian: bool) -> Option<(IpAddr, u16)> {
    let (ip, port) = text.split_once(':')?;
    if !ip.bytes().chain(port.bytes()).all(|byte| byte.is_ascii_hexdigit()) || port.len() != 4 {
        return None;
    }
    let word = |start: usize| {
        let word = u32::from_str_radix(ip.get(start..start + 8)?, 16).ok()?;
        Some(if little_endian { word.swap_bytes() } else { word })
    };
    let ip = match ip.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bits = words.iter().fold(0u128, |bits, word| bits << 32 | u128::from(*word));
            IpAddr::V6(Ipv6Addr::from(bits)).to_canonical()
        }
        _ => return None,
    };
    Some((ip, u16::from_str_radix(port, 16).ok()?))
}

/// Parses `0000000000000000: 00000002 00000000 00010000 0001 01 18800 /run/x`: place, references, protocol, flags, type,
/// state, inode, and the path, which may hold anything but the end of the line.
fn parse_unix(line: &[u8]) -> Option<Socket> {
    const LISTENS: u32 = 0x1_0000;
    let mut rest = line;
    let mut field = || {
        let start = rest.iter().position(|byte| *byte != b' ')?;
        let text = rest.get(start..)?;
        let end = text.iter().position(|byte| *byte == b' ').unwrap_or(text.len());
        rest = text.get(end..)?;
        std::str::from_utf8(text.get(..end)?).ok()
    };
    let hex = |text: &str| u32::from_str_radix(text, 16).ok().filter(|_| !text.starts_with('+'));
    field()?.strip_suffix(':')?;
    field()?;
    field()?;
    let flags = hex(field()?)?;
    field()?;
    let state = match hex(field()?)? {
        _ if flags & LISTENS != 0 => LISTEN,
        1 => "UNCONN",
        2 => "SYN_SENT",
        3 => "ESTABLISHED",
        4 => "CLOSING",
        _ => return None,
    };
    let inode: u64 = field()?.parse().ok()?;
    let path = rest.strip_prefix(b" ").filter(|path| !path.is_empty());
    Some(Socket {
        protocol: "unix",
        state,
        inode: (inode != 0).then_some(inode),
        local_path: path.map(|path| String::from_utf8_lossy(path).into_owned()),
        ..Socket::default()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses() {
        let parsed = |text: &str| address(text, true).map(|(ip, port)| format!("{ip} {port}"));
        let cases = [
            ("0100007F:0016", Some("127.0.0.1 22")),
            ("00000000:0000", Some("0.0.0.0 0")),
            ("00000000000000000000000001000000:01BB", Some("::1 443")),
            ("0000000000000000FFFF00000301A8C0:0CEA", Some("192.168.1.3 3306")),
            ("000080FE00000000DABABA0F9F12FE99:A991", Some("fe80::fba:bada:99fe:129f 43409")),
            ("0100007F", None),
            ("0100007F:16", None),
            ("+100007F:0016", None),
            ("0100007:0016", None),
            ("0100007Fé:0016", None),
            (":0016", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parsed(text).as_deref(), expected, "{text}");
        }
        assert_eq!(address("7F000001:0016", false), Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 22)));
    }

    #[test]
    fn lines() {
        let line = |state: &str, remote: &str, uid: u32, inode: u64| {
            let line = format!(
                "  12: 0100007F:0016 {remote} {state} 00000001:0000001F 02:0009C4A1 00000000  {uid}  0 {inode} 2 0 20 4"
            );
            parse(&line, "tcp", true)
        };
        let listening = line("0A", "00000000:0000", 33, 7).unwrap();
        assert_eq!((listening.state, listening.remote, listening.uid), ("LISTEN", None, Some(33)));
        assert_eq!(listening.queues, None);
        let closing = line("06", "0100007F:C001", 0, 0).unwrap();
        assert_eq!((closing.state, closing.uid, closing.inode), ("TIME_WAIT", None, None));
        assert_eq!(closing.remote, Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 0xC001)));
        assert_eq!(closing.queues, Some((31, 1)));
        assert_eq!(line("0C", "0100007F:C001", 0, 0).unwrap().state, "SYN_RECV");
        for state in ["00", "0D", "FF", "100", "x", ""] {
            assert!(line(state, "0100007F:C001", 0, 1).is_none(), "{state}");
        }
        for text in
            ["", "0:", "0: 0100007F:0016 0100007F:0016 01 0:0 0:0 0 -1 0 5", "0: 0100007F:0016 0100007F:0016 01"]
        {
            assert!(parse(text, "tcp", true).is_none(), "{text}");
        }
    }

    #[test]
    fn lines_of_unix() {
        let read = |rest: &str| parse_unix(format!("0000000000000000: 00000002 00000000 {rest}").as_bytes());
        let listening = read("00010000 0001 01 18800 /run/a b").unwrap();
        assert_eq!((listening.state, listening.inode), ("LISTEN", Some(18800)));
        assert_eq!(listening.local_path.as_deref(), Some("/run/a b"));
        assert_eq!((listening.uid, listening.local), (None, None));
        let connected = read("00000000 0002 03    17 @x@y").unwrap();
        assert_eq!((connected.state, connected.local_path.as_deref()), ("ESTABLISHED", Some("@x@y")));
        let unnamed = read("00000000 0005 01 0").unwrap();
        assert_eq!((unnamed.state, unnamed.inode, unnamed.local_path), ("UNCONN", None, None));
        assert_eq!(read("00000000 0001 02 5  spaced").unwrap().local_path.as_deref(), Some(" spaced"));
        for odd in ["", "00000000 0001 05 1", "00000000 0001 01", "00000000 0001 01 -1", "0001z000 0001 01 1"] {
            assert!(read(odd).is_none(), "{odd}");
        }
        assert!(parse_unix(b"no colon 0 0 0 1 1").is_none() && parse_unix(b"").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_line_is_read_or_left_out(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_unix(&line);
            let _ = parse(&String::from_utf8_lossy(&line), "tcp", true);
        }

        #[test]
        fn lines_that_are_nearly_sockets(line in "[0-9A-F]{1,2}: ([0-9A-F]{8}|[0-9A-F]{32})(:| )[0-9A-F]{4} \\PC{0,60}") {
            let _ = parse_unix(line.as_bytes());
            let _ = parse(&line, "tcp", true);
        }
    }
}
