//! Which key signs: the one that `--key` names, else this machine's own.

use std::path::Path;

use canvass_planner::error::Error;
use canvass_protocol::openpgp::{Fingerprint, KeyFile};

use super::Passphrases;
use super::store::{LOCAL, Store, open};

/// Opens the key that `--key` names: a file, a name in the key store, or a fingerprint.
pub fn choose(wanted: &str, store: &Store, passphrases: &Passphrases) -> Result<KeyFile, Error> {
    let path = Path::new(wanted);
    if wanted.contains('/') || (path.is_file() && !store.secret_path(wanted).exists()) {
        return open(path, passphrases);
    }
    let found = store.find(wanted)?;
    if !found.secret {
        return Err(Error::usage(format!("`{wanted}` is a certificate without its secret key"))
            .hint("signing needs a key from `canvass key new` or `canvass key import`"));
    }
    open(&found.path, passphrases)
}

/// This machine's own key, made on the first run; `Some` where it was made just now.
pub fn local(store: &Store) -> Result<Option<Fingerprint>, Error> {
    if store.secret_path(LOCAL).exists() {
        return Ok(None);
    }
    match store.make(LOCAL, None) {
        Ok(fingerprint) => Ok(Some(fingerprint)),
        // Another first run was faster.
        Err(_) if store.secret_path(LOCAL).exists() => Ok(None),
        Err(error) => Err(error),
    }
}
