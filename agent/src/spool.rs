//! Answers on their way to the server, kept on disk until the server has them: a restart of either side loses none.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::limits;
use canvass_protocol::relay::FromAgent;
use jiff::Timestamp;

/// Bytes of all answers together; an answer that does not fit is given up.
const SPOOL_BYTES_MAX: u64 = 1 << 30;
/// A part is written as its length, in four bytes, and itself.
const LENGTH_BYTES: u64 = 4;

/// The answers of one agent, in a folder of their own.
pub struct Spool {
    /// `None` where they are lost with this process, as its identity is.
    folder: Option<PathBuf>,
    answers: Mutex<BTreeMap<ActionHash, Answer>>,
}

#[derive(Debug, Default)]
struct Answer {
    bytes: u64,
    /// The final record is there.
    ended: bool,
    /// What a file would hold, where there is no folder.
    held: Vec<u8>,
}

impl Spool {
    /// Opens the folder and finds what a former run has left in it. An answer without its end is dropped: after a crash
    /// the agent says that it was interrupted.
    pub fn open(folder: &Path, kept_since: Timestamp) -> io::Result<Spool> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut answers = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some(hash) = entry.file_name().to_str().and_then(hash) else { continue };
            let modified = entry.metadata()?.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
            if is_whole(&entry.path())? && modified.is_none_or(|at| at >= kept_since) {
                answers.insert(hash, Answer { bytes: entry.metadata()?.len(), ended: true, held: Vec::new() });
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Spool { folder: Some(folder.to_owned()), answers: Mutex::new(answers) })
    }

    /// Keeps answers for as long as this process lives.
    pub fn in_memory() -> Spool {
        Spool { folder: None, answers: Mutex::default() }
    }

    /// Adds a part to the answer to an action, which was judged with so many signatures.
    pub fn add(&self, action: ActionHash, judged: usize, part: Part, last: bool) -> io::Result<()> {
        let message = FromAgent::Part { action, judged, part }.to_bytes();
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut answers = self.lock();
        let total: u64 = answers.values().map(|answer| answer.bytes).sum();
        if total + message.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::Error::other("too many answers wait for the server"));
        }
        let written = [length.to_be_bytes().as_slice(), &message].concat();
        if let Some(path) = self.path(action) {
            OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&written)?;
        }
        let answer = answers.entry(action).or_default();
        if self.folder.is_none() {
            answer.held.extend_from_slice(&written);
        }
        answer.bytes += LENGTH_BYTES + message.len() as u64;
        answer.ended |= last;
        Ok(())
    }

    /// Answers that wait, and whether each has its end.
    pub fn answers(&self) -> Vec<(ActionHash, bool)> {
        self.lock().iter().map(|(hash, answer)| (*hash, answer.ended)).collect()
    }

    /// Whether there is an answer to an action, complete or not.
    pub fn contains(&self, action: ActionHash) -> bool {
        self.lock().contains_key(&action)
    }

    /// The message at an offset of an answer, and the offset behind it; `None` where there is none yet.
    pub fn read(&self, action: ActionHash, offset: u64) -> io::Result<Option<(Vec<u8>, u64)>> {
        let answers = self.lock();
        let Some(answer) = answers.get(&action).filter(|answer| offset < answer.bytes) else { return Ok(None) };
        let message = match self.path(action) {
            Some(path) => {
                drop(answers);
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(offset))?;
                read_message(&mut file)?
            }
            None => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                read_message(&mut answer.held.get(start..).unwrap_or_default())?
            }
        };
        let next = offset + LENGTH_BYTES + message.len() as u64;
        Ok(Some((message, next)))
    }

    /// Forgets an answer that the server has.
    pub fn forget(&self, action: ActionHash) {
        if self.lock().remove(&action).is_some()
            && let Some(path) = self.path(action)
        {
            // Where this fails it is found and sent once more at the next start, which does no harm.
            let _ = fs::remove_file(path);
        }
    }

    fn path(&self, action: ActionHash) -> Option<PathBuf> {
        Some(self.folder.as_ref()?.join(action.to_string()))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ActionHash, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(name: &str) -> Option<ActionHash> {
    Some(ActionHash(<[u8; 32]>::try_from(hex::decode(name).ok()?).ok()?))
}

fn read_message(file: &mut impl io::Read) -> io::Result<Vec<u8>> {
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limits::MESSAGE_BYTES_MAX {
        return Err(io::Error::other("a damaged answer"));
    }
    let mut message = vec![0; length];
    file.read_exact(&mut message)?;
    Ok(message)
}

/// Whether a file is parts to its end, of which the last is a final record.
fn is_whole(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let (size, mut read, mut last) = (file.metadata()?.len(), 0, None);
    while read < size {
        match read_message(&mut file) {
            Ok(message) => {
                read += LENGTH_BYTES + message.len() as u64;
                last = Some(message);
            }
            Err(_) => return Ok(false),
        }
    }
    Ok(last.is_some_and(|message| match FromAgent::parse(&message) {
        Ok(FromAgent::Part { part, .. }) => is_last(&part),
        _ => false,
    }))
}

/// Whether a part is a final record: those have no body, and frames always have one.
pub fn is_last(part: &Part) -> bool {
    part.body.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(body: &[u8]) -> Part {
        Part { statement: "{}".into(), signature: String::new(), body: body.to_vec() }
    }

    fn messages(spool: &Spool, action: ActionHash) -> Vec<FromAgent> {
        let (mut offset, mut messages) = (0, Vec::new());
        while let Some((message, next)) = spool.read(action, offset).unwrap() {
            messages.push(FromAgent::parse(&message).unwrap());
            offset = next;
        }
        messages
    }

    #[test]
    fn whole_answers_outlive_a_restart_and_halves_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, half, torn) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
        let spool = Spool::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        for action in [whole, half, torn] {
            spool.add(action, 1, part(b"rows\n\n"), false).unwrap();
        }
        spool.add(whole, 1, part(b""), true).unwrap();
        spool.add(torn, 1, part(b""), true).unwrap();
        let path = folder.path().join(torn.to_string());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let spool = Spool::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(spool.answers(), [(whole, true)]);
        assert_eq!(
            messages(&spool, whole),
            [b"rows\n\n".as_slice(), b""].map(|body| FromAgent::Part { action: whole, judged: 1, part: part(body) })
        );
        spool.forget(whole);
        assert!(!spool.contains(whole) && fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    #[test]
    fn what_nobody_came_for_is_dropped_in_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(folder.path(), Timestamp::UNIX_EPOCH).unwrap();
        spool.add(ActionHash([1; 32]), 1, part(b""), true).unwrap();
        let later = Timestamp::now() + jiff::SignedDuration::from_hours(1);
        assert_eq!(Spool::open(folder.path(), later).unwrap().answers(), []);
    }

    #[test]
    fn in_memory_it_says_the_same() {
        let (spool, action) = (Spool::in_memory(), ActionHash([1; 32]));
        for (body, last) in [(b"rows\n\n".as_slice(), false), (b"", true)] {
            spool.add(action, 1, part(body), last).unwrap();
        }
        assert_eq!(spool.answers(), [(action, true)]);
        let expected =
            [b"rows\n\n".as_slice(), b""].map(|body| FromAgent::Part { action, judged: 1, part: part(body) });
        assert_eq!(messages(&spool, action), expected);
        spool.forget(action);
        assert!(!spool.contains(action) && messages(&spool, action).is_empty());
    }
}
