//! The journal in the agent's folder, shared by every process that opens it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;

use canvass_protocol::action::Window;
use canvass_protocol::limits;
use jiff::{SignedDuration, Timestamp};

use super::record::{self, Read, Record};
use super::{Begun, Content, Journal, JournalRefusal, Run, RunningMark, State};
use crate::folder::{Folder, FolderError, Lock, no_waiting, open_mark};

/// The name of the journal in the agent's folder.
pub const FILE: &str = "journal";
const ASIDE: &str = "journal-damaged";
/// About 200,000 actions; a longer one is not ours.
const FILE_BYTES_MAX: u64 = 64 << 20;
const MARK_PREFIX: &str = "running-";
/// Expired entries that are worth a rewrite.
const PURGE_MIN: usize = 256;

/// A journal kept in a folder. It is read anew, under the folder's lock, each time it is asked.
#[derive(Debug)]
pub struct FileJournal {
    folder: Folder,
    agent: String,
    /// How far the clocks of desks may be from ours, in seconds.
    skew_s: i64,
}

impl FileJournal {
    /// Opens the journal of an agent; where `new`, the identity was made under this very lock and had no journal yet.
    ///
    /// Returns also what is to be reported: that the journal was lost.
    pub fn open(
        folder: &Folder,
        lock: &Lock,
        agent: &str,
        new: bool,
        skew_s: i64,
        now: Timestamp,
    ) -> Result<(FileJournal, Option<String>), JournalRefusal> {
        let journal = FileJournal { folder: folder.clone(), agent: agent.to_owned(), skew_s };
        journal.sweep_marks();
        if new {
            journal.rewrite(&State::default(), now)?;
            return Ok((journal, None));
        }
        let (_, lost) = journal.load(lock, now)?;
        Ok((journal, lost))
    }

    /// Forgets what expired, and raises the floor.
    pub fn purge(&self, now: Timestamp) -> Result<(), JournalRefusal> {
        let lock = self.folder.lock()?;
        let (mut read, _) = self.load(&lock, now)?;
        self.purge_state(&mut read.state, now)
    }

    fn purge_state(&self, state: &mut State, now: Timestamp) -> Result<(), JournalRefusal> {
        state.purge(expired_before(now));
        self.rewrite(state, now)?;
        self.sweep_marks();
        Ok(())
    }

    /// Removes the marks that crashes left behind; a mark that somebody holds is of an action that runs.
    fn sweep_marks(&self) {
        let names = fs::read_dir(self.folder.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_mark = |path: &PathBuf| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(MARK_PREFIX))
        };
        for path in names.filter(is_mark) {
            let opened = OpenOptions::new().read(true).custom_flags(no_waiting()).open(&path);
            if opened.is_ok_and(|file| file.try_lock().is_ok()) {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Reads the journal; one that is missing or damaged is set aside and made anew, with all before it refused.
    fn load(&self, _: &Lock, now: Timestamp) -> Result<(Read, Option<String>), JournalRefusal> {
        let lost = match self.folder.read_private(FILE, FILE_BYTES_MAX) {
            Ok(Some(bytes)) => match record::read(&bytes, &self.agent) {
                Ok(read) => return Ok((read, None)),
                Err(damage) => damage.0,
            },
            Ok(None) => "it is missing",
            Err(FolderError::TooLong { .. }) => "it is too long",
            Err(error) => return Err(error.into()),
        };
        self.folder.set_aside(FILE, ASIDE)?;
        let lost_before = now.checked_add(SignedDuration::from_secs(self.skew_s)).unwrap_or(Timestamp::MAX);
        let state = State { lost_before: Some(lost_before), ..State::default() };
        let bytes = self.rewrite(&state, now)?;
        let read = record::read(&bytes, &self.agent).map_err(|damage| JournalRefusal::Unwritable(damage.0.into()))?;
        let path = self.folder.path().join(FILE);
        let report = format!(
            "the journal `{}` was made anew because {lost}; actions whose window opened before are refused",
            path.display()
        );
        Ok((read, Some(report)))
    }

    fn rewrite(&self, state: &State, now: Timestamp) -> Result<Vec<u8>, JournalRefusal> {
        let bytes = record::write(&self.agent, state, now).into_bytes();
        self.folder.write_private(FILE, &bytes)?;
        Ok(bytes)
    }

    /// Adds a line; where `safe`, it outlives a crash and the tip holds it fast.
    ///
    /// An end need not be safe: an action whose end was lost is refused as interrupted.
    fn append(&self, read: &Read, record: &Record, safe: bool) -> Result<(), JournalRefusal> {
        let (line, tip) = record::line(record, &read.tip);
        let path = self.folder.path().join(FILE);
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&path)?;
            // What a crash left behind the last whole line.
            file.set_len(read.bytes)?;
            file.write_all_at(line.as_bytes(), read.bytes)?;
            if !safe {
                return Ok(());
            }
            file.sync_data()?;
            // After the line is safe: a tip that lags is no damage, one that runs ahead is.
            file.write_all_at(tip.line().as_bytes(), 0)
        };
        write().map_err(|error| JournalRefusal::Unwritable(format!("`{}`: {error}", path.display())))
    }

    /// Takes the file that says that an action runs; `None` where another process has it.
    fn mark_running(&self, run: Run) -> Result<Option<RunningMark>, JournalRefusal> {
        let path = self.running_path(run);
        let open = || -> io::Result<Option<File>> {
            let file = open_mark(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(Some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        let file = open().map_err(|error| JournalRefusal::Unwritable(format!("`{}`: {error}", path.display())))?;
        Ok(file.map(|lock| RunningMark { path, _lock: lock }))
    }

    /// Tells an action whose process died from one whose process lives, by whether its mark can be taken.
    fn interrupted_or_running(&self, run: Run) -> Result<JournalRefusal, JournalRefusal> {
        let Some(mark) = self.mark_running(run)? else { return Ok(JournalRefusal::Running) };
        let _ = fs::remove_file(&mark.path);
        Ok(JournalRefusal::Interrupted)
    }

    fn running_path(&self, run: Run) -> PathBuf {
        let Run { action, number } = run;
        let suffix = if number == 0 { String::new() } else { format!("-{number}") };
        self.folder.path().join(format!("{MARK_PREFIX}{action}{suffix}"))
    }
}

impl Journal for FileJournal {
    fn begin(
        &self,
        run: Run,
        window: Window,
        content: &Content,
        day_max: u64,
        now: Timestamp,
    ) -> Result<Begun, JournalRefusal> {
        let lock = self.folder.lock()?;
        let (mut read, _) = self.load(&lock, now)?;
        match read.state.check(run, window) {
            Err(JournalRefusal::Interrupted) => return Err(self.interrupted_or_running(run)?),
            checked => checked?,
        }
        if read.state.over_count(expired_before(now)) >= PURGE_MIN {
            self.purge_state(&mut read.state, now)?;
            (read, _) = self.load(&lock, now)?;
            read.state.check(run, window)?;
        }
        read.state.check_content(content, day_max, now)?;
        let mark = self.mark_running(run)?.ok_or(JournalRefusal::Running)?;
        match self.append(&read, &record::begun(run, window.until, now, content), true) {
            Ok(()) => Ok(Begun { run, running: Some(mark) }),
            Err(error) => {
                let _ = fs::remove_file(&mark.path);
                Err(error)
            }
        }
    }

    fn end(&self, begun: Begun, now: Timestamp) -> Result<(), JournalRefusal> {
        let lock = self.folder.lock()?;
        let (read, _) = self.load(&lock, now)?;
        let ended = self.append(&read, &record::ended(begun.run, now), false);
        if let Some(mark) = begun.running {
            // A mark that stays is only a name; its lock goes with this process.
            let _ = fs::remove_file(&mark.path);
        }
        ended
    }
}

impl From<FolderError> for JournalRefusal {
    fn from(error: FolderError) -> Self {
        JournalRefusal::Unwritable(error.to_string())
    }
}

/// An action whose window ended before this is refused by the guard's clock, skew included.
fn expired_before(now: Timestamp) -> Timestamp {
    now.checked_sub(SignedDuration::from_secs(limits::CLOCK_SKEW_S)).unwrap_or(Timestamp::MIN)
}
