//! Revoking: a key of the store by its own signature, or whatever certificate somebody has written a revocation of.

use std::path::{Path, PathBuf};

use canvass_planner::error::Error;
use canvass_protocol::openpgp::{Fingerprint, KeyFile, Keyring, RevocationReason, Signer as _, revoked_by};
use jiff::Timestamp;

use super::Passphrases;
use super::gnupg::GnuPg;
use super::store::{LOCAL, Listed, Store, is_file, open, read_bounded};
use crate::config::write_whole;
use crate::error::unusable;
use crate::render::escape::visible;

/// What is to be revoked.
pub enum Wanted {
    /// A key of the store.
    Key(Listed),
    /// What a file says.
    File(PathBuf),
}

/// A revocation, before anybody was told.
pub struct Revocation {
    pub bytes: Vec<u8>,
    pub path: PathBuf,
    /// The key that is revoked, which signs in for the last time; `None` where it is not here.
    pub key: Option<KeyFile>,
}

/// Finds what a name or a file means.
pub fn find(wanted: &str, store: &Store) -> Result<Wanted, Error> {
    if is_file(wanted, store) {
        return Ok(Wanted::File(wanted.into()));
    }
    let listed = match store.find(wanted) {
        Ok(listed) => listed,
        Err(missing) => {
            let Ok(Some(_)) = GnuPg::find(wanted) else { return Err(missing) };
            return Err(Error::usage(format!("GnuPG keeps the key `{wanted}`, and revokes it"))
                .hint(format!("`gpg --output key.rev --gen-revoke {wanted}`, and then `canvass key revoke key.rev`")));
        }
    };
    let (name, path) = (&listed.name, revocation_path(&listed.path));
    if listed.secret && name == LOCAL {
        return Err(Error::usage(format!("the key `{LOCAL}` signs for this machine alone"))
            .hint("nobody else trusts it: remove its files, and the next run makes another"));
    }
    if listed.revoked {
        // Whoever was not told then may be told now.
        let nowhere = || Error::usage(format!("the key `{name}` is revoked already"));
        return if path.exists() { Ok(Wanted::File(path)) } else { Err(nowhere()) };
    }
    if !listed.secret {
        return Err(Error::usage(format!("`{name}` is a certificate without its secret key"))
            .hint("its owner revokes it; `canvass key revoke FILE` takes the file that comes of it"));
    }
    Ok(Wanted::Key(listed))
}

impl Wanted {
    /// Whose certificates it says it revokes, for whoever has to say yes.
    pub fn whose(&self, store: &Store) -> Result<String, Error> {
        let fingerprints = match self {
            Wanted::Key(listed) => vec![listed.fingerprint.0.clone()],
            Wanted::File(path) => {
                let (bytes, _) = read_bounded(path).map_err(|error| unusable(path, &error))?;
                if bytes.windows(COLON.len()).any(|window| window == COLON) {
                    eprintln!("the colon before its armor, which GnuPG puts there against accidents, is passed over");
                }
                let read = revoked_by(&bytes);
                read.map_err(|error| Error::usage(format!("`{}`: {error}", path.display())))?
            }
        };
        let known = store.list().0;
        let named = |text: &String| {
            let listed = known.iter().find(|listed| Fingerprint::parse(text).as_ref() == Some(&listed.fingerprint));
            listed.map_or_else(|| visible(text).into_owned(), |listed| format!("`{}` ({text})", listed.name))
        };
        Ok(fingerprints.iter().map(named).collect::<Vec<String>>().join(", "))
    }

    /// The revocation: read, or made by the key and written beside it.
    pub fn revocation(self, reason: RevocationReason, passphrases: &Passphrases) -> Result<Revocation, Error> {
        let listed = match self {
            Wanted::Key(listed) => listed,
            Wanted::File(path) => {
                let (bytes, _) = read_bounded(&path).map_err(|error| unusable(&path, &error))?;
                return Ok(Revocation { bytes, path, key: None });
            }
        };
        let path = revocation_path(&listed.path);
        let key = open(&listed.path, passphrases)?;
        let failed = |error| Error::usage(format!("key `{}`: {error}", listed.name));
        // One that was made before, and that somebody may not have been told of.
        if let Ok((bytes, _)) = read_bounded(&path)
            && revokes(&bytes, &key)
        {
            return Ok(Revocation { bytes, path, key: Some(key) });
        }
        let bytes = key.revocation(reason, "", Timestamp::now()).map_err(failed)?.into_bytes();
        // Whoever has it can revoke the key, and the owner may think better of it until somebody is told.
        write_whole(&path, &bytes, 0o600).map_err(|error| unusable(&path, &error))?;
        Ok(Revocation { bytes, path, key: Some(key) })
    }
}

/// What stands before an armor that GnuPG has made for the day on which it is needed.
const COLON: &[u8] = b"\n:-----BEGIN PGP ";

/// Where the revocation of a key lies: beside it, under an ending by which no keyring takes it for a certificate.
fn revocation_path(key: &Path) -> PathBuf {
    key.with_extension("rev")
}

fn revokes(bytes: &[u8], key: &KeyFile) -> bool {
    let mut ring = Keyring::default();
    let public = key.public_armor().unwrap_or_default();
    ring.add(public.as_bytes());
    ring.revoke(bytes).is_ok_and(|revoked| revoked.contains(&key.fingerprint()))
}
