//! What server and agents say to each other, whatever relay carries it.

use serde::{Deserialize, Serialize};

use crate::action::ActionHash;
use crate::answer::{Part, is_signature};
use crate::envelope::Envelope;
use crate::limits;
use crate::signed::Signed;

/// From the server to one agent: JSON text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToAgent {
    /// What a [`crate::proof::Proof`] has to sign before anything else is said.
    Challenge { nonce: String },
    /// The proof was taken; commands follow.
    Welcome,
    /// An action to guard and run.
    Command(Envelope),
    /// An action that somebody withdrew: an envelope around a [`crate::login::Withdrawal`].
    Withdraw(Envelope),
    /// A revocation, armored, of a certificate that the agent may have in its keyring.
    Revocation(String),
    /// The line ends, because an agent with the same identity has come.
    Replaced,
    /// The whole answer to this action is stored, and the agent may forget it.
    Taken(ActionHash),
}

/// From an agent to its server: a line of JSON, and after it the body of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromAgent {
    Proof(Signed),
    Heartbeat(Signed),
    /// A part of the answer to an action, and how many signatures the action had when the agent judged it.
    Part {
        action: ActionHash,
        judged: usize,
        part: Part,
    },
}

/// A [`FromAgent`] without its body.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Proof(Signed),
    Heartbeat(Signed),
    Part { action: ActionHash, judged: usize, statement: String, signature: String },
}

/// Why a message cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the message has {bytes} bytes; at most {max} are allowed", max = limits::MESSAGE_BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("malformed message: {0}")]
    Malformed(String),
}

impl ToAgent {
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("messages have text keys")
    }

    pub fn parse(text: &str) -> Result<ToAgent, MessageError> {
        check_length(text.len())?;
        let message: ToAgent = serde_json::from_str(text).map_err(|error| malformed(&error))?;
        match &message {
            ToAgent::Command(envelope) | ToAgent::Withdraw(envelope) => {
                envelope.check_sizes().map_err(|error| MessageError::Malformed(error.to_string()))?;
            }
            ToAgent::Revocation(armor) if armor.len() > limits::REVOCATION_BYTES_MAX => {
                let (bytes, max) = (armor.len(), limits::REVOCATION_BYTES_MAX);
                return Err(MessageError::Malformed(format!("a revocation has at most {max} bytes, not {bytes}")));
            }
            _ => {}
        }
        Ok(message)
    }
}

impl FromAgent {
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            FromAgent::Proof(signed) => joined(&Line::Proof(signed.clone()), &[]),
            FromAgent::Heartbeat(signed) => joined(&Line::Heartbeat(signed.clone()), &[]),
            FromAgent::Part { action, judged, part: Part { statement, signature, body } } => {
                let (statement, signature) = (statement.clone(), signature.clone());
                let line = Line::Part { action: *action, judged: *judged, statement, signature };
                joined(&line, body)
            }
        }
    }

    pub fn parse(bytes: &[u8]) -> Result<FromAgent, MessageError> {
        check_length(bytes.len())?;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let (line, body) = (&bytes[..end], bytes.get(end + 1..).unwrap_or_default());
        let line: Line = serde_json::from_slice(line).map_err(|error| malformed(&error))?;
        Ok(match line {
            Line::Part { signature, .. } if !is_signature(&signature) => {
                return Err(MessageError::Malformed("a part's signature is 128 hexadecimal digits".into()));
            }
            Line::Part { action, judged, statement, signature } => {
                let part = Part { statement, signature, body: body.to_vec() };
                FromAgent::Part { action, judged, part }
            }
            _ if !body.is_empty() => return Err(MessageError::Malformed("only a part has a body".into())),
            Line::Proof(signed) => FromAgent::Proof(signed),
            Line::Heartbeat(signed) => FromAgent::Heartbeat(signed),
        })
    }
}

fn joined(line: &Line, body: &[u8]) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(line).expect("messages have text keys");
    bytes.push(b'\n');
    bytes.extend_from_slice(body);
    bytes
}

fn check_length(bytes: usize) -> Result<(), MessageError> {
    if bytes > limits::MESSAGE_BYTES_MAX { Err(MessageError::TooLong { bytes }) } else { Ok(()) }
}

fn malformed(error: &serde_json::Error) -> MessageError {
    MessageError::Malformed(error.to_string())
}
