//! What the server remembers: agents, actions, commands, parts of answers, revocations, and the audit.
//!
//! A store believes nothing and decides nothing. Everything that comes in numbers is written in batches, one
//! transaction each.

#[cfg(test)]
mod contract;
#[cfg(test)]
mod forward;
pub mod page;
pub mod postgres;
mod private;
pub mod rows;
pub mod sqlite;
pub mod watched;

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::StoredPart;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::openpgp::Fingerprint;
use canvass_protocol::signed::Signed;
use jiff::Timestamp;
use std::net::IpAddr;
use uuid::Uuid;

use self::page::{Listed, ListedCommand, Mark, Wanted};
use crate::scheduler::State;

/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("the store's disk is full: {0}")]
    Full(String),
    /// The fault of what was written, and not of the store: it takes everything else.
    #[error("the store does not take what it was given: {0}")]
    Refused(String),
    #[error("the store holds what it cannot: {0}")]
    Corrupt(String),
    #[error("an action with the id {0} is there already, and it is another one")]
    Taken(Uuid),
}

pub type Result<T> = std::result::Result<T, StoreError>;

/// An agent of the fleet as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    pub id: String,
    pub name: String,
    /// An administrator's signed word that it belongs to the fleet.
    pub approval: Option<Envelope>,
    pub heartbeat: Signed,
    pub heard_at: Timestamp,
    pub public_ip: Option<IpAddr>,
}

/// An action as the store knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    pub hash: ActionHash,
    pub id: Uuid,
    pub envelope: Envelope,
    /// The author's words.
    pub statement: String,
    /// Fingerprint of who posted it.
    pub investigator: String,
    /// Fingerprints of those who signed it.
    pub signers: Vec<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub answers_until: Timestamp,
    pub withdrawal: Option<Envelope>,
}

/// One agent's part in a run of an action.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Which run of a standing action; 0 for an action that is asked once.
    pub run: u64,
    pub agent: String,
    pub state: State,
    pub sent_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub totals: Totals,
    pub reason: Option<String>,
    /// The code of that reason.
    pub code: Option<String>,
    /// The limits that cut its scans short.
    pub cut: Option<String>,
    /// Signatures that the agent judged it with, for its last word.
    pub judged: usize,
}

/// What an answer amounts to, by its final record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub rows: u64,
    pub bytes: u64,
    pub troubles: u64,
}

/// Commands of one action in one state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    pub action: ActionHash,
    pub state: State,
    pub count: u64,
    pub rows: u64,
}

/// A part of an answer to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPart {
    pub action: ActionHash,
    pub run: u64,
    pub agent: String,
    pub statement: String,
    pub signature: String,
    pub body: Vec<u8>,
    /// Bytes that all parts of its command may have together.
    pub room: u64,
    /// Set for the last part of an answer.
    pub conclusion: Option<Conclusion>,
}

impl NewPart {
    /// What it counts of its command's room.
    pub fn bytes(&self) -> u64 {
        (self.statement.len() + self.signature.len() + self.body.len()) as u64
    }
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    Stored,
    /// It is there already.
    Known,
    /// Its agent was not asked, has ended its answer, or has said more than there is room for.
    Dropped,
}

/// An agent's last word on an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    pub state: State,
    pub totals: Totals,
    pub reason: Option<String>,
    pub code: Option<String>,
    /// The limits that cut its scans short.
    pub cut: Option<String>,
    /// Signatures that the action had when the agent judged it.
    pub judged: usize,
}

/// A revocation that somebody handed in and this server has verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The key that is revoked: the certificate's own, or a subkey of it.
    pub key: Fingerprint,
    pub certificate: Fingerprint,
    pub armor: String,
    /// Fingerprint of who posted it.
    pub posted_by: String,
    pub at: Timestamp,
}

/// One line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audit {
    pub at: Timestamp,
    pub who: String,
    pub what: String,
    pub action: Option<ActionHash>,
    pub detail: String,
}

/// Bytes of parts read at once, above which no more are added: small ones travel by the hundred, large ones one by one.
const PARTS_BYTES_MAX: i64 = 4 << 20;

/// Whatever remembers.
#[async_trait]
pub trait Store: Send + Sync {
    /// Takes agents into the fleet. Of those that are in it only an approval is new, where there is one.
    async fn admit(&self, agents: &[Agent]) -> Result<()>;

    /// Takes an agent out of the fleet; false where there is none with that id.
    async fn remove(&self, agent: &str) -> Result<bool>;

    /// Writes down what is new of agents of the fleet; others are passed over.
    async fn hear(&self, agents: &[Agent]) -> Result<()>;

    /// One agent.
    async fn agent(&self, id: &str) -> Result<Option<Agent>>;

    /// All agents, in order of name and id.
    async fn agents(&self) -> Result<Vec<Agent>>;

    /// Writes an action and its commands, in one transaction; `false` where it is there already, with the commands that it had
    /// then. No agent is named twice.
    async fn post(&self, action: &Action, agents: &[String]) -> Result<bool>;

    /// Adds commands for agents that have none. Commands are given out, ended and opened again for the first run alone: no
    /// server brings a standing action yet.
    async fn ask(&self, hash: ActionHash, agents: &[String]) -> Result<()>;

    /// One action, by its id.
    async fn action(&self, id: Uuid) -> Result<Option<Action>>;

    /// An action as it travels, by its hash.
    async fn envelope(&self, hash: ActionHash) -> Result<Option<Envelope>>;

    /// Actions that are wanted, the newest first, behind a place among them; at most so many, and fewer where their statements
    /// are long, but never none where there are some. What is added meanwhile stands
    /// before that place, so whoever goes on from the last one meets each that was there once.
    async fn list_actions(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<Listed>>;

    /// How many commands of these actions are in which state, and how many rows they have.
    async fn tallies(&self, hashes: &[ActionHash]) -> Result<Vec<Tally>>;

    /// Commands of actions that are wanted, those of the newest action first and in order of agent, behind a place among them;
    /// at most so many.
    async fn list_commands(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<ListedCommand>>;

    /// Actions that may still be brought to somebody or answered, for a scheduler that starts.
    async fn open_actions(&self) -> Result<Vec<Action>>;

    /// All commands of an action, in order of run and agent.
    async fn commands(&self, hash: ActionHash) -> Result<Vec<Command>>;

    /// Notes that commands were given to the relay.
    async fn sent(&self, hash: ActionHash, agents: &[String], at: Timestamp) -> Result<()>;

    /// Ends commands that are still open.
    async fn settle(&self, hash: ActionHash, agents: &[String], state: State, at: Timestamp) -> Result<()>;

    /// Puts an envelope with more signatures in the place of the one that is there; false where that is not `before`.
    async fn cosign(&self, before: &Envelope, after: &Envelope, signers: &[String]) -> Result<bool>;

    /// Opens commands again that agents refused.
    async fn reopen(&self, hash: ActionHash, agents: &[String]) -> Result<()>;

    /// Notes the signed withdrawal of an action in the place of the one that is there; false where that is not `before`.
    async fn withdraw(&self, hash: ActionHash, before: Option<&Envelope>, withdrawal: &Envelope) -> Result<bool>;

    /// Notes that nothing more is done for an action.
    async fn close(&self, hash: ActionHash) -> Result<()>;

    /// Stores parts that are not there yet, and ends the commands that they conclude: an agent's own word counts however
    /// late it comes, and the first that is no refusal for good. Says of each part in its place what became of it: what
    /// belongs to no command is dropped, and what comes behind that last word, or finds no room.
    async fn take(&self, parts: &[NewPart], at: Timestamp) -> Result<Vec<Taken>>;

    /// Parts of an action behind a position, in order, at most so many; fewer where they have many bytes, but never none
    /// where there are some.
    async fn parts(&self, hash: ActionHash, after: i64, count: u32) -> Result<Vec<StoredPart>>;

    /// Stores a revocation; false where there is one of the same key.
    async fn revoke(&self, revocation: &Revocation) -> Result<bool>;

    /// Revocations in the order in which they came, at most so many.
    async fn revocations(&self, count: usize) -> Result<Vec<Revocation>>;

    /// Adds to the audit.
    async fn note(&self, line: &Audit) -> Result<()>;

    /// Lines of the audit before a position, newest first, with the position of each; at most so many.
    async fn audit(&self, before: i64, count: u32) -> Result<Vec<(i64, Audit)>>;

    /// Forgets actions that ended before, with their commands and answers; returns how many.
    async fn purge(&self, before: Timestamp) -> Result<u64>;
}
