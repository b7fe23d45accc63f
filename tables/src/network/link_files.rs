//! Interfaces and their addresses, as `/proc/net` and `/sys/class/net` tell them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::path::Path;

use super::lines::for_each_entry;
use super::links::{Address, Counters, DORMANT, ENTRIES_MAX, LOWER_UP, Link, RUNNING, STATES, kind_word, mac};
use super::route_files;
use crate::host::{Host, reason};
use crate::processes::proc;

/// What the files tell.
#[derive(Default)]
pub(super) struct Found {
    pub links: Vec<(Link, Vec<Address>)>,
    /// Addresses of which no file says to which interface they belong.
    pub homeless: Vec<Address>,
}

const DEVICES: &str = "/proc/net/dev";
const ADDRESSES_V6: &str = "/proc/net/if_inet6";
/// Each address is looked for in each network.
const ENTRIES_V4_MAX: usize = 4096;
const ADDRESSES_V4: &str = "/proc/net/fib_trie";

/// Reads all of it; what goes wrong is handed on with its path.
pub(super) fn read(host: &Host, trouble: &mut dyn FnMut(&str, String)) -> Found {
    let mut links: Vec<(String, Counters)> = Vec::new();
    gather(host, DEVICES, 2, false, &|line| device(line), &mut links, trouble);
    let mut v6: Vec<(String, Address)> = Vec::new();
    gather(host, ADDRESSES_V6, 0, true, &|line| address_v6(line), &mut v6, trouble);
    let v4 = match host.read_text(Path::new(ADDRESSES_V4)) {
        Ok(text) => local_v4(&text),
        Err(error) => {
            if !proc::gone(&error) {
                trouble(ADDRESSES_V4, reason(&error));
            }
            Vec::new()
        }
    };
    let networks = route_files::networks(host, ENTRIES_V4_MAX);
    let names: BTreeSet<String> = links.iter().map(|(name, _)| name.clone()).collect();
    let mut found = Found::default();
    let mut addresses: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    for ip in v4 {
        let (name, prefix) = home(ip, &networks);
        let address = Address { ip: IpAddr::V4(ip), prefix };
        match name.filter(|name| names.contains(*name)) {
            Some(name) => addresses.entry(name.to_owned()).or_default().push(address),
            None => found.homeless.push(address),
        }
    }
    for (name, address) in v6 {
        match names.contains(&name) {
            true => addresses.entry(name).or_default().push(address),
            false => found.homeless.push(address),
        }
    }
    for (name, counters) in links {
        let addresses = addresses.remove(&name).unwrap_or_default();
        found.links.push((link(host, name, counters), addresses));
    }
    found
}

/// Gathers the entries of one file; one that an optional part of the kernel writes may be missing.
fn gather<T>(
    host: &Host,
    path: &str,
    headings: usize,
    optional: bool,
    parse: &dyn Fn(&[u8]) -> Option<T>,
    entries: &mut Vec<T>,
    trouble: &mut dyn FnMut(&str, String),
) {
    let read = for_each_entry(host, Path::new(path), headings, parse, &mut |entry| {
        entries.push(entry);
        if entries.len() < ENTRIES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    match read {
        Ok((_, ControlFlow::Break(()))) => trouble(path, format!("more than {ENTRIES_MAX} entries")),
        Ok((0, _)) => {}
        Ok((malformed, _)) => trouble(path, format!("{malformed} malformed lines")),
        Err(error) if optional && proc::gone(&error) => {}
        Err(error) => trouble(path, reason(&error)),
    }
}

/// What `/sys` knows of an interface; it need not be there.
fn link(host: &Host, name: String, counters: Counters) -> Link {
    // A name with a slash would be a path that leads elsewhere.
    let is_name = !name.contains('/') && name != "." && name != "..";
    let file = |file: &str| {
        let path = is_name.then(|| format!("/sys/class/net/{name}/{file}"))?;
        let text = host.read_text(Path::new(&path)).ok().filter(|text| text.len() <= 4096)?;
        Some(text.trim().to_owned())
    };
    let number = |text: String| text.parse::<u32>().ok();
    let state = file("operstate").map(|state| state.to_ascii_uppercase());
    let state = state.and_then(|state| STATES.into_iter().find(|known| *known == state));
    let set = |name: &str| file(name).is_some_and(|text| text == "1");
    let volatile =
        [(set("carrier"), LOWER_UP), (set("dormant"), DORMANT), (matches!(state, Some("UP" | "UNKNOWN")), RUNNING)];
    let volatile = volatile.iter().filter(|(is_set, _)| *is_set).fold(0, |flags, (_, flag)| flags | flag);
    let flags = file("flags").and_then(|text| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok());
    Link {
        mac: file("address").and_then(|text| hardware(&text)),
        // Of an interface that is not set up the kernel keeps what was last seen.
        flags: flags.map(|flags| if flags & super::links::UP != 0 { flags | volatile } else { flags }),
        mtu: file("mtu").and_then(number),
        state,
        kind: file("type").and_then(number).map(kind_word),
        counters: Some(counters),
        name,
    }
}

pub(super) fn hardware(text: &str) -> Option<String> {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|byte| byte.is_ascii_hexdigit());
    let byte = |pair: &str| is_pair(pair).then(|| u8::from_str_radix(pair, 16).ok())?;
    mac(&text.split(':').map(byte).collect::<Option<Vec<u8>>>()?)
}

/// Parses `  eth0: 1 2 3 …`: eight numbers of what was received, and eight of what was sent.
fn device(line: &[u8]) -> Option<(String, Counters)> {
    let text = String::from_utf8_lossy(line);
    // A name may hold a colon, and numbers do not.
    let (name, numbers) = text.rsplit_once(':')?;
    let numbers: Vec<u64> = numbers.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let [rx_bytes, rx_packets, rx_errors, rx_dropped, _, _, _, _, tx_bytes, tx_packets, tx_errors, tx_dropped, ..] =
        numbers[..]
    else {
        return None;
    };
    let name = name.trim();
    let counters = [rx_packets, tx_packets, rx_bytes, tx_bytes, rx_errors, tx_errors, rx_dropped, tx_dropped];
    (!name.is_empty()).then(|| (name.to_owned(), counters))
}

/// Parses `fe80…01 02 40 20 80     eth0`: address, number of the interface, prefix, scope, flags, name.
fn address_v6(line: &[u8]) -> Option<(String, Address)> {
    let text = String::from_utf8_lossy(line);
    let mut fields = text.split_ascii_whitespace();
    let ip = address_bits(fields.next()?)?;
    let prefix = u8::from_str_radix(fields.nth(1)?, 16).ok().filter(|prefix| *prefix <= 128)?;
    let name = fields.nth(2)?.to_owned();
    Some((name, Address { ip: IpAddr::V6(ip), prefix: Some(prefix) }))
}

/// 32 hexadecimal digits, in the order of the network.
pub(super) fn address_bits(digits: &str) -> Option<Ipv6Addr> {
    let is_hex = digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u128::from_str_radix(digits, 16).ok())?.map(Ipv6Addr::from_bits)
}

/// Reads the leaves `|-- ADDRESS` that a line `/32 host LOCAL` follows; both of the kernel's tables tell them.
fn local_v4(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" && found.len() < ENTRIES_V4_MAX {
            found.extend(leaf);
        }
    }
    found.into_iter().collect()
}

/// The interface and prefix of the narrowest network that holds the address.
fn home(ip: Ipv4Addr, networks: &[route_files::Network]) -> (Option<&str>, Option<u8>) {
    if ip.is_loopback() {
        return (Some("lo"), Some(8));
    }
    let holding = networks.iter().filter(|network| network.holds(ip));
    let narrowest = holding.max_by_key(|network| network.prefix);
    (narrowest.map(|network| network.interface.as_str()), narrowest.map(|network| network.prefix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let numbers = "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        assert_eq!(device(format!("  a:b: {numbers}").as_bytes()).unwrap().0, "a:b");
        assert_eq!(device(format!("e:{numbers}").as_bytes()).unwrap().1, [2, 10, 1, 9, 3, 11, 4, 12]);
        for odd in ["", "e", "e:", "e: 1 2 3", ": 1 2 3 4 5 6 7 8 9 10 11 12", "e: 1 2 3 4 5 6 7 8 9 -1 11 12"] {
            assert!(device(odd.as_bytes()).is_none(), "{odd}");
        }
        let good = b"fe800000000000000000000000000001 02 40 20 80     eth0";
        let (name, address) = address_v6(good).unwrap();
        assert_eq!((name.as_str(), address.ip.to_string().as_str(), address.prefix), ("eth0", "fe80::1", Some(64)));
        for odd in ["", "fe80 02 40 20 80 e", "+e800000000000000000000000000001 02 40 20 80 e"] {
            assert!(address_v6(odd.as_bytes()).is_none(), "{odd}");
        }
        assert!(address_v6(b"fe800000000000000000000000000001 02 ff 20 80 e").is_none());
        assert!(address_v6(b"fe800000000000000000000000000001 02 40 20 80").is_none());
    }

    #[test]
    fn hardware_addresses() {
        assert_eq!(hardware("00:16:3E:00:00:01").as_deref(), Some("00:16:3e:00:00:01"));
        for odd in ["", "00:16", "00:00:00:00:00:00", "0:16:3e:0:0:1", "00:16:3e:00:00:+1", "0.0.0.0"] {
            assert_eq!(hardware(odd), None, "{odd}");
        }
    }
}
