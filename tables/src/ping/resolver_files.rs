//! What `/etc/resolv.conf` and `/etc/hosts` say of names, as the C library reads them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const PORT: u16 = 53;
/// What the C library takes, too.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const DOTS_MAX: usize = 15;
const ATTEMPTS_MAX: usize = 5;
/// A name server that is silent for longer answers no probe in time.
const TIMEOUT_S_MAX: u64 = 3;
const ADDRESSES_MAX: usize = 16;

/// How names are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Config {
    pub servers: Vec<SocketAddr>,
    /// Domains in which a short name is looked for.
    pub search: Vec<String>,
    /// A name with fewer dots is looked for in those first.
    pub dots: usize,
    pub timeout: Duration,
    pub attempts: usize,
}

/// Reads `resolv.conf`; a host whose name has a domain searches there, unless the file says otherwise.
pub(super) fn config(text: &str, hostname: &str) -> Config {
    let search = hostname.split_once('.').map(|(_, domain)| domain.to_owned()).into_iter().collect();
    let timeout = Duration::from_secs(TIMEOUT_S_MAX);
    let mut config = Config { servers: Vec::new(), search, dots: 1, timeout, attempts: 2 };
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_ascii_whitespace();
        match words.next() {
            Some("nameserver") if config.servers.len() < SERVERS_MAX => {
                let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                config.servers.extend(address.map(|address| SocketAddr::new(address, PORT)));
            }
            Some("search" | "domain") => config.search = words.take(SEARCH_MAX).map(str::to_owned).collect(),
            Some("options") => words.for_each(|word| config.option(word)),
            _ => {}
        }
    }
    if config.servers.is_empty() {
        config.servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    config
}

impl Config {
    fn option(&mut self, word: &str) {
        let Some((name, Ok(value))) = word.split_once(':').map(|(name, value)| (name, value.parse::<usize>())) else {
            return;
        };
        match name {
            "ndots" => self.dots = value.min(DOTS_MAX),
            "attempts" => self.attempts = value.clamp(1, ATTEMPTS_MAX),
            "timeout" => self.timeout = Duration::from_secs((value as u64).clamp(1, TIMEOUT_S_MAX)),
            _ => {}
        }
    }

    /// The names to look up for one, in order; one that ends in a dot is whole.
    pub fn candidates(&self, name: &str) -> Vec<String> {
        let short = name.trim_end_matches('.');
        let searched = self.search.iter().map(|domain| domain.trim_matches('.')).filter(|domain| !domain.is_empty());
        let mut names: Vec<String> = searched.map(|domain| format!("{short}.{domain}")).collect();
        if name.ends_with('.') {
            names.clear();
        }
        let place = if short.matches('.').count() >= self.dots { 0 } else { names.len() };
        names.insert(place, short.to_owned());
        names
    }
}

/// The addresses that `/etc/hosts` gives for a name, in any case.
pub(super) fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address = words.next()?.parse::<IpAddr>().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then(|| address.to_canonical())
    });
    let mut found: Vec<IpAddr> = lines.take(ADDRESSES_MAX).collect();
    let mut seen = Vec::new();
    found.retain(|address| {
        !seen.contains(address) && {
            seen.push(*address);
            true
        }
    });
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addresses(text: &[&str]) -> Vec<IpAddr> {
        text.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn odd_lines_of_resolv_conf() {
        let text = "# nameserver 9.9.9.9\n; nameserver 9.9.9.8\nnameserver 10.0.0.1 10.0.0.9\nnameserver\nnameserver x\n\
            nameserver\tfd00::53\nnameserver 10.0.0.3\nnameserver 10.0.0.4\ndomain old.example\n\
            search a.example b.example 3 4 5 6 7\noptions ndots:99 attempts:0 timeout:60 rotate ndots: x:1\n";
        let config = config(text, "web-1.example.net");
        let servers: Vec<IpAddr> = config.servers.iter().map(SocketAddr::ip).collect();
        assert_eq!(servers, addresses(&["10.0.0.1", "fd00::53", "10.0.0.3"]));
        assert!(config.servers.iter().all(|server| server.port() == 53));
        assert_eq!(config.search, ["a.example", "b.example", "3", "4", "5", "6"]);
        assert_eq!((config.dots, config.attempts, config.timeout), (15, 1, Duration::from_secs(3)));
    }

    #[test]
    fn without_resolv_conf() {
        let config = config("", "web-1.example.net");
        assert_eq!(config.servers, ["127.0.0.1:53".parse().unwrap()]);
        assert_eq!(config.search, ["example.net"]);
        assert_eq!((config.dots, config.attempts), (1, 2));
        assert!(self::config("search\n", "a.b").search.is_empty());
    }

    #[test]
    fn candidates_by_dots() {
        let mut config = config("search a.example .\noptions ndots:2\n", "");
        for (name, expected) in [
            ("web", &["web.a.example", "web"][..]),
            ("web.b", &["web.b.a.example", "web.b"]),
            ("web.b.c", &["web.b.c", "web.b.c.a.example"]),
            ("web.", &["web"]),
        ] {
            assert_eq!(config.candidates(name), expected, "{name}");
        }
        config.dots = 0;
        assert_eq!(config.candidates("web"), ["web", "web.a.example"]);
    }

    #[test]
    fn odd_lines_of_hosts() {
        let text = "127.0.0.1 localhost # web\n#10.0.0.9 web\n10.0.0.1\tWEB web.example\n10.0.0.1 web\n::ffff:10.0.0.2 web\n\
            fd00::1 web\nnonsense web\n10.0.0.5\n";
        assert_eq!(hosts(text, "web"), addresses(&["10.0.0.1", "10.0.0.2", "fd00::1"]));
        assert_eq!(hosts(text, "Web.Example."), addresses(&["10.0.0.1"]));
        assert!(hosts(text, "we").is_empty());
        assert!(hosts(text, "").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read(text: String, name: String) {
            let config = config(&text, &name);
            prop_assert!((1..=SERVERS_MAX).contains(&config.servers.len()) && config.search.len() <= SEARCH_MAX);
            prop_assert!(config.candidates(&name).len() <= SEARCH_MAX + 1);
            prop_assert!(hosts(&text, &name).len() <= ADDRESSES_MAX);
        }
    }
}
