//! What an agent remembers of actions, so that none runs twice: before it starts, after a restart, after a crash.
//!
//! An entry is *begun* on disk before the scan starts and *ended* after it. Entries are purged once they expired, and
//! purging raises a floor below which nothing runs, whatever the clock says.

mod file;
mod record;

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

use canvass_protocol::action::{ActionHash, Window};
use canvass_protocol::limits;
use canvass_protocol::openpgp::Fingerprint;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

pub use file::{FILE, FileJournal};

/// Actions that are remembered at once, and those of them that one certificate may have signed: whoever has a key cannot keep
/// everybody else's actions from running, nor make the journal grow without end.
const ENTRIES_MAX: usize = 100_000;
const ENTRIES_OF_ONE_MAX: usize = 20_000;
/// How long content predicates count for those who signed for them.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Remembers which actions were begun and ended.
pub trait Journal: Send + Sync {
    /// Notes that a run of an action begins, and what it asks of contents, unless its signers have asked for more than `day_max`
    /// within a day then. Once this returns, the note outlives a crash.
    fn begin(
        &self,
        run: Run,
        window: Window,
        content: &Content,
        day_max: u64,
        now: Timestamp,
    ) -> Result<Begun, JournalRefusal>;

    /// Notes that a run ended and that its answer is where it belongs. Until then, and where this fails, it counts as running
    /// while its process has the mark of it, and then as interrupted ever after.
    fn end(&self, run: Run, now: Timestamp) -> Result<(), JournalRefusal>;
}

/// What never runs twice: an action that is asked once, or one run of a standing action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Run {
    pub action: ActionHash,
    /// 0 for an action that is asked once.
    pub number: u64,
}

impl Run {
    /// The only run of an action that is asked once.
    pub fn of(action: ActionHash) -> Run {
        Run { action, number: 0 }
    }
}

/// Who signed an action, and what it asks of contents, which counts for each of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    pub predicates: u64,
    pub signers: BTreeSet<Fingerprint>,
}

/// An action that was begun and is to be ended.
#[derive(Debug)]
pub struct Begun {
    run: Run,
    running: Option<RunningMark>,
}

impl Begun {
    /// Says to other processes that it does not run any more, ended or not.
    pub fn release(self) {
        if let Some(mark) = self.running {
            // A mark that stays is only a name; its lock goes with this value.
            let _ = std::fs::remove_file(&mark.path);
        }
    }

    pub fn run(&self) -> Run {
        self.run
    }
}

/// A locked file that tells other processes that the action runs, not that it was interrupted.
#[derive(Debug)]
struct RunningMark {
    path: PathBuf,
    _lock: File,
}

/// Why the journal does not let an action run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalRefusal {
    #[error("this action has run already")]
    AlreadyRun,
    #[error("this action is running")]
    Running,
    #[error("this action was begun and not ended; it is not begun twice")]
    Interrupted,
    #[error("the action expires at {until}, and actions that expire by {floor} are forgotten")]
    BelowFloor { until: Timestamp, floor: Timestamp },
    #[error(
        "this agent allows {max} content predicates a day (`limits.content_predicates_per_day` of its policy); `{signer}` has asked for {spent}, and the action has {asked}"
    )]
    ContentSpent { signer: String, spent: u64, asked: u64, max: u64 },
    #[error("this agent remembers {ENTRIES_MAX} actions; others run when some of them have expired")]
    Full,
    #[error(
        "this agent remembers {ENTRIES_OF_ONE_MAX} actions that `{signer}` has signed; others of theirs run when some of them have expired"
    )]
    FullOfOne { signer: String },
    #[error("the journal was lost and made anew at {made_at}; actions whose window opened before are not run")]
    JournalLost { made_at: Timestamp },
    #[error("the journal cannot be kept: {0}")]
    Unwritable(String),
}

/// What is known of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    until: Timestamp,
    begun_at: Timestamp,
    content: Content,
    ended: bool,
}

impl Entry {
    /// Whether nothing depends on it any more: it expired, and what it asked of contents is more than a day past.
    fn is_over(&self, before: Timestamp) -> bool {
        self.until < before && (self.content.predicates == 0 || !counts(self.begun_at, before))
    }
}

/// Whether what was asked then counts still; a clock that was set back makes nothing of it void.
fn counts(begun_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(begun_at) <= DAY
}

/// What a journal says, wherever it is kept.
#[derive(Debug, Clone, Default)]
struct State {
    entries: HashMap<Run, Entry>,
    /// What expires at or before this is not run.
    floor: Option<Timestamp>,
    /// Set where an earlier journal was lost: what opened before this may have run.
    lost_before: Option<Timestamp>,
}

impl State {
    fn check(&self, run: Run, window: Window) -> Result<(), JournalRefusal> {
        match self.entries.get(&run) {
            Some(Entry { ended: true, .. }) => return Err(JournalRefusal::AlreadyRun),
            Some(Entry { ended: false, .. }) => return Err(JournalRefusal::Interrupted),
            None => {}
        }
        if let Some(floor) = self.floor.filter(|floor| window.until <= *floor) {
            return Err(JournalRefusal::BelowFloor { until: window.until, floor });
        }
        match self.lost_before {
            Some(made_at) if window.from < made_at => Err(JournalRefusal::JournalLost { made_at }),
            _ => Ok(()),
        }
    }

    /// Whether those who signed may ask for so much more of contents.
    fn check_content(&self, content: &Content, max: u64, now: Timestamp) -> Result<(), JournalRefusal> {
        let asked = content.predicates;
        let by = |signer: &Fingerprint| {
            let entries = self.entries.values().filter(|entry| counts(entry.begun_at, now));
            let contents = entries.map(|entry| &entry.content).filter(|content| content.signers.contains(signer));
            contents.fold(0_u64, |sum, content| sum.saturating_add(content.predicates))
        };
        let mut spent = content.signers.iter().map(|signer| (signer, by(signer)));
        match spent.find(|(_, spent)| asked > 0 && spent.saturating_add(asked) > max) {
            Some((signer, spent)) => Err(JournalRefusal::ContentSpent { signer: signer.0.clone(), spent, asked, max }),
            None => Ok(()),
        }
    }

    /// Whether there is room for one more action of these signers.
    fn check_room(&self, signers: &BTreeSet<Fingerprint>) -> Result<(), JournalRefusal> {
        if self.entries.len() >= ENTRIES_MAX {
            return Err(JournalRefusal::Full);
        }
        if self.entries.len() < ENTRIES_OF_ONE_MAX {
            return Ok(());
        }
        let of =
            |signer: &Fingerprint| self.entries.values().filter(|entry| entry.content.signers.contains(signer)).count();
        match signers.iter().find(|signer| of(signer) >= ENTRIES_OF_ONE_MAX) {
            Some(signer) => Err(JournalRefusal::FullOfOne { signer: signer.0.clone() }),
            None => Ok(()),
        }
    }

    fn over_count(&self, before: Timestamp) -> usize {
        self.entries.values().filter(|entry| entry.is_over(before)).count()
    }

    /// Forgets what was over before `before` and raises the floor to the last of it that expired.
    fn purge(&mut self, before: Timestamp) {
        let last = self.entries.values().filter(|entry| entry.is_over(before)).map(|entry| entry.until).max();
        self.entries.retain(|_, entry| !entry.is_over(before));
        self.floor = self.floor.max(last);
    }
}

/// A journal that ends with its process, for agents whose identity does too.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
}

impl MemoryJournal {
    fn state(&self) -> Result<std::sync::MutexGuard<'_, State>, JournalRefusal> {
        self.state.lock().map_err(|_| JournalRefusal::Unwritable("a thread died while it wrote".into()))
    }
}

impl Journal for MemoryJournal {
    fn begin(
        &self,
        run: Run,
        window: Window,
        content: &Content,
        day_max: u64,
        now: Timestamp,
    ) -> Result<Begun, JournalRefusal> {
        let mut state = self.state()?;
        // What was begun here and not ended is running: nothing of this journal outlives a crash.
        state.check(run, window).map_err(|refusal| match refusal {
            JournalRefusal::Interrupted => JournalRefusal::Running,
            other => other,
        })?;
        state.check_content(content, day_max, now)?;
        let expired = now.checked_sub(SignedDuration::from_secs(limits::CLOCK_SKEW_S)).unwrap_or(Timestamp::MIN);
        if state.over_count(expired) >= file::PURGE_MIN {
            state.purge(expired);
        }
        state.check_room(&content.signers)?;
        let content = content.clone();
        state.entries.insert(run, Entry { until: window.until, begun_at: now, content, ended: false });
        Ok(Begun { run, running: None })
    }

    fn end(&self, run: Run, _: Timestamp) -> Result<(), JournalRefusal> {
        if let Some(entry) = self.state()?.entries.get_mut(&run) {
            entry.ended = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
