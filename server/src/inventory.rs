//! Who is in the fleet: the store's agents, held in memory beside it, since every question is put to all of them.
//!
//! The store is written first, so what is here is what is there; what other servers write is learnt when they tell.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::target::{Facts, Mode, ServerWords, Status};
use jiff::{SignedDuration, Timestamp};

use crate::store::{Agent, Result, Store};

/// Time between two heartbeats.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(60);
/// Whoever was not heard for this long is offline.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// An agent, and what its latest heartbeat states.
#[derive(Debug)]
pub struct Known {
    pub agent: Agent,
    pub facts: Facts,
    /// The inventory's count of changes when this was written.
    change: u64,
}

/// All agents, by their ids.
pub struct Inventory {
    store: Arc<dyn Store>,
    agents: RwLock<Agents>,
    /// Tells marks of this inventory from others'.
    opened_at: Timestamp,
}

#[derive(Default)]
struct Agents {
    known: BTreeMap<String, Arc<Known>>,
    changes: u64,
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
        let mut agents = Agents::default();
        store.agents().await?.into_iter().for_each(|agent| drop(agents.put(agent)));
        Ok(Inventory { store, agents: RwLock::new(agents), opened_at: Timestamp::now() })
    }

    /// Everybody, in order of id.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.read().known.values().cloned().collect()
    }

    /// Those of whom something is new since a mark that was given before, and the mark of now; `None` where the mark is not
    /// of this inventory.
    pub fn since(&self, mark: &str, now: Timestamp) -> Option<(Vec<Arc<Known>>, String)> {
        let since: Mark = mark.parse().ok().filter(|since: &Mark| since.opened_at == self.opened_at)?;
        let agents = self.read();
        let is_new = |known: &Known| known.change > since.changes || known.words(since.at) != known.words(now);
        let new = agents.known.values().filter(|known| is_new(known)).cloned().collect();
        Some((new, self.mark_of(&agents, now)))
    }

    /// Everybody, and the mark of now.
    pub fn whole(&self, now: Timestamp) -> (Vec<Arc<Known>>, String) {
        let agents = self.read();
        (agents.known.values().cloned().collect(), self.mark_of(&agents, now))
    }

    fn mark_of(&self, agents: &Agents, at: Timestamp) -> String {
        Mark { opened_at: self.opened_at, changes: agents.changes, at }.to_string()
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

    /// Notes heartbeats that were verified: the latest counts, and who is admitted stays so.
    pub async fn hear(&self, heard: Vec<Agent>) -> Result<()> {
        self.store.hear(&heard).await?;
        let mut agents = self.write();
        for mut agent in heard {
            match agents.known.get(&agent.id) {
                Some(before) if before.agent.heard_at > agent.heard_at => continue,
                Some(before) => agent.admitted = before.agent.admitted,
                None => {}
            }
            agents.put(agent);
        }
        Ok(())
    }

    /// Takes over what another server stored; returns what is known of them now.
    pub fn learn(&self, stored: Vec<Agent>) -> Vec<Arc<Known>> {
        let mut agents = self.write();
        let mut learnt = Vec::with_capacity(stored.len());
        for agent in stored {
            let late = agents.known.get(&agent.id).is_some_and(|before| before.agent.heard_at > agent.heard_at);
            if !late {
                learnt.extend(agents.put(agent));
            }
        }
        learnt
    }

    /// Takes over all that is stored.
    pub async fn read_again(&self) -> Result<()> {
        let stored = self.store.agents().await?;
        self.learn(stored);
        Ok(())
    }

    /// Lets an agent into the fleet; whether there is one of that id.
    pub async fn admit(&self, id: &str) -> Result<bool> {
        let there = self.store.admit(id).await?;
        let mut agents = self.write();
        let pending = agents.known.get(id).filter(|known| !known.agent.admitted);
        if let Some(agent) = pending.map(|known| Agent { admitted: true, ..known.agent.clone() }) {
            agents.put(agent);
        }
        Ok(there)
    }
}

impl Known {
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
    /// Puts an agent in its place; `None` where its heartbeat cannot be read.
    fn put(&mut self, agent: Agent) -> Option<Arc<Known>> {
        match Heartbeat::read(&agent.heartbeat) {
            Ok(Heartbeat { facts, .. }) => {
                self.changes += 1;
                let (id, known) = (agent.id.clone(), Arc::new(Known { agent, facts, change: self.changes }));
                self.known.insert(id, known.clone());
                Some(known)
            }
            Err(error) => {
                tracing::warn!(agent = agent.id, %error, "a stored heartbeat cannot be read");
                None
            }
        }
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
mod tests {
    use canvass_protocol::members::Members;
    use ed25519_dalek::SigningKey;

    use super::*;
    use crate::store::sqlite::Sqlite;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn agent(name: &str, admitted: bool, second: i64) -> Agent {
        let facts = Facts {
            id: "a".into(),
            name: name.into(),
            mode: Mode::Daemon,
            os: "linux".into(),
            arch: "x86_64".into(),
            os_version: None,
            kernel: None,
            version: "0".into(),
            tags: BTreeMap::new(),
            addresses: vec![],
            features: Vec::new(),
            started_at: at(0),
            more: Members::default(),
        };
        let heartbeat =
            Heartbeat::sign(&SigningKey::from_bytes(&[1; 32]), "f".into(), facts, String::new(), at(second));
        Agent { id: "a".into(), name: name.into(), admitted, heartbeat, heard_at: at(second), public_ip: None }
    }

    #[tokio::test]
    async fn what_is_new_since_a_mark_is_what_was_heard_or_fell_silent() {
        let folder = tempfile::tempdir().unwrap();
        let open = async || {
            let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
            Inventory::open(store).await.unwrap()
        };
        let inventory = open().await;
        let agent = |id: &str, second| Agent { id: id.into(), ..agent(id, false, second) };
        inventory.hear(vec![agent("a", 10), agent("b", 100)]).await.unwrap();
        let (all, mark) = inventory.whole(at(110));
        assert_eq!(all.len(), 2);
        let new = |mark: &str, second| {
            let (new, mark) = inventory.since(mark, at(second)).unwrap();
            (new.iter().map(|known| known.agent.id.clone()).collect::<Vec<_>>(), mark)
        };
        let (none, same) = new(&mark, 111);
        assert!(none.is_empty() && same != mark);
        // One of them has been silent for three heartbeats by then.
        assert_eq!(new(&mark, 191).0, ["a"]);
        inventory.hear(vec![agent("b", 120)]).await.unwrap();
        let (heard, later) = new(&mark, 121);
        assert_eq!(heard, ["b"]);
        inventory.admit("a").await.unwrap();
        assert_eq!((new(&later, 121).0, new(&mark, 121).0), (vec!["a".into()], vec!["a".into(), "b".into()]));
        assert_eq!(new(&new(&mark, 121).1, 122).0, Vec::<String>::new());
        for strange in ["", "1.2", "1.2.3", "1.2.3.4", "a.b.c", &format!("{mark}.1")] {
            assert!(inventory.since(strange, at(121)).is_none(), "{strange}");
        }
        assert!(open().await.since(&mark, at(121)).is_none());
    }

    #[tokio::test]
    async fn memory_is_as_the_store() {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
        let inventory = Inventory::open(store.clone()).await.unwrap();
        let same = async |inventory: &Inventory| {
            let stored = store.agents().await.unwrap();
            let held: Vec<Agent> = inventory.all().iter().map(|known| known.agent.clone()).collect();
            assert_eq!(held, stored);
            stored.first().map(|agent| (agent.name.clone(), agent.admitted))
        };
        assert!(!inventory.admit("a").await.unwrap());
        assert_eq!(same(&inventory).await, None);
        inventory.hear(vec![agent("first", false, 10)]).await.unwrap();
        assert_eq!(same(&inventory).await, Some(("first".into(), false)));
        assert!(inventory.admit("a").await.unwrap());
        assert_eq!(same(&inventory).await, Some(("first".into(), true)));
        inventory.hear(vec![agent("late", false, 5)]).await.unwrap();
        assert_eq!(same(&inventory).await, Some(("first".into(), true)));
        inventory.hear(vec![agent("renamed", false, 20)]).await.unwrap();
        assert_eq!(same(&inventory).await, Some(("renamed".into(), true)));
        assert_eq!(same(&Inventory::open(store.clone()).await.unwrap()).await, Some(("renamed".into(), true)));
        let known = inventory.get("a").unwrap();
        assert_eq!(known.facts.name, "renamed");
        for (second, status) in
            [(20, Status::Online), (200, Status::Online), (201, Status::Idle), (100_000, Status::Offline)]
        {
            assert_eq!(known.words(at(second)).status, status, "{second}");
        }
    }
}
