//! Table `netstat`: sockets of TCP and UDP, as `ss -tunap` lists them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::sockets::{STATES, Socket, file, read};
use crate::accounts;
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::host::Host;
use crate::processes::proc;
use crate::table::{Declared, TableInfo};

pub static NETSTAT: Declared<Socket> = Declared {
    info: TableInfo {
        name: "netstat",
        module: super::MODULE,
        about: "TCP and UDP sockets with the processes that hold them, one row a socket",
        bound: None,
        live: false,
        follows: false,
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
        Column::<Socket>::field(
            "local_ip",
            Kind::Text,
            "Own address, 0.0.0.0 or :: for all; one mapped into IPv6 is shown as IPv4",
            |s| s.local_ip.to_string().into(),
        )
        .form(Form::Ip),
        Column::<Socket>::field("local_port", Kind::Integer, "Own port", |s| i64::from(s.local_port).into())
            .form(Form::Port),
        Column::<Socket>::field(
            "remote_ip",
            Kind::Text,
            "Peer's address, one mapped into IPv6 as IPv4; NULL without a peer",
            |s| s.remote.map(|(ip, _)| ip.to_string()).into(),
        )
        .form(Form::Ip),
        Column::<Socket>::field("remote_port", Kind::Integer, "Peer's port; NULL without a peer", |s| {
            s.remote.map(|(_, port)| i64::from(port)).into()
        })
        .form(Form::Port),
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
        Column::read("user", Kind::Text, "Name of `uid` in /etc/passwd", |s, host| {
            Ok(s.uid.and_then(|uid| host.user_name(uid)).map(str::to_owned).into())
        }),
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
    }
    if ["pid", "pids", "process"].iter().any(|column| collector.wants(column)) {
        find_holders(collector, &mut sockets)?;
    }
    sockets.into_iter().try_for_each(|socket| collector.row(socket))
}

/// Finds the processes that hold the sockets, by their open descriptors.
fn find_holders(collector: &mut Collector<'_, Socket>, sockets: &mut [Socket]) -> ControlFlow<()> {
    let host = collector.host;
    let wanted: BTreeSet<u64> = sockets.iter().filter_map(|socket| socket.inode).collect();
    let pids = match proc::pids(host) {
        Ok(pids) if !wanted.is_empty() => pids,
        Ok(_) => return ControlFlow::Continue(()),
        Err(trouble) => {
            collector.trouble(trouble.subject.as_deref(), trouble.reason);
            return ControlFlow::Continue(());
        }
    };
    let mut holders: BTreeMap<u64, Vec<u32>> = BTreeMap::new();
    let mut unseen = 0;
    for pid in pids {
        collector.go_on()?;
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
    ControlFlow::Continue(())
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
