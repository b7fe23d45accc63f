//! Which actions somebody of the keyring withdrew: kept on disk, so that a restart of the agent begins none of them.

use std::collections::{BTreeSet, HashMap};
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::action::ActionHash;
use canvass_protocol::limits;
use canvass_protocol::openpgp::Fingerprint;
use jiff::{SignedDuration, Timestamp};

use crate::folder::{Folder, FolderError};

/// The name of the file in the agent's folder: a line for each withdrawal, the action's hash, when it was heard and whose it is.
pub const FILE: &str = "withdrawn";
/// Withdrawals of one certificate that are remembered; nobody withdraws so many actions in two of the longest windows.
const COUNT_OF_ONE_MAX: usize = 10_000;
/// A line has at most 150 bytes; what forty certificates withdraw at most fits, and a longer file is not ours.
const FILE_BYTES_MAX: u64 = 40 * 150 * COUNT_OF_ONE_MAX as u64;
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
    #[error("{COUNT_OF_ONE_MAX} withdrawals of those who signed it are remembered, and no more")]
    Full,
}

/// The withdrawals that an agent heeds.
#[derive(Debug)]
pub struct Withdrawn {
    /// `None` where they are forgotten with this process, as its identity is.
    folder: Option<Folder>,
    heard: Mutex<HashMap<ActionHash, Heard>>,
}

/// A withdrawal that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    at: Timestamp,
    /// Who signed it, of those who may; `None` in lines of a former version.
    by: Option<Fingerprint>,
}

impl Withdrawn {
    /// Reads what a former run was told, and purges what is too old to matter. Lines that a crash left torn are skipped.
    pub fn open(folder: &Folder, now: Timestamp) -> Result<Withdrawn, WithdrawnError> {
        let _lock = folder.lock()?;
        let bytes = folder.read_private(FILE, FILE_BYTES_MAX)?.unwrap_or_default();
        let mut heard: HashMap<ActionHash, Heard> =
            String::from_utf8_lossy(&bytes).lines().filter_map(read_line).collect();
        heard.retain(|_, heard| is_kept(heard.at, now));
        if !bytes.is_empty() {
            let lines: String = heard.iter().map(|(hash, heard)| line(*hash, heard)).collect();
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

    /// Remembers a withdrawal that these have signed. Once this returns, it outlives a crash; where it fails to be written it
    /// holds for this process.
    pub fn add(
        &self,
        action: ActionHash,
        signers: &BTreeSet<Fingerprint>,
        now: Timestamp,
    ) -> Result<(), WithdrawnError> {
        let mut heard = self.lock();
        if heard.contains_key(&action) {
            return Ok(());
        }
        if heard.len() >= COUNT_OF_ONE_MAX {
            heard.retain(|_, heard| is_kept(heard.at, now));
        }
        let of = |signer: &Fingerprint| heard.values().filter(|heard| heard.by.as_ref() == Some(signer)).count();
        let by = signers.iter().find(|signer| heard.len() < COUNT_OF_ONE_MAX || of(signer) < COUNT_OF_ONE_MAX);
        let withdrawal = Heard { at: now, by: Some(by.ok_or(WithdrawnError::Full)?.clone()) };
        let line = line(action, &withdrawal);
        heard.insert(action, withdrawal);
        let Some(folder) = &self.folder else { return Ok(()) };
        let _lock = folder.lock()?;
        let Some((_, metadata)) = folder.open_private(FILE)? else {
            return Ok(folder.write_private(FILE, line.as_bytes())?);
        };
        if metadata.len() + line.len() as u64 > FILE_BYTES_MAX {
            return Err(FolderError::TooLong { path: folder.path().join(FILE), max: FILE_BYTES_MAX }.into());
        }
        let mut file = OpenOptions::new().append(true).open(folder.path().join(FILE))?;
        file.write_all(line.as_bytes())?;
        Ok(file.sync_data()?)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ActionHash, Heard>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A clock that was set back makes no withdrawal void.
fn is_kept(heard_at: Timestamp, now: Timestamp) -> bool {
    now.duration_since(heard_at) <= KEPT
}

/// Begins with its line break: what a crash left torn stays a line by itself.
fn line(action: ActionHash, Heard { at, by }: &Heard) -> String {
    match by {
        Some(by) => format!("\n{action} {at} {}", by.0),
        None => format!("\n{action} {at}"),
    }
}

fn read_line(line: &str) -> Option<(ActionHash, Heard)> {
    let (hash, rest) = line.split_once(' ')?;
    let hash = <[u8; 32]>::try_from(hex::decode(hash).ok()?).ok()?;
    let (at, by) = rest.split_once(' ').map_or((rest, None), |(at, by)| (at, Some(by)));
    let by = match by {
        Some(by) => Some(Fingerprint::parse(by)?),
        None => None,
    };
    Some((ActionHash(hash), Heard { at: at.parse().ok()?, by }))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn signer(digit: &str) -> Fingerprint {
        Fingerprint::parse(&digit.repeat(40)).unwrap()
    }

    fn alice() -> BTreeSet<Fingerprint> {
        BTreeSet::from([signer("A")])
    }

    fn open(folder: &Folder, now: Timestamp) -> Withdrawn {
        Withdrawn::open(folder, now).unwrap()
    }

    #[test]
    fn a_withdrawal_outlives_a_restart_and_is_purged_when_it_is_old() {
        let home = tempfile::tempdir().unwrap();
        let (folder, now) = (Folder::open(&home.path().join("agent")).unwrap(), Timestamp::now());
        let (first, second, never) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
        let withdrawn = open(&folder, now);
        withdrawn.add(first, &alice(), now).unwrap();
        withdrawn.add(first, &alice(), now).unwrap();
        withdrawn.add(second, &alice(), now + SignedDuration::from_secs(1)).unwrap();
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
        withdrawn.add(hashes[0], &alice(), now).unwrap();
        withdrawn.add(hashes[1], &alice(), now).unwrap();
        let path = folder.path().join(FILE);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 40]).unwrap();
        withdrawn.add(hashes[2], &alice(), now).unwrap();
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
        let heard = Heard { at: now, by: Some(signer("A")) };
        let lines: String = (0..COUNT_OF_ONE_MAX).map(|number| line(hash(number), &heard)).collect();
        folder.write_private(FILE, lines.as_bytes()).unwrap();
        let withdrawn = open(&folder, now);
        let (more, of_bob) = (hash(COUNT_OF_ONE_MAX), hash(COUNT_OF_ONE_MAX + 1));
        assert!(matches!(withdrawn.add(more, &alice(), now), Err(WithdrawnError::Full)));
        assert!(!withdrawn.contains(more));
        withdrawn.add(of_bob, &BTreeSet::from([signer("B")]), now).unwrap();
        withdrawn.add(more, &BTreeSet::from([signer("A"), signer("B")]), now).unwrap();
        let withdrawn = open(&folder, now);
        assert!(withdrawn.contains(more) && withdrawn.contains(of_bob), "nobody uses up what others may withdraw");
        let later = now + KEPT + SignedDuration::from_secs(1);
        withdrawn.add(hash(COUNT_OF_ONE_MAX + 2), &alice(), later).unwrap();
        assert_eq!(open(&folder, later).lock().len(), 1);
    }

    #[test]
    fn lines_of_a_former_version_are_read() {
        let home = tempfile::tempdir().unwrap();
        let (folder, now) = (Folder::open(&home.path().join("agent")).unwrap(), Timestamp::now());
        let hash = ActionHash([7; 32]);
        folder.write_private(FILE, format!("\n{hash} {now}").as_bytes()).unwrap();
        assert!(open(&folder, now).contains(hash));
        assert!(open(&folder, now).contains(hash), "it is written again as it was");
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
