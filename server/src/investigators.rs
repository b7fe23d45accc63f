//! Who may ask: the certificates of the server's keyring, and the sessions that they opened.

use std::collections::HashMap;
use std::fs::Metadata;
use std::io::{Error, ErrorKind};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use canvass_protocol::api::{Role, Session};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::login::{Login, NONCE_DIGITS};
use canvass_protocol::openpgp::{Fingerprint, KeyError, Keyring, Revocation};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::revocations::Revocations;
use crate::roles::Roles;

/// How long a session lasts.
const SESSION: SignedDuration = SignedDuration::from_hours(1);
/// Sessions of all investigators together; the oldest end first.
const SESSIONS_MAX: usize = 10_000;
/// Envelopes that are verified at once: actions of megabytes with eight signatures among them.
const CALLERS_AT_ONCE: usize = 4;
/// Logins that are verified at once, so that strangers keep nobody waiting who has a session.
const STRANGERS_AT_ONCE: usize = 2;
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
    #[error("this needs the role `{1}`")]
    Role(Fingerprint, &'static str),
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
        if self.roles.contains(&role) { Ok(()) } else { Err(Stranger::Role(self.fingerprint.clone(), name)) }
    }
}

/// The keyring and the sessions.
pub struct Investigators {
    fleet: String,
    folder: PathBuf,
    roles: Roles,
    revocations: Arc<Revocations>,
    sessions: Mutex<Sessions>,
    /// The keyring as it was read last, and what it was read from.
    read: Mutex<Option<(Source, Arc<Certificates>)>>,
    /// Envelopes that are verified at once: those of whoever has a session, and of whoever wants one.
    callers: Semaphore,
    strangers: Semaphore,
}

/// Files of certificates, and how many revocations there were.
type Source = (Vec<Stamp>, usize);

/// Name, size, time of change, owner and mode of a file.
type Stamp = (PathBuf, u64, Option<SystemTime>, u32, u32);

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
    /// Those of a folder, but for who is revoked.
    pub fn new(fleet: String, folder: PathBuf, roles: Roles, revocations: Arc<Revocations>) -> Investigators {
        Investigators {
            fleet,
            folder,
            roles,
            revocations,
            sessions: Mutex::default(),
            read: Mutex::default(),
            callers: Semaphore::new(CALLERS_AT_ONCE),
            strangers: Semaphore::new(STRANGERS_AT_ONCE),
        }
    }

    /// The certificates as they lie in the folder now, with all that is revoked of them. They are read again where a file is
    /// another than it was, or more is revoked.
    pub fn keyring(&self) -> Arc<Certificates> {
        let files = files(&self.folder);
        let stamps = files.as_ref().map(|files| files.iter().map(stamp).collect()).unwrap_or_default();
        // Counted before they are read: what comes in between is seen the next time.
        let source = (stamps, self.revocations.count());
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        match &*read {
            Some((before, certificates)) if *before == source && files.is_ok() => certificates.clone(),
            _ => {
                let certificates = Arc::new(certificates(files, &self.revocations));
                *read = Some((source, certificates.clone()));
                certificates
            }
        }
    }

    /// Opens a session for whoever signed the login. `server` is what the desk calls this server.
    pub async fn login(&self, envelope: &Envelope, server: &str, now: Timestamp) -> Result<Session, Stranger> {
        if envelope.payload.len() > limits::WORD_BYTES_MAX || envelope.signatures.len() > 1 {
            let max = limits::WORD_BYTES_MAX;
            return Err(Stranger::Login(format!("a login has one signature and at most {max} bytes")));
        }
        let fingerprint = self.verify_with(&self.strangers, envelope, now).await?.remove(0);
        self.open(fingerprint, envelope, server, now)
    }

    /// Opens a session with a login that this certificate signed.
    fn open(
        &self,
        fingerprint: Fingerprint,
        envelope: &Envelope,
        server: &str,
        now: Timestamp,
    ) -> Result<Session, Stranger> {
        let login = Login::parse(envelope.payload.as_bytes()).map_err(|error| Stranger::Login(error.to_string()))?;
        if login.fleet != self.fleet {
            return Err(Stranger::Login(format!("the login is for fleet `{}`", login.fleet)));
        }
        if login.server != server {
            return Err(Stranger::Login(format!("the login is for server `{}`, and this is `{server}`", login.server)));
        }
        if !login.has_nonce() {
            return Err(Stranger::Login(format!("a login's nonce is {NONCE_DIGITS} hexadecimal digits")));
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
        let roles = self.roles(&fingerprint);
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

    /// What somebody may do.
    pub fn roles(&self, fingerprint: &Fingerprint) -> Vec<Role> {
        self.roles.of(fingerprint).roles()
    }

    /// Who a token belongs to, with the roles of now. A session ends when its certificate leaves the keyring, is revoked there
    /// or expires.
    pub fn who(&self, token: Option<&str>, now: Timestamp) -> Result<Investigator, Stranger> {
        let token = token.ok_or(Stranger::NoSession)?;
        let fingerprint = match self.sessions().open.get(&key(token)) {
            Some((fingerprint, expires_at)) if *expires_at > now => fingerprint.clone(),
            _ => return Err(Stranger::Ended),
        };
        if self.keyring().keyring.may_sign(&fingerprint, now).is_err() {
            return Err(Stranger::Ended);
        }
        let roles = self.roles(&fingerprint);
        Ok(Investigator { fingerprint, roles })
    }

    /// Those who signed an envelope, one at least.
    pub async fn verify(&self, envelope: &Envelope, now: Timestamp) -> Result<Vec<Fingerprint>, Stranger> {
        self.verify_with(&self.callers, envelope, now).await
    }

    /// Revocations of certificates of the keyring; why they cannot be read, where that is so.
    pub async fn revocations(
        &self,
        bytes: impl AsRef<[u8]> + Send + 'static,
    ) -> Result<Result<Vec<Revocation>, KeyError>, Stranger> {
        let certificates = self.keyring();
        let failed = |error: &dyn std::fmt::Display| Stranger::Failed(error.to_string());
        let _turn = self.callers.acquire().await.map_err(|error| failed(&error))?;
        spawn_blocking(move || certificates.keyring.revocations(bytes.as_ref())).await.map_err(|error| failed(&error))
    }

    /// Signatures take time by the thousand of what a request takes, and so no request waits for those of others but these.
    async fn verify_with(
        &self,
        turns: &Semaphore,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<Vec<Fingerprint>, Stranger> {
        let certificates = self.keyring();
        if certificates.keyring.is_empty() {
            return Err(Stranger::EmptyKeyring(self.folder.display().to_string()));
        }
        let failed = |error: &dyn std::fmt::Display| Stranger::Failed(error.to_string());
        let turn = turns.acquire().await.map_err(|error| failed(&error))?;
        let envelope = envelope.clone();
        let verify = move || {
            let Envelope { payload, signatures } = envelope;
            certificates.keyring.verify(payload.as_bytes(), &signatures, now)
        };
        let verdict = spawn_blocking(verify).await.map_err(|error| failed(&error))?;
        drop(turn);
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

/// The certificates' files, in order of name; none where others than root and this server's user could put some there.
fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let metadata = std::fs::metadata(folder).ok();
    metadata.map_or(Ok(()), |metadata| check_trusted(folder, &metadata, true))?;
    let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Error::other(format!("`{}`: {error}", folder.display()))),
    };
    files.retain(|path| path.extension().is_some_and(|extension| extension == "asc" || extension == "pgp"));
    files.sort();
    Ok(files)
}

fn stamp(path: &PathBuf) -> Stamp {
    let metadata = std::fs::metadata(path).ok();
    let size = metadata.as_ref().map_or(0, Metadata::len);
    let (owner, mode) = metadata.as_ref().map_or((0, 0), |metadata| (metadata.uid(), metadata.mode()));
    (path.clone(), size, metadata.and_then(|metadata| metadata.modified().ok()), owner, mode)
}

/// Checks that nobody but root and this server's user can write a file or folder: who writes there is an administrator. A
/// user's private group may write a folder, since whoever works under umask 002 has such.
fn check_trusted(path: &Path, metadata: &Metadata, is_folder: bool) -> std::io::Result<()> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        let why = format!("`{}` is owned by uid {uid}, neither root nor the user of this server", path.display());
        return Err(Error::other(why));
    }
    let private_group = is_folder && uid != 0 && metadata.gid() == uid;
    if mode & 0o002 != 0 || mode & 0o020 != 0 && !private_group {
        let why = format!("`{}` is writable by others (mode {mode:04o}; chmod go-w)", path.display());
        return Err(Error::other(why));
    }
    Ok(())
}

fn certificates(files: std::io::Result<Vec<PathBuf>>, revocations: &Revocations) -> Certificates {
    use std::io::Read as _;
    let (mut keyring, mut troubles) = (Keyring::default(), Vec::new());
    let files = files.unwrap_or_else(|error| {
        troubles.push(error.to_string());
        Vec::new()
    });
    for path in files {
        let mut bytes = Vec::new();
        let read = std::fs::File::open(&path).and_then(|file| {
            check_trusted(&path, &file.metadata()?, false)?;
            file.take(CERTIFICATE_BYTES_MAX).read_to_end(&mut bytes)
        });
        match read {
            Ok(_) => {
                let skipped = keyring.add(&bytes).skipped;
                troubles.extend(skipped.into_iter().map(|why| format!("`{}`: {why}", path.display())));
            }
            // What is wrong with its owner or mode names it already.
            Err(error) if error.kind() == ErrorKind::Other => troubles.push(error.to_string()),
            Err(error) => troubles.push(format!("`{}`: {error}", path.display())),
        }
    }
    for revocation in revocations.all() {
        // Where it is of a certificate that is not there any more, that is no trouble.
        if let Err(error) = keyring.revoke(revocation.as_bytes()) {
            troubles.push(format!("a stored revocation is skipped: {error}"));
        }
    }
    Certificates { keyring, troubles }
}

#[cfg(test)]
mod tests;
