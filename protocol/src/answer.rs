//! What comes back from an endpoint: signed frames of rows, and one signed final record.
//!
//! Nobody but the agent can write an answer: each part is a [`Statement`] signed with the agent's Ed25519 key, and the
//! final record signs the hash of all frames before it. Rows without a final record are cut short.

mod counts;
mod reader;
mod summary;
mod writer;

use ed25519_dalek::{Signature, VerifyingKey};
use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::action::ActionHash;
use crate::limits::{self, Cut, Limits};
use crate::members::Members;
use crate::reason::{Code, Reason};
use crate::seal::{Seal, Sealed};
use crate::strict::{self, Kind, StrictError};
use crate::target::Facts;

pub use counts::Counts;
pub use reader::{AnswerError, Opened, Reader};
pub use summary::Summary;
pub use writer::Writer;

/// One part of an answer as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The signed bytes: strict JSON of a [`Statement`].
    pub statement: String,
    /// Ed25519 signature over the statement's bytes, hexadecimal.
    pub signature: String,
    /// A frame's Arrow IPC bytes, whose hash the statement holds; empty for a final record that carries none.
    pub body: Vec<u8>,
}

impl Part {
    /// Whether it is a final record, as its statement says; whether that is to be believed, [`Reader`] says.
    pub fn is_last(&self) -> bool {
        #[derive(Deserialize)]
        struct Saying {
            says: Which,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Which {
            Frame(IgnoredAny),
            Final(IgnoredAny),
        }
        serde_json::from_str(&self.statement).is_ok_and(|Saying { says }| matches!(says, Which::Final(_)))
    }
}

/// What an agent signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    canvass: Kind,
    pub fleet: String,
    pub action: ActionHash,
    /// Which run of a standing action; 0 for an action that is asked once.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run: u64,
    /// The agent's public key, hexadecimal; its hash is the agent's id.
    pub key: String,
    /// Drawn anew for each run, 32 hexadecimal digits.
    pub nonce: String,
    pub says: Says,
}

impl Statement {
    /// Reads a statement without believing it: [`Reader`] verifies.
    pub fn parse(bytes: &[u8]) -> Result<Statement, StrictError> {
        strict::from_bytes(Kind::Answer, bytes)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(run: &u64) -> bool {
    *run == 0
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Says {
    Frame(Frame),
    Final(Box<Final>),
}

/// A bounded piece of one scan's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// Index of the scan in the action.
    pub scan: u32,
    /// Counts the frames of the whole run from 0.
    pub sequence: u64,
    pub rows: u64,
    /// SHA-256 of the body as carried, hexadecimal.
    pub sha256: String,
    /// Where the body is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<Seal>,
}

/// The last word of a run. A later agent may say more in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Final {
    pub outcome: Outcome,
    /// Frames of the whole run.
    pub frames: u64,
    /// SHA-256 over the frames' hashes in sequence, hexadecimal.
    pub frames_sha256: String,
    /// The run's last frame, where the part with this record carries it: a small answer is one part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Frame>,
    /// One record a scan of the action, in its order; empty unless the outcome is answered.
    pub scans: Vec<ScanRecord>,
    /// The limits in force after the agent's policy.
    pub limits: Limits,
    /// The facts that the target was judged on; withheld in a refusal.
    pub facts: Option<Facts>,
    /// The agent's clock.
    pub at: Timestamp,
    /// What of this record only some may read: troubles, withheld above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    #[serde(flatten)]
    pub more: Members,
}

impl Final {
    /// Brings texts and counts within the limits, whoever wrote them.
    pub fn bound(&mut self) {
        if let Outcome::Failed(reason) | Outcome::Refused(reason) = &mut self.outcome {
            reason.bound();
        }
        self.scans.iter_mut().for_each(ScanRecord::bound);
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    /// The agent could not run the scan; says why.
    Failed(Reason),
    /// The guard said no.
    Refused(Reason),
    /// The agent had begun this action before it was stopped, and does not begin twice.
    Interrupted,
}

impl Outcome {
    pub fn failed(code: Code, reason: impl Into<String>) -> Outcome {
        Outcome::Failed(Reason::new(code, reason))
    }

    pub fn refused(code: Code, reason: impl Into<String>) -> Outcome {
        Outcome::Refused(Reason::new(code, reason))
    }

    /// Whether the agent never began, because nobody was waiting for it any more: that is no refusal of the agent's own.
    pub fn is_withdrawn(&self) -> bool {
        matches!(self, Outcome::Refused(reason) if reason.code == Code::Withdrawn)
    }
}

/// What one scan did beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScanRecord {
    /// False where the scan's own target is not this agent.
    pub asked: bool,
    pub rows: u64,
    /// Candidates looked at: files met, processes listed …
    pub examined: u64,
    /// Bytes of frames.
    pub bytes: u64,
    /// The limit that cut the scan short.
    pub cut: Option<Cut>,
    /// The first [`limits::TROUBLES_MAX`] of them.
    pub troubles: Vec<Trouble>,
    /// All of them.
    pub troubles_count: u64,
    /// How many values a dependent scan was narrowed to; absent where it was narrowed to none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<u64>,
    /// Why a dependent scan did not run: the scan before it found nothing, or too much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub never_run: Option<Reason>,
    #[serde(flatten)]
    pub more: Members,
}

/// A thing that went wrong without spoiling the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Trouble {
    /// What it happened to: a path, a pid; may be absent.
    pub subject: Option<String>,
    pub reason: String,
    #[serde(flatten)]
    pub more: Members,
}

impl ScanRecord {
    /// Counts a trouble, and lists it while there is room.
    pub fn trouble(&mut self, subject: Option<&str>, reason: impl Into<String>) {
        self.troubles_count += 1;
        if self.troubles.len() < limits::TROUBLES_MAX {
            let mut trouble = Trouble::new(subject, reason);
            trouble.bound();
            self.troubles.push(trouble);
        }
    }

    /// Brings a record that came from elsewhere (a scan's own process, another agent) within the limits.
    pub fn bound(&mut self) {
        self.troubles.truncate(limits::TROUBLES_MAX);
        self.troubles.iter_mut().for_each(Trouble::bound);
        self.troubles_count = self.troubles_count.max(self.troubles.len() as u64).min(limits::COUNT_MAX);
        self.examined = self.examined.min(limits::COUNT_MAX);
        self.rows = self.rows.min(limits::COUNT_MAX);
        self.bytes = self.bytes.min(limits::COUNT_MAX);
        self.keys = self.keys.map(|keys| keys.min(limits::COUNT_MAX));
        if let Some(reason) = &mut self.never_run {
            reason.bound();
        }
    }
}

impl Trouble {
    pub fn new(subject: Option<&str>, reason: impl Into<String>) -> Trouble {
        Trouble { subject: subject.map(str::to_owned), reason: reason.into(), more: Members::default() }
    }

    fn bound(&mut self) {
        if let Some(subject) = &mut self.subject {
            bound_text(subject);
        }
        bound_text(&mut self.reason);
    }
}

pub(crate) fn bound_text(text: &mut String) {
    text.truncate(text.floor_char_boundary(limits::TROUBLE_TEXT_BYTES_MAX));
}

/// An agent's id: the SHA-256 of its public key; both hexadecimal. `None` where the key is not 32 bytes.
pub fn agent_id(key: &str) -> Option<String> {
    let bytes = <[u8; 32]>::try_from(hex::decode(key).ok()?).ok()?;
    Some(hex::encode(Sha256::digest(bytes)))
}

/// Whether a text is a signature in the one way that it is written: 128 hexadecimal digits, none of them a capital. Another
/// way of writing it would be another part to whoever keeps them.
pub fn is_signature(text: &str) -> bool {
    text.len() == 128 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Verifies an agent's signature over exact bytes.
pub(crate) fn verify(key: &str, bytes: &[u8], signature: &str) -> Option<()> {
    let key = <[u8; 32]>::try_from(hex::decode(key).ok()?).ok()?;
    let signature = <[u8; 64]>::try_from(hex::decode(signature).ok()?).ok()?;
    let key = VerifyingKey::from_bytes(&key).ok()?;
    key.verify_strict(bytes, &Signature::from_bytes(&signature)).ok()
}
