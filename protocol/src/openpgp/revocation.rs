//! Revocations: taken out of whatever somebody hands in, verified by the certificates that they are of, and carried alone.

use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::packet::Signature;
use sequoia_openpgp::serialize::SerializeInto;
use sequoia_openpgp::types::{ReasonForRevocation, SignatureType};
use sequoia_openpgp::{Cert, KeyHandle, Packet, armor};

use super::{Fingerprint, KeyError, Keyring, LibraryError, armored_blocks, for_each_packet, reason};
use crate::limits;

/// Why a certificate is revoked; verifiers here make no difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevocationReason {
    Compromised,
    Superseded,
    Retired,
}

impl From<RevocationReason> for ReasonForRevocation {
    fn from(reason: RevocationReason) -> Self {
        match reason {
            RevocationReason::Compromised => ReasonForRevocation::KeyCompromised,
            RevocationReason::Superseded => ReasonForRevocation::KeySuperseded,
            RevocationReason::Retired => ReasonForRevocation::KeyRetired,
        }
    }
}

/// A revocation of a key that a keyring has, by the certificate that the key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    pub certificate: Fingerprint,
    /// The key that is revoked: the certificate's own where all of it is, else a subkey.
    pub key: Fingerprint,
    /// The keyring has no other revocation of that key.
    pub is_new: bool,
    /// The signature alone, armored as `gpg --gen-revoke` does it.
    pub armor: String,
}

impl Revocation {
    /// Whether the certificate is revoked, and not a subkey of it alone.
    pub fn is_whole(&self) -> bool {
        self.key == self.certificate
    }
}

impl Keyring {
    /// Finds revocations of this keyring's keys, and changes nothing: `gpg --gen-revoke`'s output and whole certificates that
    /// carry their revocation are both read; whatever else is in them is left out of what is found.
    pub fn revocations(&self, bytes: &[u8]) -> Result<Vec<Revocation>, KeyError> {
        let mut found: Vec<Revocation> = Vec::new();
        for signature in read(bytes)? {
            for cert in self.certs() {
                let Some(Target { key, is_new }) = target(&signature, cert) else { continue };
                let is_new = is_new && !found.iter().any(|known| known.key == key);
                let armor = armored(&signature)?;
                if armor.len() > limits::SIGNATURE_BYTES_MAX {
                    return Err(malformed(format!("one has more than {} bytes", limits::SIGNATURE_BYTES_MAX)));
                }
                found.push(Revocation { certificate: cert.fingerprint().into(), key, is_new, armor });
            }
        }
        Ok(found)
    }

    /// Takes revocations of known certificates from anyone, verifies and keeps them, and nothing else of what comes.
    ///
    /// Returns whose certificate or subkey is newly revoked; what is read is what [`Keyring::revocations`] reads.
    pub fn revoke(&mut self, bytes: &[u8]) -> Result<Vec<Fingerprint>, KeyError> {
        let revocations = read(bytes)?;
        let mut revoked = Vec::new();
        for (fingerprint, cert) in self.certs_mut() {
            if let Some(changed) = with(cert, &revocations)? {
                *cert = changed;
                revoked.push(fingerprint.clone());
            }
        }
        Ok(revoked)
    }
}

/// The names of keys that revocations say they are by, one each, hexadecimal; whether they are, only a keyring can tell.
pub fn revoked_by(bytes: &[u8]) -> Result<Vec<String>, KeyError> {
    let name = |signature: &Signature| signature.get_issuers().first().map(|issuer| format!("{issuer:X}"));
    Ok(read(bytes)?.iter().map(|signature| name(signature).unwrap_or_else(|| "a key without a name".into())).collect())
}

/// A file of certificates or keys with those of these revocations in it that revoke something of it anew; `None` where none
/// does. Secret parts stay as they are.
pub fn with_revocations(file: &[u8], revocations: &[u8]) -> Result<Option<Vec<u8>>, KeyError> {
    let revocations = read(revocations)?;
    let unreadable = |error| KeyError::Malformed(reason(&error));
    let (mut written, mut is_changed) = (Vec::new(), false);
    let is_armored = file.first().is_some_and(|first| first & 0x80 == 0);
    for block in armored_blocks(file) {
        let mut packets = Vec::new();
        for_each_packet(block, &mut |packet| {
            packets.push(packet);
            Ok(())
        })
        .map_err(KeyError::Malformed)?;
        for cert in CertParser::from_iter(packets) {
            let cert = cert.map_err(unreadable)?;
            let changed = with(&cert, &revocations)?;
            is_changed |= changed.is_some();
            let cert = changed.unwrap_or(cert);
            let bytes = match (cert.is_tsk(), is_armored) {
                (true, true) => cert.as_tsk().armored().to_vec(),
                (true, false) => cert.as_tsk().to_vec(),
                (false, true) => cert.armored().to_vec(),
                (false, false) => cert.to_vec(),
            };
            written.extend(bytes.map_err(unreadable)?);
        }
    }
    Ok(is_changed.then_some(written))
}

/// One revocation as it is handed out: in the armor of a certificate, which GnuPG imports.
pub(super) fn armored(revocation: &Signature) -> Result<String, KeyError> {
    let bytes = Packet::from(revocation.clone()).to_vec().map_err(|error| malformed(reason(&error)))?;
    let failed = |error: std::io::Error| malformed(error.to_string());
    let mut writer = armor::Writer::new(Vec::new(), armor::Kind::PublicKey).map_err(failed)?;
    std::io::Write::write_all(&mut writer, &bytes).map_err(failed)?;
    let bytes = writer.finalize().map_err(failed)?;
    Ok(String::from_utf8(bytes).expect("armor is ASCII"))
}

/// Takes a certificate that can be written again: the library reads fingerprints of unknown kinds, which it cannot write,
/// and whoever hands in a signature can put one into the part that is not signed.
pub(super) fn writable(cert: Cert) -> Result<Cert, LibraryError> {
    cert.to_vec().map(|_| cert)
}

/// The revocations among what somebody hands in; something is wrong where there is none.
fn read(bytes: &[u8]) -> Result<Vec<Signature>, KeyError> {
    if bytes.len() > limits::REVOCATION_BYTES_MAX {
        return Err(malformed(format!("it has more than {} bytes", limits::REVOCATION_BYTES_MAX)));
    }
    let mut revocations = Vec::new();
    for block in armored_blocks(bytes) {
        for_each_packet(block, &mut |packet| {
            if let Packet::Signature(signature) = packet
                && matches!(signature.typ(), SignatureType::KeyRevocation | SignatureType::SubkeyRevocation)
            {
                revocations.push(signature);
            }
            Ok(())
        })
        .map_err(malformed)?;
    }
    if revocations.is_empty() {
        return Err(malformed("there is no revocation in it".into()));
    }
    if revocations.len() > limits::REVOCATIONS_MAX {
        return Err(malformed(format!("there are more than {} revocations in it", limits::REVOCATIONS_MAX)));
    }
    Ok(revocations)
}

fn malformed(why: String) -> KeyError {
    KeyError::Revocation(why)
}

/// What a revocation revokes.
struct Target {
    key: Fingerprint,
    /// Nothing revokes it yet.
    is_new: bool,
}

/// What a revocation revokes of this certificate, where it is by the certificate's own key.
fn target(revocation: &Signature, cert: &Cert) -> Option<Target> {
    let primary = cert.primary_key();
    let issuers = revocation.get_issuers();
    let own = KeyHandle::from(primary.key().fingerprint());
    // A name can be put into the part that is not signed, but not taken out of the other.
    if !issuers.is_empty() && !issuers.iter().any(|issuer| issuer.aliases(&own)) {
        return None;
    }
    let is_whole = primary.self_revocations().next().is_some();
    if revocation.typ() == SignatureType::KeyRevocation {
        revocation.verify_primary_key_revocation(primary.key(), primary.key()).ok()?;
        return Some(Target { key: primary.key().fingerprint().into(), is_new: !is_whole });
    }
    cert.keys().subkeys().find_map(|subkey| {
        revocation.verify_subkey_revocation(primary.key(), primary.key(), subkey.key()).ok()?;
        let is_new = !is_whole && subkey.self_revocations().next().is_none();
        Some(Target { key: subkey.key().fingerprint().into(), is_new })
    })
}

/// The certificate with those of these revocations that revoke something of it anew; `None` where none does.
fn with(cert: &Cert, revocations: &[Signature]) -> Result<Option<Cert>, KeyError> {
    let mut changed: Option<Cert> = None;
    for revocation in revocations {
        let cert = changed.as_ref().unwrap_or(cert);
        if !target(revocation, cert).is_some_and(|target| target.is_new) {
            continue;
        }
        let with_it = cert.clone().insert_packets(revocation.clone()).and_then(|(changed, _)| writable(changed));
        changed = Some(with_it.map_err(|error| malformed(reason(&error)))?);
    }
    Ok(changed)
}
