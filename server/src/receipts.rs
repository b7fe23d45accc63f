//! What agents are still to be told of: that the server has their answers, and they may forget them.
//!
//! An agent keeps its answer until then, so nothing is lost by telling it late, and rows come sooner where telling waits until
//! no more answers come in.

use std::collections::VecDeque;
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use tokio::time::Instant;

/// How long no answer has to come before agents are told of those that came.
const QUIET: Duration = Duration::from_millis(200);
/// How long they wait at most while others answer.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Agents told at once, so that whoever asks next need not wait for all of them.
const TOLD_MAX: usize = 256;

/// Stored answers of which their agents do not know yet, the oldest first.
#[derive(Default)]
pub struct Receipts {
    waiting: VecDeque<(Instant, ActionHash, String)>,
    /// When the next are told.
    due: Option<Instant>,
}

impl Receipts {
    /// Answers of these agents are stored.
    pub fn add(&mut self, stored: impl IntoIterator<Item = (ActionHash, String)>, now: Instant) {
        self.waiting.extend(stored.into_iter().map(|(hash, agent)| (now, hash, agent)));
        self.put_off(now);
    }

    /// When some are to be told; `None` where all know.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Who is told now of which action.
    pub fn take(&mut self, now: Instant) -> Vec<(ActionHash, Vec<String>)> {
        let mut told: Vec<(ActionHash, Vec<String>)> = Vec::new();
        for (_, hash, agent) in self.waiting.drain(..self.waiting.len().min(TOLD_MAX)) {
            match told.last_mut().filter(|(last, _)| *last == hash) {
                Some((_, agents)) => agents.push(agent),
                None => told.push((hash, vec![agent])),
            }
        }
        self.put_off(now);
        told
    }

    fn put_off(&mut self, now: Instant) {
        self.due = self.waiting.front().map(|(since, ..)| (now + QUIET).min(*since + WAIT_MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASHES: [ActionHash; 2] = [ActionHash([1; 32]), ActionHash([2; 32])];

    fn of(hash: ActionHash, agents: std::ops::Range<usize>) -> Vec<(ActionHash, String)> {
        agents.map(|agent| (hash, agent.to_string())).collect()
    }

    #[test]
    fn agents_are_told_once_it_is_quiet_and_in_bounded_numbers() {
        let (mut receipts, start) = (Receipts::default(), Instant::now());
        assert_eq!(receipts.due(), None);
        receipts.add(of(HASHES[0], 0..1), start);
        receipts.add(of(HASHES[1], 0..300), start + QUIET / 2);
        assert_eq!(receipts.due(), Some(start + QUIET / 2 + QUIET));
        let told = receipts.take(start + QUIET * 2);
        let counts: Vec<_> = told.iter().map(|(hash, agents)| (*hash, agents.len())).collect();
        assert_eq!(counts, [(HASHES[0], 1), (HASHES[1], TOLD_MAX - 1)]);
        assert_eq!(receipts.due(), Some(start + QUIET * 3));
        let told = receipts.take(start + QUIET * 3);
        assert_eq!(told, [(HASHES[1], (TOLD_MAX - 1..300).map(|agent| agent.to_string()).collect())]);
        assert_eq!(receipts.due(), None);
    }

    #[test]
    fn nobody_waits_for_ever_while_others_answer() {
        let (mut receipts, start) = (Receipts::default(), Instant::now());
        for agent in 0..200 {
            receipts.add(of(HASHES[0], agent..agent + 1), start + QUIET / 2 * u32::try_from(agent).unwrap());
        }
        assert_eq!(receipts.due(), Some(start + WAIT_MAX));
    }
}
