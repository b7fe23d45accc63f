//! What desks and agents say to a server's HTTP interface, and what it answers; all of it JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::action::ActionHash;
use crate::answer::Part;
use crate::envelope::Envelope;
use crate::openpgp::Fingerprint;
use crate::signed::Signed;
use crate::target::ServerWords;

/// `GET /v1`: who answers there. Nothing of it is believed that is not checked otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The fleet that everything signed for this server names.
    pub fleet: String,
    pub version: String,
}

/// `POST /v1/sessions`, with an envelope around a [`crate::login::Login`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// For `Authorization: Bearer …`.
    pub token: String,
    pub expires_at: Timestamp,
    pub investigator: Fingerprint,
    pub roles: Vec<Role>,
}

/// What a session may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// See the inventory, and actions and answers of one's own.
    Read,
    /// Send actions.
    Hunt,
    /// See all actions, approve agents.
    Admin,
}

/// `POST /v1/enrolments`: an agent asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrol {
    pub heartbeat: Signed,
    /// What the server's owner handed out, where the server asks for it.
    pub token: Option<String>,
}

/// What an agent is told when it enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    pub admission: Admission,
    pub relay: RelayAddress,
}

/// Whether an agent belongs to the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admission {
    Admitted,
    /// An administrator has to approve it first.
    Pending,
}

/// Where an agent takes its commands from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelayAddress {
    /// A WebSocket of the server itself, by its path.
    Embedded { path: String },
    /// A broker's queue, which `POST /v1/lines` opens for whoever proves its key over this challenge.
    Amqp { nonce: String },
}

/// `POST /v1/lines`: an agent proves its key, where its relay is a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenLine {
    /// The challenge that enrolment gave.
    pub nonce: String,
    /// A [`crate::proof::Proof`] over it.
    pub proof: Signed,
}

/// An agent's line over a broker.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueLine {
    /// The broker's address, with the credentials to use.
    pub url: String,
    /// The queue that commands come from; it ends with the line.
    pub queue: String,
    /// The exchange that answers go to.
    pub exchange: String,
    /// What brings them from there to the server that opened the line.
    pub routing_key: String,
    /// What each message carries as its correlation id: known to the agent, the server and the broker.
    pub line: String,
}

impl std::fmt::Debug for QueueLine {
    /// Without its secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QueueLine").field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// `GET /v1/agents`: everybody admitted, or of these only those of whom there is something new since a mark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inventory {
    pub agents: Vec<Listed>,
    /// What to ask since, the next time.
    #[serde(default)]
    pub mark: Option<String>,
    /// The mark since when these are new; absent where everybody is listed.
    #[serde(default)]
    pub since: Option<String>,
}

/// An agent's own word and the server's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed {
    pub heartbeat: Signed,
    pub words: ServerWords,
    /// An administrator's signed [`crate::login::Approval`] of it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Envelope>,
}

/// `GET /v1/agents/pending`: agents that wait to be let in, in order of id, a page of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PendingPage {
    pub agents: Vec<Listed>,
    /// What `?after=` goes on with; absent where none follow.
    #[serde(default)]
    pub next: Option<String>,
}

/// `POST /v1/agents/{id}/admission`: an administrator lets an agent in, or certifies one that is in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admit {
    /// The agent's own word: an agent that waits at one server may be let in at another.
    pub heartbeat: Signed,
    /// An envelope around a [`crate::login::Approval`].
    pub approval: Envelope,
}

/// `POST /v1/actions`, with a signed envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Posted {
    pub id: Uuid,
    pub hash: ActionHash,
    /// Ids of the agents that the server brings it to.
    pub asked: Vec<String>,
}

/// `POST /v1/actions/{id}/signatures`: one more investigator's signature over an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cosignature {
    /// What was signed; an id is only a name.
    pub hash: ActionHash,
    /// ASCII-armored and detached, as one of an [`crate::envelope::Envelope`].
    pub signature: String,
}

/// `GET /v1/actions`: the newest first, a page of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionsPage {
    pub actions: Vec<ActionSummary>,
    /// What `?after=` goes on with; absent where none follow.
    pub next: Option<String>,
}

/// `GET /v1/commands`: those of the newest action first, a page of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandsPage {
    pub commands: Vec<CommandSummary>,
    /// What `?after=` goes on with; absent where none follow.
    pub next: Option<String>,
}

/// Values of one parameter of an address, with commas between them.
pub const LISTED_VALUES_MAX: usize = 100;

/// `GET /v1/actions/{id}`, and one of `GET /v1/actions`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionSummary {
    pub id: Uuid,
    pub hash: ActionHash,
    pub statement: String,
    /// Fingerprint of who posted it.
    pub investigator: String,
    /// Fingerprints of those who signed it.
    pub signers: Vec<String>,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
    pub withdrawn: bool,
    /// Agents by state; together they are those asked.
    pub tally: BTreeMap<String, u64>,
    /// Rows answered.
    pub rows: u64,
}

/// States of an action, as [`ActionSummary::state`] says them.
pub const ACTION_STATES: [&str; 4] = ["open", "complete", "expired", "withdrawn"];

/// States of a command.
pub const COMMAND_STATES: [&str; 8] =
    ["waiting", "sent", "answered", "failed", "refused", "interrupted", "expired", "cancelled"];

impl ActionSummary {
    /// Where the action stands: open while an agent may still answer, complete where all have, expired where some did not in
    /// time, or withdrawn.
    pub fn state(&self) -> &'static str {
        let any = |states: &[&str]| states.iter().any(|state| self.tally.get(*state).is_some_and(|count| *count > 0));
        let [open, complete, expired, withdrawn] = ACTION_STATES;
        if self.withdrawn {
            withdrawn
        } else if any(&["waiting", "sent"]) {
            open
        } else if any(&["expired"]) {
            expired
        } else {
            complete
        }
    }
}

/// One of `GET /v1/actions/{id}/commands`, or of `GET /v1/commands`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSummary {
    pub action: Uuid,
    /// Which run of a standing action; 0 for an action that is asked once.
    #[serde(default)]
    pub run: u64,
    pub agent: String,
    pub state: String,
    pub sent_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub rows: u64,
    pub bytes: u64,
    pub troubles: u64,
    pub reason: Option<String>,
    /// What kind of reason it is, as [`crate::reason::Code`] spells it.
    #[serde(default)]
    pub code: Option<String>,
    /// The limits that cut its scans short.
    #[serde(default)]
    pub cut: Option<String>,
}

/// What became of `POST /v1/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Whose certificates, or subkeys of theirs, are revoked.
    pub certificates: Vec<Fingerprint>,
    /// Of the fleet's agents, those that say all of these are revoked.
    pub known: u64,
    pub agents: u64,
}

/// One of `GET /v1/audit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its place in the audit, which grows: `?before=` it reads what was earlier.
    pub position: i64,
    pub at: Timestamp,
    /// An investigator's fingerprint, or an agent's id.
    pub who: String,
    pub what: String,
    pub action: Option<ActionHash>,
    pub detail: String,
}

/// One line of `GET /v1/actions/{id}/answers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// An agent is asked beside those that [`Posted`] names: it enrolled or woke since.
    Asked { agent: String },
    /// A part of an agent's answer.
    Part(StoredPart),
    /// A command that ended without an answer, by the server's word.
    Ended { agent: String, state: Ending },
    /// Nothing follows: every agent asked has answered, or its command has ended.
    Complete,
}

/// A part as the server stored it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPart {
    /// Grows with every part; `?after=…` goes on behind it.
    pub position: i64,
    /// Which run of a standing action; 0 for an action that is asked once.
    #[serde(default)]
    pub run: u64,
    pub agent: String,
    pub statement: String,
    pub signature: String,
    /// The frame's bytes, base64.
    #[serde(with = "base64_text")]
    pub body: Vec<u8>,
}

impl From<StoredPart> for Part {
    fn from(stored: StoredPart) -> Part {
        Part { statement: stored.statement, signature: stored.signature, body: stored.body }
    }
}

/// How a command ends without an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    Expired,
    Cancelled,
}

/// What every refusal of the interface says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub error: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

pub(crate) mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
