//! Which key signs: the one that `--key` names, else this machine's own.

use std::path::Path;

use canvass_planner::error::Error;
use canvass_protocol::openpgp::{Fingerprint, KeyFile, Signer};

use super::Passphrases;
use super::gnupg::GnuPg;
use super::store::{LOCAL, Store, is_file, open};

/// Whatever signs here.
pub type AnySigner = Box<dyn Signer + Send>;

/// Opens the key that `--key` names: a file, a name in the key store, a fingerprint, or a key that GnuPG keeps.
pub fn choose(wanted: &str, store: &Store, passphrases: &Passphrases) -> Result<AnySigner, Error> {
    if is_file(wanted, store) {
        let key = open(Path::new(wanted), passphrases)?;
        let certificate = key.public_armor().map_err(|error| Error::usage(format!("key `{wanted}`: {error}")))?;
        store.remember(&key.fingerprint(), certificate.as_bytes())?;
        return Ok(Box::new(key));
    }
    let (wanted, missing) = match store.find(wanted) {
        Ok(found) if found.secret => return boxed(open(&found.path, passphrases)),
        Ok(found) => {
            let missing = Error::usage(format!("`{wanted}` is a certificate without its secret key"))
                .hint("signing needs a key from `canvass key new` or `canvass key import`, or one that GnuPG keeps");
            (found.fingerprint.0, missing)
        }
        Err(missing) => (wanted.to_owned(), missing),
    };
    match GnuPg::find(&wanted) {
        Ok(Some(key)) => {
            // What it signs here is to be known here later, whatever GnuPG keeps by then.
            let certificate = key.certificate().map_err(|error| Error::usage(error.to_string()))?;
            store.remember(&key.fingerprint(), &certificate)?;
            Ok(Box::new(key))
        }
        Ok(None) => Err(missing),
        Err(error) => Err(Error::usage(error.to_string())),
    }
}

fn boxed(key: Result<KeyFile, Error>) -> Result<AnySigner, Error> {
    key.map(|key| Box::new(key) as AnySigner)
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
