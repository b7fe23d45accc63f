//! Two agents that share one identity: a copied data folder. They replace one another's line, so they show by their starts.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

/// How often the clash of one identity is noted.
const NOTED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// When each agent says that it was started, as its heartbeats come in.
#[derive(Debug, Default)]
pub struct Clashes {
    agents: HashMap<String, Starts>,
}

#[derive(Debug)]
struct Starts {
    last: Timestamp,
    before: Option<Timestamp>,
    noted: Option<Timestamp>,
}

impl Clashes {
    /// Takes what a heartbeat says. Returns both starts where two processes take turns and it is time to note that.
    ///
    /// An agent that is started again has a new start, and never its former one again.
    pub fn heard(&mut self, agent: &str, started_at: Timestamp, now: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let Some(starts) = self.agents.get_mut(agent) else {
            let starts = Starts { last: started_at, before: None, noted: None };
            self.agents.insert(agent.to_owned(), starts);
            return None;
        };
        if starts.last == started_at {
            return None;
        }
        let former = starts.before.replace(std::mem::replace(&mut starts.last, started_at));
        let due = starts.noted.is_none_or(|noted| now.duration_since(noted) >= NOTED_EVERY);
        if former != Some(started_at) || !due {
            return None;
        }
        starts.noted = Some(now);
        starts.before.map(|before| (before.min(started_at), before.max(started_at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_turns_is_two_and_who_is_started_again_is_not() {
        let at = |seconds: i64| Timestamp::from_second(1_800_000_000 + seconds).unwrap();
        let both = |one, other| Some((at(one), at(other)));
        // The agent, its start, when it is heard, and what is noted.
        let cases = [
            ("web-1", 1, 10, None),
            ("web-1", 1, 11, None),
            ("db-1", 2, 11, None),
            ("web-1", 3, 12, None),
            ("web-1", 3, 13, None),
            ("db-1", 4, 13, None),
            ("db-1", 3, 14, None),
            ("web-1", 1, 14, both(1, 3)),
            ("web-1", 3, 15, None),
            ("web-1", 1, 3613, None),
            ("web-1", 3, 3614, both(1, 3)),
            ("web-1", 9, 9000, None),
            ("web-1", 9, 9001, None),
        ];
        let mut clashes = Clashes::default();
        for (number, (agent, started, heard, expected)) in cases.into_iter().enumerate() {
            assert_eq!(clashes.heard(agent, at(started), at(heard)), expected, "case {number}");
        }
    }
}
