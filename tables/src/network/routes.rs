//! Table `routes`: where a host sends what it does not keep, as `ip route show table all` lists it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::rc::Rc;

use super::netlink::{Message, Service, aligned, attributes, dump, ip, u8_at, u16_at, u32_at};
use super::{links, route_files};
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::table::{Declared, TableInfo};

/// One way to a network; a route with several ways is a row each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub(super) destination: (IpAddr, u8),
    pub(super) gateway: Option<IpAddr>,
    pub(super) interface: Option<Rc<str>>,
    pub(super) source: Option<IpAddr>,
    pub(super) metric: Option<u32>,
    pub(super) table: Option<u32>,
    pub(super) protocol: Option<u8>,
    pub(super) scope: Option<u8>,
    pub(super) kind: Option<&'static str>,
}

pub static ROUTES: Declared<Route> = Declared {
    info: TableInfo {
        name: "routes",
        module: super::MODULE,
        about: "Routes of all tables, those to the host's own addresses included, one row a way",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, gateway_ip, interface FROM routes WHERE destination IN ('0.0.0.0/0', '::/0')",
    },
    columns: &[
        Column::field("destination", Kind::Text, "Network that is reached so; 0.0.0.0/0 or ::/0 is the default", |r| {
            format!("{}/{}", r.destination.0, r.destination.1).into()
        }),
        Column::<Route>::field(
            "gateway_ip",
            Kind::Text,
            "Next router; NULL where the network is reached directly",
            |r| r.gateway.map(|ip| ip.to_string()).into(),
        )
        .form(Form::Ip),
        Column::field("interface", Kind::Text, "Interface by which it is reached; NULL for what goes nowhere", |r| {
            r.interface.as_deref().into()
        }),
        Column::field("source_ip", Kind::Text, "Own address that is preferred on this way; NULL where none is", |r| {
            r.source.map(|ip| ip.to_string()).into()
        }),
        Column::field("metric", Kind::Integer, "Of several routes to a network the one with the lowest counts", |r| {
            r.metric.into()
        }),
        Column::field("table", Kind::Text, "Table that holds it: main, local, default or a number", |r| {
            r.table.map(table_word).into()
        }),
        Column::field("protocol", Kind::Text, "Who set it, in ip's words: kernel, boot, static, dhcp, ra …", |r| {
            r.protocol.map(|number| word(&PROTOCOLS, number)).into()
        }),
        Column::field(
            "scope",
            Kind::Text,
            "How far the network is, in ip's words: host, link or global, which IPv6 always has",
            |r| r.scope.map(|number| word(&SCOPES, number)).into(),
        ),
        Column::<Route>::field("type", Kind::Text, "What is done with packets to it, in ip's words", |r| r.kind.into())
            .values(&KINDS),
    ],
    collect,
};

/// In the kernel's numbering from 1.
pub(super) static KINDS: [&str; 11] = [
    "unicast",
    "local",
    "broadcast",
    "anycast",
    "multicast",
    "blackhole",
    "unreachable",
    "prohibit",
    "throw",
    "nat",
    "xresolve",
];
pub(super) const MAIN: u32 = 254;
pub(super) const LOCAL: u32 = 255;
const PROTOCOLS: [(u8, &str); 20] = [
    (0, "unspec"),
    (1, "redirect"),
    (2, "kernel"),
    (3, "boot"),
    (4, "static"),
    (8, "gated"),
    (9, "ra"),
    (10, "mrt"),
    (11, "zebra"),
    (12, "bird"),
    (13, "dnrouted"),
    (14, "xorp"),
    (15, "ntk"),
    (16, "dhcp"),
    (18, "keepalived"),
    (42, "babel"),
    (186, "bgp"),
    (187, "isis"),
    (188, "ospf"),
    (189, "rip"),
];
const SCOPES: [(u8, &str); 5] = [(0, "global"), (200, "site"), (253, "link"), (254, "host"), (255, "nowhere")];

fn word(words: &[(u8, &str)], number: u8) -> String {
    let known = words.iter().find(|(known, _)| *known == number);
    known.map_or_else(|| number.to_string(), |(_, word)| (*word).to_owned())
}

fn table_word(number: u32) -> String {
    match number {
        253 => "default".to_owned(),
        MAIN => "main".to_owned(),
        LOCAL => "local".to_owned(),
        number => number.to_string(),
    }
}

fn collect(collector: &mut Collector<'_, Route>) -> ControlFlow<()> {
    if collector.host.is_live()
        && let Ok(names) = links::names()
    {
        let names = names.into_iter().map(|(index, name)| (index, name.into())).collect();
        return collect_asked(collector, &names);
    }
    route_files::read(collector, true)?;
    route_files::read(collector, false)
}

/// What the kernel tells over netlink; of a family that it does not tell, what the files do.
fn collect_asked(collector: &mut Collector<'_, Route>, names: &BTreeMap<u32, Rc<str>>) -> ControlFlow<()> {
    for family in [INET, INET6] {
        let mut some = false;
        match asked(family, names, &mut |route| {
            some = true;
            collector.row(route)
        }) {
            Ok(told) => {
                if told.interrupted {
                    collector
                        .trouble(None, "routes changed while they were listed, so some may be missing or told twice");
                }
                told.flow?;
            }
            Err(error) if some => collector.trouble(None, format!("routes are missing: {error}")),
            Err(_) => route_files::read(collector, family == INET)?,
        }
    }
    ControlFlow::Continue(())
}

const INET: u8 = 2;
const INET6: u8 = 10;
const BODY_BYTES: usize = 12;

fn asked(
    family: u8,
    names: &BTreeMap<u32, Rc<str>>,
    take: &mut dyn FnMut(Route) -> ControlFlow<()>,
) -> io::Result<super::netlink::Told> {
    const GET_ROUTE: u16 = 26;
    let mut body = [0; BODY_BYTES];
    body[0] = family;
    // A router's million routes are not kept, so a list that changed meanwhile cannot be asked for again.
    dump(Service::Route, GET_ROUTE, &body, &mut |message| {
        ways(message).into_iter().try_for_each(|(index, route)| {
            let interface = index.and_then(|index| names.get(&index).cloned());
            take(Route { interface, ..route })
        })
    })
}

/// The ways of a route, each with the number of its interface.
fn ways(message: Message<'_>) -> Vec<(Option<u32>, Route)> {
    let Some((route, index, several)) = route(message) else { return Vec::new() };
    let Some(mut several) = several else { return vec![(index, route)] };
    let mut ways = Vec::new();
    while let Some(length) = u16_at(several, 0).map(usize::from).filter(|length| *length >= HOP_BYTES) {
        let Some(hop) = several.get(..length) else { break };
        let gateway = attributes(hop, HOP_BYTES).filter_map(|(number, value)| gateway(number, value)).last();
        ways.push((u32_at(hop, 4), Route { gateway, ..route.clone() }));
        several = several.get(aligned(length)..).unwrap_or_default();
    }
    ways
}

const HOP_BYTES: usize = 8;

fn gateway(number: u16, value: &[u8]) -> Option<IpAddr> {
    const GATEWAY: u16 = 5;
    /// A gateway of the other family, whose number stands before it.
    const VIA: u16 = 18;
    match number {
        GATEWAY => ip(value),
        VIA => ip(value.get(2..)?),
        _ => None,
    }
}

/// A route, the number of its interface, and its several ways, where it has such.
type Told<'a> = (Route, Option<u32>, Option<&'a [u8]>);

fn route(message: Message<'_>) -> Option<Told<'_>> {
    const NEW_ROUTE: u16 = 24;
    const DESTINATION: u16 = 1;
    const INTERFACE: u16 = 4;
    const METRIC: u16 = 6;
    const SOURCE: u16 = 7;
    const WAYS: u16 = 9;
    const TABLE: u16 = 15;
    /// Learnt for one peer, and gone again.
    const CLONED: u32 = 0x200;
    let body = message.body;
    let (family, prefix) = (u8_at(body, 0).filter(|_| message.kind == NEW_ROUTE)?, u8_at(body, 1)?);
    let (any, bits): (IpAddr, u8) = match family {
        INET => (Ipv4Addr::UNSPECIFIED.into(), 32),
        INET6 => (Ipv6Addr::UNSPECIFIED.into(), 128),
        _ => return None,
    };
    if prefix > bits || u32_at(body, 8)? & CLONED != 0 {
        return None;
    }
    let kind = usize::from(u8_at(body, 7)?).checked_sub(1).and_then(|kind| KINDS.get(kind).copied());
    let mut route = Route {
        destination: (any, prefix),
        gateway: None,
        interface: None,
        source: None,
        // What has none is as good as one can be.
        metric: Some(0),
        table: u8_at(body, 4).map(u32::from),
        protocol: u8_at(body, 5),
        scope: u8_at(body, 6),
        kind,
    };
    let (mut index, mut several) = (None, None);
    for (number, value) in attributes(body, BODY_BYTES) {
        match number {
            DESTINATION => route.destination.0 = ip(value).filter(|ip| ip.is_ipv4() == any.is_ipv4()).unwrap_or(any),
            INTERFACE => index = u32_at(value, 0),
            METRIC => route.metric = u32_at(value, 0),
            SOURCE => route.source = ip(value),
            TABLE => route.table = u32_at(value, 0),
            WAYS => several = Some(value),
            _ => route.gateway = gateway(number, value).or(route.gateway),
        }
    }
    Some((route, index, several))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::super::netlink::Messages;
    use super::*;

    fn datagram(body: &[u8]) -> Vec<u8> {
        let mut datagram = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
        datagram.extend(24u16.to_ne_bytes());
        datagram.extend([0; 10]);
        datagram.extend(body);
        datagram
    }

    #[test]
    fn a_route_with_two_ways_is_two_rows() {
        let mut hops = Vec::new();
        for (index, last) in [(2u32, 1), (3, 2)] {
            hops.extend(16u16.to_ne_bytes());
            hops.extend([0, 0]);
            hops.extend(index.to_ne_bytes());
            hops.extend(8u16.to_ne_bytes());
            hops.extend(5u16.to_ne_bytes());
            hops.extend([10, 0, 0, last]);
        }
        let mut body = vec![INET, 8, 0, 0, 254, 4, 0, 1, 0, 0, 0, 0];
        body.extend(8u16.to_ne_bytes());
        body.extend(1u16.to_ne_bytes());
        body.extend([10, 0, 0, 0]);
        body.extend(36u16.to_ne_bytes());
        body.extend(9u16.to_ne_bytes());
        body.extend(&hops);
        let datagram = datagram(&body);
        let ways = ways(Messages(&datagram).next().unwrap().unwrap());
        let shown: Vec<_> =
            ways.iter().map(|(index, way)| (index.unwrap(), way.gateway.unwrap().to_string())).collect();
        assert_eq!(shown, [(2, "10.0.0.1".to_owned()), (3, "10.0.0.2".to_owned())]);
        assert!(ways.iter().all(|(_, way)| way.destination == ("10.0.0.0".parse().unwrap(), 8)));
    }

    #[test]
    fn words() {
        assert_eq!((word(&PROTOCOLS, 16), word(&PROTOCOLS, 99)), ("dhcp".to_owned(), "99".to_owned()));
        assert_eq!((table_word(254), table_word(1000)), ("main".to_owned(), "1000".to_owned()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_message_is_read_or_left_out(mut body in proptest::collection::vec(any::<u8>(), 0..120), v4 in any::<bool>()) {
            if let Some(family) = body.first_mut() {
                *family = if v4 { INET } else { INET6 };
            }
            let datagram = datagram(&body);
            for (_, way) in ways(Messages(&datagram).next().unwrap().unwrap()) {
                prop_assert_eq!(way.destination.0.is_ipv4(), v4);
                let prefix_max = if v4 { 32 } else { 128 };
                prop_assert!(way.destination.1 <= prefix_max);
            }
        }
    }
}
