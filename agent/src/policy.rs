//! What this endpoint allows, and whom: `agent.toml` and the keyring folders, which only root or the user may write.

mod in_force;
mod names;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use canvass_protocol::acl::Acl;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::openpgp::{Fingerprint, KeyError, Keyring};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use self::names::Slips;
use crate::folder::{FolderError, check_trusted, check_trusted_above, is_missing, open_regular, read_bounded};
use crate::revocations::Revocations;

pub use in_force::PolicyInForce;

/// A policy with thousands of entries fits.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A certificate with photographs and many signatures fits.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// Predicates over contents in an action, and of anybody within a day, where the policy does not say: the longest list of
/// expressions fits, and whoever reads files out bit by bit gets no further than about twelve kilobytes a day.
const CONTENT_PREDICATES: u64 = 10_000;
const CONTENT_PREDICATES_A_DAY: u64 = 100_000;

/// A policy that could be read.
#[derive(Debug)]
pub struct Policy {
    pub fleet: Option<String>,
    pub acl: Acl,
    pub keyring: Keyring,
    /// Modules that nobody may use here.
    pub disabled_modules: BTreeSet<String>,
    /// Paths that no scan enters.
    pub forbidden_paths: Vec<String>,
    /// Columns, as `table.column`, that are NULL for everybody.
    pub withheld_columns: BTreeSet<String>,
    /// What is refused because of names that mean nothing here.
    pub slips: Slips,
    pub ceiling: Limits,
    /// The most threads that may work on one scan; `None` is one a core.
    pub threads_max: Option<NonZeroUsize>,
    /// The most actions that run at once, and the most scans of each; `None` is what the agent would do by itself.
    pub concurrency: Option<NonZeroUsize>,
    /// The most predicates over contents that an action may have, and that anybody may sign for within a day.
    pub content_predicates_max: u64,
    pub content_predicates_day_max: u64,
    /// The longest window accepted, in seconds.
    pub window_s_max: i64,
    /// Scans run only where the kernel gives all of their cage.
    pub require_cage: bool,
    /// Whether there was a file.
    pub found: bool,
    /// Certificates of the keyring that are revoked, those that are told.
    pub revoked_keys: Vec<Fingerprint>,
    /// Over the policy's bytes, the keyring and what revokes of it.
    pub sha256: [u8; 32],
    /// What was skipped, one sentence each; it narrows and never widens.
    pub troubles: Vec<String>,
}

/// Why a policy cannot be read; every action is refused then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// One that was kept may have been of any certificate.
    #[error(
        "a revocation that is kept in `{path}` cannot be read: {reason}; remove that file, and the server brings all of them again"
    )]
    Revocation { path: PathBuf, reason: KeyError },
    #[error("malformed policy `{path}`: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("the policy `{path}` is not there, and it was named to this agent")]
    Missing { path: PathBuf },
    #[error(
        "the policy `{path}` was there once and is not any more; bring it back, or remove `{mark}` where this agent is to go on without"
    )]
    Gone { path: PathBuf, mark: PathBuf },
}

/// The policy file but for its weights, which `protocol` reads.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    fleet: Option<String>,
    #[serde(rename = "acl")]
    _acl: Option<toml::Table>,
    #[serde(default)]
    disabled_modules: BTreeSet<String>,
    #[serde(default)]
    forbidden_paths: Vec<String>,
    #[serde(default)]
    withheld_columns: BTreeSet<String>,
    #[serde(default)]
    limits: Ceiling,
    window_s_max: Option<u32>,
    #[serde(default)]
    require_cage: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ceiling {
    rows: Option<u64>,
    bytes: Option<u64>,
    time_ms: Option<u64>,
    cpu_ms: Option<u64>,
    memory_bytes: Option<u64>,
    threads: Option<NonZeroUsize>,
    concurrency: Option<NonZeroUsize>,
    content_predicates: Option<u64>,
    content_predicates_per_day: Option<u64>,
}

impl Policy {
    /// Reads a policy file and keyring folders, whose certificates are revoked by what is kept. Without a file every
    /// certificate has weight 1 and all needs 1.
    pub fn read(path: &Path, keyrings: &[PathBuf], kept: &Revocations) -> Result<Policy, PolicyError> {
        let mut troubles = Vec::new();
        let keyring = read_keyring(keyrings, kept, &mut troubles)?;
        let bytes = read_file(path)?;
        let malformed = |reason: String| PolicyError::Malformed { path: path.to_owned(), reason };
        let text = match &bytes {
            Some(bytes) => Some(std::str::from_utf8(bytes).map_err(|_| malformed("not text".into()))?),
            None => None,
        };
        let (acl, written) = match text {
            None => (Acl::everyone(keyring.fingerprints().cloned()), Written::default()),
            Some(text) if path.extension() == Some(OsStr::new("json")) => {
                (Acl::from_mig_json(text), Written::default())
            }
            Some(text) => {
                let error = |error: toml::de::Error| malformed(error.to_string().trim_end().replace('\n', " · "));
                let written: Written = toml::from_str(text).map_err(error)?;
                (Acl::from_toml(text), written)
            }
        };
        troubles.extend(acl.problems());
        let (slips, words) = Slips::find(&written.disabled_modules, &written.withheld_columns, &acl);
        troubles.extend(words);
        if let Some(path) = written.forbidden_paths.iter().find(|path| !path.starts_with('/')) {
            return Err(malformed(format!("forbidden path `{path}` is not absolute")));
        }
        let sha256 = Sha256::new().chain_update(bytes.as_deref().unwrap_or_default()).chain_update(keyring.sha256());
        Ok(Policy {
            fleet: written.fleet,
            acl,
            revoked_keys: revoked_keys(&keyring),
            keyring,
            disabled_modules: written.disabled_modules,
            forbidden_paths: written.forbidden_paths,
            withheld_columns: written.withheld_columns,
            slips,
            ceiling: written.limits.over_default(),
            threads_max: written.limits.threads,
            concurrency: written.limits.concurrency,
            content_predicates_max: written.limits.content_predicates.unwrap_or(CONTENT_PREDICATES),
            content_predicates_day_max: written.limits.content_predicates_per_day.unwrap_or(CONTENT_PREDICATES_A_DAY),
            window_s_max: written.window_s_max.map_or(limits::WINDOW_S_MAX, i64::from).min(limits::WINDOW_S_MAX),
            require_cage: written.require_cage,
            found: bytes.is_some(),
            sha256: sha256.finalize().into(),
            troubles,
        })
    }

    /// How many threads may work on one scan: one for each core that this process could use when it was first asked, and no
    /// more than it says here.
    pub fn threads(&self) -> NonZeroUsize {
        // It reads a dozen files of the kernel's.
        static CORES: LazyLock<NonZeroUsize> =
            LazyLock::new(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN));
        self.threads_max.map_or(*CORES, |most| most.min(*CORES))
    }
}

impl Ceiling {
    fn over_default(&self) -> Limits {
        let none = |limit: Option<u64>| limit.unwrap_or(u64::MAX);
        Limits {
            rows: none(self.rows),
            bytes: none(self.bytes),
            time_ms: none(self.time_ms),
            cpu_ms: none(self.cpu_ms),
            memory_bytes: none(self.memory_bytes),
        }
    }
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, FolderError> {
    // Whoever can write a folder above can put another policy there, or take it away.
    check_trusted_above(path)?;
    let Some((file, metadata)) = open_regular(path)? else { return Ok(None) };
    check_trusted(path, &metadata)?;
    read_bounded(path, file, FILE_BYTES_MAX).map(Some)
}

/// The keyring as its folders have it, with all that revokes of it.
fn read_keyring(folders: &[PathBuf], kept: &Revocations, troubles: &mut Vec<String>) -> Result<Keyring, PolicyError> {
    let mut keyring = read_keyrings(folders, troubles)?;
    for revocation in kept.all()? {
        let revoked = keyring.revoke(revocation.as_bytes());
        revoked.map_err(|reason| PolicyError::Revocation { path: kept.path().unwrap_or_default(), reason })?;
    }
    Ok(keyring)
}

fn revoked_keys(keyring: &Keyring) -> Vec<Fingerprint> {
    let revoked = keyring.list().into_iter().filter(|certificate| certificate.revoked);
    revoked.map(|certificate| certificate.fingerprint).take(limits::REVOKED_KEYS_MAX).collect()
}

fn read_keyrings(folders: &[PathBuf], troubles: &mut Vec<String>) -> Result<Keyring, FolderError> {
    let mut keyring = Keyring::default();
    for folder in folders {
        match fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => {
                check_trusted(folder, &metadata)?;
                check_trusted_above(folder)?;
            }
            Ok(_) => return Err(FolderError::Kind { path: folder.clone(), expected: "folder" }),
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(FolderError::io(folder, error)),
        }
        for path in certificates(folder).map_err(|error| FolderError::io(folder, error))? {
            match read_certificate(&path) {
                Ok(bytes) => {
                    let skipped = keyring.add(&bytes).skipped.into_iter();
                    troubles.extend(skipped.map(|reason| format!("`{}`: {reason}", path.display())));
                }
                Err(error) => troubles.push(format!("a certificate is skipped: {error}")),
            }
        }
    }
    Ok(keyring)
}

fn read_certificate(path: &Path) -> Result<Vec<u8>, FolderError> {
    let missing = || FolderError::io(path, io::ErrorKind::NotFound.into());
    let (file, metadata) = open_regular(path)?.ok_or_else(missing)?;
    check_trusted(path, &metadata)?;
    read_bounded(path, file, CERTIFICATE_BYTES_MAX)
}

/// The certificate files of a folder, in order of name.
fn certificates(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let is_certificate = |path: &PathBuf| path.extension().is_some_and(|end| end == "asc" || end == "pgp");
    let mut paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.retain(is_certificate);
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests;
