//! Who is in the fleet: the store's agents, held in memory beside it, since every question is put to all of them.
//!
//! The store is written first, so what is here is what is there; what other servers write is learnt when they tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits;
use canvass_protocol::target::{Facts, Mode, ServerWords, Status};
use jiff::{SignedDuration, Timestamp};

use crate::store::{Agent, Result, Store};

/// Time between two heartbeats.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(60);
/// Whoever was not heard for this long is offline.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// An agent, and what its latest heartbeat states.
#[derive(Debug, Clone)]
pub struct Known {
    pub agent: Agent,
    pub facts: Facts,
    /// When it made its heartbeat, by its own clock.
    at: Timestamp,
    /// The inventory's count of changes when this was written.
    change: u64,
}

/// All agents, by their ids.
pub struct Inventory {
    store: Arc<dyn Store>,
    agents: RwLock<Agents>,
}

struct Agents {
    known: BTreeMap<String, Arc<Known>>,
    changes: u64,
    /// Tells marks of this inventory from others', and from those of before an agent was taken out of it.
    opened_at: Timestamp,
}

/// A moment of an inventory: its age in changes, and the time by which silence was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    opened_at: Timestamp,
    changes: u64,
    at: Timestamp,
}

impl Inventory {
    /// Reads the store's agents. One whose heartbeat cannot be read is left out until it is heard again.
    pub async fn open(store: Arc<dyn Store>) -> Result<Inventory> {
        let mut agents = Agents { known: BTreeMap::new(), changes: 0, opened_at: Timestamp::now() };
        store.agents().await?.into_iter().filter_map(Known::read).for_each(|known| drop(agents.put(known)));
        Ok(Inventory { store, agents: RwLock::new(agents) })
    }

    /// Everybody, in order of id.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.read().known.values().cloned().collect()
    }

    /// Those of whom something is new since a mark that was given before, and the mark of now; `None` where the mark is not
    /// of this inventory.
    pub fn since(&self, mark: &str, now: Timestamp) -> Option<(Vec<Arc<Known>>, String)> {
        let agents = self.read();
        let since: Mark = mark.parse().ok().filter(|since: &Mark| since.opened_at == agents.opened_at)?;
        let is_new = |known: &Known| known.change > since.changes || known.words(since.at) != known.words(now);
        let new = agents.known.values().filter(|known| is_new(known)).cloned().collect();
        Some((new, agents.mark(now)))
    }

    /// Everybody, and the mark of now.
    pub fn whole(&self, now: Timestamp) -> (Vec<Arc<Known>>, String) {
        let agents = self.read();
        (agents.known.values().cloned().collect(), agents.mark(now))
    }

    pub fn get(&self, id: &str) -> Option<Arc<Known>> {
        self.read().known.get(id).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Agents> {
        self.agents.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Agents> {
        self.agents.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes heartbeats that came over lines of agents that proved their key; returns whose were passed over. Those are no
    /// agents of the fleet any more, and those whose word is older than the one that is known: nobody goes back.
    pub async fn hear(&self, heard: Vec<Agent>, now: Timestamp) -> Result<BTreeSet<String>> {
        let mut passed: BTreeSet<String> = heard.iter().map(|agent| agent.id.clone()).collect();
        let mut news = Vec::new();
        {
            let agents = self.read();
            for known in heard.into_iter().filter_map(Known::read) {
                if agents.known.get(&known.agent.id).is_some_and(|before| before.gives_way_to(known.at, now)) {
                    passed.remove(&known.agent.id);
                    news.push(known);
                }
            }
        }
        let stored: Vec<Agent> = news.iter().map(|known| known.agent.clone()).collect();
        if stored.is_empty() {
            return Ok(passed);
        }
        self.store.hear(&stored).await?;
        let mut agents = self.write();
        for mut known in news {
            // It may have been taken out of the fleet, or certified, meanwhile.
            let Some(before) = agents.known.get(&known.agent.id) else { continue };
            if before.agent.heard_at <= known.agent.heard_at {
                known.agent.approval = before.agent.approval.clone();
                agents.put(known);
            }
        }
        Ok(passed)
    }

    /// Takes over what another server stored; returns what is known of them now.
    pub fn learn(&self, stored: Vec<Agent>) -> Vec<Arc<Known>> {
        let mut agents = self.write();
        let mut learnt = Vec::with_capacity(stored.len());
        for mut stored in stored.into_iter().filter_map(Known::read) {
            if let Some(before) = agents.known.get(&stored.agent.id)
                && before.agent.heard_at > stored.agent.heard_at
            {
                if before.agent.approval == stored.agent.approval {
                    continue;
                }
                stored = Known {
                    agent: Agent { approval: stored.agent.approval, ..before.agent.clone() },
                    ..(**before).clone()
                };
            }
            learnt.push(agents.put(stored));
        }
        learnt
    }

    /// Takes over all that is stored.
    pub async fn read_again(&self) -> Result<()> {
        let before: BTreeSet<String> = self.read().known.keys().cloned().collect();
        let stored = self.store.agents().await?;
        let there: BTreeSet<&String> = stored.iter().map(|agent| &agent.id).collect();
        let gone: Vec<String> = before.into_iter().filter(|id| !there.contains(id)).collect();
        self.forget(&gone);
        self.learn(stored);
        Ok(())
    }

    /// Lets an agent into the fleet; where it is in, it is certified by this approval.
    pub async fn admit(&self, agent: Agent) -> Result<()> {
        self.store.admit(std::slice::from_ref(&agent)).await?;
        let mut agents = self.write();
        let known = match agents.known.get(&agent.id) {
            Some(before) => {
                let approval = agent.approval.or_else(|| before.agent.approval.clone());
                Some(Known { agent: Agent { approval, ..before.agent.clone() }, ..(**before).clone() })
            }
            None => Known::read(agent),
        };
        known.into_iter().for_each(|known| drop(agents.put(known)));
        Ok(())
    }

    /// Takes an agent out of the fleet; whether it was in.
    pub async fn remove(&self, id: &str) -> Result<bool> {
        let was_there = self.store.remove(id).await?;
        self.forget(std::slice::from_ref(&id.to_owned()));
        Ok(was_there)
    }

    /// Forgets agents that were taken out of the fleet. Whoever has listed it before lists everybody again, and so misses them.
    pub fn forget(&self, ids: &[String]) {
        let mut agents = self.write();
        let count = ids.iter().filter(|id| agents.known.remove(*id).is_some()).count();
        if count > 0 {
            agents.opened_at = Timestamp::now();
        }
    }
}

impl Known {
    /// What an agent's heartbeat states, which was verified when it came.
    fn read(agent: Agent) -> Option<Known> {
        match Heartbeat::read(&agent.heartbeat) {
            Ok(Heartbeat { facts, at, .. }) => Some(Known { agent, facts, at, change: 0 }),
            Err(error) => {
                tracing::warn!(agent = agent.id, %error, "a stored heartbeat cannot be read");
                None
            }
        }
    }

    /// Whether a word of that time, by the agent's clock, is newer than the one that is known. One from the future was made by a
    /// clock that has been set right since.
    fn gives_way_to(&self, at: Timestamp, now: Timestamp) -> bool {
        at >= self.at || self.at.duration_since(now) > SignedDuration::from_secs(limits::CLOCK_SKEW_S)
    }

    /// What the server says of the agent.
    pub fn words(&self, now: Timestamp) -> ServerWords {
        words(self.facts.mode, self.agent.heard_at, self.agent.public_ip, now)
    }
}

/// What a server says of an agent of this mode that was last heard then: every server says the same, and so does the
/// scheduler. A check-in agent is idle even while it is here.
pub fn words(mode: Mode, heard_at: Timestamp, public_ip: Option<IpAddr>, now: Timestamp) -> ServerWords {
    let silent = now.duration_since(heard_at);
    let status = if silent <= HEARTBEAT * 3 && mode == Mode::Daemon {
        Status::Online
    } else if silent <= DAY {
        Status::Idle
    } else {
        Status::Offline
    };
    ServerWords { status, heartbeat_at: heard_at, public_ip }
}

impl Agents {
    /// Puts an agent in its place.
    fn put(&mut self, known: Known) -> Arc<Known> {
        self.changes += 1;
        let known = Arc::new(Known { change: self.changes, ..known });
        self.known.insert(known.agent.id.clone(), known.clone());
        known
    }

    fn mark(&self, at: Timestamp) -> String {
        Mark { opened_at: self.opened_at, changes: self.changes, at }.to_string()
    }
}

impl Display for Mark {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.opened_at.as_nanosecond(), self.changes, self.at.as_nanosecond())
    }
}

impl FromStr for Mark {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Mark, ()> {
        let time = |text: &str| Timestamp::from_nanosecond(text.parse().ok()?).ok();
        let read = || {
            let mut parts = text.split('.');
            let mark = Mark {
                opened_at: time(parts.next()?)?,
                changes: parts.next()?.parse().ok()?,
                at: time(parts.next()?)?,
            };
            parts.next().is_none().then_some(mark)
        };
        read().ok_or(())
    }
}

#[cfg(test)]
mod tests;
