//! Actions that wait for their turn, bounded in bytes.

use std::collections::VecDeque;

use canvass_protocol::action::ActionHash;
use canvass_protocol::envelope::Envelope;
use jiff::Timestamp;

use crate::agent::Looked;

/// Actions that wait, however small.
const COUNT_MAX: usize = 1000;

/// An action that somebody of the keyring has signed.
pub struct Offer {
    pub hash: ActionHash,
    pub envelope: Envelope,
    pub looked: Looked,
    /// Until when its answer is of use.
    pub until: Timestamp,
}

impl Offer {
    /// How many signatures it is judged with.
    pub fn judged(&self) -> usize {
        self.envelope.signatures.len()
    }

    fn bytes(&self) -> usize {
        self.envelope.payload.len() + self.envelope.signatures.iter().map(String::len).sum::<usize>()
    }
}

/// What waits, in the order in which it came.
pub struct Queue {
    offers: VecDeque<Offer>,
    bytes: usize,
    bytes_max: usize,
}

impl Queue {
    pub fn new(bytes_max: usize) -> Queue {
        Queue { offers: VecDeque::new(), bytes: 0, bytes_max }
    }

    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// Takes an action in, in the place of the same one with other signatures; where there is no room it is left out.
    pub fn push(&mut self, offer: Offer) {
        let place = self.offers.iter().position(|waiting| waiting.hash == offer.hash);
        let former = place.map_or(0, |place| self.offers[place].bytes());
        let bytes = self.bytes - former + offer.bytes();
        if bytes > self.bytes_max || place.is_none() && self.offers.len() >= COUNT_MAX {
            return tracing::warn!(action = %offer.hash, "too many actions wait here; the server brings this one again");
        }
        self.bytes = bytes;
        match place {
            Some(place) => self.offers[place] = offer,
            None => self.offers.push_back(offer),
        }
    }

    pub fn pop(&mut self) -> Option<Offer> {
        let offer = self.offers.pop_front()?;
        self.bytes -= offer.bytes();
        Some(offer)
    }

    pub fn remove(&mut self, hash: ActionHash) -> Option<Offer> {
        let place = self.offers.iter().position(|waiting| waiting.hash == hash)?;
        let offer = self.offers.remove(place)?;
        self.bytes -= offer.bytes();
        Some(offer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::looked_at_by_nobody as by_nobody;

    fn offer(text: &str, signatures: usize) -> Offer {
        let envelope = Envelope { payload: text.into(), signatures: vec!["s".into(); signatures] };
        Offer { hash: ActionHash::of(text.as_bytes()), envelope, looked: by_nobody(), until: Timestamp::UNIX_EPOCH }
    }

    fn waiting(queue: &mut Queue) -> Vec<(String, usize)> {
        std::iter::from_fn(|| queue.pop()).map(|offer| (offer.envelope.payload.clone(), offer.judged())).collect()
    }

    #[test]
    fn what_waits_is_bounded_in_bytes_and_counted_right() {
        let mut queue = Queue::new(10);
        for (text, signatures) in [("aaaa", 1), ("bb", 1), ("cccc", 0), ("d", 0), ("aaaa", 2), ("d", 1)] {
            queue.push(offer(text, signatures));
        }
        assert_eq!((queue.bytes, queue.offers.len()), (10, 3), "`c` does not fit, and neither does more of `d`");
        assert_eq!(queue.remove(ActionHash::of(b"bb")).unwrap().judged(), 1);
        queue.push(offer("e", 0));
        assert_eq!(waiting(&mut queue), [("aaaa".into(), 2), ("d".into(), 0), ("e".into(), 0)]);
        assert!(queue.is_empty() && queue.bytes == 0);
        for number in 0..COUNT_MAX + 5 {
            queue.push(offer("", number));
        }
        assert_eq!(queue.offers.len(), 1, "the same action waits once");
    }
}
