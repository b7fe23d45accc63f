//! Table `neighbors`: whom a host has seen on its networks, as `ip neighbour` lists them.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::Path;

use super::lines::for_each_entry;
use super::netlink::{Message, attributes, ip, list, u8_at, u16_at, u32_at};
use super::{link_files, links};
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::host::reason;
use crate::table::{Declared, TableInfo};

/// An address, and the hardware that answers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbor {
    ip: IpAddr,
    mac: Option<String>,
    interface: Option<String>,
    state: Option<&'static str>,
}

pub static NEIGHBORS: Declared<Neighbor> = Declared {
    info: TableInfo {
        name: "neighbors",
        module: super::MODULE,
        about: "Addresses that a host has reached or tried to reach on its own networks (ARP and IPv6), with their hardware",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, ip, mac, interface FROM neighbors WHERE mac LIKE '52:54:00:%'",
    },
    columns: &[
        Column::<Neighbor>::field("ip", Kind::Text, "Address of the neighbour", |n| n.ip.to_string().into())
            .form(Form::Ip),
        Column::field(
            "mac",
            Kind::Text,
            "Its hardware address in lower case, pairs of digits separated by colons; NULL where it has not answered",
            |n| n.mac.as_deref().into(),
        ),
        Column::field("interface", Kind::Text, "Interface behind which it is", |n| n.interface.as_deref().into()),
        Column::<Neighbor>::field(
            "state",
            Kind::Text,
            "State in ip's words; NULL where only /proc/net/arp could be asked, which tells PERMANENT alone",
            |n| n.state.into(),
        )
        .values(&["INCOMPLETE", "REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "PERMANENT"]),
    ],
    collect,
};

const FILE: &str = "/proc/net/arp";

fn collect(collector: &mut Collector<'_, Neighbor>) -> ControlFlow<()> {
    let host = collector.host;
    if host.is_live()
        && let Ok(neighbors) = asked()
    {
        return neighbors.into_iter().try_for_each(|neighbor| collector.row(neighbor));
    }
    let read = for_each_entry(host, Path::new(FILE), 1, &|line| line_of_arp(line), &mut |row| collector.row(row));
    match read {
        Ok((0, flow)) => flow,
        Ok((malformed, flow)) => {
            collector.trouble(Some(FILE), format!("{malformed} malformed lines"));
            flow
        }
        Err(error) => {
            collector.trouble(Some(FILE), reason(&error));
            ControlFlow::Continue(())
        }
    }
}

/// What the kernel tells over netlink.
fn asked() -> io::Result<Vec<Neighbor>> {
    const GET_NEIGHBOR: u16 = 30;
    let names = links::names()?;
    let named = |message: Message<'_>| {
        let (index, neighbor) = neighbor(message)?;
        Some(Neighbor { interface: names.get(&index).cloned(), ..neighbor })
    };
    list(GET_NEIGHBOR, &[0; BODY_BYTES], links::ENTRIES_MAX, &named)
}

const BODY_BYTES: usize = 12;

/// Leaves out those that need no asking, such as groups, as `ip` does.
fn neighbor(message: Message<'_>) -> Option<(u32, Neighbor)> {
    const NEW_NEIGHBOR: u16 = 28;
    const DESTINATION: u16 = 1;
    const HARDWARE: u16 = 2;
    const INET: u8 = 2;
    const INET6: u8 = 10;
    let body = message.body;
    let family = u8_at(body, 0).filter(|family| message.kind == NEW_NEIGHBOR && [INET, INET6].contains(family))?;
    let index = u32_at(body, 4)?;
    let state = match u16_at(body, 8)? {
        0x01 => "INCOMPLETE",
        0x02 => "REACHABLE",
        0x04 => "STALE",
        0x08 => "DELAY",
        0x10 => "PROBE",
        0x20 => "FAILED",
        0x80 => "PERMANENT",
        _ => return None,
    };
    let (mut destination, mut mac) = (None, None);
    for (number, value) in attributes(body, BODY_BYTES) {
        match number {
            DESTINATION => destination = ip(value).filter(|ip| ip.is_ipv4() == (family == INET)),
            HARDWARE => mac = links::mac(value),
            _ => {}
        }
    }
    Some((index, Neighbor { ip: destination?, mac, interface: None, state: Some(state) }))
}

/// Parses `10.0.0.1  0x1  0x2  00:16:3e:00:00:01  *  eth0`: address, kind of hardware, flags, hardware, mask, interface.
fn line_of_arp(line: &[u8]) -> Option<Neighbor> {
    const COMPLETE: u32 = 0x2;
    const PERMANENT: u32 = 0x4;
    let text = String::from_utf8_lossy(line);
    let mut fields = text.split_ascii_whitespace();
    let ip: Ipv4Addr = fields.next()?.parse().ok()?;
    let flags = u32::from_str_radix(fields.nth(1)?.strip_prefix("0x")?, 16).ok()?;
    let mac = link_files::hardware(fields.next()?).filter(|_| flags & COMPLETE != 0);
    let interface = Some(fields.nth(1)?.to_owned());
    let state = (flags & PERMANENT != 0).then_some("PERMANENT");
    Some(Neighbor { ip: IpAddr::V4(ip), mac, interface, state })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::super::netlink::Messages;
    use super::*;

    #[test]
    fn lines_of_arp() {
        let read = |flags: &str, rest: &str| line_of_arp(format!("10.0.0.1 0x1 {flags} {rest}").as_bytes());
        let seen = read("0x2", "00:16:3e:00:00:01     *        eth0").unwrap();
        assert_eq!((seen.mac.as_deref(), seen.state), (Some("00:16:3e:00:00:01"), None));
        assert_eq!(seen.interface.as_deref(), Some("eth0"));
        assert_eq!(read("0x6", "00:16:3e:00:00:01 * eth0").unwrap().state, Some("PERMANENT"));
        assert_eq!(read("0x0", "00:00:00:00:00:00 * eth0").unwrap().mac, None);
        for (flags, rest) in [("2", "00:16:3e:00:00:01 * e"), ("0x2", "00:16:3e:00:00:01 *"), ("0xg", "00 * e")] {
            assert!(read(flags, rest).is_none(), "{flags} {rest}");
        }
        assert!(line_of_arp(b"").is_none() && line_of_arp(b"fe80::1 0x1 0x2 00 * e").is_none());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_message_is_read_or_left_out(body in proptest::collection::vec(any::<u8>(), 0..80), v4 in any::<bool>()) {
            let mut datagram = u32::try_from(16 + body.len()).unwrap().to_ne_bytes().to_vec();
            datagram.extend(28u16.to_ne_bytes());
            datagram.extend([0; 10]);
            datagram.extend(&body);
            if let Some(family) = datagram.get_mut(16) {
                *family = if v4 { 2 } else { 10 };
            }
            let message = Messages(&datagram).next().unwrap().unwrap();
            if let Some((_, found)) = neighbor(message) {
                prop_assert_eq!(found.ip.is_ipv4(), v4);
            }
        }
    }
}
