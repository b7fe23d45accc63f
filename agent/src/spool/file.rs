//! The spool's files: one an answer, `hash.seconds`, each part as its length, in four bytes, and itself.

use std::fs::{self, DirBuilder, DirEntry, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use canvass_protocol::action::ActionHash;
use canvass_protocol::limits;
use canvass_protocol::relay::FromAgent;
use jiff::{SignedDuration, Timestamp};

/// How long an answer of a former version is kept after it was written: its file does not say until when it is of use.
pub const KEPT_BEFORE: SignedDuration = SignedDuration::from_secs(2 * limits::WINDOW_S_MAX);
pub const LENGTH_BYTES: u64 = 4;
/// Holds room for the last word of an action whose answer finds none.
const RESERVE: &str = "reserve";
/// A last word with the agent's facts fits, and its file with it.
pub const RESERVE_BYTES: usize = 128 << 10;

/// A message as its file holds it.
pub fn written(message: &FromAgent) -> io::Result<Vec<u8>> {
    let message = message.to_bytes();
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    Ok([length.to_be_bytes().as_slice(), &message].concat())
}

/// Where the answer to an action is that is of use until then.
pub fn path(folder: &Path, action: ActionHash, until: Timestamp) -> PathBuf {
    folder.join(format!("{action}.{}", until.as_second()))
}

pub fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Makes the folder where it is missing, and takes room in it, unless it is taken.
pub fn make_room(folder: &Path) -> io::Result<()> {
    let path = folder.join(RESERVE);
    if fs::metadata(&path).is_ok_and(|reserve| reserve.len() == RESERVE_BYTES as u64) {
        return Ok(());
    }
    make_folder(folder)?;
    // What no file system compresses into nothing.
    let bytes: Vec<u8> = (0..RESERVE_BYTES as u64 / 8).flat_map(|word| mixed(word).to_be_bytes()).collect();
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(&bytes)?;
        // Some file systems find out only here that there is no room.
        file.sync_data()
    };
    write().inspect_err(|_| release_room(folder))
}

/// Gives up the room that was taken.
pub fn release_room(folder: &Path) {
    // Where it is not there, there is nothing to give up.
    let _ = fs::remove_file(folder.join(RESERVE));
}

/// A number that looks like chance (SplitMix64).
fn mixed(word: u64) -> u64 {
    let word = word.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

/// Writes behind the bytes that an answer has; where that fails the file is as it was. The last part is safe from a crash:
/// the journal is told that the action ended once the server has the answer.
pub fn append(path: &Path, bytes: u64, written: &[u8], last: bool) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.append(true).mode(0o600);
    let mut file = if bytes == 0 { options.create_new(true) } else { &mut options }.open(path)?;
    if file.metadata()?.len() != bytes {
        return Err(io::Error::other("somebody else has written to an answer"));
    }
    let write = file.write_all(written).and_then(|()| if last { file.sync_data() } else { Ok(()) });
    write.inspect_err(|_| {
        // The file is given up if this fails too.
        let _ = if bytes == 0 { fs::remove_file(path) } else { file.set_len(bytes) };
    })
}

/// The message at an offset of a file.
pub fn read_at(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    read_message(&mut file)
}

pub fn read_message(file: &mut impl Read) -> io::Result<Vec<u8>> {
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

/// The action of an answer's file, and until when it is of use: `hash.seconds`, or the hash alone in former versions; `None`
/// where it is no answer's.
pub fn named(entry: &DirEntry) -> io::Result<Option<(ActionHash, Option<Timestamp>)>> {
    let name = entry.file_name();
    let Some(name) = name.to_str() else { return Ok(None) };
    let (hash, seconds) = name.split_once('.').map_or((name, None), |(hash, seconds)| (hash, Some(seconds)));
    let hash = hex::decode(hash).ok().and_then(|hash| <[u8; 32]>::try_from(hash).ok());
    let Some(hash) = hash.map(ActionHash) else { return Ok(None) };
    let until = match seconds {
        Some(seconds) => match seconds.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()) {
            Some(until) => Some(until),
            None => return Ok(None),
        },
        None => {
            let written = Timestamp::try_from(entry.metadata()?.modified()?);
            written.ok().and_then(|written| written.checked_add(KEPT_BEFORE).ok())
        }
    };
    Ok(Some((hash, until)))
}

/// Whether a file is parts to its end, of which the last is a final record.
pub fn is_whole(path: &Path) -> io::Result<bool> {
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
