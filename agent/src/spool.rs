//! Answers on their way to the server, kept on disk until the server has them: a restart of either side loses none.
//!
//! What the agent would say again if it were asked again, a refusal for one, is held in memory: nobody who cannot sign makes
//! it write to the disk.

mod file;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::relay::FromAgent;
use jiff::Timestamp;

use self::file::{LENGTH_BYTES, read_message};

/// Bytes of all answers together.
const BYTES_MAX: u64 = 1 << 30;
/// The share of them, one in so many, that is for final records alone: what a scan found before there was no room is not
/// in vain.
const LAST_SHARE: u64 = 32;
/// Bytes of last words held in memory; beyond them the oldest goes, which was sent if there was a line.
const HELD_BYTES_MAX: usize = 4 << 20;

/// The answers of one agent, in a folder of their own.
pub struct Spool {
    /// `None` where they are lost with this process, as its identity is.
    folder: Option<PathBuf>,
    bytes_max: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    answers: BTreeMap<ActionHash, Answer>,
    /// Of all answers that count against the bound.
    bytes: u64,
    /// Words held in memory, the oldest first, and their bytes.
    held: VecDeque<ActionHash>,
    held_bytes: usize,
    /// Answers that were ever begun.
    begun: u64,
    /// Why answers cannot be kept, as it was said in the log.
    trouble: Option<String>,
}

#[derive(Debug)]
struct Answer {
    /// Tells it from a former one to the same action.
    number: u64,
    /// In whole seconds, as its file's name says.
    until: Timestamp,
    place: Place,
    bytes: u64,
    /// The final record is there.
    ended: bool,
    /// The agent would say the same if it were asked again.
    again: bool,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    /// What a file would hold, where there is no folder.
    Memory(Vec<u8>),
    /// A last word that is lost with this process.
    Held(Vec<u8>),
}

/// How much of an answer was read; none of it at first, and of another answer to the same action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    number: u64,
    offset: u64,
}

/// A message of an answer.
#[derive(Debug)]
pub struct Message {
    pub bytes: Vec<u8>,
    /// Behind it.
    pub next: Mark,
    /// It is all of a complete answer.
    pub is_whole: bool,
}

/// What became of an answer that is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forgotten {
    /// It was whole, and not to be had again.
    Answer,
    /// It was a word that could be said again, or half an answer, or nothing.
    Other,
}

impl Spool {
    /// Opens the folder and finds what a former run has left in it. An answer without its end is dropped: after a crash
    /// the agent says that it was interrupted. So is one that is of no use any more.
    pub fn open(folder: &Path, now: Timestamp) -> io::Result<Spool> {
        file::make_folder(folder)?;
        let mut state = State::default();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some((hash, until)) = file::named(&entry)? else { continue };
            if file::is_whole(&entry.path())? && until.unwrap_or(now) >= now {
                let (bytes, place) = (entry.metadata()?.len(), Place::File(entry.path()));
                state.bytes += bytes;
                let (number, until) = (state.number(), until.unwrap_or(now));
                state.answers.insert(hash, Answer { number, until, place, bytes, ended: true, again: false });
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Spool { folder: Some(folder.to_owned()), bytes_max: BYTES_MAX, state: Mutex::new(state) })
    }

    /// Keeps answers for as long as this process lives.
    pub fn in_memory() -> Spool {
        Spool { folder: None, bytes_max: BYTES_MAX, state: Mutex::default() }
    }

    /// The same with another bound.
    pub fn bounded(self, bytes_max: u64) -> Spool {
        Spool { bytes_max, ..self }
    }

    /// Makes sure that answers can be kept: the folder is made again where it was removed, and room is held for a last word.
    ///
    /// Whether they can is said in the log whenever it changes.
    pub fn make_room(&self) -> io::Result<()> {
        let full = self.lock().bytes + file::RESERVE_BYTES as u64 > self.room(false);
        let made = if full { Err(too_many()) } else { self.folder.as_deref().map_or(Ok(()), file::make_room) };
        self.note(&made);
        made
    }

    /// Adds a part to the answer to an action, which was judged with so many signatures and is of use until then. Where it
    /// cannot be written whole, the answer is as it was before.
    pub fn add(&self, action: ActionHash, until: Timestamp, judged: usize, part: Part, last: bool) -> io::Result<()> {
        let written = file::written(&FromAgent::Part { action, judged, part })?;
        let added = self.write(action, until, &written, last);
        if added.is_err() {
            self.note(&added);
        }
        added
    }

    fn write(&self, action: ActionHash, until: Timestamp, written: &[u8], last: bool) -> io::Result<()> {
        let mut state = self.lock();
        if state.bytes + written.len() as u64 > self.room(last) {
            return Err(too_many());
        }
        if matches!(state.answers.get(&action), Some(Answer { place: Place::Held(_), .. })) {
            return Err(io::Error::other("the last word of this action was said"));
        }
        let place = || match &self.folder {
            Some(folder) => Place::File(file::path(folder, action, until)),
            None => Place::Memory(Vec::new()),
        };
        let number = state.number();
        let answer = state.answers.remove(&action);
        let mut answer =
            answer.unwrap_or_else(|| Answer { number, until, place: place(), bytes: 0, ended: false, again: false });
        let appended = match &mut answer.place {
            Place::File(path) => file::append(path, answer.bytes, written, last),
            Place::Memory(held) | Place::Held(held) => {
                held.extend_from_slice(written);
                Ok(())
            }
        };
        if appended.is_ok() {
            state.bytes += written.len() as u64;
            answer.bytes += written.len() as u64;
            answer.ended |= last;
        }
        if answer.bytes > 0 {
            state.answers.insert(action, answer);
        }
        appended
    }

    /// Bytes that all answers may have, for a last part or any other.
    fn room(&self, last: bool) -> u64 {
        if last { self.bytes_max } else { self.bytes_max - self.bytes_max / LAST_SHARE }
    }

    /// Forgets what there is of an answer and keeps this last word in its stead: on disk, in the room that was held for it,
    /// or else in memory.
    pub fn give_up(&self, action: ActionHash, until: Timestamp, judged: usize, part: Part) {
        if matches!(self.lock().answers.get(&action), Some(Answer { place: Place::Held(_), .. })) {
            return;
        }
        self.forget(action);
        if let Some(folder) = &self.folder {
            file::release_room(folder);
        }
        let word = FromAgent::Part { action, judged, part };
        match file::written(&word).and_then(|written| self.write(action, until, &written, true)) {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(action = %action, %error, "a final record is in memory only, and is lost if this agent ends before it is sent");
                self.hold_message(action, until, &word, false);
            }
        }
    }

    /// Holds a last word in memory: one that the agent would say `again` if it were asked again, or one that says that an answer
    /// was lost.
    pub fn hold(&self, action: ActionHash, until: Timestamp, judged: usize, part: Part, again: bool) {
        self.hold_message(action, until, &FromAgent::Part { action, judged, part }, again);
    }

    fn hold_message(&self, action: ActionHash, until: Timestamp, message: &FromAgent, again: bool) {
        let Ok(written) = file::written(message) else { return };
        let mut state = self.lock();
        state.remove(action);
        state.held_bytes += written.len();
        state.held.push_back(action);
        let (number, bytes) = (state.number(), written.len() as u64);
        state.answers.insert(action, Answer { number, until, place: Place::Held(written), bytes, ended: true, again });
        while state.held_bytes > HELD_BYTES_MAX && state.held.len() > 1 {
            let Some(oldest) = state.held.front().copied() else { break };
            state.remove(oldest);
        }
    }

    /// Answers that wait, and whether each has its end. Those that are of no use any more are forgotten.
    pub fn answers(&self, now: Timestamp) -> Vec<(ActionHash, bool)> {
        let late = |answer: &Answer| answer.ended && answer.until < now;
        let useless: Vec<ActionHash> =
            self.lock().answers.iter().filter(|(_, answer)| late(answer)).map(|(hash, _)| *hash).collect();
        for hash in useless {
            tracing::warn!(action = %hash, "an answer that nobody came for is given up");
            self.forget(hash);
        }
        self.lock().answers.iter().map(|(hash, answer)| (*hash, answer.ended)).collect()
    }

    /// Whether there is an answer to an action, complete or not.
    pub fn contains(&self, action: ActionHash) -> bool {
        self.lock().answers.contains_key(&action)
    }

    /// The message of an answer behind what was read; `None` where there is none yet.
    pub fn read(&self, action: ActionHash, read: Mark) -> io::Result<Option<Message>> {
        let state = self.lock();
        let Some(answer) = state.answers.get(&action) else { return Ok(None) };
        let number = answer.number;
        let start = if read.number == number { read.offset } else { 0 };
        if start >= answer.bytes {
            return Ok(None);
        }
        let bytes = match &answer.place {
            // Meanwhile nobody puts another file in its place.
            Place::File(path) => file::read_at(path, start)?,
            Place::Memory(held) | Place::Held(held) => {
                let start = usize::try_from(start).map_err(io::Error::other)?;
                read_message(&mut held.get(start..).unwrap_or_default())?
            }
        };
        let offset = start + LENGTH_BYTES + bytes.len() as u64;
        let is_whole = start == 0 && answer.ended && offset >= answer.bytes;
        Ok(Some(Message { bytes, next: Mark { number, offset }, is_whole }))
    }

    /// Forgets an answer that the server has, or nobody will.
    pub fn forget(&self, action: ActionHash) -> Forgotten {
        match self.lock().remove(action) {
            Some(Answer { place, ended, again, .. }) => {
                if let Place::File(path) = &place {
                    // Where this fails it is found and sent once more at the next start, which does no harm.
                    let _ = fs::remove_file(path);
                }
                if ended && !again { Forgotten::Answer } else { Forgotten::Other }
            }
            None => Forgotten::Other,
        }
    }

    /// Forgets an answer that the server says it has: a whole one.
    pub fn taken(&self, action: ActionHash) -> Forgotten {
        let ended = self.lock().answers.get(&action).is_some_and(|answer| answer.ended);
        if ended { self.forget(action) } else { Forgotten::Other }
    }

    /// Says in the log that answers cannot be kept, or can again.
    fn note(&self, kept: &io::Result<()>) {
        let mut state = self.lock();
        match kept {
            Err(error) => {
                let trouble = error.to_string();
                if state.trouble.as_ref() != Some(&trouble) {
                    tracing::error!(%error, "answers cannot be kept; actions are refused until they can");
                    state.trouble = Some(trouble);
                }
            }
            Ok(()) if state.trouble.take().is_some() => tracing::info!("answers can be kept again"),
            Ok(()) => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_many() -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, "too many answers wait for the server")
}

impl State {
    /// A number for the next answer; never that of [`Mark::default`].
    fn number(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    fn remove(&mut self, action: ActionHash) -> Option<Answer> {
        let answer = self.answers.remove(&action)?;
        if let Place::Held(word) = &answer.place {
            self.held_bytes = self.held_bytes.saturating_sub(word.len());
            self.held.retain(|held| *held != action);
        } else {
            self.bytes = self.bytes.saturating_sub(answer.bytes);
        }
        Some(answer)
    }
}

#[cfg(test)]
mod tests;
