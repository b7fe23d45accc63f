//! What travels to an agent: the signed bytes and their signatures.

use serde::{Deserialize, Serialize};

use crate::action::ActionHash;
use crate::limits;

/// A payload, exactly as signed, with detached OpenPGP signatures over it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    /// The signed bytes. They are UTF-8 JSON, so they travel as a JSON string.
    pub payload: String,
    /// ASCII-armored detached signatures.
    pub signatures: Vec<String>,
}

/// Why an envelope is refused before anything in it is read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    #[error("the payload has {bytes} bytes; at most {max} are allowed", max = limits::ACTION_BYTES_MAX)]
    PayloadTooLong { bytes: usize },
    #[error("the envelope has {count} signatures; at most {max} are allowed", max = limits::SIGNATURES_MAX)]
    TooManySignatures { count: usize },
    #[error("a signature has {bytes} bytes; at most {max} are allowed", max = limits::SIGNATURE_BYTES_MAX)]
    SignatureTooLong { bytes: usize },
    #[error("malformed envelope: {0}")]
    Json(String),
}

impl Envelope {
    /// Checks the size bounds; the guard's first step.
    pub fn check_sizes(&self) -> Result<(), EnvelopeError> {
        if self.payload.len() > limits::ACTION_BYTES_MAX {
            return Err(EnvelopeError::PayloadTooLong { bytes: self.payload.len() });
        }
        if self.signatures.len() > limits::SIGNATURES_MAX {
            return Err(EnvelopeError::TooManySignatures { count: self.signatures.len() });
        }
        match self.signatures.iter().map(String::len).max() {
            Some(bytes) if bytes > limits::SIGNATURE_BYTES_MAX => Err(EnvelopeError::SignatureTooLong { bytes }),
            _ => Ok(()),
        }
    }

    /// The hash of the payload's bytes.
    pub fn hash(&self) -> ActionHash {
        ActionHash::of(self.payload.as_bytes())
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        crate::strict::to_bytes(self)
    }

    /// Reads an envelope and checks its bounds.
    pub fn parse(bytes: &[u8]) -> Result<Envelope, EnvelopeError> {
        if bytes.len() > limits::ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::PayloadTooLong { bytes: bytes.len() });
        }
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|error| EnvelopeError::Json(error.to_string()))?;
        envelope.check_sizes()?;
        Ok(envelope)
    }
}
