//! What this endpoint allows, and whom: `agent.toml` and the keyring folders, which only root or the user may write.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use canvass_protocol::acl::Acl;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::openpgp::Keyring;
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::folder::{FolderError, check_trusted, check_trusted_around, open_regular, read_bounded};

/// A policy with thousands of entries fits.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// A certificate with photographs and many signatures fits.
const CERTIFICATE_BYTES_MAX: u64 = 4 << 20;

/// Predicates over contents in an action where the policy does not say: a long list of expressions fits, reading a file
/// out bit by bit takes many actions.
const CONTENT_PREDICATES: u64 = 64;

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
    /// Over the policy's bytes and the keyring.
    pub sha256: [u8; 32],
    /// What was skipped, one sentence each; it narrows and never widens.
    pub troubles: Vec<String>,
}

/// Why a policy cannot be read; every action is refused then.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("malformed policy `{path}`: {reason}")]
    Malformed { path: PathBuf, reason: String },
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
    /// Reads a policy file and keyring folders. Without a file every certificate has weight 1 and all needs 1.
    pub fn read(path: &Path, keyrings: &[PathBuf]) -> Result<Policy, PolicyError> {
        let mut troubles = Vec::new();
        let keyring = read_keyrings(keyrings, &mut troubles)?;
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
        troubles.extend(check_names(&written));
        if let Some(path) = written.forbidden_paths.iter().find(|path| !path.starts_with('/')) {
            return Err(malformed(format!("forbidden path `{path}` is not absolute")));
        }
        let sha256 = Sha256::new().chain_update(bytes.as_deref().unwrap_or_default()).chain_update(keyring.sha256());
        Ok(Policy {
            fleet: written.fleet,
            acl,
            keyring,
            disabled_modules: written.disabled_modules,
            forbidden_paths: written.forbidden_paths,
            withheld_columns: written.withheld_columns,
            ceiling: written.limits.over_default(),
            threads_max: written.limits.threads,
            concurrency: written.limits.concurrency,
            content_predicates_max: written.limits.content_predicates.unwrap_or(CONTENT_PREDICATES),
            content_predicates_day_max: written.limits.content_predicates_per_day.unwrap_or(u64::MAX),
            window_s_max: written.window_s_max.map_or(limits::WINDOW_S_MAX, i64::from).min(limits::WINDOW_S_MAX),
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

/// Names that mean nothing to this version: a slip of the pen, or a table of a later one.
fn check_names(written: &Written) -> Vec<String> {
    let tables = canvass_tables::TABLES;
    let is_module = |module: &&String| tables.iter().any(|table| table.info().module == **module);
    let is_column = |name: &&String| {
        let column = name.split_once('.').and_then(|(table, column)| canvass_tables::find(table)?.column(column));
        column.is_some()
    };
    let modules = written.disabled_modules.iter().filter(|module| !is_module(module));
    let columns = written.withheld_columns.iter().filter(|column| !is_column(column));
    let modules = modules.map(|module| format!("the policy disables `{module}`, which is no module here"));
    modules.chain(columns.map(|column| format!("the policy withholds `{column}`, which is no column here"))).collect()
}

fn read_file(path: &Path) -> Result<Option<Vec<u8>>, FolderError> {
    // Whoever can write the folder can put another policy there, or take it away.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match fs::metadata(parent) {
        Ok(metadata) => check_trusted_around(parent, &metadata)?,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(FolderError::io(parent, error)),
    }
    let Some((file, metadata)) = open_regular(path)? else { return Ok(None) };
    check_trusted(path, &metadata)?;
    read_bounded(path, file, FILE_BYTES_MAX).map(Some)
}

fn read_keyrings(folders: &[PathBuf], troubles: &mut Vec<String>) -> Result<Keyring, FolderError> {
    let mut keyring = Keyring::default();
    for folder in folders {
        match fs::metadata(folder) {
            Ok(metadata) if metadata.is_dir() => check_trusted(folder, &metadata)?,
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

fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The policy in force: read again whenever its files changed.
#[derive(Debug)]
pub struct PolicyInForce {
    path: PathBuf,
    keyrings: Vec<PathBuf>,
    last: Mutex<Option<(Stamp, Shared)>>,
}

/// A policy, or why there is none, for whoever judges by it now.
type Shared = Arc<Result<Policy, PolicyError>>;

/// What changes with a file's content, owner or mode.
type Stamp = Vec<(PathBuf, Option<[i64; 7]>)>;

impl PolicyInForce {
    pub fn new(path: PathBuf, keyrings: Vec<PathBuf>) -> PolicyInForce {
        PolicyInForce { path, keyrings, last: Mutex::new(None) }
    }

    /// The policy as its files say it now.
    pub fn get(&self) -> Shared {
        // Taken before reading: a change in between is seen the next time.
        let stamp = self.stamp();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((read, policy)) if *read == stamp => Arc::clone(policy),
            _ => {
                let policy = Arc::new(Policy::read(&self.path, &self.keyrings));
                *last = Some((stamp, Arc::clone(&policy)));
                policy
            }
        }
    }

    fn stamp(&self) -> Stamp {
        let parent = self.path.parent().map(Path::to_owned);
        let files = self.keyrings.iter().flat_map(|folder| certificates(folder).unwrap_or_default());
        let paths = std::iter::once(self.path.clone()).chain(parent).chain(self.keyrings.clone()).chain(files);
        let state = |path: &Path| {
            fs::metadata(path).ok().map(|m| {
                let (inode, size) = (m.ino().cast_signed(), m.size().cast_signed());
                [inode, size, m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec(), i64::from(m.mode())]
            })
        };
        paths.map(|path| (path.clone(), state(&path))).collect()
    }
}

#[cfg(test)]
mod tests;
