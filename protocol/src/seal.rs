//! A place for answers that only some may read: this version keeps it and opens nothing.

use serde::{Deserialize, Serialize};

use crate::members::Members;

/// Says that bytes are encrypted, how, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// The cipher of the bytes, by its name.
    pub algorithm: String,
    /// The key of the bytes, once for each that may read them; left out where an earlier frame of the run has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<WrappedKey>,
    #[serde(flatten)]
    pub more: Members,
}

/// The key of a run, encrypted for one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Fingerprint of the certificate.
    pub recipient: String,
    /// The encrypted key: an OpenPGP packet, base64.
    #[serde(with = "crate::api::base64_text")]
    pub key: Vec<u8>,
    #[serde(flatten)]
    pub more: Members,
}

/// Encrypted text beside what says how to read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    pub seal: Seal,
    /// Base64.
    #[serde(with = "crate::api::base64_text")]
    pub bytes: Vec<u8>,
    #[serde(flatten)]
    pub more: Members,
}
