//! The desk's side of an answer: believes what the agent signed, in order, and nothing else.

use sha2::{Digest, Sha256};

use super::{Final, Frame, Outcome, Part, Says, Statement, agent_id, verify};
use crate::action::ActionHash;
use crate::limits;
use crate::strict::{self, Kind, StrictError};

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
    #[error("the statement has {bytes} bytes; at most {max} are allowed", max = limits::STATEMENT_BYTES_MAX)]
    StatementTooLong { bytes: usize },
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
    run: u64,
    nonce: Option<String>,
    sequence: u64,
    hashes: Sha256,
    finished: bool,
}

impl Reader {
    /// Expects the answer of the agent with this id to this action, which is asked once.
    pub fn new(fleet: String, action: ActionHash, agent: String) -> Reader {
        Reader { fleet, action, agent, run: 0, nonce: None, sequence: 0, hashes: Sha256::new(), finished: false }
    }

    /// Expects it for this run of a standing action.
    pub fn of_run(self, run: u64) -> Reader {
        Reader { run, ..self }
    }

    /// Whether the final record was read.
    pub fn finished(&self) -> bool {
        self.finished
    }

    /// Verifies a part and says what it holds.
    ///
    /// The statement is read before it is verified, for the key it is to be verified with, and bounded before that.
    /// After a crash an agent says `interrupted` in a run of its own, which ends the answer of the run before it.
    pub fn read(&mut self, part: &Part) -> Result<Says, AnswerError> {
        if self.finished {
            return Err(AnswerError::AfterFinal);
        }
        if part.body.len() > limits::FRAME_BYTES_MAX {
            return Err(AnswerError::TooLong { bytes: part.body.len() });
        }
        if part.statement.len() > limits::STATEMENT_BYTES_MAX {
            return Err(AnswerError::StatementTooLong { bytes: part.statement.len() });
        }
        let statement: Statement = strict::from_bytes(Kind::Answer, part.statement.as_bytes())?;
        verify(&statement.key, part.statement.as_bytes(), &part.signature).ok_or(AnswerError::Signature)?;
        self.check_place(&statement)?;
        match &statement.says {
            Says::Frame(frame) => self.check_frame(frame, &part.body)?,
            Says::Final(last) if last.last.is_none() && !part.body.is_empty() => return Err(AnswerError::Body),
            Says::Final(last) if last.facts.as_ref().is_some_and(|facts| facts.id != self.agent) => {
                return Err(AnswerError::Other("agent"));
            }
            Says::Final(last) if is_interruption(last) => self.finished = true,
            Says::Final(last) => {
                if let Some(frame) = &last.last {
                    self.check_frame(frame, &part.body)?;
                }
                let hashes = hex::encode(self.hashes.clone().finalize());
                if last.frames != self.sequence || last.frames_sha256 != hashes {
                    return Err(AnswerError::Sequence);
                }
                self.finished = true;
            }
        }
        Ok(statement.says)
    }

    fn check_frame(&mut self, frame: &Frame, body: &[u8]) -> Result<(), AnswerError> {
        let hash = Sha256::digest(body);
        if hex::encode(hash) != frame.sha256 {
            return Err(AnswerError::Body);
        }
        if frame.sequence != self.sequence {
            return Err(AnswerError::Sequence);
        }
        self.sequence += 1;
        self.hashes.update(hash);
        Ok(())
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
        if statement.run != self.run {
            return Err(AnswerError::Other("run"));
        }
        match &self.nonce {
            Some(_) if matches!(&statement.says, Says::Final(last) if is_interruption(last)) => Ok(()),
            Some(nonce) if *nonce != statement.nonce => Err(AnswerError::Other("run")),
            Some(_) => Ok(()),
            None => {
                self.nonce = Some(statement.nonce.clone());
                Ok(())
            }
        }
    }
}

/// Whether a final record stands alone: it is of a run that began nothing, after one that a crash ended.
fn is_interruption(last: &Final) -> bool {
    last.outcome == Outcome::Interrupted && last.frames == 0 && last.last.is_none()
}
