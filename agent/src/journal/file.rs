//! The journal in the agent's folder, shared by every process that opens it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::action::Window;
use canvass_protocol::limits;
use jiff::{SignedDuration, Timestamp};

use super::record::{self, Read, Record, TIP_BYTES};
use super::{Begun, Content, Entry, Journal, JournalRefusal, Run, RunningMark, State};
use crate::folder::{Folder, FolderError, Lock, no_waiting, open_mark, read_bounded};
use crate::identity::Origin;

/// The name of the journal in the agent's folder.
pub const FILE: &str = "journal";
const ASIDE: &str = "journal-damaged";
/// As many actions as are remembered, each signed by as many as may sign, have less; a longer one is not ours.
const FILE_BYTES_MAX: u64 = 128 << 20;
const MARK_PREFIX: &str = "running-";
/// Expired entries that are worth a rewrite.
pub const PURGE_MIN: usize = 256;

/// A journal kept in a folder. Under the folder's lock, each time it is asked, it reads what others have added.
#[derive(Debug)]
pub struct FileJournal {
    folder: Folder,
    agent: String,
    /// How far the clocks of desks may be from ours, in seconds.
    skew_s: i64,
    known: Mutex<Known>,
}

/// What was read of the file or written to it.
#[derive(Debug, Default)]
struct Known {
    read: Read,
    /// Whose words they are; `None` where they are not to be relied on.
    inode: Option<u64>,
}

impl FileJournal {
    /// Opens the journal of an agent, whose identity came about so under this very lock.
    ///
    /// Where the identity is new, and a journal is there that another one left on this machine, its entries are kept: what ran
    /// does not run again because a key was lost.
    ///
    /// Returns also what is to be reported: that the journal was lost, or taken over.
    pub fn open(
        folder: &Folder,
        lock: &Lock,
        agent: &str,
        origin: &Origin,
        skew_s: i64,
        now: Timestamp,
    ) -> Result<(FileJournal, Option<String>), JournalRefusal> {
        let known = Mutex::default();
        let journal = FileJournal { folder: folder.clone(), agent: agent.to_owned(), skew_s, known };
        journal.sweep_marks();
        let report = match origin {
            Origin::Kept => journal.load(lock, now)?.1,
            Origin::Made => journal.take_over(lock, now)?,
            Origin::Cloned { .. } => {
                journal.rewrite(&mut journal.known(), &State::default(), now)?;
                None
            }
        };
        Ok((journal, report))
    }

    /// Goes on with the journal of an identity that is lost, where there is one.
    fn take_over(&self, lock: &Lock, now: Timestamp) -> Result<Option<String>, JournalRefusal> {
        let found = self.folder.read_private(FILE, FILE_BYTES_MAX)?;
        let Some(bytes) = found else {
            self.rewrite(&mut self.known(), &State::default(), now)?;
            return Ok(None);
        };
        let Ok(read) = record::read(&bytes, None) else { return Ok(self.load(lock, now)?.1) };
        self.rewrite(&mut self.known(), &read.state, now)?;
        let path = self.folder.path().join(FILE);
        Ok(Some(format!(
            "the identity was lost and a new one made; what the journal `{}` says has run does not run again",
            path.display()
        )))
    }

    /// Forgets what expired, and raises the floor.
    pub fn purge(&self, now: Timestamp) -> Result<(), JournalRefusal> {
        let lock = self.folder.lock()?;
        let (mut known, _) = self.load(&lock, now)?;
        self.purge_state(&mut known, now)
    }

    fn purge_state(&self, known: &mut Known, now: Timestamp) -> Result<(), JournalRefusal> {
        let mut state = known.read.state.clone();
        state.purge(expired_before(now));
        self.rewrite(known, &state, now)?;
        self.sweep_marks();
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Reads what others have added to the journal, or all of it where it is another file; one that is missing or damaged is
    /// set aside and made anew, with all before it refused.
    fn load(&self, _: &Lock, now: Timestamp) -> Result<(MutexGuard<'_, Known>, Option<String>), JournalRefusal> {
        let mut known = self.known();
        let lost = match self.read(&mut known) {
            Ok(None) => return Ok((known, None)),
            Ok(Some(damage)) => damage,
            Err(FolderError::TooLong { .. }) => "it is too long",
            Err(error) => return Err(error.into()),
        };
        self.folder.set_aside(FILE, ASIDE)?;
        let lost_before = now.checked_add(SignedDuration::from_secs(self.skew_s)).unwrap_or(Timestamp::MAX);
        let state = State { lost_before: Some(lost_before), ..State::default() };
        self.rewrite(&mut known, &state, now)?;
        let path = self.folder.path().join(FILE);
        let report = format!(
            "the journal `{}` was made anew because {lost}; actions whose window opened before are refused",
            path.display()
        );
        Ok((known, Some(report)))
    }

    /// Brings what is known up to the file; what is wrong with it, if anything.
    fn read(&self, known: &mut Known) -> Result<Option<&'static str>, FolderError> {
        let Some((file, metadata)) = self.folder.open_private(FILE)? else { return Ok(Some("it is missing")) };
        let path = self.folder.path().join(FILE);
        let agent = Some(self.agent.as_str());
        // Under the lock a file that is the same and no shorter was only added to.
        if known.inode == Some(metadata.ino()) && metadata.len() >= known.read.bytes {
            let (mut first, mut rest) = ([0; TIP_BYTES], vec![0; added(&path, &metadata, known.read.bytes)?]);
            let filled =
                file.read_exact_at(&mut first, 0).and_then(|()| file.read_exact_at(&mut rest, known.read.bytes));
            filled.map_err(|error| FolderError::io(&path, error))?;
            if known.read.go_on(&first, &rest, agent).is_ok() {
                return Ok(None);
            }
        }
        *known = Known::default();
        let bytes = read_bounded(&path, file, FILE_BYTES_MAX)?;
        match record::read(&bytes, agent) {
            Ok(read) => {
                *known = Known { read, inode: Some(metadata.ino()) };
                Ok(None)
            }
            Err(damage) => Ok(Some(damage.0)),
        }
    }

    fn rewrite(&self, known: &mut Known, state: &State, now: Timestamp) -> Result<(), JournalRefusal> {
        *known = Known::default();
        let bytes = record::write(&self.agent, state, now).into_bytes();
        self.folder.write_private(FILE, &bytes)?;
        match self.read(known)? {
            None => Ok(()),
            Some(damage) => Err(JournalRefusal::Unwritable(damage.into())),
        }
    }

    /// Adds a line; where `safe`, it outlives a crash and the tip holds it fast.
    ///
    /// An end need not be safe: an action whose end was lost is refused as interrupted.
    fn append(&self, known: &mut Known, record: Record, safe: bool) -> Result<(), JournalRefusal> {
        let (line, tip) = record::line(&record, &known.read.tip);
        let path = self.folder.path().join(FILE);
        let write = || -> io::Result<()> {
            let file = OpenOptions::new().write(true).open(&path)?;
            // What a crash left behind the last whole line.
            file.set_len(known.read.bytes)?;
            file.write_all_at(line.as_bytes(), known.read.bytes)?;
            if !safe {
                return Ok(());
            }
            file.sync_data()?;
            // After the line is safe: a tip that lags is no damage, one that runs ahead is.
            file.write_all_at(tip.line().as_bytes(), 0)
        };
        match write() {
            Ok(()) => {
                known.read.wrote(record, &line, tip, safe);
                Ok(())
            }
            Err(error) => {
                // Whatever is there of the line has to be read again.
                known.inode = None;
                Err(JournalRefusal::Unwritable(format!("`{}`: {error}", path.display())))
            }
        }
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
        let (mut known, _) = self.load(&lock, now)?;
        match known.read.state.check(run, window) {
            Err(JournalRefusal::Interrupted) => return Err(self.interrupted_or_running(run)?),
            checked => checked?,
        }
        if known.read.state.over_count(expired_before(now)) >= PURGE_MIN {
            self.purge_state(&mut known, now)?;
            known.read.state.check(run, window)?;
        }
        known.read.state.check_content(content, day_max, now)?;
        known.read.state.check_room(&content.signers)?;
        let mark = self.mark_running(run)?.ok_or(JournalRefusal::Running)?;
        match self.append(&mut known, record::begun(run, window.until, now, content), true) {
            Ok(()) => Ok(Begun { run, running: Some(mark) }),
            Err(error) => {
                let _ = fs::remove_file(&mark.path);
                Err(error)
            }
        }
    }

    fn end(&self, run: Run, now: Timestamp) -> Result<(), JournalRefusal> {
        let lock = self.folder.lock()?;
        let (mut known, _) = self.load(&lock, now)?;
        match known.read.state.entries.get(&run) {
            Some(Entry { ended: false, .. }) => self.append(&mut known, record::ended(run, now), false),
            _ => Ok(()),
        }
    }
}

/// How many bytes of a file of bearable length are behind those that are known.
fn added(path: &std::path::Path, metadata: &fs::Metadata, known: u64) -> Result<usize, FolderError> {
    let too_long = || FolderError::TooLong { path: path.to_owned(), max: FILE_BYTES_MAX };
    if metadata.len() > FILE_BYTES_MAX {
        return Err(too_long());
    }
    usize::try_from(metadata.len() - known).map_err(|_| too_long())
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
