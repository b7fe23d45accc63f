//! Users' folders, and how a file in them is read.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::bound::is_under;
use crate::engine::Collector;
use crate::host::{Host, UserEntry, reason};

/// Users that are looked after; who has more keeps them elsewhere than in /etc/passwd.
const USERS_MAX: usize = 100_000;

/// The users that are looked after.
pub(super) fn users(host: &Host) -> impl Iterator<Item = &UserEntry> {
    host.accounts().users.iter().take(USERS_MAX)
}

/// Those with a home folder of their own: where several have the same one, the first of them.
pub(super) fn with_homes(host: &Host) -> Vec<&UserEntry> {
    let mut seen = BTreeSet::new();
    users(host).filter(|user| user.home.starts_with('/') && seen.insert(user.home.trim_end_matches('/'))).collect()
}

/// Whether a policy keeps scans away from a path.
pub(super) fn is_forbidden<R>(collector: &Collector<'_, R>, path: &str) -> bool {
    collector.forbidden.iter().any(|folder| is_under(path, folder))
}

/// What lies in a folder that may not be there; sorted.
pub(super) fn files<R>(collector: &mut Collector<'_, R>, folder: &Path, names_max: usize) -> Vec<PathBuf> {
    if is_forbidden(collector, &folder.to_string_lossy()) {
        return Vec::new();
    }
    let mut names: Vec<_> = match collector.host.entries_up_to(folder, names_max) {
        Ok((entries, all)) => {
            if !all {
                let reason = format!("only {names_max} of its files are looked at");
                collector.trouble(Some(&folder.to_string_lossy()), reason);
            }
            entries.into_iter().map(|entry| entry.name).collect()
        }
        Err(error) => {
            note(collector, folder, &error);
            return Vec::new();
        }
    };
    names.sort_unstable();
    names.iter().map(|name| folder.join(name)).collect()
}

/// Reads a regular file whole; `None` where it is none, is not there, or is longer than `bytes_max`, which is a trouble.
pub(super) fn read<R>(collector: &mut Collector<'_, R>, path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    if is_forbidden(collector, &path.to_string_lossy()) {
        return None;
    }
    let mut bytes = Vec::new();
    let read = collector.host.open_file(path).and_then(|file| match file {
        Some(file) => file.take(bytes_max + 1).read_to_end(&mut bytes).map(Some),
        None => Ok(None),
    });
    match read {
        Ok(Some(length)) if length as u64 <= bytes_max => Some(bytes),
        Ok(Some(_)) => {
            collector.trouble(Some(&path.to_string_lossy()), format!("longer than {bytes_max} bytes"));
            None
        }
        Ok(None) => None,
        Err(error) => {
            note(collector, path, &error);
            None
        }
    }
}

/// Notes why a file cannot be read, unless it is simply not there.
pub(super) fn note<R>(collector: &mut Collector<'_, R>, path: &Path, error: &std::io::Error) {
    use std::io::ErrorKind::{NotADirectory, NotFound};
    if !matches!(error.kind(), NotFound | NotADirectory) {
        collector.trouble(Some(&path.to_string_lossy()), reason(error));
    }
}
