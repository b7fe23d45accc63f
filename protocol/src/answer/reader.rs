//! The desk's side of an answer: believes what the agent signed, in order, and nothing else.

use sha2::{Digest, Sha256};

use super::{Final, Frame, Outcome, Part, Says, Statement, agent_id, is_signature, verify};
use crate::action::ActionHash;
use crate::limits;
use crate::strict::StrictError;
use crate::target::FactsError;

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
    #[error(transparent)]
    Facts(#[from] FactsError),
    #[error("it has rows of scan {scan}, which was not asked")]
    NoScan { scan: u32 },
    #[error("scan {scan} gives more than the action allows")]
    TooMuch { scan: u32 },
    #[error("its final record is of {said} scans, and {asked} were asked")]
    Scans { said: usize, asked: usize },
    #[error("its final record counts {said} rows of scan {scan}, and {came} came")]
    Totals { scan: usize, said: u64, came: u64 },
}

/// A part whose signature was verified, and nothing else.
#[derive(Debug)]
pub struct Opened {
    pub statement: Statement,
    body_bytes: usize,
    body_sha256: [u8; 32],
}

impl Opened {
    /// The length of the part's body.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }
}

impl Part {
    /// Verifies the signature, which takes no knowledge of the parts before it and so can be done for many at once.
    ///
    /// The statement is read before it is verified, for the key it is to be verified with, and bounded before that.
    pub fn open(&self) -> Result<Opened, AnswerError> {
        if self.body.len() > limits::FRAME_BYTES_MAX {
            return Err(AnswerError::TooLong { bytes: self.body.len() });
        }
        if self.statement.len() > limits::STATEMENT_BYTES_MAX {
            return Err(AnswerError::StatementTooLong { bytes: self.statement.len() });
        }
        let statement = Statement::parse(self.statement.as_bytes())?;
        if !is_signature(&self.signature) {
            return Err(AnswerError::Signature);
        }
        verify(&statement.key, self.statement.as_bytes(), &self.signature).ok_or(AnswerError::Signature)?;
        let body_sha256 = Sha256::digest(&self.body).into();
        Ok(Opened { statement, body_bytes: self.body.len(), body_sha256 })
    }
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
    /// After a crash an agent says `interrupted` in a run of its own, which ends the answer of the run before it; so it says
    /// `failed` where it lost what it had still to hand over.
    pub fn read(&mut self, part: &Part) -> Result<Says, AnswerError> {
        if self.finished {
            return Err(AnswerError::AfterFinal);
        }
        self.accept(part.open()?)
    }

    /// Says what a part holds whose signature was verified, where it is the next one.
    pub fn accept(&mut self, opened: Opened) -> Result<Says, AnswerError> {
        if self.finished {
            return Err(AnswerError::AfterFinal);
        }
        let Opened { statement, body_bytes, body_sha256 } = opened;
        self.check_place(&statement)?;
        if let Says::Final(last) = &statement.says
            && let Some(facts) = &last.facts
        {
            facts.check()?;
        }
        match &statement.says {
            Says::Frame(frame) => self.check_frame(frame, body_sha256)?,
            Says::Final(last) if last.last.is_none() && body_bytes > 0 => return Err(AnswerError::Body),
            Says::Final(last) if last.facts.as_ref().is_some_and(|facts| facts.id != self.agent) => {
                return Err(AnswerError::Other("agent"));
            }
            Says::Final(last) if stands_alone(last) => self.finished = true,
            Says::Final(last) => {
                if let Some(frame) = &last.last {
                    self.check_frame(frame, body_sha256)?;
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

    /// Whether a part is one of those that were read before, sent once more.
    pub fn has_read(&self, opened: &Opened) -> bool {
        let same_run = self.nonce.as_ref() == Some(&opened.statement.nonce);
        same_run && matches!(&opened.statement.says, Says::Frame(frame) if frame.sequence < self.sequence)
    }

    fn check_frame(&mut self, frame: &Frame, hash: [u8; 32]) -> Result<(), AnswerError> {
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
            Some(_) if matches!(&statement.says, Says::Final(last) if stands_alone(last)) => Ok(()),
            Some(nonce) if *nonce != statement.nonce => Err(AnswerError::Other("run")),
            Some(_) => Ok(()),
            None => {
                self.nonce = Some(statement.nonce.clone());
                Ok(())
            }
        }
    }
}

/// Whether a final record stands alone: it is of a run that began nothing, after one that a crash or a full disk ended.
fn stands_alone(last: &Final) -> bool {
    matches!(last.outcome, Outcome::Interrupted | Outcome::Failed(_)) && last.frames == 0 && last.last.is_none()
}
