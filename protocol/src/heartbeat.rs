//! An agent's signed word that it lives, and what it is.

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::answer::agent_id;
use crate::limits;
use crate::signed::{Keyed, Signed, SignedError, public};
use crate::strict::Kind;
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

impl Keyed for Heartbeat {
    const KIND: Kind = Kind::Heartbeat;
    const BYTES_MAX: usize = limits::HEARTBEAT_BYTES_MAX;

    fn key(&self) -> &str {
        &self.key
    }

    fn fleet(&self) -> &str {
        &self.fleet
    }
}

impl Heartbeat {
    pub fn sign(key: &SigningKey, fleet: String, facts: Facts, policy_sha256: String, at: Timestamp) -> Signed {
        let heartbeat = Heartbeat { canvass: Kind::Heartbeat, fleet, key: public(key), at, facts, policy_sha256 };
        Signed::sign(&heartbeat, key)
    }

    /// Reads what was verified before.
    pub fn read(signed: &Signed) -> Result<Heartbeat, SignedError> {
        signed.read()
    }

    /// Verifies signature, fleet and identity, and that the facts are bounded.
    pub fn open(signed: &Signed, fleet: &str) -> Result<Heartbeat, SignedError> {
        let heartbeat: Heartbeat = signed.open(fleet)?;
        if agent_id(&heartbeat.key).as_deref() != Some(heartbeat.facts.id.as_str()) {
            return Err(SignedError::Id);
        }
        heartbeat.facts.check()?;
        Ok(heartbeat)
    }
}
