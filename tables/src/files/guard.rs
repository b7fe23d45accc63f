//! What no scan enters: paths that policy names, and files that hold a process's memory or secrets.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::mounts;
use crate::host::{Host, Id, Metadata};

/// Files of /proc whose bytes are never read: memory, environments, and the kernel's own memory.
const PROC_SECRETS: &[&str] = &["mem", "environ", "kcore", "kmem"];

/// Knows what is forbidden, by identity and by place.
pub(super) struct Guard {
    ids: HashSet<Id>,
    /// As policy spells them and as they really are.
    paths: Vec<PathBuf>,
}

impl Guard {
    pub fn new(host: &Host, forbidden: &[String]) -> Guard {
        let mut guard = Guard { ids: HashSet::new(), paths: Vec::new() };
        for path in forbidden.iter().map(Path::new) {
            guard.paths.push(path.to_owned());
            // What does not exist yet is known by its spelling alone.
            if let Ok(file) = host.open_path(path, OFlags::PATH) {
                guard.ids.extend(host.metadata_of(&file).map(|stat| stat.id()));
                guard.paths.extend(host.real_path(&file));
            }
        }
        guard
    }

    /// Whether a real path is a forbidden one or lies below it.
    pub fn forbids_path(&self, path: &Path) -> bool {
        self.paths.iter().any(|forbidden| path.starts_with(forbidden))
    }

    pub fn forbids_id(&self, id: Id) -> bool {
        self.ids.contains(&id)
    }

    /// Refuses an open file whose bytes must not be read; `name` is the row's, which a link's target need not share.
    pub fn check_content(
        &self,
        host: &Host,
        file: &OwnedFd,
        stat: &Metadata,
        name: &CStr,
        through_link: bool,
    ) -> io::Result<()> {
        let refused = |reason: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason.to_owned()));
        if self.forbids_id(stat.id()) {
            return refused(FORBIDDEN);
        }
        // What was reached by name alone lies in a folder that was allowed, and is called what it is called.
        if !through_link && !is_secret(name.to_bytes()) {
            return Ok(());
        }
        let real = host.real_path(file);
        if real.as_ref().is_some_and(|real| self.forbids_path(real)) {
            return refused(FORBIDDEN);
        }
        let in_proc = || mounts::magic(file) == Some(mounts::PROC);
        let secret = match &real {
            Some(real) => {
                let last = real.file_name().unwrap_or_default().as_bytes();
                is_secret(last) && (real.starts_with("/proc") || in_proc())
            }
            None => in_proc(),
        };
        if secret { refused(SECRET) } else { Ok(()) }
    }
}

fn is_secret(name: &[u8]) -> bool {
    PROC_SECRETS.iter().any(|secret| secret.as_bytes() == name)
}

pub(super) const FORBIDDEN: &str = "not entered: forbidden by policy";
const SECRET: &str = "not read: it holds memory or secrets of a process";
