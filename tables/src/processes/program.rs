//! The program that a process runs, as a file: where it is, whether it still has a name, and its hash.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::sync::{Mutex, PoisonError};

use canvass_protocol::answer::Trouble;
use sha2::{Digest as _, Sha256};

use super::proc;
use crate::host::Host;

/// Programs whose hashes are kept for other processes that run them.
const KEPT_MAX: usize = 4096;
/// A program that claims to be longer is not read: it may have terabytes that lie on no disk.
const PROGRAM_BYTES_MAX: u64 = 2 << 30;

/// Hashes of programs by what they are on disk, so that a program of hundreds of processes is read once.
#[derive(Default)]
pub(super) struct Hashes(Mutex<HashMap<Id, String>>);

/// A file as it was when it was read.
type Id = (u64, u64, u64, i64, i64);

/// A link of a process's own, as text; `None` where there is none, as for kernel threads, or no longer.
pub(super) fn link(host: &Host, pid: u32, file: &str) -> Result<Option<String>, Trouble> {
    let path = proc::path_of(pid, file);
    match host.read_link(&path) {
        Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
        Err(error) if proc::gone(&error) => Ok(None),
        Err(error) => Err(proc::trouble(&path, &error)),
    }
}

/// The program's path, and whether the kernel says that it was removed.
pub(crate) fn path(host: &Host, pid: u32) -> Result<Option<(String, bool)>, Trouble> {
    let Some(path) = link(host, pid, "exe")? else { return Ok(None) };
    match path.strip_suffix(" (deleted)") {
        Some(before) if proc::is_removed(host, pid, &proc::path_of(pid, "exe"), &path) => {
            Ok(Some((before.to_owned(), true)))
        }
        _ => Ok(Some((path, false))),
    }
}

impl Hashes {
    /// SHA-256 of the program that a process runs, one that was removed included; `None` for kernel threads and zombies.
    pub(super) fn of(&self, host: &Host, pid: u32) -> Result<Option<String>, Trouble> {
        let path = proc::path_of(pid, "exe");
        let hashed = match host.open_file(&path) {
            Ok(Some(file)) => self.of_file(file).map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        match hashed {
            Err(error) if proc::gone(&error) => Ok(None),
            hashed => hashed.map_err(|error| proc::trouble(&path, &error)),
        }
    }

    fn of_file(&self, file: File) -> io::Result<String> {
        let metadata = file.metadata()?;
        let (mtime, ctime) = (metadata.mtime_nsec(), metadata.ctime());
        let id = (metadata.dev(), metadata.ino(), metadata.size(), mtime ^ (metadata.mtime() << 30), ctime);
        if let Some(known) = self.lock().get(&id) {
            return Ok(known.clone());
        }
        if metadata.size() > PROGRAM_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let (mut hash, mut buffer) = (Sha256::new(), vec![0; 128 << 10]);
        // To the size that it has: a file that grows meanwhile would be read for ever.
        let mut rest = file.take(metadata.size());
        loop {
            match rest.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => hash.update(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let text: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let mut kept = self.lock();
        if kept.len() < KEPT_MAX {
            kept.insert(id, text.clone());
        }
        Ok(text)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Id, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
