//! One file met: seen from the descriptor of its folder, so that no path is ever too long.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canvass_protocol::answer::Trouble;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::guard::{Guard, Reached};
use crate::column::Content;
use crate::host::{FileKind, Host, Id, Metadata, READ_FLAGS, link_target, reason};

/// An open folder.
pub(super) struct Folder {
    pub fd: OwnedFd,
    /// As the question spells it; empty above `/`.
    pub path: Vec<u8>,
    pub depth: i64,
    pub id: Id,
    pub search: Arc<Search>,
}

/// What all rows of one search root share.
pub(super) struct Search {
    /// Where the root really is, links resolved; `None` where it leads nowhere.
    pub real: Option<PathBuf>,
    pub guard: Arc<Guard>,
}

/// A row of `files`. One can be filled again and again, so that rejecting a file costs no memory.
pub struct FileRow {
    pub(super) folder: Arc<Folder>,
    /// Its name in the folder, with a NUL; `.` for `/` itself.
    name: Vec<u8>,
    kind: FileKind,
    /// As text, where somebody asked.
    path: OnceCell<String>,
    /// What the last row's path was written in.
    spare: Cell<String>,
    /// `Some(None)` once a stat has failed and was reported.
    pub(super) stat: OnceCell<Option<Metadata>>,
}

/// The path of `name` in a folder.
pub(super) fn join(folder: &[u8], name: &CStr) -> Vec<u8> {
    if name == c"." {
        return b"/".to_vec();
    }
    let mut path = Vec::with_capacity(folder.len() + name.to_bytes().len() + 1);
    path.extend_from_slice(folder.strip_suffix(b"/").unwrap_or(folder));
    path.push(b'/');
    path.extend_from_slice(name.to_bytes());
    path
}

/// Bytes as text; nearly all are, and to see that costs less than to look for what is not.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// What cannot be read, and why.
pub(super) fn trouble(path: &str, error: &io::Error) -> Trouble {
    Trouble::new(Some(path), reason(error))
}

impl FileRow {
    pub(super) fn new(folder: Arc<Folder>, name: &CStr, kind: FileKind) -> FileRow {
        let name = name.to_bytes_with_nul().to_vec();
        FileRow { folder, name, kind, path: OnceCell::new(), spare: Cell::default(), stat: OnceCell::new() }
    }

    /// Makes it the row of another name in the same folder.
    pub(super) fn fill(&mut self, name: &CStr, kind: FileKind) {
        self.name.clear();
        self.name.extend_from_slice(name.to_bytes_with_nul());
        self.kind = kind;
        self.stat.take();
        if let Some(path) = self.path.take() {
            self.spare.set(path);
        }
    }

    /// The same row, to be kept.
    pub(super) fn part(&self) -> FileRow {
        let copy = FileRow::new(Arc::clone(&self.folder), self.c_name(), self.kind);
        if let Some(stat) = self.stat.get() {
            let _ = copy.stat.set(stat.clone());
        }
        copy
    }

    /// Its size, for guessing how long it takes to read; 0 where that cannot be told.
    pub(super) fn size_hint(&self, host: &Host) -> u64 {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let stat = || host.metadata_at(&self.folder.fd, self.c_name(), flags).ok();
        match self.stat.get() {
            Some(known) => known.as_ref().map_or(0, |stat| stat.size),
            None => stat().map_or(0, |stat| {
                let size = stat.size;
                let _ = self.stat.set(Some(stat));
                size
            }),
        }
    }

    fn name_bytes(&self) -> &[u8] {
        self.name.split_last().map_or(&[], |(_, name)| name)
    }

    pub(super) fn c_name(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.name).unwrap_or_default()
    }

    pub(super) fn kind(&self) -> FileKind {
        self.kind
    }

    pub(super) fn depth(&self) -> i64 {
        self.folder.depth + 1
    }

    pub(super) fn path_bytes(&self) -> Vec<u8> {
        join(&self.folder.path, self.c_name())
    }

    pub(super) fn path(&self) -> &str {
        self.path.get_or_init(|| {
            let mut path = self.spare.take();
            path.clear();
            match (std::str::from_utf8(&self.folder.path), std::str::from_utf8(self.name_bytes())) {
                (Ok(""), Ok(".")) => path.push('/'),
                (Ok(folder), Ok(name)) => {
                    path.push_str(folder.strip_suffix('/').unwrap_or(folder));
                    path.push('/');
                    path.push_str(name);
                }
                _ => path.push_str(&text(&self.path_bytes())),
            }
            path
        })
    }

    pub(super) fn path_hex(&self) -> Option<String> {
        let valid = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        if valid(self.name_bytes()) && valid(&self.folder.path) {
            return None;
        }
        Some(crate::engine::hex(&self.path_bytes()))
    }

    pub(super) fn name(&self) -> Cow<'_, str> {
        match self.name_bytes() {
            b"." => "/".into(),
            name => text(name),
        }
    }

    pub(super) fn directory(&self) -> Cow<'_, str> {
        if self.folder.path.is_empty() {
            return "/".into();
        }
        text(&self.folder.path)
    }

    /// What lstat says, asked once; an error is reported once and unknown from then on.
    pub(super) fn stat(&self, host: &Host) -> Result<Option<&Metadata>, Trouble> {
        if let Some(stat) = self.stat.get() {
            return Ok(stat.as_ref());
        }
        match host.metadata_at(&self.folder.fd, self.c_name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(self.stat.get_or_init(|| Some(stat)).as_ref()),
            Err(error) => {
                let _ = self.stat.set(None);
                Err(trouble(self.path(), &error))
            }
        }
    }

    /// Asks what lies beside the file.
    pub(super) fn ask<T: Into<crate::column::Cell<'static>>>(
        &self,
        question: fn(&OwnedFd, &CStr) -> io::Result<T>,
    ) -> Result<crate::column::Cell<'static>, Trouble> {
        let answer = question(&self.folder.fd, self.c_name());
        answer.map(Into::into).map_err(|error| trouble(self.path(), &error))
    }

    pub(super) fn target(&self) -> Result<Option<String>, Trouble> {
        if self.kind != FileKind::Link {
            return Ok(None);
        }
        let target = link_target(&self.folder.fd, self.c_name()).map_err(|error| trouble(self.path(), &error))?;
        Ok(Some(target.to_string_lossy().into_owned()))
    }

    /// What a link leads to, if anything.
    pub(super) fn leads_to(&self, host: &Host) -> Option<FileKind> {
        let target = self.open_through(host, OFlags::PATH).ok()?;
        host.metadata_of(&target).ok().map(|stat| stat.kind)
    }

    /// Opens what can be read as content: a regular file, or the one that a link leads to inside the search root.
    pub(super) fn open(&self, host: &Host) -> Result<Option<Content>, Trouble> {
        let opened = match self.kind {
            FileKind::File => self.open_here(host),
            FileKind::Link => self.open_target(host),
            _ => return Ok(None),
        };
        opened.map_err(|error| trouble(self.path(), &error))
    }

    fn open_here(&self, host: &Host) -> io::Result<Option<Content>> {
        let flags = READ_FLAGS | OFlags::NOFOLLOW;
        // The listing said that it is a regular file; a device put in its place since is opened without waiting and let
        // go again.
        let file = rustix::fs::openat(&self.folder.fd, self.c_name(), flags, Mode::empty())?;
        self.checked(host, file, Reached::InFolder)
    }

    fn open_through(&self, host: &Host, flags: OFlags) -> io::Result<OwnedFd> {
        let path = self.path_bytes();
        host.open_through(&self.folder.fd, self.c_name(), Path::new(OsStr::from_bytes(&path)), flags)
    }

    fn open_target(&self, host: &Host) -> io::Result<Option<Content>> {
        let seen = match self.open_through(host, OFlags::PATH) {
            Ok(seen) => seen,
            // It leads nowhere, or in circles.
            Err(error) if matches!(error.raw_os_error(), Some(ENOENT | ENOTDIR | ELOOP)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let stat = host.metadata_of(&seen)?;
        if stat.kind != FileKind::File {
            return Ok(None);
        }
        let Some(real) = host.real_path(&seen) else {
            return Err(io::Error::other("where the link leads cannot be told"));
        };
        if !self.folder.search.real.as_ref().is_some_and(|root| real.starts_with(root)) {
            return Ok(None);
        }
        let file = self.open_through(host, READ_FLAGS)?;
        if host.metadata_of(&file)?.id() != stat.id() {
            return Err(io::Error::other("the link was changed while it was followed"));
        }
        self.checked(host, file, Reached::ThroughLink)
    }

    fn checked(&self, host: &Host, file: OwnedFd, reached: Reached) -> io::Result<Option<Content>> {
        let stat = host.metadata_of(&file)?;
        if stat.kind != FileKind::File {
            return Ok(None);
        }
        let mounted = reached == Reached::InFolder && stat.device != self.folder.id.device;
        let reached = if mounted { Reached::Mounted } else { reached };
        self.folder.search.guard.check_content(host, &file, &stat, self.c_name(), reached)?;
        Ok(Some(Content::File { file: file.into(), size: stat.size }))
    }
}

const ENOENT: i32 = rustix::io::Errno::NOENT.raw_os_error();
const ENOTDIR: i32 = rustix::io::Errno::NOTDIR.raw_os_error();
const ELOOP: i32 = rustix::io::Errno::LOOP.raw_os_error();
