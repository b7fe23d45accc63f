//! Table `netstat`: sockets of TCP, UDP and Unix and raw ones, as `ss -tuwxanp` lists them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use super::diag;
use super::holders::{Holders, Wanted, net_namespace};
use super::sockets::{LISTS, List, Read, STATES, Socket, read};
use crate::accounts;
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::processes::proc;
use crate::table::{Declared, TableInfo};

pub static NETSTAT: Declared<Socket> = Declared {
    info: TableInfo {
        name: "netstat",
        module: super::MODULE,
        about: "TCP, UDP, raw and Unix sockets of all network namespaces with the processes that hold them, one row a socket",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, local_port, process FROM netstat WHERE state = 'LISTEN' AND NOT is_loopback(local_ip)",
    },
    columns: &[
        Column::<Socket>::field("protocol", Kind::Text, "tcp, udp, raw or unix", |s| s.protocol.into())
            .values(&["tcp", "udp", "raw", "unix"]),
        Column::<Socket>::field(
            "family",
            Kind::Text,
            "ipv4 or ipv6, as the packets are: an IPv6 socket with an IPv4 peer is ipv4; NULL for unix",
            |s| s.local.map(|(ip, _)| if ip.is_ipv4() { "ipv4" } else { "ipv6" }).into(),
        )
        .values(&["ipv4", "ipv6"]),
        Column::<Socket>::field(
            "local_ip",
            Kind::Text,
            "Own address, 0.0.0.0 or :: for all; one mapped into IPv6 is shown as IPv4; NULL for unix",
            |s| s.local.map(|(ip, _)| ip.to_string()).into(),
        )
        .form(Form::Ip),
        Column::<Socket>::field(
            "local_port",
            Kind::Integer,
            "Own port; of a raw socket the number of its protocol, as ss shows it; NULL for unix",
            |s| s.local.map(|(_, port)| i64::from(port)).into(),
        )
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
            "State in ss's words; without connections it is UNCONN without a peer and ESTABLISHED with one",
            |s| s.state.into(),
        )
        .values(&STATES),
        Column::field(
            "uid",
            Kind::Integer,
            "User who opened it; NULL where no process holds it any more, and for unix ones of which only a file tells",
            |s| s.uid.into(),
        ),
        Column::read("user", Kind::Text, "Name of `uid` in /etc/passwd", |s, host| {
            Ok(s.uid.and_then(|uid| host.user_name(uid)).map(str::to_owned).into())
        }),
        Column::field("pid", Kind::Integer, "Process that holds it, of several the one with the lowest number", |s| {
            s.pids.first().copied().into()
        }),
        Column::field("process", Kind::Text, "Short name of the process `pid`", |s| {
            s.holder.as_deref().and_then(|holder| holder.name.as_deref()).into()
        }),
        Column::field("pids", Kind::Text, "All processes that hold it, ascending, separated by commas", |s| {
            let pids: Vec<String> = s.pids.iter().map(u32::to_string).collect();
            Some(pids.join(",")).filter(|pids| !pids.is_empty()).into()
        }),
        Column::field("inode", Kind::Integer, "Number of the socket; NULL where no process holds it any more", |s| {
            s.inode.into()
        }),
        Column::<Socket>::field("path", Kind::Text, "Program file of the process `pid`", |s| {
            s.holder.as_deref().and_then(|holder| holder.path.as_deref()).into()
        })
        .form(Form::Path),
        Column::field(
            "container",
            Kind::Text,
            "Container of the process `pid`: its number, or its name with lxc; NULL outside of any",
            |s| s.holder.as_deref().and_then(|holder| holder.container.as_deref()).into(),
        ),
        Column::field(
            "local_path",
            Kind::Text,
            "Name of a unix socket: its path, or @ and its abstract name; NULL without one",
            |s| s.local_path.as_deref().into(),
        ),
        Column::field(
            "net_namespace",
            Kind::Integer,
            "Network namespace, by the number that /proc/PID/ns/net shows",
            |s| s.net_namespace.into(),
        ),
        Column::<Socket>::field(
            "receive_queue_bytes",
            Kind::Integer,
            "Bytes received that the program has not read; NULL while listening, and where it is not told",
            |s| s.queues.map(|(received, _)| received).into(),
        )
        .form(Form::Bytes),
        Column::<Socket>::field(
            "send_queue_bytes",
            Kind::Integer,
            "Bytes sent that the peer has not taken; NULL while listening, and where it is not told",
            |s| s.queues.map(|(_, sent)| sent).into(),
        )
        .form(Form::Bytes),
    ],
    collect,
};

/// Tells the rows of one network namespace after another.
struct Teller<'c, 'a> {
    collector: &'c mut Collector<'a, Socket>,
    holders: Option<Holders>,
    net_namespace: Option<u64>,
}

fn collect(collector: &mut Collector<'_, Socket>) -> ControlFlow<()> {
    let host = collector.host;
    if collector.wants("user") {
        accounts::note_troubles(collector, accounts::PASSWD);
    }
    let wants_holders = ["pid", "pids", "process", "path", "container"].iter().any(|column| collector.wants(column));
    let pids = match proc::pids(host) {
        Ok(pids) => pids,
        Err(trouble) => {
            if wants_holders {
                collector.note_trouble(trouble);
            }
            Vec::new()
        }
    };
    let wanted = Wanted {
        name: collector.wants("process"),
        path: collector.wants("path"),
        container: collector.wants("container"),
    };
    let holders = if wants_holders { Some(Holders::find(collector, &pids, wanted)?) } else { None };
    // The files of a fixture are those of the namespace in which its first process is.
    let own = net_namespace(host, if host.is_live() { "self" } else { "1" }).ok().flatten();
    let mut teller = Teller { collector, holders, net_namespace: own };
    for list in LISTS {
        teller.tell(list)?;
    }
    if let Some(own) = own {
        teller.tell_others(own, &pids)?;
    }
    if let Some(reason) = teller.holders.as_ref().and_then(Holders::trouble) {
        teller.collector.trouble(Some("/proc"), reason);
    }
    ControlFlow::Continue(())
}

impl Teller<'_, '_> {
    fn row(&mut self, mut socket: Socket) -> ControlFlow<()> {
        if let Some(holders) = &mut self.holders {
            holders.fill(self.collector.host, &mut socket);
        }
        socket.net_namespace = self.net_namespace;
        self.collector.row(socket)
    }

    /// Tells one list of the own namespace, by netlink where that can be asked.
    fn tell(&mut self, list: List) -> ControlFlow<()> {
        let mut some = false;
        if self.collector.host.is_live() && diag::knows(list) {
            let asked = diag::ask(list, &mut |socket| {
                some = true;
                self.row(socket)
            });
            match asked {
                Ok(flow) => return flow,
                Err(error) if some => {
                    let reason = format!("{} sockets are missing: {error}", list.protocol);
                    self.collector.trouble(None, reason);
                    return ControlFlow::Continue(());
                }
                Err(_) => {}
            }
        }
        self.tell_file("/proc/net", list).map_continue(drop)
    }

    /// Tells one list from its file; whether it could be opened.
    fn tell_file(&mut self, folder: &str, list: List) -> ControlFlow<(), bool> {
        let host = self.collector.host;
        match read(host, folder, list, &mut |socket| self.row(socket)) {
            Ok(Read::Missing) => ControlFlow::Continue(false),
            Ok(Read::Whole(malformed, flow)) => {
                if malformed > 0 {
                    let path = format!("{folder}/{}", list.file);
                    self.collector.trouble(Some(&path), format!("{malformed} malformed lines"));
                }
                flow.map_continue(|()| true)
            }
            Err(trouble) => {
                self.collector.note_trouble(trouble);
                ControlFlow::Continue(false)
            }
        }
    }

    /// Tells the sockets of all other namespaces that some process is in, through the files of one such process.
    fn tell_others(&mut self, own: u64, pids: &[u32]) -> ControlFlow<()> {
        let host = self.collector.host;
        let mut told = BTreeSet::from([own]);
        let mut unseen = 0;
        for pid in pids {
            self.collector.go_on()?;
            match net_namespace(host, &pid.to_string()) {
                Ok(Some(namespace)) if !told.contains(&namespace) => {
                    let folder = format!("/proc/{pid}/net");
                    if host.metadata(format!("{folder}/tcp").as_ref()).is_err() {
                        // It has ended; another process may be in the same namespace.
                        continue;
                    }
                    told.insert(namespace);
                    self.net_namespace = Some(namespace);
                    for list in LISTS {
                        let _ = self.tell_file(&folder, list)?;
                    }
                }
                Ok(_) => {}
                Err(()) => unseen += 1,
            }
        }
        if unseen > 0 {
            let reason = format!(
                "the network namespaces of {unseen} processes cannot be read, so sockets in them may be missing"
            );
            self.collector.trouble(Some("/proc"), reason);
        }
        ControlFlow::Continue(())
    }
}
