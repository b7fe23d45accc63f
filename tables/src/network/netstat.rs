//! Table `netstat`: sockets of TCP and UDP, as `ss -tunap` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::path::Path;

use canvass_protocol::answer::Trouble;

use crate::accounts;
use crate::column::{Column, Kind};
use crate::engine::Collector;
use crate::host::Host;
use crate::processes::proc;
use crate::table::{Declared, TableInfo};

/// One socket; sockets that several processes share are one row, as in `ss -p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    protocol: &'static str,
    local_ip: IpAddr,
    local_port: u16,
    remote: Option<(IpAddr, u16)>,
    state: &'static str,
    uid: Option<u32>,
    inode: Option<u64>,
    user: Option<String>,
    pids: Vec<u32>,
    process: Option<String>,
}

/// More than a million sockets of one protocol; what a file of fixtures may hold is bounded too.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The words of ss, spelt out; in the kernel's numbering from 1.
static STATES: [&str; 11] = [
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

pub static NETSTAT: Declared<Socket> = Declared {
    info: TableInfo {
        name: "netstat",
        module: "network",
        about: "TCP and UDP sockets with the processes that hold them, one row a socket",
        bound: None,
        live: false,
        example: "SELECT host, local_port, process FROM netstat WHERE state = 'LISTEN' AND NOT is_loopback(local_ip)",
    },
    columns: &[
        Column::<Socket>::field("protocol", Kind::Text, "tcp or udp", |s| s.protocol.into()).values(&["tcp", "udp"]),
        Column::<Socket>::field(
            "family",
            Kind::Text,
            "ipv4 or ipv6, as the packets are: an IPv6 socket with an IPv4 peer is ipv4",
            |s| if s.local_ip.is_ipv4() { "ipv4" } else { "ipv6" }.into(),
        )
        .values(&["ipv4", "ipv6"]),
        Column::field(
            "local_ip",
            Kind::Text,
            "Own address, 0.0.0.0 or :: for all; one mapped into IPv6 is shown as IPv4",
            |s| s.local_ip.to_string().into(),
        ),
        Column::field("local_port", Kind::Integer, "Own port", |s| i64::from(s.local_port).into()),
        Column::field(
            "remote_ip",
            Kind::Text,
            "Peer's address, one mapped into IPv6 as IPv4; NULL without a peer",
            |s| s.remote.map(|(ip, _)| ip.to_string()).into(),
        ),
        Column::field("remote_port", Kind::Integer, "Peer's port; NULL without a peer", |s| {
            s.remote.map(|(_, port)| i64::from(port)).into()
        }),
        Column::<Socket>::field(
            "state",
            Kind::Text,
            "State in ss's words; UDP is UNCONN without a peer and ESTABLISHED with one",
            |s| s.state.into(),
        )
        .values(&STATES),
        Column::field("uid", Kind::Integer, "User who opened it; NULL where no process holds it any more", |s| {
            s.uid.into()
        }),
        Column::field("user", Kind::Text, "Name of `uid` in /etc/passwd", |s| s.user.as_deref().into()),
        Column::field("pid", Kind::Integer, "Process that holds it, of several the one with the lowest number", |s| {
            s.pids.first().copied().into()
        }),
        Column::field("process", Kind::Text, "Short name of the process `pid`", |s| s.process.as_deref().into()),
        Column::field("pids", Kind::Text, "All processes that hold it, ascending, separated by commas", |s| {
            let pids: Vec<String> = s.pids.iter().map(u32::to_string).collect();
            Some(pids.join(",")).filter(|pids| !pids.is_empty()).into()
        }),
        Column::field("inode", Kind::Integer, "Number of the socket; NULL where no process holds it any more", |s| {
            s.inode.into()
        }),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, Socket>) -> ControlFlow<()> {
    let host = collector.host;
    let mut sockets = Vec::new();
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        match read(host, protocol, &mut sockets) {
            Ok(0) => {}
            Ok(malformed) => collector.trouble(Some(&file(protocol)), format!("{malformed} malformed lines")),
            Err(trouble) => collector.trouble(trouble.subject.as_deref(), trouble.reason),
        }
    }
    if collector.wants("user") {
        accounts::note_troubles(collector, accounts::PASSWD);
        for socket in &mut sockets {
            socket.user = socket.uid.and_then(|uid| host.user_name(uid)).map(str::to_owned);
        }
    }
    if ["pid", "pids", "process"].iter().any(|column| collector.wants(column)) {
        find_holders(collector, &mut sockets);
    }
    sockets.into_iter().try_for_each(|socket| collector.row(socket))
}

fn file(protocol: &str) -> String {
    format!("/proc/net/{protocol}")
}

/// Reads the sockets of one protocol and family, however many; says how many lines were no sockets.
fn read(host: &Host, protocol: &str, sockets: &mut Vec<Socket>) -> Result<usize, Trouble> {
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
        user: None,
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

/// Finds the processes that hold the sockets, by their open descriptors.
fn find_holders(collector: &mut Collector<'_, Socket>, sockets: &mut [Socket]) {
    let host = collector.host;
    let wanted: BTreeSet<u64> = sockets.iter().filter_map(|socket| socket.inode).collect();
    let pids = match proc::pids(host) {
        Ok(pids) if !wanted.is_empty() => pids,
        Ok(_) => return,
        Err(trouble) => return collector.trouble(trouble.subject.as_deref(), trouble.reason),
    };
    let mut holders: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut unseen = 0;
    for pid in pids {
        match held(host, pid, &wanted) {
            Ok(inodes) => inodes.into_iter().for_each(|inode| holders.entry(inode).or_default().push(pid)),
            Err(()) => unseen += 1,
        }
    }
    if unseen > 0 && holders.len() < wanted.len() {
        let reason = format!("the descriptors of {unseen} processes cannot be read, so some sockets show no pid");
        collector.trouble(Some("/proc"), reason);
    }
    let mut names: BTreeMap<u32, Option<String>> = BTreeMap::new();
    for socket in sockets {
        socket.pids = socket.inode.and_then(|inode| holders.get(&inode).cloned()).unwrap_or_default();
        if let Some(pid) = socket.pids.first() {
            let name = || proc::stat(host, *pid).ok().flatten().map(|stat| stat.comm);
            socket.process = names.entry(*pid).or_insert_with(name).clone();
        }
    }
}

/// The sockets among `wanted` that a process holds; an error where it may not be looked at.
fn held(host: &Host, pid: u32, wanted: &BTreeSet<u64>) -> Result<BTreeSet<u64>, ()> {
    let folder = proc::path_of(pid, "fd");
    let entries = match host.entries(&folder) {
        Ok(entries) => entries,
        Err(error) if proc::gone(&error) => return Ok(BTreeSet::new()),
        Err(_) => return Err(()),
    };
    let inode = |name: &std::ffi::OsStr| {
        let target = host.read_link(&folder.join(name)).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Ok(entries.iter().filter_map(|entry| inode(&entry.name)).filter(|inode| wanted.contains(inode)).collect())
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
