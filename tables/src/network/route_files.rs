//! Routes as `/proc/net` tells them: less than netlink does, since the files tell neither who set a route nor its source.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::ControlFlow;
use std::path::Path;

use super::lines::for_each_entry;
use super::link_files::address_bits;
use super::routes::{LOCAL, MAIN, Route};
use crate::engine::Collector;
use crate::host::{Host, reason};
use crate::processes::proc;

const V4: &str = "/proc/net/route";
const V6: &str = "/proc/net/ipv6_route";

/// There is no way to it.
const REJECT: u32 = 0x200;
const GATEWAY: u32 = 0x2;

/// A network that an interface is in.
pub(super) struct Network {
    pub interface: String,
    pub prefix: u8,
    address: Ipv4Addr,
}

impl Network {
    pub(super) fn holds(&self, ip: Ipv4Addr) -> bool {
        ip.to_bits() & mask(self.prefix) == self.address.to_bits()
    }
}

/// Reads the file of one family.
pub(super) fn read(collector: &mut Collector<'_, Route>, v4: bool) -> ControlFlow<()> {
    let host = collector.host;
    let little_endian = is_little_endian(host);
    let path = if v4 { V4 } else { V6 };
    let take: &mut dyn FnMut(Option<Route>) -> ControlFlow<()> =
        &mut |route| route.map_or(ControlFlow::Continue(()), |route| collector.row(route));
    let read = match v4 {
        true => for_each_entry(host, Path::new(path), 1, &|line| line_v4(line, little_endian).map(Some), take),
        false => for_each_entry(host, Path::new(path), 0, &line_v6, take),
    };
    match read {
        Ok((malformed, flow)) => {
            if malformed > 0 {
                collector.trouble(Some(path), format!("{malformed} malformed lines"));
            }
            flow
        }
        // A kernel without IPv6 has no such file, and no such routes.
        Err(error) if !v4 && proc::gone(&error) => ControlFlow::Continue(()),
        Err(error) => {
            collector.trouble(Some(path), reason(&error));
            ControlFlow::Continue(())
        }
    }
}

/// The IPv4 networks that interfaces are in, as far as the file tells; no more than so many.
pub(super) fn networks(host: &Host, networks_max: usize) -> Vec<Network> {
    let little_endian = is_little_endian(host);
    let mut networks = Vec::new();
    let _ = for_each_entry(host, Path::new(V4), 1, &|line| line_v4(line, little_endian), &mut |route| {
        if let (IpAddr::V4(address), Some(interface), None) = (route.destination.0, route.interface, route.gateway) {
            networks.push(Network { interface: interface.to_string(), prefix: route.destination.1, address });
        }
        if networks.len() < networks_max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    networks
}

/// Numbers are written as the machine keeps them, and fixtures are those of a machine of the usual kind.
fn is_little_endian(host: &Host) -> bool {
    cfg!(target_endian = "little") || !host.is_live()
}

/// Parses `eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0`: interface, network, gateway, flags, two counts, metric, mask.
fn line_v4(line: &[u8], little_endian: bool) -> Option<Route> {
    let text = String::from_utf8_lossy(line);
    let mut fields = text.split_ascii_whitespace();
    let interface = fields.next()?;
    let word = |text: &str| {
        let word = hex(text).filter(|_| text.len() == 8)?;
        Some(if little_endian { word.swap_bytes() } else { word })
    };
    let (network, gateway) = (word(fields.next()?)?, word(fields.next()?)?);
    let flags = hex(fields.next()?)?;
    let metric = fields.nth(2)?.parse().ok()?;
    let mask_bits = word(fields.next()?)?;
    let prefix = u8::try_from(mask_bits.leading_ones()).ok().filter(|prefix| mask(*prefix) == mask_bits)?;
    let gateway = (flags & GATEWAY != 0).then(|| Ipv4Addr::from_bits(gateway).into());
    Some(Route {
        destination: (Ipv4Addr::from_bits(network).into(), prefix),
        gateway,
        interface: (interface != "*").then(|| interface.into()),
        source: None,
        metric: Some(metric),
        table: Some(MAIN),
        protocol: None,
        scope: None,
        // Unreachable, prohibited or swallowed: the file does not say which.
        kind: (flags & REJECT == 0 && interface != "*").then_some("unicast"),
    })
}

/// Parses a line of ten fields: network, prefix, source, prefix, gateway, metric, two counts, flags, interface. `Some(None)`
/// is the entry that the kernel keeps for what has no route.
fn line_v6(line: &[u8]) -> Option<Option<Route>> {
    const OWN: u32 = 0x8000_0000;
    const ANYCAST: u32 = 0x0010_0000;
    let text = String::from_utf8_lossy(line);
    let mut fields = text.split_ascii_whitespace();
    let network = address_bits(fields.next()?)?;
    let prefix = u8::try_from(hex(fields.next()?)?).ok().filter(|prefix| *prefix <= 128)?;
    let gateway = address_bits(fields.nth(2)?)?;
    let metric = hex(fields.next()?)?;
    let flags = hex(fields.nth(2)?)?;
    let interface = fields.next()?;
    if flags & REJECT != 0 && metric == u32::MAX && prefix == 0 {
        return Some(None);
    }
    let kind = match flags {
        flags if flags & REJECT != 0 => None,
        flags if flags & OWN != 0 => Some("local"),
        flags if flags & ANYCAST != 0 => Some("anycast"),
        _ if network.is_multicast() => Some("multicast"),
        _ => Some("unicast"),
    };
    let is_own = matches!(kind, Some("local" | "anycast" | "multicast"));
    Some(Some(Route {
        destination: (network.into(), prefix),
        gateway: (flags & GATEWAY != 0 && !gateway.is_unspecified()).then(|| gateway.into()),
        interface: Some(interface.into()),
        source: None,
        metric: Some(metric),
        // The file goes through all tables without naming them.
        table: is_own.then_some(LOCAL),
        protocol: None,
        scope: Some(0),
        kind,
    }))
}

fn hex(digits: &str) -> Option<u32> {
    let is_hex = digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(digits, 16).ok())?
}

fn mask(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use super::*;

    #[test]
    fn ipv4() {
        let read = |line: &str| line_v4(line.as_bytes(), true);
        let default = read("eth0 00000000 010200C0 0003 0 0 100 00000000 0 0 0").unwrap();
        assert_eq!(default.destination, ("0.0.0.0".parse().unwrap(), 0));
        assert_eq!((default.gateway, default.metric), (Some("192.0.2.1".parse().unwrap()), Some(100)));
        let near = read("eth0 000200C0 00000000 0001 0 0 0 00FFFFFF 0 0 0").unwrap();
        assert_eq!((near.destination, near.gateway), (("192.0.2.0".parse().unwrap(), 24), None));
        let none = read("* 0000000A 00000000 0201 0 0 0 000000FF 0 0 0").unwrap();
        assert_eq!((none.interface, none.kind), (None, None));
        assert_eq!(read("* 0000000A 00000000 0001 0 0 0 000000FF 0 0 0").unwrap().kind, None);
        let odd = [
            "",
            "eth0",
            "eth0 0 0 0001 0 0 0 0",
            "eth0 000200C0 00000000 0001 0 0 0",
            "eth0 000200C0 00000000 0001 0 0 0 00FF00FF",
            "eth0 +00200C0 00000000 0001 0 0 0 00FFFFFF",
            "eth0 000200C0 00000000 0001 0 0 -1 00FFFFFF",
        ];
        odd.into_iter().for_each(|line| assert!(read(line).is_none(), "{line}"));
    }

    #[test]
    fn ipv6() {
        let zeros = "0".repeat(32);
        let line = |network: &str, prefix: &str, gateway: &str, metric: &str, flags: &str| {
            line_v6(format!("{network} {prefix} {zeros} 00 {gateway} {metric} 1 0 {flags} eth0").as_bytes())
        };
        let (near, router) = ("fd000000000000000000000000000000", "fd000000000000000000000000000001");
        let route = line(near, "40", &zeros, "00000100", "00000001").unwrap().unwrap();
        assert_eq!((route.destination, route.metric), (("fd00::".parse().unwrap(), 64), Some(256)));
        assert_eq!((route.gateway, route.kind, route.table), (None, Some("unicast"), None));
        let route = line(&zeros, "00", router, "400", "00000003").unwrap().unwrap();
        assert_eq!(route.gateway, Some("fd00::1".parse().unwrap()));
        let route = line(router, "80", &zeros, "0", "80200001").unwrap().unwrap();
        assert_eq!((route.kind, route.table), (Some("local"), Some(LOCAL)));
        assert_eq!(line(&zeros, "00", &zeros, "ffffffff", "00200200"), Some(None));
        assert_eq!(line(near, "81", &zeros, "0", "1"), None);
        assert_eq!(line("fd00", "40", &zeros, "0", "1"), None);
        assert_eq!(line_v6(b""), None);
    }
}
