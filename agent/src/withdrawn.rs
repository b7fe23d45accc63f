//! Which actions somebody of the keyring withdrew: kept on disk, so that a restart of the agent begins none of them.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::action::ActionHash;
use canvass_protocol::limits;
use jiff::{SignedDuration, Timestamp};

use crate::folder::{Folder, FolderError};

/// The name of the file in the agent's folder: a line for each withdrawal, the action's hash and when it was heard.
pub const FILE: &str = "withdrawn";
/// Withdrawals remembered; nobody withdraws so many actions in two of the longest windows.
const COUNT_MAX: usize = 10_000;
/// A line has at most 100 bytes; a longer file than twice what is remembered is not ours.
const FILE_BYTES_MAX: u64 = 2 * 100 * COUNT_MAX as u64;
/// How long a withdrawal is kept after it was heard. Its action's window is not known by its hash: one that opens within a
/// longest window has ended by then, one that opens later has to be withdrawn again.
const KEPT: SignedDuration = SignedDuration::from_secs(2 * limits::WINDOW_S_MAX);

/// Why a withdrawal would be forgotten with this process.
#[derive(Debug, thiserror::Error)]
pub enum WithdrawnError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("`{FILE}` cannot be written: {0}")]
    Io(#[from] io::Error),
    #[error("{COUNT_MAX} withdrawals are remembered, and no more")]
    Full,
}

/// The withdrawals that an agent heeds.
#[derive(Debug)]
pub struct Withdrawn {
    /// `None` where they are forgotten with this process, as its identity is.
    folder: Option<Folder>,
    /// When each was heard.
    heard: Mutex<HashMap<ActionHash, Timestamp>>,
}

impl Withdrawn {
    /// Reads what a former run was told, and purges what is too old to matter. Lines that a crash left torn are skipped.
    pub fn open(folder: &Folder, now: Timestamp) -> Result<Withdrawn, WithdrawnError> {
        let _lock = folder.lock()?;
        let bytes = folder.read_private(FILE, FILE_BYTES_MAX)?.unwrap_or_default();
        let mut heard: HashMap<ActionHash, Timestamp> =
            String::from_utf8_lossy(&bytes).lines().filter_map(read_line).collect();
        heard.retain(|_, at| is_kept(*at, now));
        if !bytes.is_empty() {
            let lines: String = heard.iter().map(|(hash, at)| line(*hash, *at)).collect();
            folder.write_private(FILE, lines.as_bytes())?;
        }
        Ok(Withdrawn { folder: Some(folder.clone()), heard: Mutex::new(heard) })
    }

    /// Remembers for as long as this process lives.
    pub fn in_memory() -> Withdrawn {
        Withdrawn { folder: None, heard: Mutex::default() }
    }

    /// Whether an action was withdrawn.
    pub fn contains(&self, action: ActionHash) -> bool {
        self.lock().contains_key(&action)
    }

    /// Remembers a withdrawal. Once this returns, it outlives a crash; where it fails to be written it holds for this process.
    pub fn add(&self, action: ActionHash, now: Timestamp) -> Result<(), WithdrawnError> {
        let mut heard = self.lock();
        if heard.contains_key(&action) {
            return Ok(());
        }
        if heard.len() >= COUNT_MAX {
            heard.retain(|_, at| is_kept(*at, now));
        }
        if heard.len() >= COUNT_MAX {
            return Err(WithdrawnError::Full);
        }
        heard.insert(action, now);
        let Some(folder) = &self.folder else { return Ok(()) };
        let _lock = folder.lock()?;
        if folder.read_private(FILE, FILE_BYTES_MAX)?.is_none() {
            return Ok(folder.write_private(FILE, line(action, now).as_bytes())?);
        }
        let mut file = OpenOptions::new().append(true).open(folder.path().join(FILE))?;
        file.write_all(line(action, now).as_bytes())?;
        Ok(file.sync_data()?)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ActionHash, Timestamp>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back makes no withdrawal void.
fn is_kept(heard_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(heard_at) <= KEPT
}

/// Begins with its line break: what a crash left torn stays a line by itself.
fn line(action: ActionHash, at: Timestamp) -> String {
    format!("\n{action} {at}")
}

fn read_line(line: &str) -> Option<(ActionHash, Timestamp)> {
    let (hash, at) = line.split_once(' ')?;
    let hash = <[u8; 32]>::try_from(hex::decode(hash).ok()?).ok()?;
    Some((ActionHash(hash), at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(folder: &Folder, now: Timestamp) -> Withdrawn {
        Withdrawn::open(folder, now).unwrap()
    }

    #[test]
    fn a_withdrawal_outlives_a_restart_and_is_purged_when_it_is_old() {
        let home = tempfile::tempdir().unwrap();
        let (folder, now) = (Folder::open(&home.path().join("agent")).unwrap(), Timestamp::now());
        let (first, second, never) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
        let withdrawn = open(&folder, now);
        withdrawn.add(first, now).unwrap();
        withdrawn.add(first, now).unwrap();
        withdrawn.add(second, now + SignedDuration::from_secs(1)).unwrap();
        for (later, expected) in [
            (SignedDuration::ZERO, [true, true, false]),
            (SignedDuration::from_hours(-1000), [true, true, false]),
            (KEPT, [true, true, false]),
            (KEPT + SignedDuration::from_secs(1), [false, true, false]),
            (SignedDuration::ZERO, [false, true, false]),
        ] {
            let withdrawn = open(&folder, now + later);
            assert_eq!([first, second, never].map(|hash| withdrawn.contains(hash)), expected, "{later:?}");
        }
    }

    #[test]
    fn a_torn_line_spoils_no_other() {
        let home = tempfile::tempdir().unwrap();
        let (folder, now) = (Folder::open(&home.path().join("agent")).unwrap(), Timestamp::now());
        let hashes = [ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32])];
        let withdrawn = open(&folder, now);
        withdrawn.add(hashes[0], now).unwrap();
        withdrawn.add(hashes[1], now).unwrap();
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        withdrawn.add(hashes[2], now).unwrap();
        let withdrawn = open(&folder, now);
        assert_eq!(hashes.map(|hash| withdrawn.contains(hash)), [true, false, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        let (folder, now) = (Folder::open(&home.path().join("agent")).unwrap(), Timestamp::now());
        let hash = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            ActionHash(bytes)
        };
        let lines: String = (0..COUNT_MAX).map(|number| line(hash(number), now)).collect();
        folder.write_private(FILE, lines.as_bytes()).unwrap();
        let withdrawn = open(&folder, now);
        assert!(matches!(withdrawn.add(hash(COUNT_MAX), now), Err(WithdrawnError::Full)));
        assert!(!withdrawn.contains(hash(COUNT_MAX)));
        let later = now + KEPT + SignedDuration::from_secs(1);
        withdrawn.add(hash(COUNT_MAX), later).unwrap();
        assert!(open(&folder, later).contains(hash(COUNT_MAX)));
    }

    #[test]
    fn a_file_that_is_not_ours_is_no_list() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("agent")).unwrap();
        fs::write(folder.path().join(FILE), vec![b' '; FILE_BYTES_MAX as usize + 1]).unwrap();
        fs::set_permissions(folder.path().join(FILE), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let error = Withdrawn::open(&folder, Timestamp::now()).unwrap_err();
        assert!(matches!(error, WithdrawnError::Folder(FolderError::TooLong { .. })), "{error}");
    }
}
