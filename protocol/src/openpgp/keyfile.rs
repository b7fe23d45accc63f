//! A signing key of our own, kept in a file by whoever calls.

use std::time::SystemTime;

use jiff::Timestamp;
use sequoia_openpgp::cert::{CertBuilder, CertRevocationBuilder, CipherSuite};
use sequoia_openpgp::crypto::Password;
use sequoia_openpgp::packet::Key;
use sequoia_openpgp::packet::key::{SecretKeyMaterial, SecretParts, UnspecifiedRole};
use sequoia_openpgp::packet::signature::SignatureBuilder;
use sequoia_openpgp::parse::Parse;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::{HashAlgorithm, KeyFlags, SignatureType};
use sequoia_openpgp::{Cert, Profile};

use super::policy::{can_sign, policy};
use super::revocation::{self, RevocationReason};
use super::{Fingerprint, KeyError, Signer, armor_signatures, reason, system_time, user_ids};

/// A secret certificate whose signing key is unlocked.
///
/// Its secrets are wiped from memory when it is dropped; the bytes it was opened from are the caller's to wipe.
#[derive(Clone)]
pub struct KeyFile {
    /// As stored: secret parts stay under their passphrase.
    cert: Cert,
    /// Unlocked.
    key: Key<SecretParts, UnspecifiedRole>,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({})", self.fingerprint())
    }
}

impl KeyFile {
    /// Makes a version 4 Ed25519 certificate that certifies and signs, readable for GnuPG 2.2; it does not expire.
    ///
    /// A subkey encrypts (X25519): a later version seals answers for it, and a key that is out by then has one already.
    ///
    /// With a passphrase the secret part is encrypted (AES-256, iterated and salted SHA-256), as GnuPG does.
    pub fn generate(name: &str, passphrase: Option<&str>, now: Timestamp) -> Result<KeyFile, KeyError> {
        if name.trim().is_empty() || name.len() > 200 || name.chars().any(char::is_control) {
            return Err(KeyError::BadName(name.chars().take(200).filter(|c| !c.is_control()).collect()));
        }
        let failed = |error| KeyError::CannotSign(reason(&error));
        let (cert, _) = CertBuilder::new()
            .set_profile(Profile::RFC4880)
            .map_err(failed)?
            .set_cipher_suite(CipherSuite::Cv25519)
            .set_primary_key_flags(KeyFlags::empty().set_certification().set_signing())
            .add_subkey(KeyFlags::empty().set_transport_encryption().set_storage_encryption(), None, None)
            .set_creation_time(system_time(now))
            .set_password(passphrase.map(Password::from))
            .add_userid(name)
            .generate()
            .map_err(failed)?;
        KeyFile::from_cert(cert, passphrase, system_time(now))
    }

    /// Opens a secret certificate, armored or binary; `now` decides which of its keys signs.
    pub fn open(bytes: &[u8], passphrase: Option<&str>, now: Timestamp) -> Result<KeyFile, KeyError> {
        let cert = Cert::from_bytes(bytes).map_err(|error| KeyError::Malformed(reason(&error)))?;
        KeyFile::from_cert(cert, passphrase, system_time(now))
    }

    /// Whether these bytes hold a secret key under a passphrase, so that a caller knows to ask for one.
    pub fn needs_passphrase(bytes: &[u8]) -> Result<bool, KeyError> {
        let cert = Cert::from_bytes(bytes).map_err(|error| KeyError::Malformed(reason(&error)))?;
        Ok(cert.keys().secret().any(|key| matches!(key.key().secret(), SecretKeyMaterial::Encrypted(_))))
    }

    fn from_cert(cert: Cert, passphrase: Option<&str>, now: SystemTime) -> Result<KeyFile, KeyError> {
        if !cert.is_tsk() {
            return Err(KeyError::CannotSign("it holds no secret key".into()));
        }
        let policy = policy(now);
        let mut why = "none of its secret keys is here".to_owned();
        // Subkeys come after the primary key; the newest that can sign is taken, as GnuPG does.
        let mut usable: Vec<_> = cert
            .keys()
            .secret()
            .filter(|key| is_present(key.key().secret()))
            .filter(|key| {
                let public = cert.keys().find(|other| other.key().fingerprint() == key.key().fingerprint());
                let verdict = public.ok_or("it is gone".to_owned()).and_then(|key| can_sign(&key, &policy, now));
                verdict.map_err(|error| why = error).is_ok()
            })
            .map(|key| key.key().clone())
            .collect();
        usable.sort_by_key(Key::creation_time);
        let key = usable.pop().ok_or(KeyError::CannotSign(why))?;
        let key = unlock(key, passphrase)?;
        Ok(KeyFile { cert, key })
    }

    pub fn user_ids(&self) -> Vec<String> {
        user_ids(&self.cert)
    }

    /// The certificate to hand out, armored, without secret parts.
    pub fn public_armor(&self) -> Result<String, KeyError> {
        self.cert.armored().to_vec().map_err(|error| KeyError::Malformed(reason(&error))).map(text)
    }

    /// What to store, armored: secret parts as they were, under their passphrase if they have one.
    pub fn secret_armor(&self) -> Result<String, KeyError> {
        self.cert.as_tsk().armored().to_vec().map_err(|error| KeyError::Malformed(reason(&error))).map(text)
    }

    /// Revokes the whole certificate for good: armored as `gpg --gen-revoke` does it, for [`super::Keyring::revoke`].
    ///
    /// Only a key file whose signing key is the primary key, as all of ours, can.
    pub fn revocation(&self, why: RevocationReason, words: &str, now: Timestamp) -> Result<String, KeyError> {
        let failed = |error| KeyError::CannotSign(reason(&error));
        if self.key.fingerprint() != self.cert.fingerprint() {
            return Err(KeyError::CannotSign("the primary key is needed for a revocation".into()));
        }
        let mut pair = self.key.clone().into_keypair().map_err(failed)?;
        let revocation = CertRevocationBuilder::new()
            .set_signature_creation_time(system_time(now))
            .map_err(failed)?
            .set_reason_for_revocation(why.into(), words.as_bytes())
            .map_err(failed)?
            .build(&mut pair, &self.cert, None)
            .map_err(failed)?;
        revocation::armored(&revocation)
    }
}

impl Signer for KeyFile {
    fn fingerprint(&self) -> Fingerprint {
        self.cert.fingerprint().into()
    }

    fn sign(&self, payload: &[u8], now: Timestamp) -> Result<String, KeyError> {
        let now = system_time(now);
        let failed = |error| KeyError::CannotSign(reason(&error));
        let public = self.cert.keys().find(|key| key.key().fingerprint() == self.key.fingerprint());
        let public = public.expect("the signing key was taken from this certificate");
        // What no verifier would count is not signed.
        can_sign(&public, &policy(now), now).map_err(KeyError::CannotSign)?;
        let mut pair = self.key.clone().into_keypair().map_err(failed)?;
        let signature = SignatureBuilder::new(SignatureType::Binary)
            .set_hash_algo(HashAlgorithm::SHA512)
            .set_signature_creation_time(now)
            .map_err(failed)?
            .sign_message(&mut pair, payload)
            .map_err(failed)?;
        armor_signatures(&[signature])
    }
}

/// False for the stub GnuPG leaves where the secret is on a card or offline.
fn is_present(secret: &SecretKeyMaterial) -> bool {
    match secret {
        SecretKeyMaterial::Unencrypted(_) => true,
        SecretKeyMaterial::Encrypted(encrypted) => encrypted.s2k().is_supported(),
    }
}

fn unlock(
    key: Key<SecretParts, UnspecifiedRole>,
    passphrase: Option<&str>,
) -> Result<Key<SecretParts, UnspecifiedRole>, KeyError> {
    match (key.secret(), passphrase) {
        (SecretKeyMaterial::Unencrypted(_), _) => Ok(key),
        (SecretKeyMaterial::Encrypted(_), None) => Err(KeyError::PassphraseNeeded),
        (SecretKeyMaterial::Encrypted(_), Some(passphrase)) => {
            key.decrypt_secret(&Password::from(passphrase)).map_err(|_| KeyError::WrongPassphrase)
        }
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("armor is ASCII")
}
