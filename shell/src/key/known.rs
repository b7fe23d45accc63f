//! Whose signatures this desk knows: the user's own keys, and the certificates in the keyring.

use canvass_protocol::openpgp::{Fingerprint, Keyring};
use jiff::Timestamp;

use super::store::{Listed, Store};
use crate::render::escape::visible;

/// Who signed a payload, as far as this desk knows.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Signers {
    /// Name and fingerprint of each whose signature counts.
    pub known: Vec<(String, Fingerprint)>,
    /// Why other signatures do not; foreign text.
    pub rejected: Vec<String>,
}

/// The certificates that this desk knows, as they were read once.
pub struct Certificates {
    keys: Vec<Listed>,
    ring: Keyring,
}

impl Certificates {
    pub fn of(store: &Store) -> Certificates {
        let (keys, _) = store.list();
        let mut ring = Keyring::default();
        for key in &keys {
            if let Ok(bytes) = std::fs::read(&key.path) {
                ring.add(&bytes);
            }
        }
        for certificate in store.remembered() {
            ring.add(&certificate);
        }
        Certificates { keys, ring }
    }

    /// Verifies detached signatures over exact bytes.
    pub fn verify(&self, payload: &[u8], signatures: &[String]) -> Signers {
        let verdict = self.ring.verify(payload, signatures, Timestamp::now());
        let known = verdict.signers.into_iter().map(|fingerprint| (name(&self.keys, &fingerprint), fingerprint));
        Signers { known: known.collect(), rejected: verdict.rejected }
    }
}

impl Signers {
    /// Verifies detached signatures over exact bytes.
    pub fn of(payload: &[u8], signatures: &[String], store: &Store) -> Signers {
        Certificates::of(store).verify(payload, signatures)
    }

    /// One sentence for each signature.
    pub fn lines(&self) -> Vec<String> {
        let known = self.known.iter().map(|(name, fingerprint)| format!("signed by {name} ({fingerprint})"));
        known.chain(self.rejected.iter().map(|why| visible(why).into_owned())).collect()
    }
}

fn name(keys: &[Listed], fingerprint: &Fingerprint) -> String {
    let key = keys.iter().find(|key| key.fingerprint == *fingerprint);
    key.map_or_else(|| "a key of this machine".to_owned(), |key| key.name.clone())
}
