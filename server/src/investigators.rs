//! Who may ask: the certificates of the server's keyring, and the sessions that they opened.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use canvass_protocol::api::{Role, Session};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::login::Login;
use canvass_protocol::openpgp::{Fingerprint, Keyring};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::roles::Roles;

/// How long a session lasts.
const SESSION: SignedDuration = SignedDuration::from_hours(1);
/// Sessions of all investigators together; the oldest end first.
const SESSIONS_MAX: usize = 10_000;
/// A certificate with photographs and many signatures fits.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// Why somebody is not let in.
#[derive(Debug, thiserror::Error)]
pub enum Stranger {
    #[error("no signature counts: {0}")]
    Signatures(String),
    #[error("{0}")]
    Login(String),
    #[error("this server keeps no certificate: put those of investigators into `{0}`")]
    EmptyKeyring(String),
    #[error("log in first")]
    NoSession,
    #[error("the session has ended: log in again")]
    Ended,
    #[error("this server lets {0} do nothing")]
    Nobody(Fingerprint),
    #[error("this needs the role `{0}`")]
    Role(&'static str),
    #[error("{0}")]
    Failed(String),
}

/// Somebody who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Investigator {
    pub fingerprint: Fingerprint,
    pub roles: Vec<Role>,
}

impl Investigator {
    /// Refuses who lacks a role.
    pub fn check(&self, role: Role) -> Result<(), Stranger> {
        let name = match role {
            Role::Read => "read",
            Role::Hunt => "hunt",
            Role::Admin => "admin",
        };
        if self.roles.contains(&role) { Ok(()) } else { Err(Stranger::Role(name)) }
    }
}

/// The keyring and the sessions.
pub struct Investigators {
    fleet: String,
    folder: PathBuf,
    roles: Roles,
    sessions: Mutex<Sessions>,
    /// The keyring as it was read last, and the files that it was read from.
    read: Mutex<Option<(Vec<Stamp>, Arc<Certificates>)>>,
}

/// Name, size and time of change of a file.
type Stamp = (PathBuf, u64, Option<SystemTime>);

/// The keyring, and what of it cannot be read.
pub struct Certificates {
    pub keyring: Keyring,
    pub troubles: Vec<String>,
}

#[derive(Default)]
struct Sessions {
    /// By the hash of their token.
    open: HashMap<[u8; 32], (Fingerprint, Timestamp)>,
    /// Logins that were used, until they are too old to be used again.
    nonces: HashMap<String, Timestamp>,
}

impl Investigators {
    pub fn new(fleet: String, folder: PathBuf, roles: Roles) -> Investigators {
        Investigators { fleet, folder, roles, sessions: Mutex::default(), read: Mutex::default() }
    }

    /// The certificates as they lie in the folder now. They are read again where a file is another than it was.
    pub fn keyring(&self) -> Arc<Certificates> {
        let files = files(&self.folder);
        let stamps = files.as_ref().map(|files| files.iter().map(stamp).collect()).unwrap_or_default();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((before, certificates)) if *before == stamps && files.is_ok() => certificates.clone(),
            _ => {
                let certificates = Arc::new(certificates(files));
                *read = Some((stamps, certificates.clone()));
                certificates
            }
        }
    }

    /// Opens a session for whoever signed the login. `server` is what the desk calls this server.
    pub fn login(&self, envelope: &Envelope, server: &str, now: Timestamp) -> Result<Session, Stranger> {
        let fingerprint = self.verify(envelope, now)?.remove(0);
        let login = Login::parse(envelope.payload.as_bytes()).map_err(|error| Stranger::Login(error.to_string()))?;
        if login.fleet != self.fleet {
            return Err(Stranger::Login(format!("the login is for fleet `{}`", login.fleet)));
        }
        if login.server != server {
            return Err(Stranger::Login(format!("the login is for server `{}`, and this is `{server}`", login.server)));
        }
        let skew = SignedDuration::from_secs(limits::CLOCK_SKEW_S);
        if login.at.duration_since(now).abs() > skew {
            return Err(Stranger::Login(format!(
                "the login was made at {}; by the server's clock it is {now}",
                login.at
            )));
        }
        let token = crate::random::hex().map_err(|error| Stranger::Failed(error.to_string()))?;
        let expires_at = now.saturating_add(SESSION).unwrap_or(now);
        let roles = self.roles.of(&fingerprint).roles();
        if roles.is_empty() {
            return Err(Stranger::Nobody(fingerprint));
        }
        let mut sessions = self.sessions();
        sessions.forget(now);
        let until = now.saturating_add(skew + skew).unwrap_or(now);
        if sessions.nonces.insert(login.nonce, until).is_some() {
            return Err(Stranger::Login("the login was used before".into()));
        }
        sessions.open.insert(key(&token), (fingerprint.clone(), expires_at));
        Ok(Session { token, expires_at, investigator: fingerprint, roles })
    }

    /// Who a token belongs to, with the roles of now. A session ends when its certificate leaves the keyring.
    pub fn who(&self, token: Option<&str>, now: Timestamp) -> Result<Investigator, Stranger> {
        let token = token.ok_or(Stranger::NoSession)?;
        let fingerprint = match self.sessions().open.get(&key(token)) {
            Some((fingerprint, expires_at)) if *expires_at > now => fingerprint.clone(),
            _ => return Err(Stranger::Ended),
        };
        if !self.keyring().keyring.fingerprints().any(|known| *known == fingerprint) {
            return Err(Stranger::Ended);
        }
        let roles = self.roles.of(&fingerprint).roles();
        Ok(Investigator { fingerprint, roles })
    }

    /// Those who signed an envelope, one at least.
    pub fn verify(&self, envelope: &Envelope, now: Timestamp) -> Result<Vec<Fingerprint>, Stranger> {
        let certificates = self.keyring();
        let keyring = &certificates.keyring;
        if keyring.fingerprints().next().is_none() {
            return Err(Stranger::EmptyKeyring(self.folder.display().to_string()));
        }
        let verdict = keyring.verify(envelope.payload.as_bytes(), &envelope.signatures, now);
        if verdict.signers.is_empty() {
            let rejected = verdict.rejected;
            let reason = if rejected.is_empty() { "there is none".to_owned() } else { rejected.join("; ") };
            return Err(Stranger::Signatures(reason));
        }
        Ok(verdict.signers.into_iter().collect())
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    fn forget(&mut self, now: Timestamp) {
        self.nonces.retain(|_, until| *until > now);
        self.open.retain(|_, (_, expires_at)| *expires_at > now);
        while self.open.len() >= SESSIONS_MAX {
            let oldest = self.open.iter().min_by_key(|(_, (_, expires_at))| *expires_at).map(|(key, _)| *key);
            oldest.into_iter().for_each(|key| drop(self.open.remove(&key)));
        }
    }
}

/// Tokens are kept as hashes, so that none can be read out of the server's memory or timed.
fn key(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

/// The certificates' files, in order of name.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(std::io::Error::other(format!("`{}`: {error}", folder.display()))),
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "asc" || extension == "pgp"));
    files.sort();
    Ok(files)
}

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = std::fs::metadata(path).ok();
    let size = metadata.as_ref().map_or(0, std::fs::Metadata::len);
    (path.clone(), size, metadata.and_then(|metadata| metadata.modified().ok()))
}

fn certificates(files: std::io::Result<Vec<PathBuf>>) -> Certificates {
    use std::io::Read as _;
    let (mut keyring, mut troubles) = (Keyring::default(), Vec::new());
    let files = files.unwrap_or_else(|error| {
        troubles.push(error.to_string());
        Vec::new()
    });
    for path in files {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| file.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut bytes));
        match read {
            Ok(_) => {
                let skipped = keyring.add(&bytes).skipped;
                troubles.extend(skipped.into_iter().map(|why| format!("`{}`: {why}", path.display())));
            }
            Err(error) => troubles.push(format!("`{}`: {error}", path.display())),
        }
    }
    Certificates { keyring, troubles }
}

#[cfg(test)]
mod tests {
    use canvass_protocol::openpgp::{KeyFile, Signer as _};

    use super::*;

    #[test]
    fn a_session_ends_when_its_certificate_leaves_the_keyring() {
        let (folder, now) = (tempfile::tempdir().unwrap(), Timestamp::now());
        let investigators = Investigators::new("acme".to_owned(), folder.path().to_owned(), Roles::default());
        let log_in = |name: &str| {
            let key = KeyFile::generate(name, None, now).unwrap();
            let file = folder.path().join(format!("{name}.asc"));
            std::fs::write(&file, key.public_armor().unwrap()).unwrap();
            let login = Login::new("acme".to_owned(), "here".to_owned(), name.to_owned(), now);
            let payload = String::from_utf8(login.to_bytes()).unwrap();
            let signatures = vec![key.sign(payload.as_bytes(), now).unwrap()];
            let session = investigators.login(&Envelope { payload, signatures }, "here", now).unwrap();
            (key.fingerprint(), session.token, file)
        };
        let (alice, alices, file) = log_in("alice");
        let (bob, bobs, _) = log_in("bob");
        let who = |token: &str| investigators.who(Some(token), now).map(|investigator| investigator.fingerprint);
        assert_eq!((who(&alices).unwrap(), who(&bobs).unwrap()), (alice.clone(), bob.clone()));
        assert!(
            Arc::ptr_eq(&investigators.keyring(), &investigators.keyring()),
            "nothing changed, and nothing is read"
        );
        let certificate = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(matches!(who(&alices), Err(Stranger::Ended)));
        assert_eq!(who(&bobs).unwrap(), bob);
        std::fs::write(&file, certificate).unwrap();
        assert_eq!(who(&alices).unwrap(), alice, "it is read again");
    }
}
