//! The folder of a user's own keys: `NAME.pgp` is secret and mode 0600, `NAME.asc` is for handing out.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use canvass_planner::error::Error;
use canvass_protocol::openpgp::{Fingerprint, KeyError, KeyFile, Keyring, Signer as _, with_revocations};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, OFlags};

use crate::config::{Places, private_folder, write_whole};
use crate::error::unusable;
use crate::key::Passphrases;

/// The key that the first local run makes.
pub const LOCAL: &str = "local";

/// A certificate with many signatures fits; a disk image does not.
const KEY_BYTES_MAX: u64 = 4 << 20;

/// The keys of one user.
#[derive(Debug, Clone)]
pub struct Store {
    keys: PathBuf,
    keyring: PathBuf,
    /// Certificates of keys that others keep and that signed here.
    signed_with: PathBuf,
}

/// One key or certificate, as `key list` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub fingerprint: Fingerprint,
    /// Foreign text.
    pub user_ids: Vec<String>,
    /// It can sign here.
    pub secret: bool,
    pub revoked: bool,
    pub path: PathBuf,
}

impl Store {
    pub fn new(places: &Places) -> Store {
        Store { keys: places.keys(), keyring: places.keyring(), signed_with: places.signed_with() }
    }

    /// Keeps the certificate of a key that is none of these and signs here, so that what it signed is known here later. No
    /// agent reads it.
    pub fn remember(&self, fingerprint: &Fingerprint, certificate: &[u8]) -> Result<(), Error> {
        let path = self.signed_with.join(format!("{fingerprint}.asc"));
        if std::fs::read(&path).is_ok_and(|known| known == certificate) {
            return Ok(());
        }
        private_folder(&self.signed_with).map_err(|error| unusable(&self.signed_with, &error))?;
        write_whole(&path, certificate, 0o600).map_err(|error| unusable(&path, &error))
    }

    /// The certificates that were remembered, as they lie there.
    pub fn remembered(&self) -> Vec<Vec<u8>> {
        key_files(&self.signed_with).iter().filter_map(|path| Some(read_bounded(path).ok()?.0)).collect()
    }

    /// Where the secret part of a key lies.
    pub fn secret_path(&self, name: &str) -> PathBuf {
        self.keys.join(format!("{name}.pgp"))
    }

    fn public_path(&self, name: &str) -> PathBuf {
        self.keys.join(format!("{name}.asc"))
    }

    /// Makes a key; `None` leaves its secret part in the clear.
    pub fn make(&self, name: &str, passphrase: Option<&str>) -> Result<Fingerprint, Error> {
        // Of many first runs at once one makes the key, and the others wait until it is whole.
        let _alone = self.lock()?;
        self.may_make(name)?;
        let key = KeyFile::generate(name, passphrase, Timestamp::now()).map_err(|error| of_key(name, &error))?;
        self.keep(name, &key)?;
        Ok(key.fingerprint())
    }

    /// Whether a key of this name can be made, to be asked before anybody types a passphrase.
    pub fn may_make(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        if self.secret_path(name).exists() || self.public_path(name).exists() {
            return Err(Error::usage(format!("there is already a key `{name}`")).hint("choose another name"));
        }
        Ok(())
    }

    /// Waits until nobody else makes or takes in a key; over when the file is dropped.
    fn lock(&self) -> Result<File, Error> {
        private_folder(&self.keys).map_err(|error| unusable(&self.keys, &error))?;
        let folder = File::open(&self.keys).map_err(|error| unusable(&self.keys, &error))?;
        rustix::fs::flock(&folder, FlockOperation::LockExclusive)
            .map_err(|error| unusable(&self.keys, &error.into()))?;
        Ok(folder)
    }

    fn keep(&self, name: &str, key: &KeyFile) -> Result<(), Error> {
        // The secret half comes last: where it is, the key is whole.
        let parts =
            [(self.public_path(name), key.public_armor(), 0o644), (self.secret_path(name), key.secret_armor(), 0o600)];
        for (path, armor, mode) in parts {
            let armor = armor.map_err(|error| of_key(name, &error))?;
            write_whole(&path, armor.as_bytes(), mode).map_err(|error| unusable(&path, &error))?;
        }
        Ok(())
    }

    /// Takes in a secret key for signing, or a certificate for this machine to trust; returns where it went.
    pub fn import(&self, file: &Path, name: Option<&str>, passphrases: &Passphrases) -> Result<PathBuf, Error> {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let name = name.unwrap_or(stem);
        check_name(name).map_err(|error| error.hint("give it a name with `--name`"))?;
        let (bytes, mode) = read_bounded(file).map_err(|error| unusable(file, &error))?;
        if is_secret(&bytes) {
            check_mode(file, mode)?;
            if self.secret_path(name).exists() || self.public_path(name).exists() {
                return Err(
                    Error::usage(format!("there is already a key `{name}`")).hint("choose another with `--name`")
                );
            }
            let key = open_bytes(name, &bytes, passphrases)?;
            let _alone = self.lock()?;
            self.may_make(name)?;
            self.keep(name, &key)?;
            return Ok(self.secret_path(name));
        }
        let mut ring = Keyring::default();
        let added = ring.add(&bytes);
        if added.certificates.is_empty() || !added.skipped.is_empty() {
            let why = added.skipped.join("; ");
            return Err(Error::usage(format!("`{}` is no OpenPGP key: {why}", file.display())));
        }
        private_folder(&self.keyring).map_err(|error| unusable(&self.keyring, &error))?;
        let extension = if bytes.starts_with(b"-----BEGIN") { "asc" } else { "pgp" };
        let path = self.keyring.join(format!("{name}.{extension}"));
        if path.exists() {
            return Err(
                Error::usage(format!("there is already a certificate `{name}`")).hint("choose another with `--name`")
            );
        }
        write_whole(&path, &bytes, 0o644).map_err(|error| unusable(&path, &error))?;
        Ok(path)
    }

    /// Puts revocations into the keys and certificates that they are of, wherever those lie; returns the names of those that
    /// are revoked by it.
    pub fn revoke(&self, revocations: &[u8]) -> Result<Vec<String>, Error> {
        let _alone = self.lock()?;
        let mut names = Vec::new();
        for path in [&self.keys, &self.keyring, &self.signed_with].into_iter().flat_map(|folder| key_files(folder)) {
            // What cannot be read vouches for nobody.
            let Ok((bytes, mode)) = read_bounded(&path) else { continue };
            let Ok(Some(revoked)) = with_revocations(&bytes, revocations) else { continue };
            write_whole(&path, &revoked, mode & 0o777).map_err(|error| unusable(&path, &error))?;
            names.push(path.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
        names.dedup();
        Ok(names)
    }

    /// The public certificate of a key, armored.
    pub fn export(&self, name: &str) -> Result<String, Error> {
        let listed = self.find(name)?;
        if listed.name == LOCAL && listed.path.starts_with(&self.keys) {
            return Err(Error::usage("the key `local` has no passphrase and signs for this machine alone")
                .hint("make one for others to trust: `canvass key new NAME`"));
        }
        let path = if listed.secret { self.public_path(&listed.name) } else { listed.path };
        let (bytes, _) = read_bounded(&path).map_err(|error| unusable(&path, &error))?;
        let text =
            String::from_utf8(bytes).ok().filter(|text| text.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----"));
        let text = text.filter(|text| !text.contains("PRIVATE KEY"));
        text.ok_or_else(|| Error::usage(format!("`{}` is not an armored public certificate", path.display())))
    }

    /// Finds a key or certificate by name or fingerprint; own keys come first.
    pub fn find(&self, wanted: &str) -> Result<Listed, Error> {
        let (listed, _) = self.list();
        let fingerprint = Fingerprint::parse(wanted);
        let is_it = |key: &&Listed| key.name == wanted || Some(&key.fingerprint) == fingerprint.as_ref();
        if let Some(found) = listed.iter().find(is_it) {
            return Ok(found.clone());
        }
        if check_name(wanted).is_ok() && self.secret_path(wanted).exists() {
            // It is there and was passed over: what is wrong with it is the answer.
            describe(&self.secret_path(wanted), true)?;
        }
        let names = listed.iter().map(|key| key.name.as_str());
        let error = Error::usage(format!("there is no key `{wanted}`"));
        Err(match canvass_planner::error::closest(wanted, names) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error.hint("`canvass key list` shows them; `canvass key new NAME` makes one"),
        })
    }

    /// All keys and certificates by name, and a sentence for each file that cannot be read.
    pub fn list(&self) -> (Vec<Listed>, Vec<String>) {
        let (mut listed, mut skipped) = (Vec::new(), Vec::new());
        for (folder, own) in [(&self.keys, true), (&self.keyring, false)] {
            for path in key_files(folder) {
                let secret = own && path.extension().is_some_and(|extension| extension == "pgp");
                // The public half of a key whose secret half stands beside it is the same key.
                if own && !secret && path.with_extension("pgp").exists() {
                    continue;
                }
                match describe(&path, secret) {
                    Ok(keys) => listed.extend(keys),
                    Err(error) => skipped.push(error.message),
                }
            }
        }
        (listed, skipped)
    }
}

/// Opens a key file to sign with, asking for its passphrase if it has one.
pub fn open(path: &Path, passphrases: &Passphrases) -> Result<KeyFile, Error> {
    let (bytes, mode) = read_bounded(path).map_err(|error| unusable(path, &error))?;
    if is_secret(&bytes) {
        check_mode(path, mode)?;
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    open_bytes(&name, &bytes, passphrases)
}

fn open_bytes(name: &str, bytes: &[u8], passphrases: &Passphrases) -> Result<KeyFile, Error> {
    let now = Timestamp::now();
    match KeyFile::open(bytes, None, now) {
        Err(KeyError::PassphraseNeeded) => {
            let passphrase = passphrases.existing(name)?;
            KeyFile::open(bytes, Some(&passphrase), now)
        }
        opened => opened,
    }
    .map_err(|error| of_key(name, &error))
}

/// Whether a secret key is in it, so that its file is to be guarded.
fn is_secret(bytes: &[u8]) -> bool {
    let now = Timestamp::now();
    matches!(KeyFile::open(bytes, None, now), Ok(_) | Err(KeyError::PassphraseNeeded))
        || KeyFile::needs_passphrase(bytes).unwrap_or(false)
        || bytes.windows(17).any(|window| window == b"PRIVATE KEY BLOCK")
}

fn describe(path: &Path, secret: bool) -> Result<Vec<Listed>, Error> {
    let (bytes, mode) = read_bounded(path).map_err(|error| unusable(path, &error))?;
    if secret {
        check_mode(path, mode)?;
    }
    let mut ring = Keyring::default();
    let added = ring.add(&bytes);
    if ring.is_empty() {
        return Err(Error::usage(format!("`{}`: {}", path.display(), added.skipped.join("; "))));
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let listed = ring.list().into_iter().map(|certificate| Listed {
        name: name.clone(),
        fingerprint: certificate.fingerprint,
        user_ids: certificate.user_ids,
        secret,
        revoked: certificate.revoked,
        path: path.to_owned(),
    });
    Ok(listed.collect())
}

/// Whether a word means a file, and no key of the store.
pub fn is_file(wanted: &str, store: &Store) -> bool {
    wanted.contains('/') || Path::new(wanted).is_file() && !store.secret_path(wanted).exists()
}

/// The files of a folder that may be keys, in order of name.
fn key_files(folder: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = files.filter(|path| is_key_file(path)).collect();
    files.sort();
    files
}

fn is_key_file(path: &Path) -> bool {
    let known = path.extension().is_some_and(|extension| extension == "pgp" || extension == "asc");
    known && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Reads a file and the permissions it was opened with.
pub fn read_bounded(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    // Whatever lies there under the name of a key must not make anybody wait for it.
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(KEY_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > KEY_BYTES_MAX {
        return Err(io::Error::other(format!("more than {KEY_BYTES_MAX} bytes is no key")));
    }
    Ok((bytes, metadata.mode()))
}

/// A secret that others can read or replace is none.
fn check_mode(path: &Path, mode: u32) -> Result<(), Error> {
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err(Error::usage(format!("key file `{shown}` is open to others (mode {:04o})", mode & 0o7777))
        .hint(format!("make it yours alone: `chmod 600 {shown}`")))
}

fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@' | '+');
    if name.is_empty() || name.len() > 64 || name.starts_with(['.', '-']) || !name.chars().all(plain) {
        return Err(Error::usage(format!("`{name}` cannot name a key"))
            .hint("use letters, digits and `. _ - @ +`, at most 64, and begin with a letter or digit"));
    }
    Ok(())
}

fn of_key(name: &str, error: &KeyError) -> Error {
    Error::usage(format!("key `{name}`: {error}"))
}

#[cfg(test)]
mod tests;
