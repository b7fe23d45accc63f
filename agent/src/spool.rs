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
use jiff::{SignedDuration, Timestamp};

/// Bytes of all answers together; an answer that does not fit is given up.
const SPOOL_BYTES_MAX: u64 = 1 << 30;
/// How long an answer of a former version is kept after it was written: its file does not say until when it is of use.
const KEPT_BEFORE: SignedDuration = SignedDuration::from_secs(2 * limits::WINDOW_S_MAX);
/// A part is written as its length, in four bytes, and itself.
const LENGTH_BYTES: u64 = 4;

/// The answers of one agent, in a folder of their own.
pub struct Spool {
    /// `None` where they are lost with this process, as its identity is.
    folder: Option<PathBuf>,
    answers: Mutex<BTreeMap<ActionHash, Answer>>,
}

#[derive(Debug)]
struct Answer {
    /// In whole seconds, as its file's name says.
    until: Timestamp,
    /// `None` where there is no folder.
    path: Option<PathBuf>,
    bytes: u64,
    /// The final record is there.
    ended: bool,
    /// What a file would hold, where there is no folder.
    held: Vec<u8>,
}

impl Spool {
    /// Opens the folder and finds what a former run has left in it. An answer without its end is dropped: after a crash
    /// the agent says that it was interrupted. So is one that is of no use any more.
    pub fn open(folder: &Path, now: Timestamp) -> io::Result<Spool> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut answers = BTreeMap::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Some((hash, until)) = entry.file_name().to_str().and_then(named) else { continue };
            let written = || Timestamp::try_from(entry.metadata().ok()?.modified().ok()?).ok();
            let until = until.or_else(|| written()?.checked_add(KEPT_BEFORE).ok()).unwrap_or(now);
            if is_whole(&entry.path())? && until >= now {
                let (bytes, path) = (entry.metadata()?.len(), Some(entry.path()));
                answers.insert(hash, Answer { until, path, bytes, ended: true, held: Vec::new() });
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

    /// Adds a part to the answer to an action, which was judged with so many signatures and is of use until then.
    pub fn add(&self, action: ActionHash, until: Timestamp, judged: usize, part: Part, last: bool) -> io::Result<()> {
        let message = FromAgent::Part { action, judged, part }.to_bytes();
        let length = u32::try_from(message.len()).map_err(io::Error::other)?;
        let mut answers = self.lock();
        let total: u64 = answers.values().map(|answer| answer.bytes).sum();
        if total + message.len() as u64 > SPOOL_BYTES_MAX {
            return Err(io::Error::other("too many answers wait for the server"));
        }
        let written = [length.to_be_bytes().as_slice(), &message].concat();
        let answer = answers.entry(action).or_insert_with(|| {
            let path = self.folder.as_ref().map(|folder| folder.join(format!("{action}.{}", until.as_second())));
            Answer { until, path, bytes: 0, ended: false, held: Vec::new() }
        });
        match &answer.path {
            Some(path) => OpenOptions::new().append(true).create(true).mode(0o600).open(path)?.write_all(&written)?,
            None => answer.held.extend_from_slice(&written),
        }
        answer.bytes += LENGTH_BYTES + message.len() as u64;
        answer.ended |= last;
        Ok(())
    }

    /// Answers that wait, and whether each has its end. Those that are of no use any more are forgotten.
    pub fn answers(&self, now: Timestamp) -> Vec<(ActionHash, bool)> {
        let late = |answer: &Answer| answer.ended && answer.until < now;
        let useless: Vec<ActionHash> =
            self.lock().iter().filter(|(_, answer)| late(answer)).map(|(hash, _)| *hash).collect();
        for hash in useless {
            tracing::warn!(action = %hash, "an answer that nobody came for is given up");
            self.forget(hash);
        }
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
        let message = match answer.path.clone() {
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
        if let Some(Answer { path: Some(path), .. }) = self.lock().remove(&action) {
            // Where this fails it is found and sent once more at the next start, which does no harm.
            let _ = fs::remove_file(path);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ActionHash, Answer>> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The action of an answer's file, and until when it is of use: `hash.seconds`, or the hash alone in former versions.
fn named(name: &str) -> Option<(ActionHash, Option<Timestamp>)> {
    let (hash, until) = match name.split_once('.') {
        Some((hash, seconds)) => (hash, Some(Timestamp::from_second(seconds.parse().ok()?).ok()?)),
        None => (name, None),
    };
    Some((ActionHash(<[u8; 32]>::try_from(hex::decode(hash).ok()?).ok()?), until))
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
        Ok(FromAgent::Part { part, .. }) => part.is_last(),
        _ => false,
    }))
}

#[cfg(test)]
mod tests {
    use canvass_protocol::answer::{Outcome, Writer};
    use canvass_protocol::limits::Limits;
    use ed25519_dalek::SigningKey;

    use super::*;

    /// A frame where there is a body, else a final record.
    fn part(body: &[u8]) -> Part {
        let key = SigningKey::from_bytes(&[1; 32]);
        let mut writer = Writer::new(&key, "acme".into(), ActionHash([1; 32]), "0".repeat(32));
        match body {
            b"" => writer.finish(Outcome::Answered, Vec::new(), Limits::default(), None, at(0)),
            body => writer.frame(0, 1, body.to_vec()),
        }
    }

    fn messages(spool: &Spool, action: ActionHash) -> Vec<FromAgent> {
        let (mut offset, mut messages) = (0, Vec::new());
        while let Some((message, next)) = spool.read(action, offset).unwrap() {
            messages.push(FromAgent::parse(&message).unwrap());
            offset = next;
        }
        messages
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    #[test]
    fn whole_answers_outlive_a_restart_and_halves_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let (whole, half, torn) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
        let spool = Spool::open(folder.path(), at(0)).unwrap();
        for action in [whole, half, torn] {
            spool.add(action, at(9), 1, part(b"rows\n\n"), false).unwrap();
        }
        spool.add(whole, at(9), 1, part(b""), true).unwrap();
        spool.add(torn, at(9), 1, part(b""), true).unwrap();
        let path = folder.path().join(format!("{torn}.{}", at(9).as_second()));
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let spool = Spool::open(folder.path(), at(1)).unwrap();
        assert_eq!(spool.answers(at(1)), [(whole, true)]);
        assert_eq!(
            messages(&spool, whole),
            [b"rows\n\n".as_slice(), b""].map(|body| FromAgent::Part { action: whole, judged: 1, part: part(body) })
        );
        spool.forget(whole);
        assert!(!spool.contains(whole) && fs::read_dir(folder.path()).unwrap().next().is_none());
    }

    /// An answer is kept until it is of no use, by a spool that is open and by one that is opened.
    #[test]
    fn what_nobody_came_for_is_dropped_in_the_end() {
        let (early, late, running) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
        let filled = |folder: &Path| {
            let spool = Spool::open(folder, at(0)).unwrap();
            spool.add(early, at(10), 1, part(b""), true).unwrap();
            spool.add(late, at(20), 1, part(b""), true).unwrap();
            spool.add(running, at(10), 1, part(b"rows"), false).unwrap();
            spool
        };
        let all = [(early, true), (late, true), (running, false)];
        for (second, kept) in [(10, &all[..]), (11, &all[1..]), (20, &all[1..]), (21, &all[2..])] {
            let folder = tempfile::tempdir().unwrap();
            assert_eq!(filled(folder.path()).answers(at(second)), kept, "{second}");
            let folder = tempfile::tempdir().unwrap();
            drop(filled(folder.path()));
            let ended: Vec<_> = kept.iter().copied().filter(|(_, ended)| *ended).collect();
            let spool = Spool::open(folder.path(), at(second)).unwrap();
            assert_eq!(spool.answers(at(second)), ended, "{second}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), ended.len(), "{second}");
        }
    }

    #[test]
    fn answers_of_a_former_version_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let action = ActionHash([1; 32]);
        let spool = Spool::open(folder.path(), at(0)).unwrap();
        spool.add(action, at(9), 1, part(b""), true).unwrap();
        let written = folder.path().join(format!("{action}.{}", at(9).as_second()));
        fs::rename(written, folder.path().join(action.to_string())).unwrap();
        let spool = Spool::open(folder.path(), Timestamp::now()).unwrap();
        assert_eq!((spool.answers(Timestamp::now()), messages(&spool, action).len()), (vec![(action, true)], 1));
        let later = Timestamp::now() + KEPT_BEFORE + SignedDuration::from_secs(1);
        assert_eq!(Spool::open(folder.path(), later).unwrap().answers(later), []);
    }

    #[test]
    fn in_memory_it_says_the_same() {
        let (spool, action) = (Spool::in_memory(), ActionHash([1; 32]));
        for (body, last) in [(b"rows\n\n".as_slice(), false), (b"", true)] {
            spool.add(action, at(9), 1, part(body), last).unwrap();
        }
        assert_eq!(spool.answers(at(9)), [(action, true)]);
        let expected =
            [b"rows\n\n".as_slice(), b""].map(|body| FromAgent::Part { action, judged: 1, part: part(body) });
        assert_eq!(messages(&spool, action), expected);
        spool.forget(action);
        assert!(!spool.contains(action) && messages(&spool, action).is_empty());
    }
}
