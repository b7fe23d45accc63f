//! How each agent of a swarm behaves: drawn from a seed, so that whoever knows the seed can foretell every sum.

use std::collections::BTreeMap;

use clap::Args;
use sha2::{Digest as _, Sha256};

/// What one agent does with a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Behaviour {
    /// Answers.
    Good,
    /// Cannot run the scan, and says so.
    Failing,
    /// Has no row.
    Empty,
    /// Takes its time.
    Slow,
    /// Enrolled, and is not reached any more.
    Offline,
    /// Says every part of its answer twice.
    Duplicate,
    /// Signs a frame that is longer than any may be.
    Oversize,
    /// Lives by a clock an hour ahead, by which every short window is over.
    Skewed,
}

impl Behaviour {
    pub const ALL: [Behaviour; 8] = [
        Behaviour::Good,
        Behaviour::Failing,
        Behaviour::Empty,
        Behaviour::Slow,
        Behaviour::Offline,
        Behaviour::Duplicate,
        Behaviour::Oversize,
        Behaviour::Skewed,
    ];
}

/// Which share of a swarm behaves how, each from 0 to 1; whoever is left is good.
#[derive(Debug, Clone, Copy, PartialEq, Default, Args)]
pub struct Shares {
    /// Share of agents that cannot run the scan, 0 to 1
    #[arg(long, default_value_t = 0.0)]
    pub failing: f64,
    /// Share of agents without a row
    #[arg(long, default_value_t = 0.0)]
    pub empty: f64,
    /// Share of agents that take their time
    #[arg(long, default_value_t = 0.0)]
    pub slow: f64,
    /// Share of agents that enrol and are not reached any more
    #[arg(long, default_value_t = 0.0)]
    pub offline: f64,
    /// Share of agents that say everything twice
    #[arg(long, default_value_t = 0.0)]
    pub duplicate: f64,
    /// Share of agents whose frame is too long
    #[arg(long, default_value_t = 0.0)]
    pub oversize: f64,
    /// Share of agents whose clock is an hour ahead
    #[arg(long, default_value_t = 0.0)]
    pub skewed: f64,
}

impl Shares {
    /// What the agent of this number is, in a swarm of this seed.
    pub fn draw(&self, seed: u64, number: u32) -> Behaviour {
        let bytes = derive(seed, number, "behaviour");
        let drawn = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        let mut rest = f64::from(drawn) / f64::from(u32::MAX);
        for (behaviour, share) in self.listed() {
            if rest < share {
                return behaviour;
            }
            rest -= share;
        }
        Behaviour::Good
    }

    /// How many behave how, in a swarm of this seed.
    pub fn foretell(&self, seed: u64, agents: u32) -> BTreeMap<Behaviour, u32> {
        let mut counts: BTreeMap<_, _> = Behaviour::ALL.map(|behaviour| (behaviour, 0)).into();
        for number in 0..agents {
            *counts.entry(self.draw(seed, number)).or_default() += 1;
        }
        counts
    }

    fn listed(&self) -> [(Behaviour, f64); 7] {
        [
            (Behaviour::Failing, self.failing),
            (Behaviour::Empty, self.empty),
            (Behaviour::Slow, self.slow),
            (Behaviour::Offline, self.offline),
            (Behaviour::Duplicate, self.duplicate),
            (Behaviour::Oversize, self.oversize),
            (Behaviour::Skewed, self.skewed),
        ]
    }
}

/// 32 bytes for a purpose, the same for the same seed and number.
pub fn derive(seed: u64, number: u32, purpose: &str) -> [u8; 32] {
    let hash = Sha256::new().chain_update("canvass-swarm").chain_update(purpose);
    hash.chain_update(seed.to_be_bytes()).chain_update(number.to_be_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_foretells_everybody() {
        let shares = Shares { failing: 0.25, offline: 0.25, ..Shares::default() };
        let counts = shares.foretell(7, 4000);
        assert_eq!(counts, shares.foretell(7, 4000));
        assert_ne!(counts, shares.foretell(8, 4000));
        assert_eq!(counts.values().sum::<u32>(), 4000);
        for behaviour in [Behaviour::Failing, Behaviour::Offline] {
            assert!((900..1100).contains(&counts[&behaviour]), "{counts:?}");
        }
        assert_eq!(counts[&Behaviour::Slow] + counts[&Behaviour::Skewed], 0);
        assert_eq!(Shares::default().foretell(7, 100)[&Behaviour::Good], 100);
    }
}
