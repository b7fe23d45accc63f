//! How often one may ask: so often that neither people nor fleets notice, and not so often that others do.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;

use canvass_protocol::openpgp::Fingerprint;
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Requests of one investigator: in a second, and at once.
const INVESTIGATOR: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(100).unwrap(), NonZeroU32::new(1000).unwrap());
/// Logins and agents that come from one address: a whole office may stand behind it, and come back at once.
const ADDRESS: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(500).unwrap(), NonZeroU32::new(50_000).unwrap());
/// Lines of the audit a minute that strangers can cause, all of them together: nothing of it is ever forgotten.
const STRANGERS_LINES: NonZeroU32 = NonZeroU32::new(60).unwrap();
/// Keys that are remembered before those that are idle are forgotten.
const KEYS_MAX: usize = 10_000;

/// A line of the audit that may come often: who, what, and about what.
type Line = (String, &'static str, String);

/// What was asked of late.
pub struct Rates {
    investigators: DefaultKeyedRateLimiter<Fingerprint>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    lines: DefaultKeyedRateLimiter<Line>,
    strangers: DefaultDirectRateLimiter,
}

/// Somebody asks too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften;

impl Default for Rates {
    fn default() -> Rates {
        let quota = |(each_second, burst)| Quota::per_second(each_second).allow_burst(burst);
        Rates {
            investigators: RateLimiter::keyed(quota(INVESTIGATOR)),
            addresses: RateLimiter::keyed(quota(ADDRESS)),
            lines: RateLimiter::keyed(Quota::per_minute(NonZeroU32::MIN)),
            strangers: RateLimiter::direct(Quota::per_minute(STRANGERS_LINES)),
        }
    }
}

impl Rates {
    pub fn investigator(&self, fingerprint: &Fingerprint) -> Result<(), TooOften> {
        take(&self.investigators, fingerprint)
    }

    pub fn address(&self, address: IpAddr) -> Result<(), TooOften> {
        take(&self.addresses, &network(address))
    }

    /// Whether a line of the audit is written now: the same one is, once a minute.
    pub fn line(&self, who: &str, what: &'static str, about: &str) -> bool {
        take(&self.lines, &(who.to_owned(), what, about.to_owned())).is_ok()
    }

    /// The same of a line that a stranger causes, of whom there may be any number.
    pub fn strangers_line(&self, from: &str, what: &'static str) -> bool {
        self.line(from, what, "") && self.strangers.check().is_ok()
    }
}

/// Whom an address stands for: by IPv6 one subscriber has the 2^64 addresses of a network.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn take<K: std::hash::Hash + Eq + Clone>(limiter: &DefaultKeyedRateLimiter<K>, key: &K) -> Result<(), TooOften> {
    if limiter.len() > KEYS_MAX {
        limiter.retain_recent();
    }
    limiter.check_key(key).map_err(|_| TooOften)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_asks_too_often_stops_nobody_else() {
        let rates = Rates::default();
        let (alice, bob) = (Fingerprint("A".repeat(40)), Fingerprint("B".repeat(40)));
        let granted = (0..10_000).take_while(|_| rates.investigator(&alice).is_ok()).count();
        assert!((1000..10_000).contains(&granted), "{granted}");
        assert_eq!(rates.investigator(&bob), Ok(()));
    }

    #[test]
    fn who_has_many_addresses_is_one() {
        for (one, other, same) in [
            ("2001:db8::1", "2001:db8::ffff:1", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("192.0.2.7", "::ffff:192.0.2.7", true),
            ("192.0.2.7", "192.0.2.8", false),
        ] {
            assert_eq!(network(one.parse().unwrap()) == network(other.parse().unwrap()), same, "{one} {other}");
        }
        let rates = Rates::default();
        let address = |number: u32| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, (number % 60_000) as u16));
        let granted = (0..100_000).take_while(|number| rates.address(address(*number)).is_ok()).count();
        assert!((50_000..100_000).contains(&granted), "{granted}");
    }

    #[test]
    fn strangers_cannot_fill_the_audit() {
        let rates = Rates::default();
        assert!(rates.line("alice", "read", "1") && !rates.line("alice", "read", "1"), "the same line is written once");
        assert!(rates.line("alice", "read", "2") && rates.line("bob", "read", "1"));
        let written = (0..1000).filter(|number| rates.strangers_line(&format!("192.0.2.{number}"), "login")).count();
        assert!((60..100).contains(&written), "{written}");
    }
}
