//! The policy in force: read again whenever its files changed, and missed where it was once there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use canvass_protocol::openpgp::Revocation;

use super::{Policy, PolicyError, certificates, read_keyring};
use crate::folder::{Folder, folders_above};
use crate::revocations::Revocations;

/// The name of the mark, in the agent's folder, that there was a policy.
const MARK: &str = "policy-seen";

/// The policy in force: read again whenever its files changed.
#[derive(Debug)]
pub struct PolicyInForce {
    path: PathBuf,
    keyrings: Vec<PathBuf>,
    /// Where it is remembered that there was a policy; `None` where that is forgotten with this process.
    folder: Option<Folder>,
    /// It has to be there, since somebody named it.
    named: bool,
    revocations: Revocations,
    last: Mutex<Last>,
}

/// What was read when it was last looked at.
#[derive(Debug, Default)]
struct Last {
    /// The folders above, of which only who may write them matters.
    above: BTreeSet<PathBuf>,
    stamp: Stamp,
    policy: Option<Shared>,
    /// Something is revoked since.
    stale: bool,
    /// There was a policy, whatever the folder says.
    unmarked: bool,
}

/// A policy, or why there is none, for whoever judges by it now.
type Shared = Arc<Result<Policy, PolicyError>>;

/// What changes with a file's content, owner or mode.
type Stamp = Vec<(PathBuf, Option<[i64; 7]>)>;

impl PolicyInForce {
    pub fn new(path: PathBuf, keyrings: Vec<PathBuf>) -> PolicyInForce {
        let (revocations, last) = (Revocations::default(), Mutex::default());
        PolicyInForce { path, keyrings, folder: None, named: false, revocations, last }
    }

    /// The same, which remembers in a folder that there was a policy, and what was revoked; where it was `named` it has to be
    /// there always.
    pub fn remembering(self, folder: Option<Folder>, named: bool) -> PolicyInForce {
        PolicyInForce { revocations: Revocations::new(folder.clone()), folder, named, ..self }
    }

    /// The policy as its files say it now.
    pub fn get(&self) -> Shared {
        let mut last = self.last();
        // Taken before reading: a change in between is seen the next time.
        let stamp = self.stamp(&last.above);
        let is_fresh = !std::mem::take(&mut last.stale) && stamp == last.stamp;
        let former = last.policy.take();
        let policy = match &former {
            // What makes good that a policy is gone is no change of these files.
            Some(former) if is_fresh && !matches!(**former, Err(PolicyError::Gone { .. })) => former.clone(),
            _ => {
                last.above =
                    std::iter::once(&self.path).chain(&self.keyrings).flat_map(|path| folders_above(path)).collect();
                last.stamp = self.stamp(&last.above);
                Arc::new(self.read(&mut last.unmarked))
            }
        };
        if let Some(former) = former.filter(|former| !Arc::ptr_eq(former, &policy)) {
            tell(&former, &policy);
        }
        last.policy = Some(policy.clone());
        policy
    }

    /// The policy as it was when somebody last looked; what nobody has looked at yet is read.
    pub fn known(&self) -> Shared {
        let known = self.last().policy.clone();
        known.unwrap_or_else(|| self.get())
    }

    /// Takes revocations from anyone; keeps those of the keyring that are new, and returns them.
    pub fn revoke(&self, bytes: &[u8]) -> Result<Vec<Revocation>, String> {
        let found = match &*self.get() {
            Ok(policy) => policy.keyring.revocations(bytes),
            // Whoever brings the policy back gets no revoked certificate back with it.
            Err(_) => read_keyring(&self.keyrings, &self.revocations, &mut Vec::new())
                .map_err(|error| error.to_string())?
                .revocations(bytes),
        };
        let mut found = found.map_err(|error| error.to_string())?;
        found.retain(|revocation| revocation.is_new);
        if found.is_empty() {
            return Ok(found);
        }
        if let Err(error) = self.revocations.add(found.iter().map(|revocation| revocation.armor.clone()).collect()) {
            tracing::error!(%error, "a revocation is forgotten with this process");
        }
        self.last().stale = true;
        Ok(found)
    }

    fn last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the policy, and misses it where it is not there although it was, or has to be.
    fn read(&self, unmarked: &mut bool) -> Result<Policy, PolicyError> {
        let read = Policy::read(&self.path, &self.keyrings, &self.revocations);
        // One that cannot be read is there, too.
        let is_there = read.as_ref().map_or_else(|_| fs::symlink_metadata(&self.path).is_ok(), |policy| policy.found);
        let policy = match read {
            Ok(policy) if !is_there => policy,
            read => {
                *unmarked = is_there && !self.mark();
                return read;
            }
        };
        let path = self.path.clone();
        match self.folder.as_ref().map(|folder| folder.path().join(MARK)) {
            _ if self.named => Err(PolicyError::Missing { path }),
            Some(mark) if *unmarked || mark.exists() => Err(PolicyError::Gone { path, mark }),
            _ => Ok(policy),
        }
    }

    /// Marks that there is a policy; whether that is remembered.
    fn mark(&self) -> bool {
        let Some(folder) = &self.folder else { return true };
        if folder.path().join(MARK).exists() {
            return true;
        }
        let written = folder.write_private(MARK, self.path.to_string_lossy().as_bytes());
        if let Err(error) = &written {
            tracing::error!(%error, "that there is a policy is forgotten with this process");
        }
        written.is_ok()
    }

    fn stamp(&self, above: &BTreeSet<PathBuf>) -> Stamp {
        let files = self.keyrings.iter().flat_map(|folder| certificates(folder).unwrap_or_default());
        let paths = std::iter::once(self.path.clone()).chain(self.revocations.path());
        let paths = paths.chain(self.keyrings.clone()).chain(files);
        let stamp = paths.map(|path| (path.clone(), whole(&path)));
        stamp.chain(above.iter().map(|path| (path.clone(), owner(path)))).collect()
    }
}

fn whole(path: &Path) -> Option<[i64; 7]> {
    let m = fs::metadata(path).ok()?;
    let (inode, size) = (m.ino().cast_signed(), m.size().cast_signed());
    Some([inode, size, m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec(), i64::from(m.mode())])
}

fn owner(path: &Path) -> Option<[i64; 7]> {
    let m = fs::metadata(path).ok()?;
    Some([m.ino().cast_signed(), i64::from(m.uid()), i64::from(m.gid()), i64::from(m.mode()), 0, 0, 0])
}

/// Says in the log what is new in a policy that was read again; what was there at the start its opener says.
fn tell(former: &Shared, policy: &Shared) {
    match &**policy {
        Ok(policy) => {
            let before = former.as_ref().as_ref().map_or(&[][..], |former| &former.troubles[..]);
            tracing::info!("the policy has changed and was read again");
            for trouble in policy.troubles.iter().filter(|trouble| !before.contains(trouble)) {
                tracing::warn!("{trouble}");
            }
        }
        Err(error) => {
            let words = error.to_string();
            if former.as_ref().as_ref().err().map(ToString::to_string).as_ref() != Some(&words) {
                tracing::error!("{words}; every action is refused");
            }
        }
    }
}
