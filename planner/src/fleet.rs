//! The seam to whatever can be asked: this machine, a folder of fixtures, a server.

use std::sync::Arc;

use async_trait::async_trait;
use canvass_protocol::action::Action;
use canvass_protocol::answer::Part;
use canvass_protocol::api::{ActionSummary, AuditLine, Cosignature, Ending};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::target::{Facts, ServerWords, Status};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::Error;
use crate::past::{Page, PastCommand, PastFilter};

/// One agent as the desk believes it: facts verified with the agent's signature, and the server's words beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// The name shown in the column `host`: the agent's, or `name#id8` for a second claimant.
    pub host: String,
    /// Shared, since the desk holds them in several places for each of many agents.
    pub facts: Arc<Facts>,
    pub words: ServerWords,
    pub standing: Standing,
}

/// What else a desk knows of an agent that is there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Whose signature says that it belongs to the fleet under its name, as this desk has verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certified_by: Option<String>,
    /// The digest of its policy, keyring and revocations, as its heartbeat states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_sha256: Option<String>,
}

impl Standing {
    pub fn is_empty(&self) -> bool {
        *self == Standing::default()
    }
}

impl Endpoint {
    /// An agent of which the desk knows no more than its id.
    pub fn unknown(id: &str) -> Endpoint {
        let name = format!("#{}", id.get(..8).unwrap_or(id));
        let facts = Facts::of(id, name.clone());
        let words = ServerWords { status: Status::Offline, heartbeat_at: Timestamp::UNIX_EPOCH, public_ip: None };
        Endpoint { host: name, facts: facts.into(), words, standing: Standing::default() }
    }
}

/// What a fleet hands over while an action runs. The desk verifies it.
#[derive(Debug)]
pub enum Delivery {
    /// A part of an agent's answer, in order.
    Part { agent: String, part: Part },
    /// The agent will not answer; without its signature that is silence.
    Silence { agent: String, reason: String },
    /// By the server's word the agent is asked beside the others: it came or woke since.
    Joined(Box<Endpoint>),
    /// By the server's word nobody waits for the agent any more.
    Ended { agent: String, ending: Ending },
}

/// Deliveries that wait for the desk; who brings more waits. Each is bounded, and has 8 MiB at most.
pub const DELIVERIES_MAX: usize = 32;

/// Whatever can be asked.
#[async_trait]
pub trait Fleet: Send + Sync {
    /// The name that actions for this fleet carry.
    fn name(&self) -> &str;

    /// Whether what was asked of a fleet of this name is remembered here as this fleet's own.
    fn answers_for(&self, fleet: &str) -> bool {
        fleet == self.name()
    }

    /// All agents known, in order of name.
    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error>;

    /// Carries an envelope to these agents (ids) and hands over what comes back; the channel closes after the last.
    async fn ask(&self, envelope: Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error>;

    /// The agents (ids) that an action was brought to, which was posted before; those that have left the fleet too.
    async fn asked(&self, _: &Action) -> Result<Vec<String>, Error> {
        Err(needs_server())
    }

    /// The name that an agent with these signed facts is shown by, where nobody has kept under which it was.
    fn host_of(&self, facts: &Facts) -> String {
        facts.name.clone()
    }

    /// Hands over what these agents have said of an action that was posted before, and what they will say.
    async fn follow(&self, _: &Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(needs_server())
    }

    /// Withdraws an action: nobody begins it any more, and where it runs it ends.
    async fn withdraw(&self, _: &Envelope) -> Result<(), Error> {
        Err(needs_server())
    }

    /// An action that was posted before, by the start of its id, as somebody signed it whom this desk knows.
    async fn signed(&self, _wanted: &str) -> Result<Envelope, Error> {
        Err(needs_server())
    }

    /// Hands over what these agents have said so far of an action that was posted before; nobody waits for more.
    async fn stored(&self, _: &Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(needs_server())
    }

    /// Adds a signature to an action.
    async fn cosign(&self, _id: Uuid, _signature: &Cosignature) -> Result<(), Error> {
        Err(needs_server())
    }

    /// Agents that wait to be let into the fleet: name and id of each.
    async fn pending(&self) -> Result<Vec<(String, String)>, Error> {
        Err(needs_server())
    }

    /// Whether its agents can be certified: those of a server can.
    fn certifies(&self) -> bool {
        false
    }

    /// Certifies an agent that waits or is in the fleet, which lets it in: with a signature over the fleet, its id and its name.
    async fn approve(&self, _id: &str) -> Result<(), Error> {
        Err(needs_server())
    }

    /// Takes an agent out of the fleet, or refuses one that waits; one that the server does not list is forgotten here.
    async fn remove(&self, _id: &str) -> Result<(), Error> {
        Err(needs_server())
    }

    /// Agents that this desk has seen and the server does not list: the name and id of each.
    async fn missing(&self) -> Result<Vec<(String, String)>, Error> {
        Ok(Vec::new())
    }

    /// The latest lines of the server's audit, newest first, at most so many.
    async fn audit(&self, _count: usize) -> Result<Vec<AuditLine>, Error> {
        Err(needs_server())
    }

    /// What was asked before, the newest first: the page that begins behind `after`, of what the filter wants or more.
    async fn actions(&self, _: &PastFilter, _after: Option<&str>) -> Result<Page<ActionSummary>, Error> {
        Err(needs_server())
    }

    /// What became of it at each agent, that of the newest action first: the page that begins behind `after`, of what the
    /// filter wants or more.
    async fn commands(&self, _: &PastFilter, _after: Option<&str>) -> Result<Page<PastCommand>, Error> {
        Err(needs_server())
    }

    /// Whether agents go on with an action after the prompt has stopped following it.
    fn outlives_us(&self) -> bool;

    /// Withdraws what no agent has started. What runs elsewhere runs on, and is remembered where it was asked; what runs in
    /// this program is stopped. Answers so far are kept.
    async fn stop(&self);
}

fn needs_server() -> Error {
    Error::usage("this needs a server").hint("add `--server URL`")
}
