//! The key that signs, opened when the first statement needs it.

use canvass_planner::error::Error;
use canvass_protocol::openpgp::{KeyFile, Signer as _};
use jiff::Timestamp;

use crate::key::{self, LOCAL, Passphrases, Store};

/// Which key signs, and the key once it is open.
pub struct Signing {
    wanted: Option<String>,
    store: Store,
    passphrases: Passphrases,
    open: Option<KeyFile>,
}

impl Signing {
    /// Signs with the key that is wanted, by default this machine's own.
    pub fn new(wanted: Option<String>, store: Store, passphrases: Passphrases) -> Signing {
        Signing { wanted, store, passphrases, open: None }
    }

    /// Signs exact bytes, asking for a passphrase the first time.
    pub fn sign(&mut self, payload: &[u8]) -> Result<String, Error> {
        let key = match self.open.take() {
            Some(key) => key,
            None => key::choose(self.wanted.as_deref().unwrap_or(LOCAL), &self.store, &self.passphrases)?,
        };
        let signature = key.sign(payload, Timestamp::now());
        self.open = Some(key);
        signature.map_err(|error| Error::usage(format!("the action cannot be signed: {error}")))
    }
}
