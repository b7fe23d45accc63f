//! What confines a scan: a freshly executed child process, and a parent that believes nothing it writes.
//!
//! The child is told its job on standard input, one line of JSON, and answers on standard output in messages of
//! [`wire`]. Its standard input stays open for as long as it may go on: where it closes, by a stop or because the parent
//! died, the child ends early and keeps what it found. Whoever does not end is killed.

mod cgroup;
mod child;
mod confine;
mod io_class;
mod landlock;
mod privileges;
mod profile;
mod report;
mod seccomp;
mod warden;
pub mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use canvass_protocol::answer::ScanRecord;
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::reason::Code;
use canvass_protocol::scan::Scan;
use canvass_tables::host::HostSpec;
use serde::{Deserialize, Serialize};

pub use canvass_protocol::limits::SCANS_AT_ONCE;
pub use cgroup::divide as divide_control_group;
pub use child::{child_main, child_main_of};
pub use report::{Lack, Part, Report};

/// The first argument with which a program is asked to be a scan's process.
pub const ARGUMENT: &str = "--scan-in-cage";
/// The second one, with which such a process says what its cage lacks instead of scanning.
const REPORT: &str = "--report";

/// Frames under way between the children and whoever takes the answer; more would only hold memory.
const FRAMES_AHEAD: usize = 4;
/// How often the caller's stop flag is looked at: an atomic cannot be waited on. A small frame waits no longer than this for
/// what comes next, be it a frame or the end of a scan.
const STOP_FLAG_EVERY: Duration = Duration::from_millis(50);
/// A frame up to this size is small.
const SMALL_BYTES_MAX: usize = 64 << 10;

/// What a child is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub host: HostSpec,
    pub scan: Scan,
    pub limits: Limits,
    /// How many may work on the scan.
    pub threads: NonZeroUsize,
    pub withheld: Vec<String>,
    pub forbidden: Vec<String>,
    /// It runs only where the cage lacks nothing.
    #[serde(default)]
    pub whole_cage: bool,
}

/// Why there is no answer at all to a scan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CageError {
    #[error("cannot start the scan's process: {0}")]
    Start(String),
    #[error("{0}")]
    Failed(String),
}

impl CageError {
    pub fn code(&self) -> Code {
        match self {
            CageError::Start(_) => Code::Cage,
            CageError::Failed(_) => Code::Scan,
        }
    }
}

/// One frame of one scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Index of the scan in the action.
    pub scan: u32,
    pub rows: u64,
    pub body: Vec<u8>,
}

/// What scans have done when all of them have ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ran {
    /// One a scan, by its index.
    pub records: BTreeMap<u32, ScanRecord>,
    /// The last frame, where it is small and the end came right behind it, so that both can be said at once.
    pub last: Option<Frame>,
}

enum Event {
    Frame(Frame),
    Ended(u32, Result<ScanRecord, CageError>),
}

/// Who runs scans: the cage, or what takes its place where a scan's own work is not what is tried out.
pub trait Scans: Send + Sync {
    /// Runs scans and hands their frames to `out`, as [`run`] does.
    fn run(
        &self,
        jobs: Vec<(u32, Job)>,
        at_once: usize,
        stop: &AtomicBool,
        out: &mut dyn FnMut(Frame) -> io::Result<()>,
    ) -> Result<Ran, CageError>;
}

/// Runs each scan in a process of this program.
#[derive(Debug, Clone)]
pub struct Cage(pub PathBuf);

impl Scans for Cage {
    fn run(
        &self,
        jobs: Vec<(u32, Job)>,
        at_once: usize,
        stop: &AtomicBool,
        out: &mut dyn FnMut(Frame) -> io::Result<()>,
    ) -> Result<Ran, CageError> {
        run(&self.0, jobs, at_once, stop, out)
    }
}

/// Runs scans, `at_once` of them side by side, each in its own process of `program`, and hands their frames to `out` as they come.
///
/// Returns what they did, or the first reason why one of them could not run. `stop`, once set, and an error of `out` end the
/// scans early.
pub fn run(
    program: &Path,
    jobs: Vec<(u32, Job)>,
    at_once: usize,
    stop: &AtomicBool,
    out: &mut dyn FnMut(Frame) -> io::Result<()>,
) -> Result<Ran, CageError> {
    let (alive, mut living) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map(|(read, write)| (read, Some(write)))
        .map_err(|error| CageError::Start(io::Error::from(error).to_string()))?;
    let workers = jobs.len().min(at_once);
    let queue = Mutex::new(VecDeque::from(jobs));
    let (sender, receiver) = sync_channel(FRAMES_AHEAD);
    let mut ran = Ran::default();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (sender, queue, alive) = (sender.clone(), &queue, alive.as_fd());
            scope.spawn(move || work(program, queue, alive, &sender));
        }
        drop(sender);
        let mut receiver = Some(receiver);
        let mut failure = None;
        while let Some(events) = &receiver {
            if stop.load(Ordering::Relaxed) {
                living = None;
            }
            let event = match living {
                Some(_) => events.recv_timeout(STOP_FLAG_EVERY),
                None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            // One that waited for the end, and one that is too long to wait.
            let mut ready = [None, None];
            match event {
                Ok(Event::Frame(frame)) => {
                    ready[0] = ran.last.replace(frame);
                    ready[1] = ran.last.take_if(|frame| frame.body.len() > SMALL_BYTES_MAX);
                }
                Ok(Event::Ended(scan, Ok(record))) => {
                    ran.records.insert(scan, record);
                }
                Ok(Event::Ended(_, Err(error))) => {
                    ready[0] = ran.last.take();
                    failure.get_or_insert(error);
                    living = None;
                }
                Err(RecvTimeoutError::Timeout) => ready[0] = ran.last.take(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if ready.into_iter().flatten().try_for_each(&mut *out).is_err() {
                // Nobody takes the answer: children whose frames cannot be handed on are killed.
                living = None;
                receiver = None;
            }
        }
        let Some(failure) = failure else { return Ok(ran) };
        if receiver.is_some() {
            // What another scan found before this one failed is said all the same.
            let _ = ran.last.take().map(out);
        }
        Err(failure)
    })
}

/// Takes jobs until none is left; the death of `alive` stops them.
fn work(program: &Path, queue: &Mutex<VecDeque<(u32, Job)>>, alive: BorrowedFd<'_>, events: &SyncSender<Event>) {
    let next = || queue.lock().ok().and_then(|mut queue| queue.pop_front());
    while let Some((scan, job)) = next() {
        let ended = if warden::is_over(alive) {
            Ok(ScanRecord { asked: true, cut: Some(Cut::Stopped), ..ScanRecord::default() })
        } else {
            let mut hand_on = |rows, body| events.send(Event::Frame(Frame { scan, rows, body })).is_ok();
            warden::watch(program, &job, alive, &mut hand_on)
        };
        if events.send(Event::Ended(scan, ended)).is_err() {
            return;
        }
    }
}
