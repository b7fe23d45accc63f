//! Agents that wait to be let in: few, small and soon forgotten, since anybody may knock.
//!
//! They are held in memory alone. Whoever waits knocks again each minute, and an administrator brings an agent's own word along
//! with the approval, so nothing is lost with them.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::signed::Signed;
use canvass_protocol::target::Facts;
use jiff::{SignedDuration, Timestamp};

/// One heartbeat of an agent that waits: facts with some dozens of tags and addresses fit.
pub const HEARTBEAT_BYTES_MAX: usize = 8 << 10;
/// Agents that wait: more than people look through. With it all of them have less than ten megabytes.
pub const AGENTS_MAX: usize = 1000;
/// Who has not knocked for as long is forgotten; an agent that runs knocks each minute.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// One that waits.
#[derive(Debug)]
pub struct Waiting {
    pub heartbeat: Signed,
    pub facts: Facts,
    /// By its own clock.
    at: Timestamp,
    pub heard_at: Timestamp,
    /// Where it came from, which is not proved.
    pub public_ip: Option<IpAddr>,
    /// Those who share an address, as [`crate::rates::network`] counts them.
    network: Option<IpAddr>,
}

/// All that wait, by id.
#[derive(Default)]
pub struct Pending(Mutex<BTreeMap<String, Arc<Waiting>>>);

impl Pending {
    /// Notes that an agent has knocked, whose heartbeat was verified; whether it is a new one. Where there are too many, the
    /// network with the most of them loses the one that has not knocked for the longest time, and so a flood drives out itself
    /// first.
    pub fn knock(&self, said: Heartbeat, heartbeat: Signed, public_ip: Option<IpAddr>, now: Timestamp) -> bool {
        let mut waiting = self.lock();
        forget(&mut waiting, now);
        let Heartbeat { at, facts, .. } = said;
        let before = waiting.get(&facts.id);
        if before.is_some_and(|before| before.at > at) {
            return false;
        }
        let is_new = before.is_none();
        let (id, network) = (facts.id.clone(), public_ip.map(crate::rates::network));
        waiting.insert(id, Arc::new(Waiting { heartbeat, facts, at, heard_at: now, public_ip, network }));
        if waiting.len() > AGENTS_MAX {
            make_room(&mut waiting);
        }
        is_new
    }

    /// Those whose ids follow, in order; at most so many.
    pub fn after(&self, id: &str, count: usize, now: Timestamp) -> Vec<Arc<Waiting>> {
        let mut waiting = self.lock();
        forget(&mut waiting, now);
        let following = waiting.range::<str, _>((Excluded(id), Unbounded));
        following.take(count).map(|(_, waiting)| waiting.clone()).collect()
    }

    /// Forgets one; whether it was there.
    pub fn remove(&self, id: &str) -> bool {
        self.lock().remove(id).is_some()
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(waiting: &mut BTreeMap<String, Arc<Waiting>>, now: Timestamp) {
    waiting.retain(|_, waiting| now.duration_since(waiting.heard_at) < KEPT);
}

fn make_room(waiting: &mut BTreeMap<String, Arc<Waiting>>) {
    let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
    waiting.values().for_each(|waiting| *counts.entry(waiting.network).or_default() += 1);
    let most = counts.values().copied().max().unwrap_or_default();
    let full = waiting.iter().filter(|(_, waiting)| counts.get(&waiting.network) == Some(&most));
    let oldest = full.min_by_key(|(_, waiting)| waiting.heard_at).map(|(id, _)| id.clone());
    oldest.into_iter().for_each(|id| drop(waiting.remove(&id)));
}

#[cfg(test)]
mod tests {
    use canvass_protocol::answer::agent_id;
    use ed25519_dalek::SigningKey;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// An agent's heartbeat of a second.
    fn heartbeat(number: u16, name: &str, second: i64) -> (Heartbeat, Signed) {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&number.to_be_bytes());
        let key = SigningKey::from_bytes(&seed);
        let facts = Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "0".into(),
            started_at: at(0),
            ..Facts::of(agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap(), name)
        };
        let signed = Heartbeat::sign(&key, "acme".into(), facts, String::new(), at(second));
        (Heartbeat::open(&signed, "acme").unwrap(), signed)
    }

    #[test]
    fn a_flood_drives_out_itself_first() {
        let pending = Pending::default();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let knock = |number, name: &str, from: &str, second| {
            let (said, signed) = heartbeat(number, name, second);
            pending.knock(said, signed, ip(from), at(second))
        };
        assert!(knock(0, "web-1", "192.0.2.7", 0));
        assert!(!knock(0, "web-1", "192.0.2.7", 1), "it waits already");
        for number in 1..=1100 {
            // Each from another address of one network.
            assert!(knock(number, "flood", &format!("2001:db8::{number:x}"), 2), "{number}");
        }
        assert_eq!(pending.len(), AGENTS_MAX);
        let names = |second| {
            let all = pending.after("", usize::MAX, at(second));
            let of = |name: &str| all.iter().filter(|waiting| waiting.facts.name == name).count();
            (of("web-1"), of("flood"))
        };
        assert_eq!(names(3), (1, AGENTS_MAX - 1));
        // A day after it knocked last each is forgotten.
        let day = 24 * 3600;
        assert_eq!(names(day), (1, AGENTS_MAX - 1));
        assert_eq!(names(day + 1), (0, AGENTS_MAX - 1));
        assert_eq!(names(day + 2), (0, 0));
    }

    #[test]
    fn pages_go_on_behind_an_id_and_an_older_word_changes_nothing() {
        let pending = Pending::default();
        for number in 0..5 {
            let (said, signed) = heartbeat(number, "new", 10);
            pending.knock(said, signed, None, at(10));
        }
        let all: Vec<String> = pending.after("", 9, at(10)).iter().map(|waiting| waiting.facts.id.clone()).collect();
        let page: Vec<String> =
            pending.after(&all[1], 2, at(10)).iter().map(|waiting| waiting.facts.id.clone()).collect();
        assert_eq!((all.len(), page.as_slice()), (5, &all[2..4]));
        let (said, signed) = heartbeat(0, "old", 9);
        assert!(!pending.knock(said, signed, None, at(11)));
        assert!(pending.after("", 9, at(11)).iter().all(|waiting| waiting.facts.name == "new"));
        assert!(pending.remove(&all[0]) && !pending.remove(&all[0]) && pending.len() == 4);
    }
}
