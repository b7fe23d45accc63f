//! The parent of one scan's process: tells it its job, counts what it writes, and ends it when it must end.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use canvass_protocol::answer::ScanRecord;
use canvass_protocol::limits::{self, Cut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::wire::{Decoder, Last, Message};
use super::{ARGUMENT, CageError, Job, cgroup, confine};

/// How long after its own deadline a scan may still write before it is killed.
const DEADLINE_GRACE: Duration = Duration::from_secs(2);
/// How long a stopped scan may take to hand over what it found.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long a process that said its last word may take to end.
const EXIT_GRACE: Duration = Duration::from_secs(1);
/// How long a killed process may take to be gone; one that is traced, or waits for a device, may take for ever.
const KILL_GRACE: Duration = Duration::from_secs(2);
/// Of what it says on standard error only the beginning is looked at, and shown to nobody.
const ERRORS_BYTES_MAX: usize = 4096;
const READ_BYTES: usize = 64 << 10;

/// Takes a frame's rows and bytes; false where nobody wants them.
pub type HandOn<'a> = dyn FnMut(u64, Vec<u8>) -> bool + 'a;

/// Why the parent stopped listening.
enum End {
    Last(Last),
    /// It closed its output without a last word.
    Silent,
    Hostile(String),
    Killed(Cut),
}

struct Warden<'a> {
    child: Child,
    group: Option<cgroup::Group>,
    input: Option<ChildStdin>,
    output: ChildStdout,
    errors: Option<ChildStderr>,
    unsent: &'a [u8],
    decoder: Decoder,
    said: Vec<u8>,
    counted: ScanRecord,
    frames: u64,
    job: &'a Job,
    /// When it is killed, and why.
    kill_at: Instant,
    kill_as: Cut,
    stopping: bool,
}

/// Runs one scan in a process of `program` to its end; closing the other end of `alive` stops it.
pub fn watch(
    program: &Path,
    job: &Job,
    alive: BorrowedFd<'_>,
    hand_on: &mut HandOn<'_>,
) -> Result<ScanRecord, CageError> {
    let start = |error: String| CageError::Start(error);
    let mut line = serde_json::to_vec(job).map_err(|error| start(error.to_string()))?;
    line.push(b'\n');
    let mut warden =
        Warden::start(program, job, &line).map_err(|error| start(format!("`{}`: {error}", program.display())))?;
    let end = match warden.listen(alive, hand_on) {
        Ok(end) => end,
        Err(error) => End::Hostile(format!("cannot be read: {error}")),
    };
    warden.finish(end)
}

/// Whether the other end of the pipe was closed.
pub fn is_over(alive: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(alive, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timespec(Duration::ZERO))), Ok(1..))
}

impl<'a> Warden<'a> {
    fn start(program: &Path, job: &'a Job, line: &'a [u8]) -> io::Result<Warden<'a>> {
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .env_clear()
            // Ctrl-C on a terminal is for the program that asked: it stops its scans and keeps what they found.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // It holds next to nothing before it reads its job.
        let group = cgroup::of_scan(confine::memory_bytes(&job.limits, job.threads));
        let group = group.filter(|group| group.take(child.id()).is_ok());
        let (input, errors) = (child.stdin.take(), child.stderr.take());
        let output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
        for fd in input.iter().map(AsFd::as_fd).chain(errors.iter().map(AsFd::as_fd)).chain([output.as_fd()]) {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let time = Duration::from_millis(job.limits.time_ms).min(Duration::from_secs(365 * 24 * 3600));
        let counted = ScanRecord { asked: true, ..ScanRecord::default() };
        Ok(Warden {
            child,
            group,
            input,
            output,
            errors,
            unsent: line,
            decoder: Decoder::default(),
            said: Vec::new(),
            counted,
            frames: 0,
            job,
            kill_at: Instant::now() + time + DEADLINE_GRACE,
            kill_as: Cut::Time,
            stopping: false,
        })
    }

    /// Waits for whatever comes first: output, a stop, or the time to kill.
    fn listen(&mut self, alive: BorrowedFd<'_>, hand_on: &mut HandOn<'_>) -> io::Result<End> {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let left = self.kill_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::Killed(self.kill_as));
            }
            let ready = self.wait(alive, left)?;
            if ready.stop {
                self.stop();
            }
            if ready.input {
                self.send();
            }
            if ready.errors {
                self.hear(&mut buffer);
            }
            if ready.output
                && let Some(end) = self.take(&mut buffer, hand_on)?
            {
                return Ok(end);
            }
        }
    }

    fn wait(&self, alive: BorrowedFd<'_>, left: Duration) -> io::Result<Ready> {
        let sending = self.input.as_ref().filter(|_| !self.unsent.is_empty()).map(AsFd::as_fd);
        let errors = self.errors.as_ref().map(AsFd::as_fd);
        let stop = Some(alive).filter(|_| !self.stopping);
        let output = Some(self.output.as_fd());
        let watched =
            [(output, PollFlags::IN), (errors, PollFlags::IN), (stop, PollFlags::IN), (sending, PollFlags::OUT)];
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(watched.len());
        fds.extend(watched.iter().filter_map(|(fd, flags)| fd.map(|fd| PollFd::from_borrowed_fd(fd, *flags))));
        match poll(&mut fds, Some(&timespec(left))) {
            Err(rustix::io::Errno::INTR) => return Ok(Ready::default()),
            polled => polled?,
        };
        let mut happened = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |fd: Option<BorrowedFd<'_>>| fd.is_some() && happened.next().unwrap_or(false);
        Ok(Ready { output: next(output), errors: next(errors), stop: next(stop), input: next(sending) })
    }

    /// Asks the process to end early; what it found so far is still taken.
    fn stop(&mut self) {
        self.stopping = true;
        self.input = None;
        self.kill_at = self.kill_at.min(Instant::now() + STOP_GRACE);
        self.kill_as = Cut::Stopped;
    }

    /// Tells the process more of its job. The input stays open afterwards: closing it means stop.
    fn send(&mut self) {
        let Some(input) = &mut self.input else { return };
        match input.write(self.unsent) {
            Ok(sent) => self.unsent = &self.unsent[sent..],
            Err(error) if is_later(&error) => {}
            // It does not want to hear; what it says instead is judged when it comes.
            Err(_) => self.unsent = &[],
        }
    }

    fn hear(&mut self, buffer: &mut [u8]) {
        let Some(errors) = &mut self.errors else { return };
        match errors.read(buffer) {
            Ok(0) => self.errors = None,
            Ok(read) => {
                let room = ERRORS_BYTES_MAX.saturating_sub(self.said.len());
                self.said.extend_from_slice(&buffer[..read.min(room)]);
            }
            Err(error) if is_later(&error) => {}
            Err(_) => self.errors = None,
        }
    }

    fn take(&mut self, buffer: &mut [u8], hand_on: &mut HandOn<'_>) -> io::Result<Option<End>> {
        let read = match self.output.read(buffer) {
            Ok(0) => return Ok(Some(End::Silent)),
            Ok(read) => read,
            Err(error) if is_later(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        self.decoder.push(&buffer[..read]);
        loop {
            match self.decoder.take() {
                Ok(None) => return Ok(None),
                Ok(Some(Message::Last(last))) => return Ok(Some(End::Last(last))),
                Ok(Some(Message::Frame { rows, body })) => {
                    if let Some(cut) = self.count(rows, &body) {
                        return Ok(Some(End::Killed(cut)));
                    }
                    if !hand_on(rows, body) {
                        return Ok(Some(End::Killed(Cut::Stopped)));
                    }
                }
                Err(error) => return Ok(Some(End::Hostile(error.to_string()))),
            }
        }
    }

    /// Counts a frame; names the limit that it would break.
    fn count(&mut self, rows: u64, body: &[u8]) -> Option<Cut> {
        let limits = &self.job.limits;
        let (rows, bytes) = (self.counted.rows.saturating_add(rows), self.counted.bytes + body.len() as u64);
        self.frames += 1;
        // A frame without rows says nothing; one may carry the columns.
        if rows > limits.rows || self.frames > limits.rows.saturating_add(1) {
            return Some(Cut::Rows);
        }
        if bytes > limits.bytes {
            return Some(Cut::Bytes);
        }
        self.counted.rows = rows;
        self.counted.bytes = bytes;
        None
    }

    /// Ends the process where it lives, and says what there is to say of the scan.
    fn finish(mut self, end: End) -> Result<ScanRecord, CageError> {
        self.input = None;
        let grace = if matches!(end, End::Last(_) | End::Silent) { EXIT_GRACE } else { Duration::ZERO };
        let status = reap(self.child, grace).map_err(|error| CageError::Failed(error.to_string()))?;
        let mut counted = self.counted;
        match end {
            End::Last(Last::Failed(reason)) => return Err(CageError::Failed(bounded(reason))),
            End::Last(Last::Record(record)) => return Ok(checked(record, &counted)),
            End::Killed(cut) => counted.cut = Some(cut),
            End::Silent if self.stopping => counted.cut = Some(Cut::Stopped),
            End::Silent => {
                let ran_out = self.group.as_ref().is_some_and(cgroup::Group::ran_out_of_memory);
                let (cut, reason) = if ran_out { out_of_memory() } else { cause(status, &self.said) };
                counted.cut = Some(cut);
                counted.trouble(None, reason);
            }
            End::Hostile(reason) => {
                counted.cut = Some(Cut::Crashed);
                counted.trouble(None, format!("the scan's process wrote what is no answer: {reason}"));
            }
        }
        Ok(counted)
    }
}

#[derive(Default)]
struct Ready {
    output: bool,
    errors: bool,
    stop: bool,
    input: bool,
}

/// Why a process ended without a last word.
fn cause(status: Option<ExitStatus>, said: &[u8]) -> (Cut, String) {
    let Some(status) = status else {
        return (Cut::Crashed, "the scan's process cannot be ended".into());
    };
    match (status.signal(), status.code()) {
        (Some(signal), _) if signal == Signal::XCPU.as_raw() => {
            (Cut::Cpu, "the scan's process used up its CPU time".into())
        }
        (Some(signal), _) if signal == Signal::ABORT.as_raw() && is_out_of_memory(said) => out_of_memory(),
        (Some(signal), _) if signal == Signal::SYS.as_raw() => {
            (Cut::Crashed, "the scan's process made a system call that its cage forbids".into())
        }
        (Some(signal), _) => (Cut::Crashed, format!("the scan's process was ended by signal {signal}")),
        (None, code) => (Cut::Crashed, format!("the scan's process ended early with status {}", code.unwrap_or(0))),
    }
}

fn out_of_memory() -> (Cut, String) {
    (Cut::Memory, "the scan's process used up its memory".into())
}

/// Rust's allocator says so before it aborts, and nothing else tells this abort from others.
fn is_out_of_memory(said: &[u8]) -> bool {
    let words = b"memory allocation of ";
    said.windows(words.len()).any(|window| window == words)
}

/// A record as its process tells it, with what the parent counted itself, and with bounds.
fn checked(record: ScanRecord, counted: &ScanRecord) -> ScanRecord {
    let mut checked = ScanRecord { examined: record.examined, cut: record.cut, ..counted.clone() };
    let listed = record.troubles.len() as u64;
    for trouble in record.troubles {
        checked.trouble(trouble.subject.as_deref(), trouble.reason);
    }
    checked.troubles_count = record.troubles_count.max(listed);
    checked
}

fn bounded(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(limits::TROUBLE_TEXT_BYTES_MAX));
    reason
}

/// Waits for a process to end, then kills it; `None` where even that does not end it, and nobody waits any longer.
fn reap(mut child: Child, grace: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(process) = pid.filter(|_| !grace.is_zero()).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) {
        let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&timespec(grace)));
    }
    // Ended already where the wait succeeded: a signal does not change how a process ended.
    let _ = child.kill();
    if let Some(status) = child.try_wait()? {
        return Ok(Some(status));
    }
    // Whenever it does end, it is not to stay in the table of processes, though nobody may be waiting any more.
    let (sender, receiver) = sync_channel(1);
    let bury = move || drop(sender.send(child.wait()));
    std::thread::Builder::new().name("bury".into()).stack_size(64 << 10).spawn(bury)?;
    receiver.recv_timeout(KILL_GRACE).map_or(Ok(None), |status| status.map(Some))
}

fn is_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
