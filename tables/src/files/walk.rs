//! The walk: which roots are walked in which order, what is entered behind links, and what all workers see.

use std::collections::HashMap;
use std::ffi::CStr;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::AtFlags;
use rustix::process::{Resource, getrlimit};

use super::crew::Crew;
use super::guard::Guard;
use super::mounts::Mounts;
use super::names::Names;
use super::roots::{self, Met, Start, Starts};
use super::row::{FileRow, Folder, Search};
use super::worker::Worker;
use crate::engine::Collector;
use crate::host::{FileKind, Host, Id};

/// Folders that one worker holds open at once; those above are opened again from below when it comes back to them.
const OPEN_FOLDERS_MAX: u64 = 64;
/// Links to folders that are remembered to be followed.
const LINKS_MAX: usize = 1 << 20;

/// Collects the rows of `files`.
pub(super) fn collect(collector: &mut Collector<'_, FileRow>) -> ControlFlow<()> {
    let Starts { outer, inner, odd } = roots::starts(collector.places("path").unwrap_or_default());
    for path in odd {
        let reason = "no path is spelled so: begin with `/` and leave out `.`, `..` and what ends in `/`";
        collector.trouble(Some(&path), reason);
    }
    let threads = collector.threads.get();
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) / 2 / threads as u64;
    let walk = Walk {
        host: collector.host,
        threads,
        mounts: Mounts::read(collector.host),
        guard: Arc::new(Guard::new(collector.host, collector.forbidden)),
        depth_max: collector.filter.and_then(roots::depth_max).unwrap_or(i64::MAX),
        open_max: usize::try_from(descriptors.clamp(4, OPEN_FOLDERS_MAX)).unwrap_or(4),
        met: Met::new(&inner),
        links: collector.scan.options.follow.then(Mutex::default),
    };
    walk.phase(collector, outer.into_iter().map(|start| Task::Start { start, own_row: true }).collect())?;
    for start in inner {
        let state = walk.met.state(&start.path);
        if start.depth <= walk.depth_max && !(state.seen && (state.entered || !start.under)) {
            walk.phase(collector, vec![Task::Start { start, own_row: !state.seen }])?;
        }
    }
    walk.follow(collector)
}

/// What all workers see.
pub(super) struct Walk<'a> {
    pub host: &'a Host,
    threads: usize,
    pub mounts: Mounts,
    pub guard: Arc<Guard>,
    /// Deeper rows cannot pass.
    pub depth_max: i64,
    pub open_max: usize,
    pub met: Met,
    /// Where links to folders are followed.
    links: Option<Mutex<Links>>,
}

#[derive(Default)]
struct Links {
    /// Folders that were entered, and whether they have rows of their own: none is entered through a link a second time.
    entered: HashMap<Id, bool>,
    /// Links to folders that nobody followed yet.
    waiting: Vec<Link>,
    lost: bool,
    /// The walks from the roots have ended.
    following: bool,
}

/// A link to a folder, in a folder that was walked.
pub(super) struct Link {
    pub path: Vec<u8>,
    pub depth: i64,
    pub search: Arc<Search>,
}

/// A piece of work.
pub(super) enum Task {
    Start {
        start: Start,
        own_row: bool,
    },
    /// Folders to be entered.
    Below {
        parent: Arc<Folder>,
        names: Names,
    },
    /// Rows to be read.
    Unread(Vec<FileRow>),
    /// A link whose folder is to be entered.
    Link(Link),
}

impl Walk<'_> {
    /// Works until all tasks, and all that comes of them, are done.
    fn phase(&self, collector: &mut Collector<'_, FileRow>, tasks: Vec<Task>) -> ControlFlow<()> {
        let starters = tasks.len().min(self.threads);
        let (crew, ended) = (Crew::new(self.threads, tasks), Mutex::new(Vec::new()));
        let flow = std::thread::scope(|scope| {
            let mut worker = Worker::new(self, &crew, &ended, scope, collector);
            for _ in 1..starters {
                if crew.recruit() {
                    worker.start_another();
                }
            }
            worker.work()
        });
        for other in ended.into_inner().unwrap_or_else(PoisonError::into_inner) {
            collector.join(other);
        }
        flow?;
        collector.go_on()
    }

    /// Enters the folders behind links, those whose path comes first first, until no new one is met.
    fn follow(&self, collector: &mut Collector<'_, FileRow>) -> ControlFlow<()> {
        loop {
            let Some(mut links) = self.links() else { return ControlFlow::Continue(()) };
            links.following = true;
            let mut waiting = std::mem::take(&mut links.waiting);
            if std::mem::take(&mut links.lost) {
                collector.trouble(None, format!("more than {LINKS_MAX} links to folders: not all were followed"));
            }
            drop(links);
            if waiting.is_empty() {
                return ControlFlow::Continue(());
            }
            waiting.sort_by(|a, b| a.path.cmp(&b.path));
            for link in waiting {
                self.phase(collector, vec![Task::Link(link)])?;
            }
        }
    }

    /// Notes a link that is to be followed, where links are and it leads to a folder.
    pub fn note_link(&self, row: &FileRow) {
        if self.links.is_none() || row.leads_to(self.host) != Some(FileKind::Directory) {
            return;
        }
        if let Some(mut links) = self.links() {
            if links.waiting.len() < LINKS_MAX {
                let search = Arc::clone(&row.folder.search);
                links.waiting.push(Link { path: row.path_bytes().to_vec(), depth: row.folder.depth + 1, search });
            } else {
                links.lost = true;
            }
        }
    }

    /// Notes that a folder is entered, and whether it has a row of its own (behind a link it has none); false where it was
    /// entered before and this is a way behind a link.
    pub fn note_entered(&self, id: Id, told: bool) -> bool {
        let Some(mut links) = self.links() else { return true };
        let (following, known) = (links.following, links.entered.contains_key(&id));
        *links.entered.entry(id).or_default() |= told;
        !known || !following
    }

    /// Whether a folder that lies behind a link has its row already, by another way; from now on it has.
    pub fn was_told(&self, folder: &Folder, name: &CStr) -> bool {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let Ok(stat) = self.host.metadata_at(&folder.fd, name, flags) else { return false };
        let told = self.links().and_then(|mut links| Some(std::mem::replace(links.entered.get_mut(&stat.id())?, true)));
        told.unwrap_or(false)
    }

    /// Whether folders behind links are being entered.
    pub fn is_following(&self) -> bool {
        self.links().is_some_and(|links| links.following)
    }

    fn links(&self) -> Option<MutexGuard<'_, Links>> {
        self.links.as_ref().map(|links| links.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
