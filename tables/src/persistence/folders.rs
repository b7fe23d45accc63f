//! Files that a table knows by the folder they lie in: listed and read within bounds, but for what policy forbids.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use canvass_protocol::answer::Trouble;
use rustix::fs::OFlags;

use crate::host::{Entry, FileKind, Host, Listing, Metadata, READ_FLAGS, reason};
use crate::processes::proc;

/// Names of one folder that are looked at.
pub(super) const NAMES_MAX: usize = 10_000;

/// What is read of one file: crontabs and units of some kilobytes are long.
pub(super) const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads files of a host, but none that policy forbids.
pub(super) struct Reader<'a> {
    pub host: &'a Host,
    /// As policy spells them and as they really are.
    forbidden: Vec<PathBuf>,
}

impl<'a> Reader<'a> {
    pub fn new(host: &'a Host, forbidden: &[String]) -> Reader<'a> {
        let spelled = forbidden.iter().map(PathBuf::from);
        let real = |path: &String| host.real_path(host.open_path(Path::new(path), OFlags::PATH).ok()?);
        Reader { host, forbidden: spelled.chain(forbidden.iter().filter_map(real)).collect() }
    }

    /// Names in a folder in order; none where there is no folder.
    pub fn entries(&self, folder: &Path) -> Result<Vec<Entry>, Trouble> {
        let mut entries = Vec::new();
        let mut list = || {
            self.open(folder)?;
            let folder = self.host.open_path(folder, READ_FLAGS | OFlags::DIRECTORY)?;
            self.host.for_each_entry(&folder, &mut Listing::default(), &mut |name, kind| {
                entries.push(Entry { name: OsStr::from_bytes(name.to_bytes()).to_owned(), kind });
                if entries.len() < NAMES_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        };
        match list() {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => {
                return Err(Trouble::new(Some(&shown(folder)), format!("{NAMES_MAX} names in it or more")));
            }
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            Err(error) => return Err(proc::trouble(folder, &error)),
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    /// What a path leads to, links followed, and whether it may be looked at; `None` where it leads nowhere.
    pub fn target(&self, path: &Path) -> Result<Option<(OwnedFd, Metadata)>, Trouble> {
        let opened = self.open(path).and_then(|file| {
            let metadata = self.host.metadata_of(&file)?;
            Ok((file, metadata))
        });
        match opened {
            Ok(found) => Ok(Some(found)),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(proc::trouble(path, &error)),
        }
    }

    /// The text of a regular file, links followed, with U+FFFD for what is not UTF-8; `None` where there is none.
    pub fn text(&self, path: &Path) -> Result<Option<String>, Trouble> {
        let trouble = |reason: &str| Trouble::new(Some(&shown(path)), reason);
        let Some((_, metadata)) = self.target(path)? else { return Ok(None) };
        if metadata.kind != FileKind::File {
            return Err(trouble("not a regular file"));
        }
        let read = || -> io::Result<Option<Vec<u8>>> {
            let Some(file) = self.host.open_file(path)? else { return Ok(None) };
            let mut bytes = Vec::new();
            File::take(file, FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        };
        match read() {
            Ok(Some(bytes)) if bytes.len() as u64 > FILE_BYTES_MAX => {
                Err(trouble("longer than 1 MB, so it is not read"))
            }
            Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(trouble(&reason(&error))),
        }
    }

    /// Opens a path without reading it, if policy lets it be read.
    fn open(&self, path: &Path) -> io::Result<OwnedFd> {
        let forbids = |path: &Path| self.forbidden.iter().any(|forbidden| path.starts_with(forbidden));
        let refused = || io::Error::new(io::ErrorKind::PermissionDenied, "not entered: forbidden by policy");
        if forbids(path) {
            return Err(refused());
        }
        let file = self.host.open_path(path, OFlags::PATH)?;
        let real = if self.forbidden.is_empty() { None } else { self.host.real_path(&file) };
        if real.is_some_and(|real| forbids(&real)) { Err(refused()) } else { Ok(file) }
    }
}

/// Whether an error says that there is nothing; a file stands where a folder should for the same reason.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// A path as text.
pub(super) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// A name as text.
pub(super) fn name(name: &OsStr) -> String {
    name.to_string_lossy().into_owned()
}
