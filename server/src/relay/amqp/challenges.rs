//! What an agent has to sign before it gets a line: made so that none has to be kept until it is answered, since whoever enrols,
//! stranger or not, is given one.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

/// How long a challenge may be answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(60);
/// Bytes of a challenge: when it was made, and what nobody can foresee; beside them a code that only we can make.
const TIME_BYTES: usize = 8;
const WORDS_BYTES: usize = TIME_BYTES + 16;
const CODE_BYTES: usize = 16;

/// Challenges of one server, as long as it runs.
#[derive(Debug)]
pub struct Challenges {
    secret: [u8; 32],
    began: Instant,
    /// Those that an agent of the fleet has answered, for as long as they could be answered again.
    used: HashSet<String>,
    until: VecDeque<(Instant, String)>,
}

impl Challenges {
    pub fn new(now: Instant) -> Result<Challenges, getrandom::Error> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret)?;
        Ok(Challenges { secret, began: now, used: HashSet::new(), until: VecDeque::new() })
    }

    /// Makes one.
    pub fn make(&self, now: Instant) -> Result<String, getrandom::Error> {
        let mut words = [0; WORDS_BYTES];
        let (time, random) = words.split_at_mut(TIME_BYTES);
        time.copy_from_slice(&self.millis(now).to_be_bytes());
        getrandom::fill(random)?;
        Ok(hex::encode(words) + &hex::encode(self.code(&words)))
    }

    /// Whether it is one of ours that may still be answered.
    pub fn is_open(&self, nonce: &str, now: Instant) -> bool {
        let Some(made) = self.made(nonce) else { return false };
        self.millis(now).checked_sub(made).is_some_and(|age| u128::from(age) < ANSWERED_WITHIN.as_millis())
            && !self.used.contains(nonce)
    }

    /// Uses one up; whether it could be.
    pub fn take(&mut self, nonce: &str, now: Instant) -> bool {
        while self.until.front().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, old)) = self.until.pop_front() {
                self.used.remove(&old);
            }
        }
        let taken = self.is_open(nonce, now);
        if taken {
            self.used.insert(nonce.to_owned());
            self.until.push_back((now + ANSWERED_WITHIN, nonce.to_owned()));
        }
        taken
    }

    /// When it was made, where we made it. Only lower case is ours, so one challenge has one spelling.
    fn made(&self, nonce: &str) -> Option<u64> {
        let bytes = hex::decode(nonce).ok().filter(|bytes| bytes.len() == WORDS_BYTES + CODE_BYTES)?;
        let (words, code) = bytes.split_at(WORDS_BYTES);
        let is_ours = code == self.code(words) && hex::encode(&bytes) == nonce;
        is_ours.then(|| u64::from_be_bytes(words[..TIME_BYTES].try_into().expect("a time has eight bytes")))
    }

    /// Words are of one length, so nothing can be put behind them that keeps their code.
    fn code(&self, words: &[u8]) -> [u8; CODE_BYTES] {
        let hash: [u8; 32] = Sha256::new().chain_update(self.secret).chain_update(words).finalize().into();
        hash[..CODE_BYTES].try_into().expect("a code is shorter than a hash")
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.began).as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_answered_once_and_soon() {
        let now = Instant::now();
        let mut challenges = Challenges::new(now).unwrap();
        let first = challenges.make(now).unwrap();
        assert!(challenges.is_open(&first, now) && challenges.take(&first, now));
        assert!(!challenges.is_open(&first, now) && !challenges.take(&first, now), "it is used up");
        let second = challenges.make(now).unwrap();
        assert!(challenges.is_open(&second, now + ANSWERED_WITHIN - Duration::from_millis(1)));
        assert!(!challenges.take(&second, now + ANSWERED_WITHIN), "it is too old");
        assert!(!challenges.is_open(&Challenges::new(now).unwrap().make(now).unwrap(), now), "another server made it");
    }

    #[test]
    fn nobody_can_make_or_change_one() {
        let now = Instant::now();
        let mut challenges = Challenges::new(now).unwrap();
        let good = challenges.make(now).unwrap();
        let other = |place: usize| {
            let digit = if good.as_bytes()[place] == b'0' { "1" } else { "0" };
            format!("{}{digit}{}", &good[..place], &good[place + 1..])
        };
        for bad in (0..good.len()).map(other) {
            assert!(!challenges.take(&bad, now), "{bad}");
        }
        for bad in ["", "00", "é", &good[2..], &good.to_uppercase(), &format!("{good}00")] {
            assert!(!challenges.take(bad, now), "{bad}");
        }
        assert!(challenges.take(&good, now));
    }

    /// However many strangers ask for one, whoever has one can answer it, and nothing is kept of those that nobody answers.
    #[test]
    fn strangers_take_nobodys_challenge_away() {
        let now = Instant::now();
        let mut challenges = Challenges::new(now).unwrap();
        let first = challenges.make(now).unwrap();
        for _ in 0..100_000 {
            challenges.make(now).unwrap();
        }
        assert!(challenges.take(&first, now));
        assert_eq!((challenges.used.len(), challenges.until.len()), (1, 1));
        let later = now + ANSWERED_WITHIN;
        let second = challenges.make(later).unwrap();
        assert!(challenges.take(&second, later));
        assert_eq!((challenges.used.len(), challenges.until.len()), (1, 1), "what is too old anyway is forgotten");
    }
}
