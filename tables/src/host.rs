//! The only door to the operating system: a root folder, a clock, bounded reads.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

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
}

impl Host {
    pub fn open(spec: &HostSpec) -> Result<Host, HostError> {
        Ok(Host { spec: spec.clone(), about: About::default() })
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
        0
    }

    /// Reads a regular or pseudo file to its end, whatever size it claims, up to a bound.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Like [`Host::read`], as text with U+FFFD for what is not UTF-8.
    pub fn read_text(&self, path: &Path) -> io::Result<String> {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Where a symbolic link points, as written in it.
    pub fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// The names in a folder, without `.` and `..`, in no order; a link at the end of `path` is entered.
    pub fn entries(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// What lstat says of a path.
    pub fn metadata(&self, path: &Path) -> io::Result<Metadata> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Opens a regular file to read; `None` where it is something else. Never blocks on a FIFO or device.
    pub fn open_file(&self, path: &Path) -> io::Result<Option<File>> {
        let _ = path;
        Err(io::ErrorKind::Unsupported.into())
    }
}
