//! How often one may ask: so often that neither people nor fleets notice, and not so often that others do.

use std::net::IpAddr;
use std::num::NonZeroU32;

use canvass_protocol::openpgp::Fingerprint;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Requests of one investigator: in a second, and at once.
const INVESTIGATOR: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(100).unwrap(), NonZeroU32::new(1000).unwrap());
/// Logins and agents that come from one address: a whole office may stand behind it, and come back at once.
const ADDRESS: (NonZeroU32, NonZeroU32) = (NonZeroU32::new(500).unwrap(), NonZeroU32::new(50_000).unwrap());
/// Keys that are remembered before those that are idle are forgotten.
const KEYS_MAX: usize = 10_000;

/// What was asked of late.
pub struct Rates {
    investigators: DefaultKeyedRateLimiter<Fingerprint>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
}

/// Somebody asks too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooOften;

impl Default for Rates {
    fn default() -> Rates {
        let quota = |(each_second, burst)| Quota::per_second(each_second).allow_burst(burst);
        Rates { investigators: RateLimiter::keyed(quota(INVESTIGATOR)), addresses: RateLimiter::keyed(quota(ADDRESS)) }
    }
}

impl Rates {
    pub fn investigator(&self, fingerprint: &Fingerprint) -> Result<(), TooOften> {
        take(&self.investigators, fingerprint)
    }

    pub fn address(&self, address: IpAddr) -> Result<(), TooOften> {
        take(&self.addresses, &address)
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
}
