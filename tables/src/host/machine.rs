//! The running machine: its name, versions, addresses and clock.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::{About, Host};

/// What the running machine is; what cannot be read is unknown.
pub(super) fn about(host: &Host) -> About {
    let name = rustix::system::uname();
    let text = |value: &std::ffi::CStr| value.to_string_lossy().into_owned();
    About {
        name: text(name.nodename()),
        os: kernel_name(std::env::consts::OS).to_owned(),
        arch: text(name.machine()),
        os_version: os_version(host),
        kernel: Some(text(name.release())),
        addresses: addresses(host),
        ..About::default()
    }
}

/// Nanoseconds since 1970, UTC; a clock set before 1970 counts below zero.
pub(super) fn now_ns() -> i64 {
    let clamp = |duration: std::time::Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => clamp(since),
        Err(before) => -clamp(before.duration()),
    }
}

/// The distribution's name for itself: PRETTY_NAME of os-release.
pub(super) fn os_version(host: &Host) -> Option<String> {
    let paths = ["/etc/os-release", "/usr/lib/os-release"];
    let text = paths.iter().find_map(|path| host.read_text(Path::new(path)).ok())?;
    let value = text.lines().find_map(|line| line.trim().strip_prefix("PRETTY_NAME="))?.trim();
    let unquoted = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .or_else(|| value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')));
    Some(unquoted.unwrap_or(value).replace("\\\"", "\"")).filter(|name| !name.is_empty())
}

/// The machine's own addresses but loopback, IPv4 first, sorted.
fn addresses(host: &Host) -> Vec<IpAddr> {
    let read = |path: &str| host.read_text(Path::new(path)).unwrap_or_default();
    let mut all: Vec<IpAddr> = local_ipv4(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4).collect();
    all.extend(local_ipv6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6));
    all.retain(|address| !address.is_loopback());
    all.sort_unstable();
    all.dedup();
    all
}

/// Reads the leaves `|-- ADDRESS` that a line `/32 host LOCAL` follows.
fn local_ipv4(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found
}

/// The operating system as its kernel names itself.
fn kernel_name(os: &str) -> &str {
    if os == "macos" { "darwin" } else { os }
}

/// Reads the first field of each line: the address in 32 hexadecimal digits.
fn local_ipv6(interfaces: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(Ipv6Addr::from_bits)
    };
    interfaces.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_from_proc() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.0\n        /24 link UNICAST\n     |-- 10.0.0.7\n        \
                    /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(local_ipv4(trie), ["10.0.0.7".parse::<Ipv4Addr>().unwrap()]);
        let interfaces = "fe800000000000000000000000000001 02 40 20 80     eth0\nshort 02 40\n";
        assert_eq!(local_ipv6(interfaces), ["fe80::1".parse::<Ipv6Addr>().unwrap()]);
    }
}
