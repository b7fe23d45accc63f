//! Revocations that somebody handed in: kept on disk, so that neither a restart nor a certificate that is put back into the
//! keyring makes one void.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::limits;

use crate::folder::{Folder, FolderError};

/// The name of the file in the agent's folder: the revocations one after the other, each in its armor.
pub const FILE: &str = "revocations";
/// Revocations that are kept. Each was of a key of the keyring that nothing revoked before, and nobody has so many.
const COUNT_MAX: usize = 256;
const FILE_BYTES_MAX: u64 = (COUNT_MAX * limits::SIGNATURE_BYTES_MAX) as u64;
/// The end of each.
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Why a revocation is forgotten with this process.
#[derive(Debug, thiserror::Error)]
pub enum RevocationsError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{COUNT_MAX} revocations are kept, and no more")]
    Full,
}

/// The revocations that an agent was told.
#[derive(Debug, Default)]
pub struct Revocations {
    /// `None` where they are forgotten with this process, as its identity is.
    folder: Option<Folder>,
    /// Those that no file has.
    held: Mutex<Vec<String>>,
}

impl Revocations {
    pub fn new(folder: Option<Folder>) -> Revocations {
        Revocations { folder, held: Mutex::default() }
    }

    /// The file that they are in, where it is there or not.
    pub fn path(&self) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.path().join(FILE))
    }

    /// All of them. Whoever reads them verifies them: nothing is believed for being in this file.
    pub fn all(&self) -> Result<Vec<String>, FolderError> {
        let mut all = self.written()?;
        all.extend(self.held().iter().cloned());
        Ok(all)
    }

    /// Keeps more, each in an armor of its own. Once this returns, they outlive a crash; where it fails they hold for this
    /// process.
    pub fn add(&self, more: Vec<String>) -> Result<(), RevocationsError> {
        let kept = self.write(&more);
        if kept.is_err() || self.folder.is_none() {
            let mut held = self.held();
            let room = COUNT_MAX.saturating_sub(held.len());
            held.extend(more.into_iter().take(room));
        }
        kept
    }

    fn write(&self, more: &[String]) -> Result<(), RevocationsError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let _lock = folder.lock()?;
        let mut all = self.written()?;
        all.extend(more.iter().filter(|one| !all.contains(one)).cloned().collect::<Vec<String>>());
        if all.len() > COUNT_MAX {
            return Err(RevocationsError::Full);
        }
        Ok(folder.write_private(FILE, all.concat().as_bytes())?)
    }

    fn written(&self) -> Result<Vec<String>, FolderError> {
        let Some(folder) = &self.folder else { return Ok(Vec::new()) };
        let bytes = folder.read_private(FILE, FILE_BYTES_MAX)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let blocks = text.split_inclusive(END).map(str::trim).filter(|block| !block.is_empty());
        Ok(blocks.map(|block| format!("{block}\n")).collect())
    }

    fn held(&self) -> MutexGuard<'_, Vec<String>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn armor(number: usize) -> String {
        format!("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{number}\n{END}\n")
    }

    #[test]
    fn what_is_kept_outlives_a_restart_and_is_kept_once() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("agent")).unwrap();
        let revocations = Revocations::new(Some(folder.clone()));
        assert_eq!(revocations.all().unwrap(), [] as [String; 0]);
        revocations.add(vec![armor(1), armor(2)]).unwrap();
        revocations.add(vec![armor(2), armor(3)]).unwrap();
        let again = Revocations::new(Some(folder));
        assert_eq!(again.all().unwrap(), [armor(1), armor(2), armor(3)]);
    }

    #[test]
    fn without_a_folder_they_are_held_for_this_process() {
        let revocations = Revocations::default();
        revocations.add(vec![armor(1)]).unwrap();
        assert_eq!(revocations.all().unwrap(), [armor(1)]);
        revocations.add((2..=COUNT_MAX + 9).map(armor).collect()).unwrap();
        assert_eq!(revocations.all().unwrap().len(), COUNT_MAX);
    }

    #[test]
    fn what_finds_no_room_holds_for_this_process() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("agent")).unwrap();
        let revocations = Revocations::new(Some(folder.clone()));
        revocations.add((1..=COUNT_MAX).map(armor).collect()).unwrap();
        assert!(matches!(revocations.add(vec![armor(0)]), Err(RevocationsError::Full)));
        assert!(revocations.all().unwrap().contains(&armor(0)));
        assert!(!Revocations::new(Some(folder)).all().unwrap().contains(&armor(0)));
    }

    #[test]
    fn a_file_that_others_may_write_is_not_ours() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::open(&home.path().join("agent")).unwrap();
        let revocations = Revocations::new(Some(folder.clone()));
        revocations.add(vec![armor(1)]).unwrap();
        let path = folder.path().join(FILE);
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        assert!(matches!(revocations.all(), Err(FolderError::Mode { .. })));
        assert!(revocations.add(vec![armor(2)]).is_err());
    }
}
