//! The sockets that `/proc/net` lists, line by line.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use canvass_protocol::answer::Trouble;

use crate::host::Host;
use crate::processes::proc;

/// One socket; sockets that several processes share are one row, as in `ss -p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    pub(super) protocol: &'static str,
    pub(super) local_ip: IpAddr,
    pub(super) local_port: u16,
    pub(super) remote: Option<(IpAddr, u16)>,
    pub(super) state: &'static str,
    pub(super) uid: Option<u32>,
    pub(super) inode: Option<u64>,
    pub(super) pids: Vec<u32>,
    pub(super) process: Option<String>,
}

/// More than a million sockets of one protocol; what a file of fixtures may hold is bounded too.
const FILE_BYTES_MAX: u64 = 256 << 20;

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

/// Where the kernel lists the sockets of `tcp`, `tcp6`, `udp` or `udp6`.
pub(super) fn file(protocol: &str) -> String {
    format!("/proc/net/{protocol}")
}

/// Reads the sockets of one protocol and family, however many; says how many lines were no sockets.
pub(super) fn read(host: &Host, protocol: &str, sockets: &mut Vec<Socket>) -> Result<usize, Trouble> {
    let path = file(protocol);
    let path = Path::new(&path);
    let opened = match host.open_file(path) {
        // A kernel without IPv6 has no such file, and no such sockets.
        Err(error) if proc::gone(&error) && protocol.ends_with('6') => return Ok(0),
        opened => opened.map_err(|error| proc::trouble(path, &error))?,
    };
    let not_a_file = || proc::trouble(path, &io::Error::other("not a regular file"));
    let lines = BufReader::new(opened.ok_or_else(not_a_file)?.take(FILE_BYTES_MAX)).split(b'\n');
    let little_endian = cfg!(target_endian = "little") || !host.is_live();
    let protocol = if protocol.starts_with("tcp") { "tcp" } else { "udp" };
    let mut malformed = 0;
    for line in lines.skip(1) {
        let line = line.map_err(|error| proc::trouble(path, &error))?;
        match std::str::from_utf8(&line).ok().and_then(|line| parse(line, protocol, little_endian)) {
            Some(socket) => sockets.push(socket),
            None if line.iter().all(u8::is_ascii_whitespace) => {}
            None => malformed += 1,
        }
    }
    Ok(malformed)
}

fn parse(line: &str, protocol: &'static str, little_endian: bool) -> Option<Socket> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local_ip, local_port) = address(fields.next()?, little_endian)?;
    let (remote_ip, remote_port) = address(fields.next()?, little_endian)?;
    let state = match u8::from_str_radix(fields.next()?, 16).ok()? {
        // The kernel's name for a request that has not become a connection yet.
        12 => "SYN_RECV",
        number => STATES.get(usize::from(number).checked_sub(1)?)?,
    };
    let mut fields = fields.skip(3);
    let uid = proc::number(fields.next()?)?;
    let inode: u64 = fields.nth(1)?.parse().ok()?;
    Some(Socket {
        protocol,
        local_ip,
        local_port,
        remote: (remote_port != 0 || !remote_ip.is_unspecified()).then_some((remote_ip, remote_port)),
        state,
        // Without an inode the kernel writes 0 for a user that it no longer knows.
        uid: (inode != 0).then_some(uid),
        inode: (inode != 0).then_some(inode),
        pids: Vec::new(),
        process: None,
    })
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

#[cfg(test)]
mod tests {
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
                "  12: 0100007F:0016 {remote} {state} 00000000:00000000 02:0009C4A1 00000000  {uid}  0 {inode} 2 0 20 4"
            );
            parse(&line, "tcp", true)
        };
        let listening = line("0A", "00000000:0000", 33, 7).unwrap();
        assert_eq!((listening.state, listening.remote, listening.uid), ("LISTEN", None, Some(33)));
        let closing = line("06", "0100007F:C001", 0, 0).unwrap();
        assert_eq!((closing.state, closing.uid, closing.inode), ("TIME_WAIT", None, None));
        assert_eq!(closing.remote, Some((IpAddr::V4(Ipv4Addr::LOCALHOST), 0xC001)));
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
}
