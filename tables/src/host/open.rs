//! Descriptors: how files are opened below a host's root, and what is read from an open one.

use std::ffi::{CStr, OsString};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, StatxAttributes, StatxFlags, StatxTimestamp,
};
use rustix::io::Errno;

use super::{FileKind, Host, Metadata};

/// How everything is opened that will be read: without waiting, without becoming a terminal's process.
pub(crate) const READ_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// How often a resolution is tried again that lost a race with a rename, which openat2 reports as EAGAIN.
const RESOLVE_ATTEMPTS: usize = 16;

/// Bytes of names fetched at once.
const LISTING_BYTES: usize = 32 << 10;

/// What names are fetched into, for one folder after another.
#[derive(Default)]
pub(crate) struct Listing(Vec<u8>);

/// A file's identity while it exists: device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Id {
    pub device: u64,
    pub inode: u64,
}

impl Metadata {
    pub(crate) fn id(&self) -> Id {
        Id { device: self.device, inode: self.inode }
    }
}

/// Opens a host's root folder.
pub(super) fn root(folder: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Where a link points: the link's own descriptor with an empty name, or a folder's with the link's name.
pub(crate) fn link_target(at: impl AsFd, name: &CStr) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(at, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

pub(crate) fn os_string(name: &CStr) -> OsString {
    OsString::from_vec(name.to_bytes().to_vec())
}

/// Maps what the system calls a type; what no file has is taken for a regular file.
pub fn file_kind(kind: FileType) -> FileKind {
    match kind {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Link,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::BlockDevice => FileKind::Block,
        FileType::CharacterDevice => FileKind::Char,
        FileType::RegularFile | FileType::Unknown => FileKind::File,
    }
}

impl Host {
    /// Opens a path of this host; inside a fixture no part of it, absolute links included, leads out of the root.
    pub(crate) fn open_path(&self, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        if self.is_live() {
            return Ok(rustix::fs::openat(CWD, Path::new("/").join(path), flags, Mode::empty())?);
        }
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = if path.as_os_str().is_empty() { Path::new("/") } else { path };
        let mut attempts = 0;
        let file = loop {
            match rustix::fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) if attempts < RESOLVE_ATTEMPTS => attempts += 1,
                result => break result?,
            }
        };
        self.refuse_hidden(&file)?;
        Ok(file)
    }

    /// Opens what a name in an open folder leads to, `path` being its path: the folder's own is never too long.
    pub(crate) fn open_through(
        &self,
        folder: impl AsFd,
        name: &CStr,
        path: &Path,
        flags: OFlags,
    ) -> io::Result<OwnedFd> {
        if self.is_live() {
            return Ok(rustix::fs::openat(folder, name, flags | OFlags::CLOEXEC, Mode::empty())?);
        }
        self.open_path(path, flags)
    }

    /// The fixture's `host.toml` is not a file of the host, under whatever name it is reached.
    fn refuse_hidden(&self, file: &OwnedFd) -> io::Result<()> {
        let Some(fixture) = &self.fixture else { return Ok(()) };
        let stat = rustix::fs::fstat(file)?;
        let hidden = Id { device: stat.st_dev, inode: stat.st_ino };
        if fixture.hidden == Some(hidden) { Err(io::ErrorKind::NotFound.into()) } else { Ok(()) }
    }

    /// What an open descriptor is.
    pub(crate) fn metadata_of(&self, file: impl AsFd) -> io::Result<Metadata> {
        self.metadata_at(file, c"", AtFlags::EMPTY_PATH)
    }

    /// What `name`, seen from a folder, is; an automount is not triggered.
    pub(crate) fn metadata_at(
        &self,
        at: impl AsFd,
        name: impl rustix::path::Arg,
        flags: AtFlags,
    ) -> io::Result<Metadata> {
        let mask = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let stat = rustix::fs::statx(at, name, flags | AtFlags::NO_AUTOMOUNT, mask)?;
        let has = |flag: StatxFlags| stat.stx_mask & flag.bits() != 0;
        let mut metadata = Metadata {
            kind: file_kind(FileType::from_raw_mode(stat.stx_mode.into())),
            size: stat.stx_size,
            permissions: u32::from(stat.stx_mode) & 0o7777,
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            device: rustix::fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            links: stat.stx_nlink.into(),
            mtime_ns: nanoseconds(&stat.stx_mtime),
            ctime_ns: Some(nanoseconds(&stat.stx_ctime)),
            atime_ns: Some(nanoseconds(&stat.stx_atime)),
            btime_ns: has(StatxFlags::BTIME).then(|| nanoseconds(&stat.stx_btime)),
            immutable: stat
                .stx_attributes_mask
                .contains(StatxAttributes::IMMUTABLE)
                .then(|| stat.stx_attributes.contains(StatxAttributes::IMMUTABLE)),
        };
        if let Some(fixture) = &self.fixture {
            if fixture.hidden == Some(metadata.id()) {
                return Err(io::ErrorKind::NotFound.into());
            }
            fixture.lay_over(&mut metadata);
        }
        Ok(metadata)
    }

    /// Visits the names of a freshly opened folder, without `.` and `..`, until told to break.
    pub(crate) fn for_each_entry(
        &self,
        folder: &OwnedFd,
        listing: &mut Listing,
        visit: &mut dyn FnMut(&CStr, FileKind) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        listing.0.reserve(LISTING_BYTES);
        let mut listing = RawDir::new(folder, listing.0.spare_capacity_mut());
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            if name.to_bytes() == super::fixture::FILE_NAME.as_bytes() && self.hides(folder) {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => match self.metadata_at(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(metadata) => metadata.kind,
                    // It has gone, or cannot be told: whoever asks for more will meet the same error.
                    Err(_) => FileKind::File,
                },
                known => file_kind(known),
            };
            if visit(name, kind).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether `folder` is the root of a fixture, where `host.toml` lies.
    fn hides(&self, folder: &OwnedFd) -> bool {
        let id =
            |file: &OwnedFd| rustix::fs::fstat(file).ok().map(|stat| Id { device: stat.st_dev, inode: stat.st_ino });
        self.fixture.is_some() && id(folder) == id(&self.root)
    }

    /// The path of this host that an open descriptor really has, links resolved; `None` where it has none below the
    /// root (deleted, or the machine's /proc is not there to say).
    pub(crate) fn real_path(&self, file: impl AsFd) -> Option<PathBuf> {
        let real = machine_path(&file)?;
        if self.is_live() {
            return Some(real);
        }
        let below = real.strip_prefix(machine_path(&self.root)?).ok()?.to_owned();
        Some(Path::new("/").join(below))
    }
}

fn machine_path(file: impl AsFd) -> Option<PathBuf> {
    use std::os::fd::AsRawFd as _;
    let link = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let target = rustix::fs::readlinkat(CWD, link, Vec::new()).ok()?.into_bytes();
    // A deleted file's link names no place; neither does a socket's or a pipe's.
    (target.starts_with(b"/") && !target.ends_with(b" (deleted)"))
        .then(|| PathBuf::from(std::ffi::OsStr::from_bytes(&target)))
}

fn nanoseconds(time: &StatxTimestamp) -> i64 {
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec.into())
}
