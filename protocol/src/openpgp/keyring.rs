//! The certificates a verifier knows.

use std::collections::BTreeMap;

use sequoia_openpgp::Cert;
use sequoia_openpgp::cert::CertParser;
use sequoia_openpgp::serialize::SerializeInto;
use sha2::{Digest, Sha256};

use super::revocation::writable;
use super::{Fingerprint, armored_blocks, for_each_packet, reason, user_ids};

/// The certificates a verifier knows.
#[derive(Debug, Default, Clone)]
pub struct Keyring {
    certificates: BTreeMap<Fingerprint, Cert>,
}

/// What became of bytes that were to join a keyring.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    pub certificates: Vec<Fingerprint>,
    /// One sentence for each certificate that cannot be read; it is skipped and nothing else changes.
    pub skipped: Vec<String>,
}

/// One certificate, as lists show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    pub fingerprint: Fingerprint,
    /// Foreign text: it is to be sanitised before a terminal sees it.
    pub user_ids: Vec<String>,
    /// By the certificate itself, whenever and for whatever reason.
    pub revoked: bool,
}

impl Keyring {
    /// Adds certificates, armored or binary, one or many; secret parts are dropped.
    ///
    /// A certificate that is already known takes over what is new. What cannot be read is skipped and reported; where
    /// bytes are damaged, that is the whole armor, or all of a binary keyring.
    pub fn add(&mut self, bytes: &[u8]) -> Added {
        let mut added = Added::default();
        for block in armored_blocks(bytes) {
            // All packets first: half of a certificate may be the half without its revocation.
            let mut packets = Vec::new();
            let read = for_each_packet(block, &mut |packet| {
                packets.push(packet);
                Ok(())
            });
            if let Err(why) = read {
                added.skipped.push(format!("damaged certificates are skipped: {why}"));
                continue;
            }
            for parsed in CertParser::from_iter(packets) {
                match parsed {
                    Ok(cert) => self.insert(cert, &mut added),
                    Err(error) => added.skipped.push(format!("a certificate is skipped: {}", reason(&error))),
                }
            }
        }
        if added.certificates.is_empty() && added.skipped.is_empty() {
            added.skipped.push("there is no certificate in it".into());
        }
        added
    }

    fn insert(&mut self, cert: Cert, added: &mut Added) {
        let cert = cert.strip_secret_key_material();
        let fingerprint = Fingerprint::from(cert.fingerprint());
        let merged = match self.certificates.get(&fingerprint) {
            Some(known) => known.clone().merge_public(cert),
            None => Ok(cert),
        };
        match merged.and_then(writable) {
            Ok(cert) => {
                self.certificates.insert(fingerprint.clone(), cert);
                added.certificates.push(fingerprint);
            }
            Err(error) => added.skipped.push(format!("`{fingerprint}` is skipped: {}", reason(&error))),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty()
    }

    pub fn len(&self) -> usize {
        self.certificates.len()
    }

    pub fn contains(&self, fingerprint: &Fingerprint) -> bool {
        self.certificates.contains_key(fingerprint)
    }

    pub fn fingerprints(&self) -> impl Iterator<Item = &Fingerprint> {
        self.certificates.keys()
    }

    /// The certificates by fingerprint.
    pub fn list(&self) -> Vec<Certificate> {
        self.certificates
            .iter()
            .map(|(fingerprint, cert)| Certificate {
                fingerprint: fingerprint.clone(),
                user_ids: user_ids(cert),
                revoked: cert.primary_key().self_revocations().next().is_some(),
            })
            .collect()
    }

    /// SHA-256 over certificates and revocations, whatever order they came in; part of a heartbeat's policy digest.
    pub fn sha256(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for cert in self.certificates.values() {
            let bytes = cert.to_vec().expect("only certificates that can be written are taken in");
            hash.update(u64::try_from(bytes.len()).expect("memory is 64 bits wide at most").to_be_bytes());
            hash.update(bytes);
        }
        hash.finalize().into()
    }

    pub(super) fn certs(&self) -> impl Iterator<Item = &Cert> {
        self.certificates.values()
    }

    pub(super) fn certs_mut(&mut self) -> impl Iterator<Item = (&Fingerprint, &mut Cert)> {
        self.certificates.iter_mut()
    }
}
