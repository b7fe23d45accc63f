//! What became of every endpoint asked.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::answer::{ScanRecord, Trouble};
use canvass_protocol::limits;
use canvass_protocol::members::Members;
use canvass_protocol::reason::{Code, Reason};

use crate::fleet::Endpoint;
use crate::whom::NotAsked;

/// Bytes of the troubles that are listed, of all endpoints together; the rest is a count.
const TROUBLES_BYTES_MAX: usize = 64 << 20;
/// What one of them takes beside its texts.
const TROUBLE_BYTES: usize = size_of::<Trouble>();
/// Sentences of the desk's own on one endpoint.
const SENTENCES_MAX: usize = 16;

/// Where an endpoint stands with a statement. Every endpoint asked is in exactly one state, so the parts always add up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Waiting,
    Answered,
    Failed(Reason),
    Refused(Reason),
    Interrupted,
    /// The window closed before the endpoint answered.
    Expired,
    /// Withdrawn before the endpoint started, or made needless by a satisfied LIMIT.
    Cancelled,
}

/// One endpoint's part in a statement.
#[derive(Debug, Clone)]
pub struct Entry {
    pub endpoint: Endpoint,
    pub state: State,
    /// One record a scan.
    pub scans: Vec<ScanRecord>,
    /// Rows received so far.
    pub rows: u64,
    /// What the desk itself found wrong with the answer: a signature, a malformed frame.
    pub troubles: Vec<String>,
}

impl Entry {
    /// Notes what the desk found wrong, as long as that is not said without end.
    pub(crate) fn doubt(&mut self, mut sentence: String) {
        if self.troubles.len() < SENTENCES_MAX {
            sentence.truncate(sentence.floor_char_boundary(limits::TROUBLE_TEXT_BYTES_MAX));
            self.troubles.push(sentence);
        }
    }

    /// Counts rows of an answer that goes on: where the endpoint had refused, it has thought otherwise.
    pub(crate) fn take(&mut self, rows: u64) {
        self.rows += rows;
        if matches!(self.state, State::Refused(_)) {
            self.state = State::Waiting;
        }
    }
}

/// What became of every endpoint asked; final once the rows have ended.
#[derive(Debug, Default)]
pub struct Account {
    entries: Mutex<Vec<Entry>>,
    remarks: Mutex<Vec<String>>,
    not_asked: Vec<NotAsked>,
    /// Bytes of the troubles that are listed.
    listed: AtomicUsize,
}

/// How far a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub asked: usize,
    /// Hosts that nobody waits for any more.
    pub done: usize,
    /// Rows received.
    pub rows: u64,
}

impl Account {
    /// All of these endpoints are waited for; those that were meant and not asked stand beside them.
    pub fn new(asked: Vec<Endpoint>, not_asked: Vec<NotAsked>) -> Account {
        let entry =
            |endpoint| Entry { endpoint, state: State::Waiting, scans: Vec::new(), rows: 0, troubles: Vec::new() };
        let entries = Mutex::new(asked.into_iter().map(entry).collect());
        Account { entries, remarks: Mutex::default(), not_asked, listed: AtomicUsize::new(0) }
    }

    /// How far it is, without a copy of what every endpoint said.
    pub fn progress(&self) -> Progress {
        let entries = self.lock();
        Progress {
            asked: entries.len(),
            done: entries.iter().filter(|entry| entry.state != State::Waiting).count(),
            rows: entries.iter().map(|entry| entry.rows).sum(),
        }
    }

    /// Leaves of an endpoint's troubles those that there is room for, and of what it says in words of a later version nothing;
    /// all of them stay counted.
    pub(crate) fn fit(&self, scans: &mut [ScanRecord]) {
        for scan in scans {
            scan.more = Members::default();
            let room = |trouble: &Trouble| {
                let bytes = TROUBLE_BYTES + trouble.reason.len() + trouble.subject.as_ref().map_or(0, String::len);
                self.listed.fetch_add(bytes, Ordering::Relaxed) + bytes <= TROUBLES_BYTES_MAX
            };
            let fitting = scan.troubles.iter().take_while(|trouble| room(trouble)).count();
            scan.troubles.truncate(fitting);
            scan.troubles.iter_mut().for_each(|trouble| trouble.more = Members::default());
        }
    }

    /// Endpoints that the statement means and that were not asked; not those that came since.
    pub fn not_asked(&self) -> Vec<NotAsked> {
        if self.not_asked.is_empty() {
            return Vec::new();
        }
        let entries = self.lock();
        let asked: HashSet<&str> = entries.iter().map(|entry| entry.endpoint.facts.id.as_str()).collect();
        let away = self.not_asked.iter().filter(|agent| !asked.contains(agent.endpoint.facts.id.as_str()));
        away.cloned().collect()
    }

    /// A copy of all entries, in order of host.
    pub fn entries(&self) -> Vec<Entry> {
        self.lock().clone()
    }

    /// How many endpoints may still answer.
    pub fn waiting(&self) -> usize {
        self.lock().iter().filter(|entry| entry.state == State::Waiting).count()
    }

    /// What is to be said of the statement as a whole, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn remark(&self, sentence: String) {
        self.remarks.lock().unwrap_or_else(PoisonError::into_inner).push(sentence);
    }

    /// Waits for one more endpoint; returns its place.
    pub(crate) fn add(&self, endpoint: Endpoint) -> usize {
        let mut entries = self.lock();
        entries.push(Entry { endpoint, state: State::Waiting, scans: Vec::new(), rows: 0, troubles: Vec::new() });
        entries.len() - 1
    }

    /// Changes one entry, by its place among those asked.
    pub(crate) fn update(&self, index: usize, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().get_mut(index) {
            change(entry);
        }
    }

    /// Moves every endpoint that is still waited for.
    pub(crate) fn settle(&self, state: &State) {
        for entry in self.lock().iter_mut().filter(|entry| entry.state == State::Waiting) {
            entry.state = state.clone();
        }
    }

    /// Ends the waiting for agents that were stopped: who had sent nothing counts as not begun, and what the others had yet to
    /// send is lost.
    pub(crate) fn settle_stopped(&self) {
        for entry in self.lock().iter_mut().filter(|entry| entry.state == State::Waiting) {
            entry.state = match entry.rows {
                0 => State::Cancelled,
                _ => State::Failed(Reason::new(Code::Stopped, "it was stopped before its answer was whole")),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_troubles_of_all_together_are_bounded() {
        let account = Account::default();
        let (mut listed, mut counted) = (0, 0);
        for _ in 0..1000 {
            let mut record = ScanRecord::default();
            for _ in 0..limits::TROUBLES_MAX {
                record.trouble(Some(&"s".repeat(1000)), "r".repeat(1000));
            }
            let mut scans = [record];
            account.fit(&mut scans);
            listed += scans[0].troubles.len();
            counted += scans[0].troubles_count;
        }
        assert_eq!(counted, 1000 * limits::TROUBLES_MAX as u64, "each is counted");
        let bytes = listed * (TROUBLE_BYTES + 2000);
        assert!(bytes <= TROUBLES_BYTES_MAX && bytes > TROUBLES_BYTES_MAX - 3000 * 1000, "{listed}");
    }
}
