//! What cryptography counts, and whether a key could sign at a moment.

use std::time::SystemTime;

use sequoia_openpgp::cert::amalgamation::key::ErasedKeyAmalgamation;
use sequoia_openpgp::cert::amalgamation::{ValidAmalgamation, ValidateAmalgamation};
use sequoia_openpgp::packet::{Signature, key};
use sequoia_openpgp::policy::{AsymmetricAlgorithm, StandardPolicy};
use sequoia_openpgp::types::HashAlgorithm;

use super::{reason, show_time};

/// A key of a certificate, primary or not.
pub(super) type AnyKey<'a> = ErasedKeyAmalgamation<'a, key::PublicParts>;

/// The library's policy by the verifier's clock, without SHA-1, RSA below 3072 bits and DSA.
pub(super) fn policy(now: SystemTime) -> StandardPolicy<'static> {
    let mut policy = StandardPolicy::at(now);
    policy.reject_all_hashes();
    for hash in [
        HashAlgorithm::SHA256,
        HashAlgorithm::SHA384,
        HashAlgorithm::SHA512,
        HashAlgorithm::SHA3_256,
        HashAlgorithm::SHA3_512,
    ] {
        policy.accept_hash(hash);
    }
    for weak in [
        AsymmetricAlgorithm::RSA1024,
        AsymmetricAlgorithm::RSA2048,
        AsymmetricAlgorithm::DSA1024,
        AsymmetricAlgorithm::DSA2048,
        AsymmetricAlgorithm::DSA3072,
        AsymmetricAlgorithm::DSA4096,
    ] {
        policy.reject_asymmetric_algo(weak);
    }
    policy
}

/// Whether a key may sign at `moment`; says why not.
pub(super) fn can_sign(key: &AnyKey<'_>, policy: &StandardPolicy<'_>, moment: SystemTime) -> Result<(), String> {
    not_revoked(key)?;
    let at = show_time(moment);
    let valid = key
        .clone()
        .with_policy(policy, moment)
        .map_err(|error| format!("the key is not acceptable at {at}: {}", reason(&error)))?;
    valid.valid_cert().alive().map_err(|error| format!("the certificate is not valid at {at}: {}", reason(&error)))?;
    valid.alive().map_err(|error| format!("the signing key is not valid at {at}: {}", reason(&error)))?;
    if !valid.for_signing() {
        return Err("the key is not meant for signing".into());
    }
    Ok(())
}

/// Any revocation by the certificate itself counts for ever: hard or soft, whatever date it carries, however old its
/// hash. Narrowing needs no trust, and a thief of the key must not be able to take a revocation back.
fn not_revoked(key: &AnyKey<'_>) -> Result<(), String> {
    if let Some(revocation) = key.cert().primary_key().self_revocations().next() {
        return Err(format!("the certificate is revoked{}", because(revocation)));
    }
    if let Some(revocation) = key.self_revocations().next() {
        return Err(format!("the signing key is revoked{}", because(revocation)));
    }
    Ok(())
}

fn because(revocation: &Signature) -> String {
    match revocation.reason_for_revocation() {
        Some((code, _)) => format!(" ({code})"),
        None => String::new(),
    }
}
