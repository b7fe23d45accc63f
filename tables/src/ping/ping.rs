//! Table `ping`: whether this host reaches others, by a connection, a datagram or an echo request.

use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;
use std::time::Duration;

use super::asked::{Asked, Protocol, asked};
use super::failure::Failure;
use super::icmp::{self, Socket};
use super::names::Resolver;
use super::pace::{Pace, Sent};
use super::probe::{self, Outcome};
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::module::Sockets;
use crate::table::{Bound, Declared, Keys, TableInfo};

/// What became of what was asked for.
pub struct Ping {
    asked: Asked,
    ip: Option<IpAddr>,
    tried: Option<Tried>,
}

/// What became of the probes of one address; of none where there is no address.
#[derive(Default)]
struct Tried {
    replies: u16,
    least: Option<Duration>,
    failure: Option<Failure>,
}

/// Addresses of each family that are tried for one name.
const ADDRESSES_MAX: usize = 2;
/// What is known only once something was sent.
const SENT_FOR: [&str; 5] = ["resolved_ip", "replies", "reachable", "latency_ms", "error"];

pub static PING: Declared<Ping> = Declared {
    info: TableInfo {
        name: "ping",
        module: super::MODULE,
        about: "Whether a host reaches others: one row for each destination, protocol, port and count that the question names with = or IN",
        bound: Some(Bound {
            keys: Keys::All(&[
                Keys::Values("destination"),
                Keys::Unless { key: "port", column: "protocol", value: "icmp" },
            ]),
            about: "whom to reach",
            example: "destination = '10.0.0.1' AND protocol = 'icmp'",
        }),
        live: true,
        follows: false,
        example: "SELECT host, resolved_ip, latency_ms FROM ping WHERE destination = 'google.com' AND protocol = 'tcp' AND port = 80 AND reachable",
    },
    columns: &[
        Column::field("destination", Kind::Text, "Name or address to reach, as the question has it", |ping| {
            ping.asked.destination.as_str().into()
        }),
        Column::<Ping>::field(
            "protocol",
            Kind::Text,
            "How to reach it; where the question names none, tcp if it names a port, and icmp otherwise",
            |ping| ping.asked.protocol.name().into(),
        )
        .values(Protocol::NAMES),
        Column::<Ping>::field(
            "port",
            Kind::Integer,
            "Port to reach it at; NULL for icmp, so `port = 80` leaves out its rows",
            |ping| ping.asked.port.map(u32::from).into(),
        )
        .form(Form::Port),
        Column::field(
            "count",
            Kind::Integer,
            "Probes to send, 1 to 10; where the question names no count, 3 by icmp and 1 by tcp and udp",
            |ping| u32::from(ping.asked.count).into(),
        ),
        Column::<Ping>::field(
            "resolved_ip",
            Kind::Text,
            "Address that answered, or of those tried the one whose failure says most; up to two of IPv4, then two of IPv6, are tried in turn",
            |ping| ping.ip.map(|ip| ip.to_string()).into(),
        )
        .form(Form::Ip),
        Column::field(
            "reachable",
            Kind::Boolean,
            "Whether a probe came back; NULL where that says nothing: silence by udp, or nothing was sent",
            |ping| ping.tried.as_ref().and_then(Tried::reachable).into(),
        ),
        Column::field("replies", Kind::Integer, "Probes that came back", |ping| {
            ping.tried.as_ref().map(|tried| u32::from(tried.replies)).into()
        }),
        Column::field(
            "latency_ms",
            Kind::Float,
            "Time until a probe came back, in milliseconds; the least of several",
            |ping| {
                let least = ping.tried.as_ref().and_then(|tried| tried.least);
                least.map_or(Cell::Null, |least| Cell::Float(least.as_secs_f64() * 1000.0))
            },
        ),
        Column::field(
            "error",
            Kind::Text,
            "Why none came back: timed out, connection refused, no such host, network unreachable, no reply (of udp) and the like",
            |ping| ping.tried.as_ref().and_then(|tried| tried.failure.as_ref()).map(ToString::to_string).into(),
        ),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, Ping>) -> ControlFlow<()> {
    let (asked, troubles) = asked(collector.filter, &collector.scan.sets);
    for trouble in troubles {
        collector.trouble(None, trouble);
    }
    let sends = SENT_FOR.iter().any(|column| collector.wants(column));
    let (sockets, mut sent, mut no_permission) = (collector.sockets, Sent::default(), false);
    let mut resolver = Resolver::of(collector.host);
    for asked in asked {
        let ping = if sends {
            let mut pace = Pace { go_on: &mut || collector.look(), sent: &mut sent };
            ping(asked, &mut resolver, sockets, &mut pace)?
        } else {
            Ping { asked, ip: None, tried: None }
        };
        no_permission |= ping.tried.as_ref().is_some_and(|tried| tried.failure == Some(Failure::NoPermission));
        collector.row(ping)?;
    }
    if no_permission {
        collector.trouble(None, Failure::NoPermission.to_string());
    }
    ControlFlow::Continue(())
}

/// Tries a destination's addresses until one answers.
fn ping(asked: Asked, resolver: &mut Resolver, sockets: &Sockets, pace: &mut Pace<'_>) -> ControlFlow<(), Ping> {
    let addresses = match resolver.resolve(&asked.destination, pace)? {
        Ok(addresses) => addresses,
        Err(failure) => {
            let tried = Tried { failure: Some(failure), ..Tried::default() };
            return ControlFlow::Continue(Ping { asked, ip: None, tried: Some(tried) });
        }
    };
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = addresses.into_iter().partition(IpAddr::is_ipv4);
    let mut best: Option<(IpAddr, Tried)> = None;
    for ip in v4.into_iter().take(ADDRESSES_MAX).chain(v6.into_iter().take(ADDRESSES_MAX)) {
        let tried = tried(ip, &asked, sockets, pace)?;
        let answered = tried.replies > 0;
        if answered || best.as_ref().is_none_or(|(_, best)| tried.failure < best.failure) {
            best = Some((ip, tried));
        }
        if answered {
            break;
        }
    }
    let (ip, tried) = best.unzip();
    ControlFlow::Continue(Ping { asked, ip, tried })
}

fn tried(ip: IpAddr, asked: &Asked, sockets: &Sockets, pace: &mut Pace<'_>) -> ControlFlow<(), Tried> {
    if !is_of_one_host(ip) {
        return ControlFlow::Continue(Tried { failure: Some(Failure::NotUnicast), ..Tried::default() });
    }
    let address = SocketAddr::new(ip, asked.port.unwrap_or(0));
    let mut outcomes = Vec::new();
    match asked.protocol {
        Protocol::Icmp => {
            let raw = if ip.is_ipv4() { &sockets.icmp } else { &sockets.icmp_v6 };
            outcomes = match Socket::of(raw.as_ref(), ip.is_ipv6()) {
                Some(socket) => icmp::ping(&socket, ip, asked.count, pace)?,
                None => vec![Err(Failure::NoPermission)],
            };
        }
        Protocol::Tcp => {
            for _ in 0..asked.count {
                outcomes.push(probe::tcp(address, pace)?);
            }
        }
        Protocol::Udp => {
            for _ in 0..asked.count {
                outcomes.push(probe::udp(address, pace)?);
            }
        }
    }
    ControlFlow::Continue(Tried::of(outcomes))
}

/// Whether one packet there is answered by one host at most; others would make a flood of it.
fn is_of_one_host(ip: IpAddr) -> bool {
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_multicast() && !ip.is_unspecified() && !is_broadcast
}

impl Tried {
    fn of(outcomes: Vec<Outcome>) -> Tried {
        let mut tried = Tried::default();
        for outcome in outcomes {
            match outcome {
                Ok(latency) => {
                    tried.replies += 1;
                    tried.least = Some(tried.least.map_or(latency, |least| least.min(latency)));
                }
                Err(failure) => {
                    tried.failure = Some(tried.failure.take().map_or(failure.clone(), |known| known.min(failure)));
                }
            }
        }
        // Where one came back, why another did not is no matter.
        tried.failure = tried.failure.filter(|_| tried.replies == 0);
        tried
    }

    fn reachable(&self) -> Option<bool> {
        match &self.failure {
            Some(failure) => failure.reachable(),
            None => Some(self.replies > 0),
        }
    }
}
