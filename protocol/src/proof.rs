//! How an agent proves to a server that it holds its key.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};

use crate::answer::agent_id;
use crate::limits;
use crate::signed::{Keyed, Signed, SignedError, public};
use crate::strict::Kind;

/// An agent's signature over a server's challenge.
///
/// It names the server as the agent knows it, so that a server that passes on another's challenge gains nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    canvass: Kind,
    pub fleet: String,
    /// Host and port of the server's address, as the agent was told them.
    pub server: String,
    /// The challenge.
    pub nonce: String,
    /// The agent's public key, hexadecimal.
    pub key: String,
}

impl Keyed for Proof {
    const KIND: Kind = Kind::Agent;
    const BYTES_MAX: usize = limits::PROOF_BYTES_MAX;

    fn key(&self) -> &str {
        &self.key
    }

    fn fleet(&self) -> &str {
        &self.fleet
    }
}

impl Proof {
    pub fn sign(key: &SigningKey, fleet: String, server: String, nonce: String) -> Signed {
        Signed::sign(&Proof { canvass: Kind::Agent, fleet, server, nonce, key: public(key) }, key)
    }

    /// Verifies signature, fleet, server and challenge, and returns the agent's id.
    pub fn open(signed: &Signed, fleet: &str, server: &str, nonce: &str) -> Result<String, SignedError> {
        let proof: Proof = signed.open(fleet)?;
        if proof.server != server {
            return Err(SignedError::Server(proof.server));
        }
        if proof.nonce != nonce {
            return Err(SignedError::Nonce);
        }
        agent_id(&proof.key).ok_or(SignedError::Id)
    }
}
