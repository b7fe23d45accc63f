//! How far actions are, for those who follow them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::action::ActionHash;
use tokio::sync::watch;

use crate::scheduler::Progress;

/// The actions that are open, as far as this server has to know. Who schedules knows all of them; who does not, those that
/// somebody follows here.
#[derive(Default)]
pub struct Watchers {
    actions: Mutex<HashMap<ActionHash, watch::Sender<Seen>>>,
}

/// What there is to be seen of an action; the count of changes grows with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub progress: Progress,
    pub changes: u64,
}

impl Watchers {
    /// Follows an action that is known to be open; `None` where it is not.
    pub fn follow(&self, hash: ActionHash) -> Option<watch::Receiver<Seen>> {
        self.lock().get(&hash).map(watch::Sender::subscribe)
    }

    /// Follows an action that is open by the store's word.
    pub fn begin(&self, hash: ActionHash, progress: Progress) -> watch::Receiver<Seen> {
        let seen = Seen { progress, changes: 0 };
        self.lock().entry(hash).or_insert_with(|| watch::Sender::new(seen)).subscribe()
    }

    /// How far each open action is.
    pub fn open(&self) -> Vec<Progress> {
        self.lock().values().map(|seen| seen.borrow().progress).collect()
    }

    /// The actions that somebody follows; the others are forgotten.
    pub fn followed(&self) -> Vec<ActionHash> {
        let mut actions = self.lock();
        actions.retain(|_, seen| seen.receiver_count() > 0);
        actions.keys().copied().collect()
    }

    /// Says how far an action is; `None` where it is closed.
    pub fn tell(&self, hash: ActionHash, progress: Option<Progress>) {
        let mut actions = self.lock();
        match progress {
            Some(progress) => actions.entry(hash).or_default().send_modify(|seen| {
                seen.progress = progress;
                seen.changes += 1;
            }),
            // Whoever follows sees the end of it.
            None => drop(actions.remove(&hash)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ActionHash, watch::Sender<Seen>>> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
