//! What comes back from an endpoint: signed frames of rows, and one signed final record.
//!
//! Nobody but the agent can write an answer: each part is a [`Statement`] signed with the agent's Ed25519 key, and the
//! final record signs the hash of all frames before it. Rows without a final record are cut short.

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::action::ActionHash;
use crate::limits::{self, Cut, Limits};
use crate::strict::{self, Kind, StrictError};
use crate::target::Facts;

/// One part of an answer as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The signed bytes: strict JSON of a [`Statement`].
    pub statement: String,
    /// Ed25519 signature over the statement's bytes, hexadecimal.
    pub signature: String,
    /// A frame's Arrow IPC bytes, whose hash the statement holds; empty for a final record.
    pub body: Vec<u8>,
}

/// What an agent signs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    canvass: Kind,
    pub fleet: String,
    pub action: ActionHash,
    /// The agent's public key, hexadecimal; its hash is the agent's id.
    pub key: String,
    /// Drawn anew for each run, 32 hexadecimal digits.
    pub run: String,
    pub says: Says,
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
}

/// The last word of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Final {
    pub outcome: Outcome,
    /// Frames of the whole run.
    pub frames: u64,
    /// SHA-256 over the frames' hashes in sequence, hexadecimal.
    pub frames_sha256: String,
    /// One record a scan of the action, in its order; empty unless the outcome is answered.
    pub scans: Vec<ScanRecord>,
    /// The limits in force after the agent's policy.
    pub limits: Limits,
    /// The facts that the target was judged on; withheld in a refusal.
    pub facts: Option<Facts>,
    /// The agent's clock.
    pub at: Timestamp,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Answered,
    /// The agent could not run the scan; says why.
    Failed(String),
    /// The guard said no; says what is missing and nothing about the endpoint.
    Refused(String),
    /// The agent had begun this action before it was stopped, and does not begin twice.
    Interrupted,
}

/// What one scan did beside its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
}

/// A thing that went wrong without spoiling the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trouble {
    /// What it happened to: a path, a pid; may be absent.
    pub subject: Option<String>,
    pub reason: String,
}

impl ScanRecord {
    /// Counts a trouble, and lists it while there is room.
    pub fn trouble(&mut self, subject: Option<&str>, reason: impl Into<String>) {
        self.troubles_count += 1;
        if self.troubles.len() < limits::TROUBLES_MAX {
            let bound = |text: &str| {
                let end = text.floor_char_boundary(limits::TROUBLE_TEXT_BYTES_MAX);
                text[..end].to_owned()
            };
            self.troubles.push(Trouble { subject: subject.map(bound), reason: bound(&reason.into()) });
        }
    }
}

/// Writes the parts of one run, keeping sequence and hashes.
pub struct Writer<'a> {
    key: &'a SigningKey,
    fleet: String,
    action: ActionHash,
    run: String,
    sequence: u64,
    hashes: Sha256,
}

impl<'a> Writer<'a> {
    /// Begins a run; `run` is a fresh random nonce of 32 hexadecimal digits.
    pub fn new(key: &'a SigningKey, fleet: String, action: ActionHash, run: String) -> Writer<'a> {
        Writer { key, fleet, action, run, sequence: 0, hashes: Sha256::new() }
    }

    /// Signs one frame of a scan's rows.
    pub fn frame(&mut self, scan: u32, rows: u64, body: Vec<u8>) -> Part {
        let hash = Sha256::digest(&body);
        self.hashes.update(hash);
        let frame = Frame { scan, sequence: self.sequence, rows, sha256: hex::encode(hash) };
        self.sequence += 1;
        self.sign(Says::Frame(frame), body)
    }

    /// Signs the final record and ends the run.
    pub fn finish(
        self,
        outcome: Outcome,
        scans: Vec<ScanRecord>,
        limits: Limits,
        facts: Option<Facts>,
        at: Timestamp,
    ) -> Part {
        let frames_sha256 = hex::encode(self.hashes.clone().finalize());
        let last = Final { outcome, frames: self.sequence, frames_sha256, scans, limits, facts, at };
        self.sign(Says::Final(Box::new(last)), Vec::new())
    }

    fn sign(&self, says: Says, body: Vec<u8>) -> Part {
        let statement = Statement {
            canvass: Kind::Answer,
            fleet: self.fleet.clone(),
            action: self.action,
            key: hex::encode(self.key.verifying_key().as_bytes()),
            run: self.run.clone(),
            says,
        };
        let bytes = strict::to_bytes(&statement);
        let signature = hex::encode(self.key.sign(&bytes).to_bytes());
        Part { statement: String::from_utf8(bytes).expect("JSON is UTF-8"), signature, body }
    }
}

/// Why a part of an answer is not believed.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error(transparent)]
    Format(#[from] StrictError),
    #[error("the agent's signature does not verify")]
    Signature,
    #[error("the part is of another {0}")]
    Other(&'static str),
    #[error("the frame's bytes are not the ones that were signed")]
    Body,
    #[error("the frame has {bytes} bytes; at most {max} are allowed", max = limits::FRAME_BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("frames are missing, doubled or out of order")]
    Sequence,
    #[error("a part follows the final record")]
    AfterFinal,
}

/// Reads and verifies the parts of one run of one agent, in order.
pub struct Reader {
    fleet: String,
    action: ActionHash,
    agent: String,
    run: Option<String>,
    sequence: u64,
    hashes: Sha256,
    finished: bool,
}

impl Reader {
    /// Expects the answer of the agent with this id to this action.
    pub fn new(fleet: String, action: ActionHash, agent: String) -> Reader {
        Reader { fleet, action, agent, run: None, sequence: 0, hashes: Sha256::new(), finished: false }
    }

    /// Whether the final record was read.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Verifies a part, then parses it.
    pub fn read(&mut self, part: &Part) -> Result<Says, AnswerError> {
        if self.finished {
            return Err(AnswerError::AfterFinal);
        }
        if part.body.len() > limits::FRAME_BYTES_MAX {
            return Err(AnswerError::TooLong { bytes: part.body.len() });
        }
        let statement: Statement = strict::from_bytes(Kind::Answer, part.statement.as_bytes())?;
        verify(&statement.key, part.statement.as_bytes(), &part.signature).ok_or(AnswerError::Signature)?;
        self.check_place(&statement)?;
        match &statement.says {
            Says::Frame(frame) => {
                let hash = Sha256::digest(&part.body);
                if hex::encode(hash) != frame.sha256 {
                    return Err(AnswerError::Body);
                }
                if frame.sequence != self.sequence {
                    return Err(AnswerError::Sequence);
                }
                self.sequence += 1;
                self.hashes.update(hash);
            }
            Says::Final(last) => {
                let hashes = hex::encode(self.hashes.clone().finalize());
                if last.frames != self.sequence || last.frames_sha256 != hashes {
                    return Err(AnswerError::Sequence);
                }
                self.finished = true;
            }
        }
        Ok(statement.says)
    }

    fn check_place(&mut self, statement: &Statement) -> Result<(), AnswerError> {
        if statement.fleet != self.fleet {
            return Err(AnswerError::Other("fleet"));
        }
        if statement.action != self.action {
            return Err(AnswerError::Other("action"));
        }
        if agent_id(&statement.key).as_deref() != Some(self.agent.as_str()) {
            return Err(AnswerError::Other("agent"));
        }
        match &self.run {
            Some(run) if *run != statement.run => Err(AnswerError::Other("run")),
            Some(_) => Ok(()),
            None => {
                self.run = Some(statement.run.clone());
                Ok(())
            }
        }
    }
}

/// An agent's id: the SHA-256 of its public key; both hexadecimal. `None` where the key is not 32 bytes.
pub fn agent_id(key: &str) -> Option<String> {
    let bytes = <[u8; 32]>::try_from(hex::decode(key).ok()?).ok()?;
    Some(hex::encode(Sha256::digest(bytes)))
}

/// Verifies an agent's signature over exact bytes.
pub(crate) fn verify(key: &str, bytes: &[u8], signature: &str) -> Option<()> {
    let key = <[u8; 32]>::try_from(hex::decode(key).ok()?).ok()?;
    let signature = <[u8; 64]>::try_from(hex::decode(signature).ok()?).ok()?;
    let key = VerifyingKey::from_bytes(&key).ok()?;
    key.verify_strict(bytes, &Signature::from_bytes(&signature)).ok()
}
