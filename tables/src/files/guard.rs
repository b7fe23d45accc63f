//! What no scan enters: paths that policy names, and files that hold a process's memory or secrets.

use std::collections::HashSet;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::mounts;
use crate::host::{FileKind, Host, Id, Metadata};

/// Files of /proc whose bytes are never read: memory, environments, and the kernel's own memory.
const PROC_SECRETS: &[&str] = &["mem", "environ", "kcore", "kmem", "vmcore"];
/// Files that the kernel makes up and that are not read either: reading takes away what it shows, or hardly ends.
const NOT_FOR_READING: &[&str] = &["kmsg", "trace_pipe", "trace_pipe_raw", "pagemap"];

/// Names in a forbidden folder that are known by identity too, so that a hard link or a mount of one shows; an agent's
/// own folders hold fewer.
const NAMES_INSIDE_MAX: usize = 4096;
/// Folders between a root and `/`: no path is longer.
const STEPS_MAX: usize = 4096;

/// Knows what is forbidden, by identity and by place.
#[derive(Default)]
pub(super) struct Guard {
    ids: HashSet<Id>,
    /// As policy spells them and as they really are.
    paths: Vec<PathBuf>,
}

impl Guard {
    pub fn new(host: &Host, forbidden: &[String]) -> Guard {
        let mut guard = Guard::default();
        for path in forbidden.iter().map(Path::new) {
            guard.paths.push(path.to_owned());
            // What does not exist yet is known by its spelling alone.
            if let Ok(file) = host.open_path(path, OFlags::PATH) {
                guard.paths.extend(host.real_path(&file));
                if let Ok(stat) = host.metadata_of(&file) {
                    guard.ids.insert(stat.id());
                    if stat.kind == FileKind::Directory && mounts::is_local(&file) {
                        guard.learn_inside(host, path, stat.device);
                    }
                }
            }
        }
        guard
    }

    /// Remembers what lies in a forbidden folder, as far as there is room.
    fn learn_inside(&mut self, host: &Host, folder: &Path, device: u64) {
        let (mut folders, mut names) = (vec![folder.to_owned()], 0);
        while let Some(folder) = folders.pop() {
            for entry in host.entries(&folder).unwrap_or_default() {
                names += 1;
                if names > NAMES_INSIDE_MAX {
                    return;
                }
                let path = folder.join(&entry.name);
                let Ok(stat) = host.metadata(&path) else { continue };
                if stat.device == device {
                    self.ids.insert(stat.id());
                    if stat.kind == FileKind::Directory {
                        folders.push(path);
                    }
                }
            }
        }
    }

    /// Whether a real path is a forbidden one or lies below it.
    pub fn forbids_path(&self, path: &Path) -> bool {
        self.paths.iter().any(|forbidden| path.starts_with(forbidden))
    }

    pub fn forbids_id(&self, id: Id) -> bool {
        self.ids.contains(&id)
    }

    /// Whether a folder is a forbidden one or lies in one, whatever mount it was reached through.
    pub fn forbids_above(&self, host: &Host, folder: &OwnedFd) -> bool {
        if self.ids.is_empty() {
            return false;
        }
        let id = |folder: &OwnedFd| host.metadata_of(folder).ok().map(|stat| stat.id());
        let top = host.open_path(Path::new("/"), OFlags::PATH).ok().and_then(|top| id(&top));
        let (mut here, mut opened) = (id(folder), None::<OwnedFd>);
        for _ in 0..STEPS_MAX {
            let Some(known) = here else { return false };
            if self.forbids_id(known) {
                return true;
            }
            if here == top {
                return false;
            }
            let below = opened.as_ref().unwrap_or(folder).as_fd();
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let Ok(above) = rustix::fs::openat(below, c"..", flags, Mode::empty()) else { return false };
            here = id(&above).filter(|above| *above != known);
            opened = Some(above);
        }
        false
    }

    /// Refuses an open file whose bytes must not be read; `name` is the row's, which a link's target need not share.
    pub fn check_content(
        &self,
        host: &Host,
        file: &OwnedFd,
        stat: &Metadata,
        name: &CStr,
        reached: Reached,
    ) -> io::Result<()> {
        let refused = |reason: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason.to_owned()));
        if self.forbids_id(stat.id()) {
            return refused(FORBIDDEN);
        }
        // What was reached by name alone lies in a folder that was allowed, and is called what it is called.
        if reached == Reached::InFolder && !is_special(name.to_bytes()) {
            return Ok(());
        }
        let real = host.real_path(file);
        if real.as_ref().is_some_and(|real| self.forbids_path(real)) {
            return refused(FORBIDDEN);
        }
        let in_proc = mounts::magic(file) == Some(mounts::PROC);
        let Some(real) = real else { return if in_proc { refused(SECRET) } else { Ok(()) } };
        let last = real.file_name().unwrap_or_default().as_bytes();
        // A file of /proc that is mounted elsewhere need not be called what it is.
        let disguised = in_proc
            && match reached {
                Reached::InFolder => false,
                Reached::ThroughLink => host.is_live() && !real.starts_with("/proc"),
                Reached::Mounted => true,
            };
        if disguised || is_in(PROC_SECRETS, last) && (in_proc || real.starts_with("/proc")) {
            refused(SECRET)
        } else if is_in(NOT_FOR_READING, last) && !mounts::is_local(file) {
            refused(USED_UP)
        } else {
            Ok(())
        }
    }
}

/// How a row came to the file whose bytes it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// It lies in the row's folder.
    InFolder,
    ThroughLink,
    /// It is mounted over a name in the row's folder.
    Mounted,
}

fn is_special(name: &[u8]) -> bool {
    is_in(PROC_SECRETS, name) || is_in(NOT_FOR_READING, name)
}

fn is_in(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|known| known.as_bytes() == name)
}

pub(super) const FORBIDDEN: &str = "not entered: forbidden by policy";
const SECRET: &str = "not read: it holds memory or secrets of a process";
const USED_UP: &str = "not read: reading uses it up, or hardly ends";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::HostSpec;

    #[test]
    fn a_folder_in_a_forbidden_one_is_known_without_its_path() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(tree.path().join("own/deep/er")).unwrap();
        let host = Host::open(&HostSpec::Machine).unwrap();
        let open = |name: &str| host.open_path(&tree.path().join(name), OFlags::PATH).unwrap();
        let own = host.metadata_of(open("own")).unwrap().id();
        let guard = Guard { ids: HashSet::from([own]), paths: Vec::new() };
        for (name, expected) in [("own", true), ("own/deep/er", true), ("", false)] {
            assert_eq!(guard.forbids_above(&host, &open(name)), expected, "{name}");
        }
        assert!(!Guard::default().forbids_above(&host, &open("own")));
    }
}
