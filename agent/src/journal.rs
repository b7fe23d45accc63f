//! What an agent remembers of actions, so that none runs twice: before it starts, after a restart, after a crash.
//!
//! An entry is *begun* on disk before the scan starts and *ended* after it. Entries are purged once they expired, and
//! purging raises a floor below which nothing runs, whatever the clock says.

mod file;
mod record;

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Mutex;

use canvass_protocol::action::{ActionHash, Window};
use jiff::Timestamp;

pub use file::{FILE, FileJournal};

/// Remembers which actions were begun and ended.
pub trait Journal: Send + Sync {
    /// Notes that an action begins. Once this returns, the note outlives a crash.
    fn begin(&self, hash: ActionHash, window: Window, now: Timestamp) -> Result<Begun, JournalRefusal>;

    /// Notes that it ended. Where this fails the action counts as interrupted ever after.
    fn end(&self, begun: Begun, now: Timestamp) -> Result<(), JournalRefusal>;
}

/// An action that was begun and is to be ended.
#[derive(Debug)]
pub struct Begun {
    hash: ActionHash,
    running: Option<RunningMark>,
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
    #[error("the journal was lost and made anew at {made_at}; actions whose window opened before are not run")]
    JournalLost { made_at: Timestamp },
    #[error("the journal cannot be kept: {0}")]
    Unwritable(String),
}

/// What is known of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    until: Timestamp,
    ended: bool,
}

/// What a journal says, wherever it is kept.
#[derive(Debug, Clone, Default)]
struct State {
    entries: HashMap<ActionHash, Entry>,
    /// What expires at or before this is not run.
    floor: Option<Timestamp>,
    /// Set where an earlier journal was lost: what opened before this may have run.
    lost_before: Option<Timestamp>,
}

impl State {
    fn check(&self, hash: ActionHash, window: Window) -> Result<(), JournalRefusal> {
        match self.entries.get(&hash) {
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

    fn expired_count(&self, before: Timestamp) -> usize {
        self.entries.values().filter(|entry| entry.until < before).count()
    }

    /// Forgets what expired before `before` and raises the floor to the last of it.
    fn purge(&mut self, before: Timestamp) {
        let last = self.entries.values().map(|entry| entry.until).filter(|until| *until < before).max();
        self.entries.retain(|_, entry| entry.until >= before);
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
    fn begin(&self, hash: ActionHash, window: Window, _: Timestamp) -> Result<Begun, JournalRefusal> {
        let mut state = self.state()?;
        // What was begun here and not ended is running: nothing of this journal outlives a crash.
        state.check(hash, window).map_err(|refusal| match refusal {
            JournalRefusal::Interrupted => JournalRefusal::Running,
            other => other,
        })?;
        state.entries.insert(hash, Entry { until: window.until, ended: false });
        Ok(Begun { hash, running: None })
    }

    fn end(&self, begun: Begun, _: Timestamp) -> Result<(), JournalRefusal> {
        if let Some(entry) = self.state()?.entries.get_mut(&begun.hash) {
            entry.ended = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
