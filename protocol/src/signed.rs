//! What an agent signs with its own key: exact bytes beside an Ed25519 signature over them.

use ed25519_dalek::{Signer as _, SigningKey};
use serde::{Deserialize, Serialize};

use crate::answer::verify;
use crate::strict::{self, Kind, StrictError};
use crate::target::FactsError;

/// A payload as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signed {
    /// The signed bytes: strict JSON.
    pub statement: String,
    /// Ed25519 signature over them, hexadecimal.
    pub signature: String,
}

/// Why a signed payload is not believed.
#[derive(Debug, thiserror::Error)]
pub enum SignedError {
    #[error(transparent)]
    Format(#[from] StrictError),
    #[error("it has {bytes} bytes; at most {max} are allowed")]
    TooLong { bytes: usize, max: usize },
    #[error("its signature does not verify")]
    Signature,
    #[error("it is of fleet `{0}`")]
    Fleet(String),
    #[error("it is for server `{0}`")]
    Server(String),
    #[error("it answers another challenge")]
    Nonce,
    #[error("its id is not the hash of its key")]
    Id,
    #[error(transparent)]
    Facts(#[from] FactsError),
}

/// A payload that names the key it is signed with.
pub(crate) trait Keyed: Serialize + serde::de::DeserializeOwned {
    const KIND: Kind;
    const BYTES_MAX: usize;

    /// The agent's public key, hexadecimal.
    fn key(&self) -> &str;
    fn fleet(&self) -> &str;
}

impl Signed {
    pub(crate) fn sign<T: Keyed>(payload: &T, key: &SigningKey) -> Signed {
        let bytes = strict::to_bytes(payload);
        let signature = hex::encode(key.sign(&bytes).to_bytes());
        Signed { statement: String::from_utf8(bytes).expect("JSON is UTF-8"), signature }
    }

    /// Reads the payload and believes nothing of it.
    pub(crate) fn read<T: Keyed>(&self) -> Result<T, SignedError> {
        if self.statement.len() > T::BYTES_MAX {
            return Err(SignedError::TooLong { bytes: self.statement.len(), max: T::BYTES_MAX });
        }
        Ok(strict::from_bytes(T::KIND, self.statement.as_bytes())?)
    }

    /// Reads the payload, for the key it is verified with, and verifies it and its fleet.
    pub(crate) fn open<T: Keyed>(&self, fleet: &str) -> Result<T, SignedError> {
        let payload: T = self.read()?;
        verify(payload.key(), self.statement.as_bytes(), &self.signature).ok_or(SignedError::Signature)?;
        if payload.fleet() != fleet {
            return Err(SignedError::Fleet(payload.fleet().to_owned()));
        }
        Ok(payload)
    }
}

/// The public half of a key as payloads name it: hexadecimal.
pub(crate) fn public(key: &SigningKey) -> String {
    hex::encode(key.verifying_key().as_bytes())
}
