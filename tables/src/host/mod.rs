//! The only door to the operating system: a root folder, a clock, bounded reads.

mod fixture;
mod machine;
pub(crate) mod mountinfo;
mod names;
mod open;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, OFlags};
use serde::{Deserialize, Serialize};

pub use names::{Accounts, GroupEntry, UserEntry};
pub use open::file_kind;
pub(crate) use open::{Id, Listing, READ_FLAGS, link_target};

use fixture::Fixture;

/// What [`Host::read`] takes of one file; /proc and /etc hold nothing longer that a table would parse.
pub const READ_BYTES_MAX: u64 = 16 << 20;

/// Why a file or folder cannot be read, in words that do not depend on the platform.
pub fn reason(error: &io::Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        (Some(_), io::ErrorKind::NotFound) => "no such file".to_owned(),
        (Some(_), io::ErrorKind::PermissionDenied) => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Which host to open; what a parent process tells a scan's process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostSpec {
    /// The running machine.
    Machine,
    /// A folder that stands for a host: its root, with a `host.toml` for what files cannot say.
    Fixture(PathBuf),
}

/// What a host is, as far as files tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct About {
    pub name: String,
    pub os: String,
    pub arch: String,
    pub os_version: Option<String>,
    pub kernel: Option<String>,
    pub addresses: Vec<IpAddr>,
    pub tags: BTreeMap<String, String>,
    pub public_ip: Option<IpAddr>,
}

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    File,
    Directory,
    Link,
    Fifo,
    Socket,
    Block,
    Char,
}

/// What lstat says, after the fixture's overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    pub kind: FileKind,
    pub size: u64,
    /// Permission bits, set-uid, set-gid and sticky included (`0o7777`).
    pub permissions: u32,
    pub uid: u32,
    pub gid: u32,
    pub device: u64,
    pub inode: u64,
    pub links: u64,
    /// Nanoseconds since 1970, UTC.
    pub mtime_ns: i64,
    pub ctime_ns: Option<i64>,
    pub atime_ns: Option<i64>,
    pub btime_ns: Option<i64>,
    /// Whether the file can be neither changed nor removed; `None` where the file system does not say.
    pub immutable: Option<bool>,
}

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub kind: FileKind,
}

/// Why a host cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    #[error("`{path}`: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("malformed `{path}`: {reason}")]
    Malformed { path: PathBuf, reason: String },
}

/// A host: a machine, or a folder that stands for one.
pub struct Host {
    spec: HostSpec,
    about: About,
    root: OwnedFd,
    fixture: Option<Fixture>,
    accounts: OnceLock<Accounts>,
}

impl Host {
    pub fn open(spec: &HostSpec) -> Result<Host, HostError> {
        let folder = match spec {
            HostSpec::Machine => Path::new("/"),
            HostSpec::Fixture(folder) => folder,
        };
        let root = open::root(folder).map_err(|error| HostError::Io { path: folder.to_owned(), error })?;
        let mut host =
            Host { spec: spec.clone(), about: About::default(), root, fixture: None, accounts: OnceLock::new() };
        match spec {
            HostSpec::Machine => host.about = machine::about(&host),
            HostSpec::Fixture(folder) => fixture::open(&mut host, folder)?,
        }
        Ok(host)
    }

    pub fn spec(&self) -> &HostSpec {
        &self.spec
    }

    pub fn about(&self) -> &About {
        &self.about
    }

    /// Whether this is the running machine, so that netlink and pings mean something.
    pub fn is_live(&self) -> bool {
        self.spec == HostSpec::Machine
    }

    /// Nanoseconds since 1970, UTC.
    pub fn now_ns(&self) -> i64 {
        self.fixture.as_ref().and_then(|fixture| fixture.now_ns).unwrap_or_else(machine::now_ns)
    }

    /// Reads a regular or pseudo file to its end, whatever size it claims; longer than [`READ_BYTES_MAX`] is an error.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file =
            self.open_file(path)?.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))?;
        let mut bytes = Vec::new();
        file.take(READ_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > READ_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "too long to be read whole"));
        }
        Ok(bytes)
    }

    /// Like [`Host::read`], as text with U+FFFD for what is not UTF-8.
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where a symbolic link points, as written in it.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let link = self.open_path(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        link_target(&link, c"")
    }

    /// The names in a folder, without `.` and `..`, in no order; a link at the end of `path` is entered.
    pub fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let folder = self.open_path(path, READ_FLAGS | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        let _ = self.for_each_entry(&folder, &mut Listing::default(), &mut |name, kind| {
            entries.push(Entry { name: open::os_string(name), kind });
            ControlFlow::Continue(())
        })?;
        Ok(entries)
    }

    /// The names in a folder that somebody else fills, as far as there are no more than `most`; whether these are all.
    pub fn entries_up_to(&self, path: &Path, most: usize) -> io::Result<(Vec<Entry>, bool)> {
        let folder = self.open_path(path, READ_FLAGS | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        let flow = self.for_each_entry(&folder, &mut Listing::default(), &mut |name, kind| {
            if entries.len() >= most {
                return ControlFlow::Break(());
            }
            entries.push(Entry { name: open::os_string(name), kind });
            ControlFlow::Continue(())
        })?;
        Ok((entries, flow.is_continue()))
    }

    /// What lstat says of a path.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        if self.is_live() {
            let path = Path::new("/").join(path);
            return self.metadata_at(rustix::fs::CWD, path.as_path(), AtFlags::SYMLINK_NOFOLLOW);
        }
        self.metadata_of(self.open_path(path, OFlags::PATH | OFlags::NOFOLLOW)?)
    }

    /// What lies behind a path whose last part may be a link, as is known without asking a server of a network file system.
    pub fn metadata_behind(&self, path: &Path) -> io::Result<Metadata> {
        if self.is_live() {
            let path = Path::new("/").join(path);
            return self.metadata_at(rustix::fs::CWD, path.as_path(), AtFlags::STATX_DONT_SYNC);
        }
        self.metadata_of(self.open_path(path, OFlags::PATH)?)
    }

    /// Opens a regular file to read, following links; `None` where it is something else. Never blocks on a FIFO or
    /// device: those are not opened at all.
    pub fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        let seen = self.metadata_of(self.open_path(path, OFlags::PATH)?)?;
        if seen.kind != FileKind::File {
            return Ok(None);
        }
        let file = self.open_path(path, READ_FLAGS)?;
        Ok((self.metadata_of(&file)?.kind == FileKind::File).then(|| file.into()))
    }
}
