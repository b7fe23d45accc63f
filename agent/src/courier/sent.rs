//! How far answers were sent over one connection, and when one is sent again because no receipt has come for it.

use std::collections::HashMap;
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use tokio::time::Instant;

use crate::relay::Delivery;
use crate::spool::Mark;

/// The longest that a receipt is waited for.
const RECEIPT_WITHIN_MAX: Duration = Duration::from_secs(16 * 60);

/// What was sent over a connection and has no receipt yet.
pub struct Sent {
    receipt_within: Duration,
    answers: HashMap<ActionHash, Progress>,
}

struct Progress {
    mark: Mark,
    /// Set where what was sent may have been dropped.
    resend_at: Option<Instant>,
    receipt_within: Duration,
}

impl Sent {
    /// Nothing yet. A receipt for what may have been dropped is waited for so long, and twice as long each time that it was sent
    /// again, so that a server that is behind is not buried under copies.
    pub fn new(receipt_within: Duration) -> Sent {
        Sent { receipt_within, answers: HashMap::new() }
    }

    /// Where to go on with an answer: at its beginning where it is due to be sent again.
    pub fn resume(&mut self, action: ActionHash, now: Instant) -> Mark {
        let Some(progress) = self.answers.get_mut(&action) else { return Mark::default() };
        if progress.resend_at.is_some_and(|at| now >= at) {
            tracing::debug!(%action, "no receipt for an answer; it is sent again");
            progress.mark = Mark::default();
            progress.resend_at = None;
            progress.receipt_within = (progress.receipt_within * 2).min(RECEIPT_WITHIN_MAX);
        }
        progress.mark
    }

    /// Notes that an answer was sent up to here, and what is known of its delivery.
    pub fn note(&mut self, action: ActionHash, mark: Mark, delivery: Delivery, now: Instant) {
        let first = || Progress { mark, resend_at: None, receipt_within: self.receipt_within };
        let progress = self.answers.entry(action).or_insert_with(first);
        progress.mark = mark;
        progress.resend_at = (delivery == Delivery::Unconfirmed).then(|| now + progress.receipt_within);
    }

    /// Forgets an answer for which the receipt has come.
    pub fn forget(&mut self, action: ActionHash) {
        self.answers.remove(&action);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::Spool;
    use canvass_protocol::answer::Part;
    use jiff::Timestamp;

    /// A mark behind the only message of an answer.
    fn mark(action: ActionHash) -> Mark {
        let part = Part { statement: "{}".to_owned(), signature: String::new(), body: Vec::new() };
        let spool = Spool::in_memory();
        spool.hold(action, Timestamp::MAX, 1, part, true);
        spool.read(action, Mark::default()).unwrap().unwrap().next
    }

    #[test]
    fn what_may_have_been_dropped_is_sent_again_and_less_and_less_often() {
        let (action, other) = (ActionHash::of(b"one"), ActionHash::of(b"other"));
        let (mut sent, mut now) = (Sent::new(Duration::from_secs(60)), Instant::now());
        let mark = mark(action);
        assert_eq!(sent.resume(action, now), Mark::default());
        for minutes in [1, 2, 4, 8, 16, 16] {
            sent.note(action, mark, Delivery::Unconfirmed, now);
            sent.note(other, mark, Delivery::Confirmed, now);
            now += Duration::from_secs(minutes * 60 - 1);
            assert_eq!(sent.resume(action, now), mark);
            now += Duration::from_secs(1);
            assert_eq!(sent.resume(action, now), Mark::default());
            assert_eq!(sent.resume(other, now), mark, "what was delivered is sent once");
        }
        sent.forget(action);
        sent.note(action, mark, Delivery::Confirmed, now);
        assert_eq!(sent.resume(action, now + RECEIPT_WITHIN_MAX), mark);
    }
}
