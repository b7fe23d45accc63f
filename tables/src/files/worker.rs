//! One thread of the walk: goes down by descriptors, gives rows to its collector, and gives work away.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Scope};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::crew::Crew;
use super::guard::FORBIDDEN;
use super::mounts;
use super::names::Names;
use super::roots::Start;
use super::row::{FileRow, Folder, Search, join};
use super::walk::{Link, Task, Walk};
use crate::engine::Collector;
use crate::host::{FileKind, Id, Listing, READ_FLAGS, reason};

/// Rows whose content is still to be read, gathered so that workers can share them.
const UNREAD_MAX: usize = 64;
/// The same where hashes are taken, which costs as much as a file is large: of many the largest are read first, so that no
/// worker is left with one when the others have ended.
const UNREAD_HASHED_MAX: usize = 1024;
/// Bytes of a worker's stack.
const STACK_BYTES: usize = 1 << 20;

/// How a folder is opened to be listed.
const LIST_FLAGS: OFlags = READ_FLAGS.union(OFlags::DIRECTORY);

/// Where workers leave their accounts when they end.
pub(super) type Ended<'c> = Mutex<Vec<Collector<'c, FileRow>>>;

pub(super) struct Worker<'x, 's, 'w, 'c> {
    walk: &'w Walk<'w>,
    crew: &'w Crew<Task>,
    ended: &'w Ended<'c>,
    scope: &'s Scope<'s, 'w>,
    collector: &'x mut Collector<'c, FileRow>,
    /// Rows of this worker whose content is still to be read.
    unread: Vec<FileRow>,
    listing: Listing,
}

/// A folder on the way down.
struct Level {
    /// `None` while it is closed to spare descriptors.
    folder: Option<Arc<Folder>>,
    id: Id,
    path_length: usize,
    /// Folders in it that are still to be entered.
    below: Names,
}

impl<'x, 's, 'w, 'c: 'w> Worker<'x, 's, 'w, 'c> {
    pub fn new(
        walk: &'w Walk<'w>,
        crew: &'w Crew<Task>,
        ended: &'w Ended<'c>,
        scope: &'s Scope<'s, 'w>,
        collector: &'x mut Collector<'c, FileRow>,
    ) -> Self {
        Worker { walk, crew, ended, scope, collector, unread: Vec::new(), listing: Listing::default() }
    }

    /// Starts another worker, for whom the crew has made room.
    pub fn start_another(&self) {
        let Worker { walk, crew, ended, scope, .. } = *self;
        let mut collector = self.collector.fork();
        let work = move || {
            let _ = Worker::new(walk, crew, ended, scope, &mut collector).work();
            ended.lock().unwrap_or_else(PoisonError::into_inner).push(collector);
        };
        let builder = thread::Builder::new().name("scan".into()).stack_size(STACK_BYTES);
        if builder.spawn_scoped(scope, work).is_err() {
            crew.not_started();
        }
    }

    /// Does what there is to do until nobody has anything left.
    pub fn work(&mut self) -> ControlFlow<()> {
        let flow = loop {
            let task = match self.crew.take_now() {
                Some(task) => task,
                None => {
                    // What was found does not wait for what others are still looking for.
                    if self.collector.flush().is_break() {
                        break ControlFlow::Break(());
                    }
                    match self.crew.take() {
                        Some(task) => task,
                        None => return ControlFlow::Continue(()),
                    }
                }
            };
            if self.task(task).is_break() {
                break ControlFlow::Break(());
            }
        };
        self.crew.stop();
        flow
    }

    fn task(&mut self, task: Task) -> ControlFlow<()> {
        match task {
            Task::Start { start, own_row } => self.begin(&start, own_row),
            Task::Below { parent, names } => {
                let level = Level { id: parent.id, path_length: parent.path.len(), folder: Some(parent), below: names };
                self.descend(level)
            }
            Task::Unread(rows) => {
                self.unread = rows;
                self.read()
            }
            Task::Link(link) => self.enter_link(link),
        }
    }

    fn give(&self, task: Task) {
        if self.crew.give(task) {
            self.start_another();
        }
    }

    /// Gives a root's own row, and walks below it.
    fn begin(&mut self, start: &Start, own_row: bool) -> ControlFlow<()> {
        match self.open_root(&start.path, start.depth) {
            Err(error) => {
                self.trouble(start.path.as_bytes(), &error);
                ControlFlow::Continue(())
            }
            Ok(row) => {
                let search = Arc::clone(&row.folder.search);
                if own_row {
                    self.collector.row(row)?;
                }
                if start.under && start.depth < self.walk.depth_max {
                    self.below_root(start, search)?;
                }
                ControlFlow::Continue(())
            }
        }
    }

    fn open_root(&mut self, path: &str, depth: i64) -> io::Result<FileRow> {
        let (host, guard) = (self.walk.host, &self.walk.guard);
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
        let forbidden = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| guard.forbids_path(path));
        let forbidden_target = |target: &OwnedFd| match host.metadata_of(target) {
            Ok(stat) if stat.kind == FileKind::Directory => guard.forbids_above(host, target),
            Ok(stat) => guard.forbids_id(stat.id()),
            Err(_) => false,
        };
        if forbidden(&real)
            || forbidden(&here)
            || guard.forbids_above(host, &fd)
            || target.as_ref().is_some_and(forbidden_target)
        {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, FORBIDDEN));
        }
        let id = host.metadata_of(&fd)?.id();
        let search = Arc::new(Search { real, guard: Arc::clone(guard) });
        let folder = Folder { fd, path: parent.as_bytes().to_vec(), depth: depth - 1, id, search };
        let row = FileRow::new(Arc::new(folder), &name, stat.kind);
        let _ = row.stat.set(Some(stat));
        Ok(row)
    }

    /// Enters a root; what is no folder has nothing below it.
    fn below_root(&mut self, start: &Start, search: Arc<Search>) -> ControlFlow<()> {
        let host = self.walk.host;
        let opened = host.open_path(Path::new(&start.path), LIST_FLAGS);
        match opened.and_then(|fd| host.metadata_of(&fd).map(|stat| (fd, stat.id()))) {
            Ok((fd, id)) => {
                self.walk.note_entered(id, true);
                let path = start.path.clone().into_bytes();
                self.walk_below(Folder { fd, path, depth: start.depth, id, search })
            }
            Err(error) => {
                if !matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::NotFound) {
                    self.trouble(start.path.as_bytes(), &error);
                }
                ControlFlow::Continue(())
            }
        }
    }

    /// Enters the folder behind a link, unless it was entered before.
    fn enter_link(&mut self, link: Link) -> ControlFlow<()> {
        let (host, guard) = (self.walk.host, &self.walk.guard);
        let opened = host.open_path(Path::new(OsStr::from_bytes(&link.path)), LIST_FLAGS);
        let folder = opened.and_then(|fd| {
            let id = host.metadata_of(&fd)?.id();
            let real = host.real_path(&fd);
            if real.is_some_and(|real| guard.forbids_path(&real)) || guard.forbids_above(host, &fd) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, FORBIDDEN));
            }
            let enter = mounts::is_local(&fd) && self.walk.note_entered(id, false);
            Ok(enter.then_some((fd, id)))
        });
        match folder {
            Ok(None) => ControlFlow::Continue(()),
            Ok(Some((fd, id))) => {
                self.walk_below(Folder { fd, path: link.path, depth: link.depth, id, search: link.search })
            }
            Err(error) => {
                self.trouble(&link.path, &error);
                ControlFlow::Continue(())
            }
        }
    }

    fn walk_below(&mut self, folder: Folder) -> ControlFlow<()> {
        let level = self.list(Arc::new(folder))?;
        self.descend(level)
    }

    /// Walks all that lies below an open folder, however deep, with a bounded number of descriptors.
    fn descend(&mut self, top: Level) -> ControlFlow<()> {
        let (mut levels, mut name) = (vec![top], Vec::new());
        while let Some(level) = levels.last_mut() {
            if !level.below.pop_into(&mut name) {
                let left = levels.pop().and_then(|level| level.folder);
                self.reopen(left, &mut levels);
                continue;
            }
            let Some(parent) = level.folder.clone() else { continue };
            let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
            match self.enter(&parent, name) {
                Ok(None) => {}
                Ok(Some(folder)) => {
                    let level = self.list(Arc::new(folder))?;
                    levels.push(level);
                    if let Some(far) = levels.len().checked_sub(self.walk.open_max + 1) {
                        levels[far].folder = None;
                    }
                }
                Err(error) => self.trouble(&join(&parent.path, name), &error),
            }
            if self.crew.is_hungry() {
                self.share(&mut levels);
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives away half of the folders furthest up, below which there is most to be expected.
    fn share(&self, levels: &mut [Level]) {
        let waiting: usize = levels.iter().map(|level| level.below.len()).sum();
        let Some(level) = levels.iter_mut().find(|level| level.folder.is_some() && !level.below.is_empty()) else {
            return;
        };
        let Some(parent) = level.folder.clone().filter(|_| waiting > 1) else { return };
        let names = level.below.split();
        self.give(Task::Below { parent, names });
    }

    /// Opens the folder above the one just left, if it was closed, and makes sure that it is still the same.
    fn reopen(&mut self, left: Option<Arc<Folder>>, levels: &mut Vec<Level>) {
        let Some(above) = levels.last_mut().filter(|above| above.folder.is_none()) else { return };
        let Some(left) = left else { return };
        let host = self.walk.host;
        let opened = rustix::fs::openat(&left.fd, c"..", LIST_FLAGS, Mode::empty()).map_err(io::Error::from);
        let opened = opened.and_then(|fd| host.metadata_of(&fd).map(|stat| (fd, stat.id())));
        let path = left.path[..above.path_length].to_vec();
        match opened {
            Ok((fd, id)) if id == above.id => {
                let search = Arc::clone(&left.search);
                above.folder = Some(Arc::new(Folder { fd, path, depth: left.depth - 1, id, search }));
            }
            other => {
                let error = other.err().unwrap_or_else(|| io::Error::other("moved while it was read"));
                self.trouble(&path, &error);
                // None of the closed folders above can be found again from here.
                let open = levels.iter().position(|level| level.folder.is_none()).unwrap_or(levels.len());
                levels.truncate(open);
            }
        }
    }

    /// Opens a folder to walk it; `None` where the walk does not enter it.
    fn enter(&mut self, parent: &Arc<Folder>, name: &CStr) -> io::Result<Option<Folder>> {
        let walk = self.walk;
        // Known before it is opened: a network that does not answer would hold the walk there.
        if walk.mounts.may_be_mounted(name) {
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
            let stat = walk.host.metadata_at(&parent.fd, name, flags)?;
            if stat.device != parent.id.device && walk.mounts.is_local(stat.device) == Some(false) {
                return Ok(None);
            }
        }
        let fd = rustix::fs::openat(&parent.fd, name, LIST_FLAGS | OFlags::NOFOLLOW, Mode::empty())?;
        let id = walk.host.metadata_of(&fd)?.id();
        if walk.guard.forbids_id(id) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, FORBIDDEN));
        }
        let local =
            id.device == parent.id.device || walk.mounts.is_local(id.device).unwrap_or_else(|| mounts::is_local(&fd));
        if !local || !walk.note_entered(id, true) {
            return Ok(None);
        }
        let path = join(&parent.path, name);
        walk.met.enter(&path);
        Ok(Some(Folder { fd, path, depth: parent.depth + 1, id, search: Arc::clone(&parent.search) }))
    }

    /// Gives the rows of a folder, and remembers the folders in it.
    fn list(&mut self, folder: Arc<Folder>) -> ControlFlow<(), Level> {
        let walk = self.walk;
        let (id, path_length, enters) = (folder.id, folder.path.len(), folder.depth + 1 < walk.depth_max);
        let unread_max = if self.collector.hashes() { UNREAD_HASHED_MAX } else { UNREAD_MAX };
        let mut below = Names::default();
        let following = walk.is_following();
        let mut row = FileRow::new(Arc::clone(&folder), c".", FileKind::Directory);
        let mut listing = std::mem::take(&mut self.listing);
        let listed = walk.host.for_each_entry(&folder.fd, &mut listing, &mut |name, kind| {
            row.fill(name, kind);
            if following && kind == FileKind::Directory && walk.was_told(&folder, name) {
                return ControlFlow::Continue(());
            }
            if enters && kind == FileKind::Directory {
                below.push(name);
            }
            if !walk.met.is_empty() {
                walk.met.see(&row.path_bytes());
            }
            if self.collector.sift(&row)? {
                self.unread.push(row.part());
                if self.unread.len() >= unread_max {
                    self.read()?;
                }
            }
            if enters && kind == FileKind::Link {
                walk.note_link(&row);
            }
            ControlFlow::Continue(())
        });
        self.listing = listing;
        match listed {
            Ok(flow) => flow?,
            Err(error) => self.trouble(&folder.path, &error),
        }
        self.read()?;
        ControlFlow::Continue(Level { folder: Some(folder), id, path_length, below })
    }

    /// Reads what was gathered, as far as nobody else takes it.
    fn read(&mut self) -> ControlFlow<()> {
        if self.collector.hashes() {
            let host = self.walk.host;
            self.unread.sort_by_cached_key(|row| row.size_hint(host));
        }
        while let Some(row) = self.unread.pop() {
            self.collector.read(&row)?;
            if self.unread.len() > 1 && self.crew.is_hungry() {
                let half = every_second(&mut self.unread);
                self.give(Task::Unread(half));
            }
        }
        ControlFlow::Continue(())
    }

    fn trouble(&mut self, path: &[u8], error: &io::Error) {
        self.collector.trouble(Some(&String::from_utf8_lossy(path)), reason(error));
    }
}

/// Takes every second row, so that small and large ones stay mixed on both sides and in their order.
fn every_second(rows: &mut Vec<FileRow>) -> Vec<FileRow> {
    let (kept, taken): (Vec<_>, Vec<_>) = rows.drain(..).enumerate().partition(|(index, _)| index % 2 == 0);
    *rows = kept.into_iter().map(|(_, row)| row).collect();
    taken.into_iter().map(|(_, row)| row).collect()
}
