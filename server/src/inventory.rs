//! Who is in the fleet: the store's agents, held in memory beside it, since every question is put to all of them.
//!
//! The store is written first, so what is here is what is there; what other servers write is learnt when they tell.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

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
}

/// All agents, by their ids.
pub struct Inventory {
    store: Arc<dyn Store>,
    agents: RwLock<BTreeMap<String, Arc<Known>>>,
}

impl Inventory {
    /// Reads the store's agents. One whose heartbeat cannot be read is left out until it is heard again.
    pub async fn open(store: Arc<dyn Store>) -> Result<Inventory> {
        let known = store.agents().await?.into_iter().filter_map(known).collect();
        Ok(Inventory { store, agents: RwLock::new(known) })
    }

    /// Everybody, in order of id.
    pub fn all(&self) -> Vec<Arc<Known>> {
        self.agents.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub fn get(&self, id: &str) -> Option<Arc<Known>> {
        self.agents.read().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// Notes heartbeats that were verified: the latest counts, and who is admitted stays so.
    pub async fn hear(&self, heard: Vec<Agent>) -> Result<()> {
        self.store.hear(&heard).await?;
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        for mut agent in heard {
            match agents.get(&agent.id) {
                Some(before) if before.agent.heard_at > agent.heard_at => continue,
                Some(before) => agent.admitted = before.agent.admitted,
                None => {}
            }
            agents.extend(known(agent));
        }
        Ok(())
    }

    /// Takes over what another server stored; returns what is known of them now.
    pub fn learn(&self, stored: Vec<Agent>) -> Vec<Arc<Known>> {
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        let mut learnt = Vec::with_capacity(stored.len());
        for (id, now) in stored.into_iter().filter_map(known) {
            let late = agents.get(&id).is_some_and(|before| before.agent.heard_at > now.agent.heard_at);
            if !late {
                learnt.push(now.clone());
                agents.insert(id, now);
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
        let mut agents = self.agents.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = agents.get_mut(id).filter(|known| !known.agent.admitted) {
            let agent = Agent { admitted: true, ..known.agent.clone() };
            *known = Arc::new(Known { agent, facts: known.facts.clone() });
        }
        Ok(there)
    }
}

impl Known {
    /// What the server says of the agent.
    pub fn words(&self, now: Timestamp) -> ServerWords {
        let silent = now.duration_since(self.agent.heard_at);
        let status = if silent <= HEARTBEAT * 3 && self.facts.mode == Mode::Daemon {
            Status::Online
        } else if silent <= DAY {
            Status::Idle
        } else {
            Status::Offline
        };
        ServerWords { status, heartbeat_at: self.agent.heard_at, public_ip: self.agent.public_ip }
    }
}

fn known(agent: Agent) -> Option<(String, Arc<Known>)> {
    match Heartbeat::read(&agent.heartbeat) {
        Ok(Heartbeat { facts, .. }) => Some((agent.id.clone(), Arc::new(Known { agent, facts }))),
        Err(error) => {
            tracing::warn!(agent = agent.id, %error, "a stored heartbeat cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
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
            started_at: at(0),
        };
        let heartbeat =
            Heartbeat::sign(&SigningKey::from_bytes(&[1; 32]), "f".into(), facts, String::new(), at(second));
        Agent { id: "a".into(), name: name.into(), admitted, heartbeat, heard_at: at(second), public_ip: None }
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
