//! What a desk keeps beside an action, so that its result stays what it was: copies of the local files that its plan used, and
//! the inventory of then, as far as the plan read it.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::scan::Scan;
use canvass_protocol::statement::InputFile;
use canvass_protocol::target::{Facts, ServerWords};
use serde::{Deserialize, Serialize};

use crate::answers::Known;
use crate::error::Error;
use crate::fleet::{Endpoint, Standing};
use crate::hosts::is_meant_for;

/// Where things are kept. This crate knows no folders; what was lost there is no error, and an old result says what it lacks.
pub trait Keeper: Send + Sync {
    /// Keeps the inventory of an action, before it is sent.
    fn keep_inventory(&self, action: &Action, inventory: &Inventory) -> Result<(), Error>;

    /// The inventory that was kept of an action.
    fn inventory(&self, action: &Action) -> Result<Option<Inventory>, Error>;

    /// Keeps a copy of a local file as an action records it; one that is too large is not kept.
    fn keep_file(&self, file: &InputFile) -> Result<(), Error>;

    /// The copy of a file, where one was kept. Whoever reads it sees by its hash whether it is the one.
    fn file(&self, sha256: &str) -> Option<File>;
}

/// Keeps nothing.
pub struct Forgetful;

impl Keeper for Forgetful {
    fn keep_inventory(&self, _: &Action, _: &Inventory) -> Result<(), Error> {
        Ok(())
    }

    fn inventory(&self, _: &Action) -> Result<Option<Inventory>, Error> {
        Ok(None)
    }

    fn keep_file(&self, _: &InputFile) -> Result<(), Error> {
        Ok(())
    }

    fn file(&self, _: &str) -> Option<File> {
        None
    }
}

/// The inventory as the plan of an action read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub action: ActionHash,
    /// Whether all agents are here that were known, because the statement reads `agents`.
    pub whole: bool,
    pub agents: Vec<KeptAgent>,
}

/// An agent as it was known, and what was asked of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptAgent {
    pub id: String,
    /// The name under which it was shown.
    pub host: String,
    /// Which scans were meant for it; none where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meant: Option<Meant>,
    /// Where the statement reads more of it than its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<Arc<Facts>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<ServerWords>,
    #[serde(default, skip_serializing_if = "Standing::is_empty")]
    pub standing: Standing,
}

/// Which scans of an action are meant for an agent; mostly it is all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Meant {
    All,
    /// One a scan.
    Some(Vec<bool>),
}

impl Inventory {
    /// What a plan has read: `all` are the agents of the inventory where the statement reads `agents`; `described`: it reads
    /// more of those asked than their names.
    pub fn of(
        action: ActionHash,
        scans: &[Scan],
        asked: &[Endpoint],
        all: Option<&[Endpoint]>,
        described: bool,
    ) -> Inventory {
        let described = described || all.is_some();
        let meant: HashMap<&str, Meant> = asked.iter().map(|one| (one.facts.id.as_str(), meant(scans, one))).collect();
        let keep = |endpoint: &Endpoint| KeptAgent {
            id: endpoint.facts.id.clone(),
            host: endpoint.host.clone(),
            meant: meant.get(endpoint.facts.id.as_str()).cloned(),
            facts: described.then(|| endpoint.facts.clone()),
            words: described.then(|| endpoint.words.clone()),
            standing: if described { endpoint.standing.clone() } else { Standing::default() },
        };
        let agents = all.unwrap_or(asked).iter().map(keep).collect();
        Inventory { action, whole: all.is_some(), agents }
    }

    /// All agents that are wholly described.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        self.agents.iter().filter_map(KeptAgent::endpoint).collect()
    }
}

fn meant(scans: &[Scan], endpoint: &Endpoint) -> Meant {
    let meant: Vec<bool> = scans.iter().map(|scan| is_meant_for(&scan.target, endpoint)).collect();
    if meant.iter().all(|meant| *meant) { Meant::All } else { Meant::Some(meant) }
}

impl KeptAgent {
    /// The agent as it was known, where it was described.
    pub fn endpoint(&self) -> Option<Endpoint> {
        let (facts, words) = (self.facts.clone()?, self.words.clone()?);
        Some(Endpoint { host: self.host.clone(), facts, words, standing: self.standing.clone() })
    }

    /// What is known of it; `None` where it was not asked or the plan reads what was not kept.
    pub fn known(&self, scans: usize, reads_agent: bool) -> Option<(Endpoint, Known)> {
        let endpoint = match self.endpoint() {
            Some(endpoint) => endpoint,
            None if reads_agent => return None,
            None => Endpoint { host: self.host.clone(), ..Endpoint::unknown(&self.id) },
        };
        let meant = match self.meant.as_ref()? {
            Meant::All => vec![true; scans],
            Meant::Some(meant) if meant.len() == scans => meant.clone(),
            Meant::Some(_) => return None,
        };
        Some((endpoint, Known::Then(meant)))
    }
}
