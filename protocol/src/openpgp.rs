//! Investigators' signatures: detached OpenPGP over the exact bytes of a payload.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// An OpenPGP certificate's fingerprint: hexadecimal, upper case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint(pub String);

/// The certificates a verifier knows.
#[derive(Debug, Default, Clone)]
pub struct Keyring {
    certificates: Vec<sequoia_openpgp::Cert>,
}

/// Which certificates vouch for a payload, and why other signatures do not count.
#[derive(Debug, Default)]
pub struct Verdict {
    pub signers: BTreeSet<Fingerprint>,
    /// One sentence a signature that does not count.
    pub rejected: Vec<String>,
}

/// Why a key or certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("not an OpenPGP certificate: {0}")]
    Malformed(String),
    #[error("the key is protected by a passphrase")]
    PassphraseNeeded,
    #[error("the passphrase does not unlock the key")]
    WrongPassphrase,
    #[error("the certificate has no usable signing key: {0}")]
    CannotSign(String),
}

/// Whoever can sign for an investigator: a key file, or GnuPG's agent.
pub trait Signer {
    /// The certificate that verifiers will find in their keyring.
    fn fingerprint(&self) -> Fingerprint;

    /// Signs exact bytes; returns an ASCII-armored detached binary signature.
    fn sign(&self, payload: &[u8], now: Timestamp) -> Result<String, KeyError>;
}

impl Keyring {
    pub fn verify(&self, payload: &[u8], signatures: &[String], now: Timestamp) -> Verdict {
        let _ = (payload, signatures, now, &self.certificates);
        Verdict::default()
    }
}
