//! Which certificates vouch for a payload.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use sequoia_openpgp::KeyHandle;
use sequoia_openpgp::crypto::hash::Context;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::policy::{HashAlgoSecurity, Policy, StandardPolicy};
use sequoia_openpgp::types::SignatureType;

use super::policy::{AnyKey, can_sign, policy};
use super::{Fingerprint, Keyring, parse_signatures, reason, show_time, system_time};
use crate::limits;

/// Names of its key that are looked up of one signature: GnuPG writes a fingerprint and a key id.
const ISSUERS_MAX: usize = 2;

/// Which certificates vouch for a payload, and why other signatures do not count.
#[derive(Debug, Default)]
pub struct Verdict {
    pub signers: BTreeSet<Fingerprint>,
    /// One sentence a signature that does not count.
    pub rejected: Vec<String>,
}

impl Keyring {
    /// Verifies detached signatures over exact bytes, by the verifier's clock.
    ///
    /// A certificate counts once, however many signatures and subkeys speak for it. An armor may hold several
    /// signatures; of all that come, the first [`limits::SIGNATURES_MAX`] are looked at.
    pub fn verify(&self, payload: &[u8], signatures: &[String], now: Timestamp) -> Verdict {
        let now = system_time(now);
        let mut verdict = Verdict::default();
        let mut looked_at = 0;
        for armored in signatures {
            let parsed = if armored.len() > limits::SIGNATURE_BYTES_MAX {
                Err(format!("it has more than {} bytes", limits::SIGNATURE_BYTES_MAX))
            } else {
                parse_signatures(armored.as_bytes())
            };
            match parsed {
                Ok(parsed) => {
                    for signature in parsed {
                        looked_at += 1;
                        if looked_at > limits::SIGNATURES_MAX {
                            verdict.reject(format!(
                                "signatures after the first {} are not looked at",
                                limits::SIGNATURES_MAX
                            ));
                            return verdict;
                        }
                        match self.signer(payload, &signature, now) {
                            Ok(signer) => {
                                verdict.signers.insert(signer);
                            }
                            Err(why) => {
                                verdict
                                    .reject(format!("the signature by {} does not count: {why}", issuer(&signature)));
                            }
                        }
                    }
                }
                Err(why) => verdict.reject(format!("a signature cannot be read: {why}")),
            }
        }
        verdict
    }

    /// The certificate that made a signature which counts.
    fn signer(&self, payload: &[u8], signature: &Signature, now: SystemTime) -> Result<Fingerprint, String> {
        let policy = policy(now);
        let made = check_form(signature, &policy, now)?;
        let mut issuers = signature.get_issuers();
        if issuers.is_empty() {
            return Err("it does not name its key".into());
        }
        // Fingerprints come first. Whoever hands a signature in can add names to the part that is not signed.
        issuers.truncate(ISSUERS_MAX);
        let hashed = hashed(signature, payload)?;
        let mut why = None;
        for key in self.keys_of(&issuers) {
            if signature.verify_hash(key.key(), hashed.clone()).is_err() {
                why.get_or_insert_with(|| "it is not of these bytes".to_owned());
                continue;
            }
            // A key made a second ago on a clock that runs ahead of ours exists by the signature's date.
            let verdict = [made, now.max(made)].into_iter().try_for_each(|moment| can_sign(&key, &policy, moment));
            match verdict {
                Ok(()) => return Ok(key.cert().fingerprint().into()),
                Err(reason) => why = Some(reason),
            }
        }
        Err(why.unwrap_or_else(|| "its certificate is not in the keyring".into()))
    }

    /// Whether a certificate of the keyring could sign now; says why not.
    pub fn may_sign(&self, fingerprint: &Fingerprint, now: Timestamp) -> Result<(), String> {
        let now = system_time(now);
        let policy = policy(now);
        let cert = self.certs().find(|cert| Fingerprint::from(cert.fingerprint()) == *fingerprint);
        let cert = cert.ok_or("its certificate is not in the keyring")?;
        let mut why = None;
        for key in cert.keys() {
            match can_sign(&key, &policy, now) {
                Ok(()) => return Ok(()),
                // What the first, which is the primary key, lacks is said.
                Err(reason) => drop(why.get_or_insert(reason)),
            }
        }
        Err(why.unwrap_or_else(|| "it has no key".to_owned()))
    }

    fn keys_of(&self, issuers: &[KeyHandle]) -> impl Iterator<Item = AnyKey<'_>> {
        self.certs().flat_map(|cert| cert.keys()).filter(|key| {
            let handle = KeyHandle::from(key.key().fingerprint());
            issuers.iter().any(|issuer| issuer.aliases(&handle))
        })
    }
}

/// What a signature is over, up to what it says of itself: hashed once, however many keys are tried.
fn hashed(signature: &Signature, payload: &[u8]) -> Result<Context, String> {
    let builder = signature.hash_algo().context().map_err(|error| reason(&error))?;
    let mut hash = builder.for_signature(signature.version());
    if let Signature::V6(signature) = signature {
        hash.update(signature.salt());
    }
    hash.update(payload);
    Ok(hash)
}

impl Verdict {
    fn reject(&mut self, why: String) {
        self.rejected.push(why);
    }
}

/// What can be said of a signature before its key is known; returns when it says it was made.
fn check_form(signature: &Signature, policy: &StandardPolicy<'_>, now: SystemTime) -> Result<SystemTime, String> {
    match signature.typ() {
        SignatureType::Binary => {}
        SignatureType::Text => return Err("it is a text signature (type 0x01); only binary ones (0x00) count".into()),
        other => return Err(format!("it is of type 0x{:02x}; only binary ones (0x00) count", u8::from(other))),
    }
    if signature.version() < 4 {
        return Err(format!("it is of the obsolete version {}", signature.version()));
    }
    policy.signature(signature, HashAlgoSecurity::CollisionResistance).map_err(|error| reason(&error))?;
    let made = signature.signature_creation_time().ok_or("it does not say when it was made")?;
    if made > now + Duration::from_secs(limits::CLOCK_SKEW_S.unsigned_abs()) {
        return Err(format!("it says it was made in the future, at {}", show_time(made)));
    }
    if let Some(end) = signature.signature_expiration_time()
        && end <= now
    {
        return Err(format!("it expired at {}", show_time(end)));
    }
    Ok(made)
}

/// The key a signature claims to be of, as `FINGERPRINT` in backticks.
fn issuer(signature: &Signature) -> String {
    match signature.get_issuers().first() {
        Some(handle) => format!("`{handle:X}`"),
        None => "an unnamed key".into(),
    }
}
