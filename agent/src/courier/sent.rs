//! How far answers went over one connection, and which are sent again because nobody has said that they are stored.

use std::collections::HashMap;
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use tokio::time::Instant;

use crate::relay::Delivery;
use crate::spool::Mark;

/// How long the server may take to say that it stores an answer that may have been dropped on its way; twice as long for each
/// time that it was sent, so that a server that is behind is not buried under copies.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(16 * 60);

/// What went over a connection.
#[derive(Default)]
pub struct Sent {
    answers: HashMap<ActionHash, Progress>,
}

struct Progress {
    mark: Mark,
    /// When the last message went, where one may have been dropped.
    unsure_since: Option<Instant>,
    again_after: Duration,
}

impl Sent {
    /// Up to where an answer went; from its beginning where it is to be sent again.
    pub fn mark(&mut self, action: ActionHash, ended: bool, now: Instant) -> Mark {
        let Some(progress) = self.answers.get_mut(&action) else { return Mark::default() };
        if ended && progress.unsure_since.is_some_and(|since| now >= since + progress.again_after) {
            tracing::debug!(%action, "nobody has said that an answer is stored; it is sent again");
            progress.mark = Mark::default();
            progress.unsure_since = None;
            progress.again_after = (progress.again_after * 2).min(AGAIN_AFTER_MAX);
        }
        progress.mark
    }

    /// Notes that a message of an answer went, and how.
    pub fn note(&mut self, action: ActionHash, mark: Mark, delivery: Delivery, now: Instant) {
        let first = || Progress { mark, unsure_since: None, again_after: AGAIN_AFTER };
        let progress = self.answers.entry(action).or_insert_with(first);
        progress.mark = mark;
        if delivery == Delivery::Unconfirmed || progress.unsure_since.is_some() {
            progress.unsure_since = Some(now);
        }
    }

    /// Forgets an answer that is stored.
    pub fn forget(&mut self, action: ActionHash) {
        self.answers.remove(&action);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_dropped_is_sent_again_and_ever_more_rarely() {
        let (action, other) = (ActionHash::of(b"one"), ActionHash::of(b"other"));
        let (mut sent, mut now) = (Sent::default(), Instant::now());
        let mark = Mark { number: 1, offset: 100 };
        assert_eq!(sent.mark(action, true, now), Mark::default());
        for minutes in [1, 2, 4, 8, 16, 16] {
            sent.note(action, mark, Delivery::Unconfirmed, now);
            sent.note(other, mark, Delivery::Confirmed, now);
            now += Duration::from_secs(minutes * 60 - 1);
            assert_eq!(sent.mark(action, true, now), mark);
            now += Duration::from_secs(1);
            assert_eq!(sent.mark(action, false, now), mark, "an answer that goes on is not begun anew");
            assert_eq!(sent.mark(action, true, now), Mark::default());
            assert_eq!(sent.mark(other, true, now), mark, "what was delivered is sent once");
        }
        sent.forget(action);
        sent.note(action, mark, Delivery::Confirmed, now);
        assert_eq!(sent.mark(action, true, now + AGAIN_AFTER_MAX), mark);
    }
}
