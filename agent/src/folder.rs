//! The agent's own folder: who may enter it, its lock, and writes that are whole or not there.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Why a file or folder is not safe to rely on.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("`{path}`: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("`{path}` has mode {mode:04o}; nobody but its owner may enter or read it (chmod go-rwx)")]
    Mode { path: PathBuf, mode: u32 },
    #[error("`{path}` is writable by others (mode {mode:04o}; chmod go-w)")]
    Writable { path: PathBuf, mode: u32 },
    #[error("`{path}` is owned by uid {uid}, neither root nor the user of this agent")]
    Owner { path: PathBuf, uid: u32 },
    #[error("`{path}` is not a {expected}")]
    Kind { path: PathBuf, expected: &'static str },
    #[error("`{path}` has more than {max} bytes")]
    TooLong { path: PathBuf, max: u64 },
}

impl FolderError {
    pub(crate) fn io(path: &Path, error: io::Error) -> FolderError {
        FolderError::Io { path: path.to_owned(), error }
    }
}

/// A folder of the agent's own, mode 0700.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// Keeps every other process out of the folder until dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop, which unlocks")] File);

impl Folder {
    /// Opens the folder and makes it where it is missing; refuses one that others may enter.
    pub fn open(path: &Path) -> Result<Folder, FolderError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| FolderError::io(path, error))?;
        let metadata = fs::metadata(path).map_err(|error| FolderError::io(path, error))?;
        check_private(path, &metadata)?;
        let path = path.canonicalize().map_err(|error| FolderError::io(path, error))?;
        Ok(Folder { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the folder's lock.
    pub fn lock(&self) -> Result<Lock, FolderError> {
        let path = self.path.join("lock");
        let open = || -> io::Result<File> {
            let file = open_mark(&path)?;
            file.lock()?;
            Ok(file)
        };
        open().map(Lock).map_err(|error| FolderError::io(&path, error))
    }

    /// Opens a file that nobody else may read or write; `None` where there is none.
    pub fn open_private(&self, name: &str) -> Result<Option<(File, fs::Metadata)>, FolderError> {
        let path = self.path.join(name);
        let Some((file, metadata)) = open_regular(&path)? else { return Ok(None) };
        check_private(&path, &metadata)?;
        Ok(Some((file, metadata)))
    }

    /// Reads such a file of at most `max` bytes.
    pub fn read_private(&self, name: &str, max: u64) -> Result<Option<Vec<u8>>, FolderError> {
        let Some((file, _)) = self.open_private(name)? else { return Ok(None) };
        read_bounded(&self.path.join(name), file, max).map(Some)
    }

    /// Writes a file, mode 0600, that after a crash is the old one or the new one and nothing between.
    pub fn write_private(&self, name: &str, bytes: &[u8]) -> Result<(), FolderError> {
        let path = self.path.join(name);
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.path)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path).map_err(|error| error.error)?;
            self.sync()
        };
        write().map_err(|error| FolderError::io(&path, error))
    }

    /// Moves a file out of the way under another name; a missing one is no error.
    pub fn set_aside(&self, name: &str, aside: &str) -> Result<(), FolderError> {
        let path = self.path.join(name);
        match fs::rename(&path, self.path.join(aside)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FolderError::io(&path, error)),
            _ => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// The flag with which opening a FIFO or device does not wait for its other end.
pub(crate) fn no_waiting() -> i32 {
    rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

/// Opens, and makes where it is missing, a file that is there to be locked.
pub(crate) fn open_mark(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).custom_flags(no_waiting()).open(path)
}

/// Opens a regular file without waiting on a FIFO or device; `None` where there is none.
pub(crate) fn open_regular(path: &Path) -> Result<Option<(File, fs::Metadata)>, FolderError> {
    let file = match OpenOptions::new().read(true).custom_flags(no_waiting()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FolderError::io(path, error)),
    };
    let metadata = file.metadata().map_err(|error| FolderError::io(path, error))?;
    if !metadata.is_file() {
        return Err(FolderError::Kind { path: path.to_owned(), expected: "regular file" });
    }
    Ok(Some((file, metadata)))
}

pub(crate) fn read_bounded(path: &Path, file: File, max: u64) -> Result<Vec<u8>, FolderError> {
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(|error| FolderError::io(path, error))?;
    if bytes.len() as u64 > max {
        return Err(FolderError::TooLong { path: path.to_owned(), max });
    }
    Ok(bytes)
}

/// Checks that a file or folder is the user's and closed to everybody else.
pub(crate) fn check_private(path: &Path, metadata: &fs::Metadata) -> Result<(), FolderError> {
    let mode = metadata.mode() & 0o7777;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(FolderError::Owner { path: path.to_owned(), uid: metadata.uid() });
    }
    if mode & 0o077 != 0 {
        return Err(FolderError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// As [`check_trusted`] for the folder that a trusted file lies in, but a user's private group may write it: whoever works
/// under umask 002 has such folders.
pub(crate) fn check_trusted_around(path: &Path, metadata: &fs::Metadata) -> Result<(), FolderError> {
    let private_group = metadata.uid() != 0 && metadata.gid() == metadata.uid();
    match check_trusted(path, metadata) {
        Err(FolderError::Writable { mode, .. }) if private_group && mode & 0o002 == 0 => Ok(()),
        checked => checked,
    }
}

/// Checks that nobody but root and the user of this agent can put another file in this one's place: the folders that it lies
/// in, up to the root, as it is spelled and where links lead. A folder that is missing is passed over.
///
/// In a folder such as `/tmp`, whose entries only their owners may rename, others may write.
pub(crate) fn check_trusted_above(path: &Path) -> Result<(), FolderError> {
    for above in folders_above(path) {
        let metadata = match fs::metadata(&above) {
            Ok(metadata) => metadata,
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(FolderError::io(&above, error)),
        };
        match check_trusted_around(&above, &metadata) {
            Err(FolderError::Writable { mode, .. }) if mode & STICKY != 0 => {}
            checked => checked?,
        }
    }
    Ok(())
}

/// Lets only an entry's owner rename and remove it.
const STICKY: u32 = 0o1000;

/// The folders that a file lies in, as it is spelled and where links lead.
pub(crate) fn folders_above(path: &Path) -> BTreeSet<PathBuf> {
    let spelled = std::path::absolute(path).ok();
    let parent = spelled.as_deref().and_then(Path::parent);
    let real =
        path.canonicalize().or_else(|error| parent.map_or(Err(error), |parent| Ok(parent.canonicalize()?.join("_"))));
    let above = |path: PathBuf| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    spelled.into_iter().chain(real.ok()).flat_map(above).collect()
}

pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Checks that only root or the user of this agent can write a file or folder.
pub(crate) fn check_trusted(path: &Path, metadata: &fs::Metadata) -> Result<(), FolderError> {
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 && uid != rustix::process::geteuid().as_raw() {
        return Err(FolderError::Owner { path: path.to_owned(), uid });
    }
    if mode & 0o022 != 0 {
        return Err(FolderError::Writable { path: path.to_owned(), mode });
    }
    Ok(())
}
