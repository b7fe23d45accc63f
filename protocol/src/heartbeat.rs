//! An agent's signed word that it lives, and what it is.

use ed25519_dalek::{Signer as _, SigningKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::{agent_id, verify};
use crate::limits;
use crate::strict::{self, Kind, StrictError};
use crate::target::Facts;

/// What an agent says of itself, from time to time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heartbeat {
    canvass: Kind,
    pub fleet: String,
    /// The agent's public key, hexadecimal.
    pub key: String,
    pub at: Timestamp,
    pub facts: Facts,
    /// SHA-256 over policy, keyring and revocations, so that a desk can list agents that trust a dead key.
    pub policy_sha256: String,
}

/// A heartbeat as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedHeartbeat {
    /// The signed bytes: strict JSON of a [`Heartbeat`].
    pub statement: String,
    /// Ed25519 signature over them, hexadecimal.
    pub signature: String,
}

/// Why a heartbeat is not believed.
#[derive(Debug, thiserror::Error)]
pub enum HeartbeatError {
    #[error(transparent)]
    Format(#[from] StrictError),
    #[error("the heartbeat has {bytes} bytes; at most {max} are allowed", max = limits::HEARTBEAT_BYTES_MAX)]
    TooLong { bytes: usize },
    #[error("the heartbeat's signature does not verify")]
    Signature,
    #[error("the heartbeat's id is not the hash of its key")]
    Id,
    #[error("the heartbeat is of fleet `{0}`")]
    Fleet(String),
}

impl Heartbeat {
    pub fn sign(
        key: &SigningKey,
        fleet: String,
        facts: Facts,
        policy_sha256: String,
        at: Timestamp,
    ) -> SignedHeartbeat {
        let public = hex::encode(key.verifying_key().as_bytes());
        let heartbeat = Heartbeat { canvass: Kind::Heartbeat, fleet, key: public, at, facts, policy_sha256 };
        let bytes = strict::to_bytes(&heartbeat);
        let signature = hex::encode(key.sign(&bytes).to_bytes());
        SignedHeartbeat { statement: String::from_utf8(bytes).expect("JSON is UTF-8"), signature }
    }
}

impl SignedHeartbeat {
    /// Verifies signature, fleet and identity.
    pub fn verify(&self, fleet: &str) -> Result<Heartbeat, HeartbeatError> {
        if self.statement.len() > limits::HEARTBEAT_BYTES_MAX {
            return Err(HeartbeatError::TooLong { bytes: self.statement.len() });
        }
        let heartbeat: Heartbeat = strict::from_bytes(Kind::Heartbeat, self.statement.as_bytes())?;
        verify(&heartbeat.key, self.statement.as_bytes(), &self.signature).ok_or(HeartbeatError::Signature)?;
        if heartbeat.fleet != fleet {
            return Err(HeartbeatError::Fleet(heartbeat.fleet));
        }
        if agent_id(&heartbeat.key).as_deref() != Some(heartbeat.facts.id.as_str()) {
            return Err(HeartbeatError::Id);
        }
        Ok(heartbeat)
    }
}
