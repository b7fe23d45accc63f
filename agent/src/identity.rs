//! Who an agent is: an Ed25519 key that never leaves its folder, and the machine it was made on.

use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::folder::{Folder, FolderError, Lock};

/// The name of the key file in the agent's folder.
pub const FILE: &str = "identity.toml";
const FILE_BYTES_MAX: u64 = 4096;

/// An agent's key and the id that follows from it.
pub struct Identity {
    key: SigningKey,
    id: String,
}

/// How an identity came about when it was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was there.
    Kept,
    /// Made now, because there was none.
    Made,
    /// Made now, because the one found was made on another machine; that one was set aside under its id.
    Cloned { aside: String },
}

/// Why an agent has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("malformed key file `{path}`: {reason}")]
    Malformed { path: std::path::PathBuf, reason: String },
    #[error("the system gives no random bytes: {0}")]
    Random(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// The secret key, hexadecimal.
    key: String,
    /// The machine it was made on, where that was known.
    machine_id: Option<String>,
}

impl Identity {
    /// Draws a new identity that is written nowhere.
    pub fn draw() -> Result<Identity, IdentityError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| IdentityError::Random(error.to_string()))?;
        Ok(Identity::of(SigningKey::from_bytes(&secret)))
    }

    /// Opens the identity of a folder, and makes one where there is none or where it was made on another machine.
    ///
    /// The folder's lock must be held, so that two processes do not make two.
    pub fn open(folder: &Folder, _: &Lock, machine_id: Option<&str>) -> Result<(Identity, Origin), IdentityError> {
        let Some((found, made_on)) = read(folder)? else {
            return Ok((make(folder, machine_id)?, Origin::Made));
        };
        match (made_on, machine_id) {
            (Some(made_on), Some(here)) if made_on != here => {
                folder.set_aside(FILE, &format!("identity-{}.toml", found.id_short()))?;
                Ok((make(folder, machine_id)?, Origin::Cloned { aside: found.id }))
            }
            _ => Ok((found, Origin::Kept)),
        }
    }

    /// The SHA-256 of the public key, hexadecimal.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The first eight digits of the id, as `name#id8` shows them.
    pub fn id_short(&self) -> &str {
        &self.id[..8]
    }

    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The identity of a key that somebody else made.
    pub fn of(key: SigningKey) -> Identity {
        let id = hex::encode(Sha256::digest(key.verifying_key().as_bytes()));
        Identity { key, id }
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("id", &self.id).finish_non_exhaustive()
    }
}

fn read(folder: &Folder) -> Result<Option<(Identity, Option<String>)>, IdentityError> {
    let Some(bytes) = folder.read_private(FILE, FILE_BYTES_MAX)? else { return Ok(None) };
    // The parser's own message would show the line, and the line is the key.
    let malformed = |reason: &str| IdentityError::Malformed { path: folder.path().join(FILE), reason: reason.into() };
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("not text"))?;
    let stored: Stored = toml::from_str(text).map_err(|error| malformed(error.message()))?;
    let secret = hex::decode(&stored.key).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let secret = secret.ok_or_else(|| malformed("`key` is not 64 hexadecimal digits"))?;
    Ok(Some((Identity::of(SigningKey::from_bytes(&secret)), stored.machine_id)))
}

fn make(folder: &Folder, machine_id: Option<&str>) -> Result<Identity, IdentityError> {
    let identity = Identity::draw()?;
    let stored = Stored { key: hex::encode(identity.key.to_bytes()), machine_id: machine_id.map(str::to_owned) };
    let text = toml::to_string(&stored).expect("two text members always serialise");
    folder.write_private(FILE, text.as_bytes())?;
    Ok(identity)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn open(path: &std::path::Path, machine_id: Option<&str>) -> Result<(Identity, Origin), IdentityError> {
        let folder = Folder::open(path)?;
        let lock = folder.lock()?;
        Identity::open(&folder, &lock, machine_id)
    }

    fn mode(path: &std::path::Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn an_identity_is_made_once_and_closed_to_others() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("a/b");
        let (first, origin) = open(&path, Some("m1")).unwrap();
        assert_eq!(origin, Origin::Made);
        assert_eq!((mode(&path), mode(&path.join(FILE))), (0o700, 0o600));
        let (again, origin) = open(&path, Some("m1")).unwrap();
        assert_eq!((again.id(), origin), (first.id(), Origin::Kept));
        let public = hex::encode(first.key().verifying_key().as_bytes());
        assert_eq!(canvass_protocol::answer::agent_id(&public).as_deref(), Some(first.id()));
    }

    #[test]
    fn a_clone_sets_the_identity_aside() {
        let home = tempfile::tempdir().unwrap();
        let (first, _) = open(&home.path().join("data"), Some("m1")).unwrap();
        let (second, origin) = open(&home.path().join("data"), Some("m2")).unwrap();
        assert_ne!(first.id(), second.id());
        assert_eq!(origin, Origin::Cloned { aside: first.id().to_owned() });
        assert!(home.path().join("data").join(format!("identity-{}.toml", first.id_short())).is_file());
        let (third, origin) = open(&home.path().join("data"), None).unwrap();
        assert_eq!((third.id(), origin), (second.id(), Origin::Kept), "an unknown machine is no other machine");
    }

    #[test]
    fn a_key_that_others_can_reach_is_refused() {
        for (file_mode, folder_mode) in [(0o644, 0o700), (0o640, 0o700), (0o602, 0o700), (0o600, 0o755)] {
            let home = tempfile::tempdir().unwrap();
            open(&home.path().join("data"), None).unwrap();
            fs::set_permissions(home.path().join("data").join(FILE), Permissions::from_mode(file_mode)).unwrap();
            fs::set_permissions(home.path().join("data"), Permissions::from_mode(folder_mode)).unwrap();
            let error = open(&home.path().join("data"), None).unwrap_err();
            assert!(matches!(error, IdentityError::Folder(FolderError::Mode { .. })), "{error}");
        }
    }

    #[test]
    fn a_malformed_key_file_is_refused_without_showing_it() {
        let whole = format!("key = \"{}\"\n", "ab".repeat(32));
        for text in ["", "key = \"abcd\"", &whole[..20], &format!("{whole}more = 1"), "\u{0}"] {
            let home = tempfile::tempdir().unwrap();
            Folder::open(&home.path().join("data")).unwrap().write_private(FILE, text.as_bytes()).unwrap();
            let error = open(&home.path().join("data"), None).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{error}");
            assert!(!error.to_string().contains("abab"), "{error}");
        }
    }

    #[test]
    fn two_at_once_make_one_identity() {
        let home = tempfile::tempdir().unwrap();
        let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
            let openers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| open(&home.path().join("data"), None).unwrap().0.id().to_owned()))
                .collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        assert_eq!(ids.len(), 1);
    }
}
