//! Walks the search roots of a question, each folder from its parent's descriptor.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::guard::{FORBIDDEN, Guard};
use super::hash::Wanted;
use super::mounts::{self, Mounts};
use super::row::{FileRow, Folder, Search, join};
use crate::bound::{Root, is_under};
use crate::engine::Collector;
use crate::host::{FileKind, Id, Metadata, READ_FLAGS, reason};

/// Folders held open at once; those above are opened again from below when the walk comes back to them.
const OPEN_FOLDERS_MAX: usize = 64;

/// How a folder is opened to be listed.
const LIST_FLAGS: OFlags = READ_FLAGS.union(OFlags::DIRECTORY);

/// Collects the rows of `files`.
pub(super) fn collect(collector: &mut Collector<'_, FileRow>) -> ControlFlow<()> {
    let roots = collector.places("path").unwrap_or_default();
    let mut walk = Walk {
        mounts: Mounts::read(collector.host),
        guard: Rc::new(Guard::new(collector.host, collector.forbidden)),
        hashes: Wanted {
            md5: collector.wants("md5"),
            sha1: collector.wants("sha1"),
            sha256: collector.wants("sha256"),
        },
        buffer: Rc::default(),
        depth_max: collector.filter.and_then(depth_max).unwrap_or(i64::MAX),
        pending: BTreeMap::new(),
        collector,
    };
    walk.roots(roots)
}

/// A root that lies in another one.
#[derive(Clone, Copy)]
struct Pending {
    under: bool,
    /// Its own row was given by a walk from further out.
    seen: bool,
    /// So was all that lies below it.
    entered: bool,
}

struct Walk<'w, 'a> {
    collector: &'w mut Collector<'a, FileRow>,
    mounts: Mounts,
    guard: Rc<Guard>,
    hashes: Wanted,
    buffer: Rc<RefCell<Vec<u8>>>,
    /// Deeper rows cannot pass.
    depth_max: i64,
    /// By path.
    pending: BTreeMap<Vec<u8>, Pending>,
}

/// A folder on the way down.
struct Level {
    /// `None` while it is closed to spare descriptors.
    folder: Option<Rc<Folder>>,
    id: Id,
    path_length: usize,
    depth: i64,
    /// Folders in it that are still to be entered.
    below: Vec<(CString, Id)>,
}

impl Walk<'_, '_> {
    fn roots(&mut self, roots: Vec<Root>) -> ControlFlow<()> {
        let mut all: BTreeMap<String, bool> = BTreeMap::new();
        for root in roots {
            if !is_normal(root.path()) {
                let reason = "no path is spelled so: begin with `/` and leave out `.`, `..` and what ends in `/`";
                self.collector.trouble(Some(root.path()), reason);
                continue;
            }
            *all.entry(root.path().to_owned()).or_default() |= matches!(root, Root::Under(_));
        }
        // With `/` before all else, a folder comes before what lies in it and after nothing that does not hold it.
        let mut all: Vec<(String, bool)> = all.into_iter().collect();
        all.sort_by_cached_key(|(path, _)| path.trim_end_matches('/').replace('/', "\0"));
        let mut rest = all.as_slice();
        while let Some(((path, under), after)) = rest.split_first() {
            let inside = after.iter().take_while(|(inner, _)| *under && is_under(inner, path)).count();
            self.group(path, *under, &after[..inside])?;
            rest = &after[inside..];
        }
        ControlFlow::Continue(())
    }

    /// Walks a root and then, of the roots that lie in it, what its walk did not reach.
    fn group(&mut self, path: &str, under: bool, inner: &[(String, bool)]) -> ControlFlow<()> {
        self.pending = inner
            .iter()
            .map(|(path, under)| (path.clone().into_bytes(), Pending { under: *under, seen: false, entered: false }))
            .collect();
        self.root(path, under, 0, true)?;
        for (inner, _) in inner {
            let Some(state) = self.pending.remove(inner.as_bytes()) else { continue };
            let depth = steps(inner) - steps(path);
            if depth <= self.depth_max && !(state.seen && (state.entered || !state.under)) {
                self.root(inner, state.under, depth, !state.seen)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives a root's own row, and walks below it.
    fn root(&mut self, path: &str, under: bool, depth: i64, own_row: bool) -> ControlFlow<()> {
        match self.open_root(path, depth) {
            Err(error) => {
                self.trouble(path.as_bytes(), &error);
                ControlFlow::Continue(())
            }
            Ok((row, search)) => {
                if own_row {
                    self.collector.row(row)?;
                }
                if under && depth < self.depth_max {
                    self.below_root(path, depth, &search)?;
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn open_root(&mut self, path: &str, depth: i64) -> io::Result<(FileRow, Rc<Search>)> {
        let host = self.collector.host;
        let (parent, name) = match path.rsplit_once('/') {
            Some((_, "")) | None => ("", "."),
            Some((parent, name)) => (if parent.is_empty() { "/" } else { parent }, name),
        };
        let above = if parent.is_empty() { "/" } else { parent };
        let fd = host.open_path(Path::new(above), OFlags::PATH | OFlags::DIRECTORY)?;
        let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::NotFound))?;
        let stat = host.metadata_at(&fd, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW)?;
        // Where a link leads is where the root is; one that leads nowhere is still a row.
        let target = host.open_path(Path::new(path), OFlags::PATH).ok();
        let real = target.as_ref().and_then(|target| host.real_path(target));
        let here = host.real_path(&fd).map(|above| above.join(OsStr::from_bytes(name.to_bytes())));
        let forbidden = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| self.guard.forbids_path(path));
        let forbidden_target = |target: &OwnedFd| match host.metadata_of(target) {
            Ok(stat) if stat.kind == FileKind::Directory => self.guard.forbids_above(host, target),
            Ok(stat) => self.guard.forbids_id(stat.id()),
            Err(_) => false,
        };
        if forbidden(&real)
            || forbidden(&here)
            || self.guard.forbids_above(host, &fd)
            || target.as_ref().is_some_and(forbidden_target)
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, FORBIDDEN));
        }
        let device = host.metadata_of(&fd)?.device;
        let folder = Folder { fd, path: parent.as_bytes().to_vec(), depth: depth - 1, device };
        let search = Rc::new(Search {
            real,
            guard: Rc::clone(&self.guard),
            hashes: self.hashes,
            buffer: Rc::clone(&self.buffer),
        });
        let row = row(&Rc::new(folder), name, stat.kind, depth, &search);
        let _ = row.stat.set(Some(stat));
        Ok((row, search))
    }

    /// Enters a root; what is no folder has nothing below it.
    fn below_root(&mut self, path: &str, depth: i64, search: &Rc<Search>) -> ControlFlow<()> {
        let host = self.collector.host;
        let opened = host.open_path(Path::new(path), LIST_FLAGS);
        let opened = opened.and_then(|fd| host.metadata_of(&fd).map(|stat| (fd, stat)));
        match opened {
            Ok((fd, stat)) => {
                let folder = Folder { fd, path: path.as_bytes().to_vec(), depth, device: stat.device };
                self.descend(Rc::new(folder), stat.id(), search)
            }
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) {
                    self.trouble(path.as_bytes(), &error);
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// Walks all that lies below an open folder, however deep, with a bounded number of descriptors.
    fn descend(&mut self, top: Rc<Folder>, id: Id, search: &Rc<Search>) -> ControlFlow<()> {
        let mut levels = vec![self.list(top, id, search)?];
        while let Some(level) = levels.last_mut() {
            let Some((name, id)) = level.below.pop() else {
                let left = levels.pop().and_then(|level| level.folder);
                self.reopen(left, &mut levels);
                continue;
            };
            let Some(parent) = level.folder.clone() else { continue };
            match self.enter(&parent, &name, id) {
                Ok(None) => {}
                Ok(Some(folder)) => {
                    let level = self.list(Rc::new(folder), id, search)?;
                    levels.push(level);
                    if let Some(far) = levels.len().checked_sub(OPEN_FOLDERS_MAX + 1) {
                        levels[far].folder = None;
                    }
                }
                Err(error) => self.trouble(&join(&parent.path, &name), &error),
            }
        }
        ControlFlow::Continue(())
    }

    /// Opens the folder above the one just left, if it was closed, and makes sure that it is still the same.
    fn reopen(&mut self, left: Option<Rc<Folder>>, levels: &mut Vec<Level>) {
        let Some(above) = levels.last_mut().filter(|above| above.folder.is_none()) else { return };
        let Some(left) = left else { return };
        let host = self.collector.host;
        let opened = rustix::fs::openat(&left.fd, c"..", LIST_FLAGS, Mode::empty()).map_err(io::Error::from);
        let opened = opened.and_then(|fd| host.metadata_of(&fd).map(|stat| (fd, stat)));
        match opened {
            Ok((fd, stat)) if stat.id() == above.id => {
                let path = left.path[..above.path_length].to_vec();
                above.folder = Some(Rc::new(Folder { fd, path, depth: above.depth, device: stat.device }));
            }
            other => {
                let error = other.err().unwrap_or_else(|| io::Error::other("moved while it was read"));
                let path = left.path[..above.path_length].to_vec();
                self.trouble(&path, &error);
                // None of the closed folders above can be found again from here.
                let open = levels.iter().position(|level| level.folder.is_none()).unwrap_or(levels.len());
                levels.truncate(open);
            }
        }
    }

    /// Opens a folder to walk it; `None` where the walk does not enter it.
    fn enter(&mut self, parent: &Folder, name: &CStr, id: Id) -> io::Result<Option<Folder>> {
        if self.guard.forbids_id(id) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, FORBIDDEN));
        }
        let other_device = id.device != parent.device;
        // Known before it is opened: a network that does not answer would hold the walk there.
        let known = if other_device { self.mounts.is_local(id.device) } else { Some(true) };
        if known == Some(false) {
            return Ok(None);
        }
        let fd = rustix::fs::openat(&parent.fd, name, LIST_FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        if known.is_none() && !mounts::is_local(&fd) {
            return Ok(None);
        }
        let path = join(&parent.path, name);
        if let Some(state) = self.pending.get_mut(&path) {
            state.entered = true;
        }
        Ok(Some(Folder { fd, path, depth: parent.depth + 1, device: id.device }))
    }

    /// Gives the rows of a folder, and remembers the folders in it.
    fn list(&mut self, folder: Rc<Folder>, id: Id, search: &Rc<Search>) -> ControlFlow<(), Level> {
        let depth = folder.depth + 1;
        let mut below = Vec::new();
        let host = self.collector.host;
        let listed = host.for_each_entry(&folder.fd, &mut |name, kind| {
            let row = row(&folder, name.to_owned(), kind, depth, search);
            if kind == FileKind::Directory && depth < self.depth_max {
                self.look(&row, &mut below);
            }
            if !self.pending.is_empty()
                && let Some(state) = self.pending.get_mut(&row.path_bytes())
            {
                state.seen = true;
            }
            self.collector.row(row)
        });
        match listed {
            Ok(flow) => flow?,
            Err(error) => self.trouble(&folder.path, &error),
        }
        let path_length = folder.path.len();
        ControlFlow::Continue(Level { folder: Some(folder), id, path_length, depth: depth - 1, below })
    }

    /// Stats a folder that will be entered, once for its row and for the walk, without asking a network about it.
    fn look(&mut self, row: &FileRow, below: &mut Vec<(CString, Id)>) {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        match self.collector.host.metadata_at(&row.folder.fd, row.name.as_c_str(), flags) {
            Ok(stat) => {
                let stat: Metadata = stat;
                if stat.kind == FileKind::Directory {
                    below.push((row.name.clone(), stat.id()));
                }
                let _ = row.stat.set(Some(stat));
            }
            Err(error) => {
                let _ = row.stat.set(None);
                self.trouble(&row.path_bytes(), &error);
            }
        }
    }

    fn trouble(&mut self, path: &[u8], error: &io::Error) {
        self.collector.trouble(Some(&String::from_utf8_lossy(path)), reason(error));
    }
}

fn row(folder: &Rc<Folder>, name: CString, kind: FileKind, depth: i64, search: &Rc<Search>) -> FileRow {
    FileRow {
        folder: Rc::clone(folder),
        name,
        kind,
        depth,
        search: Rc::clone(search),
        path: OnceCell::new(),
        stat: OnceCell::new(),
        hashes: OnceCell::new(),
    }
}

/// Whether a path is spelled as rows are.
fn is_normal(path: &str) -> bool {
    let mut parts = path.split('/');
    path == "/" || (parts.next() == Some("") && parts.all(|part| !matches!(part, "" | "." | "..")))
}

/// Folders between `/` and a normal path.
fn steps(path: &str) -> i64 {
    i64::try_from(path.split('/').filter(|part| !part.is_empty()).count()).unwrap_or(i64::MAX)
}

/// The greatest depth that can pass; `None` where there is no such limit.
fn depth_max(filter: &Filter) -> Option<i64> {
    match filter {
        Filter::All(parts) => parts.iter().filter_map(depth_max).min(),
        Filter::Any(parts) => {
            let all = parts.iter().map(depth_max).collect::<Option<Vec<_>>>()?;
            Some(all.into_iter().max().unwrap_or(-1))
        }
        Filter::Test(test) if test.column == "depth" => match &test.is {
            Is::Equal(Value::Integer(depth)) | Is::LessOrEqual(Value::Integer(depth)) => Some(*depth),
            Is::Less(Value::Integer(depth)) => Some(depth.saturating_sub(1)),
            _ => None,
        },
        Filter::Not(_) | Filter::Test(_) => None,
    }
}
