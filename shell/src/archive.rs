//! What was signed on this machine: each action's exact bytes and its signatures, as `gpg --verify` takes them.

use std::path::{Path, PathBuf};

use canvass_planner::error::Error;
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::openpgp::{join_signatures, split_signatures};

use crate::config::{Places, private_folder, write_whole};
use crate::error::unusable;

/// Actions kept; the oldest make room.
const ACTIONS_MAX: usize = 1000;

/// The folder of signed actions: `ID.json` and `ID.json.asc`.
#[derive(Debug, Clone)]
pub struct Archive {
    folder: PathBuf,
}

/// One action that was signed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub id: String,
    /// The signed bytes.
    pub payload: Vec<u8>,
    /// All signatures in one armor.
    pub armor: Vec<u8>,
}

impl Signed {
    /// Takes an envelope apart.
    pub fn of(id: &str, envelope: &Envelope) -> Result<Signed, Error> {
        let armor = join_signatures(&envelope.signatures).map_err(|error| Error::usage(error.to_string()))?;
        Ok(Signed { id: id.to_owned(), payload: envelope.payload.clone().into(), armor: armor.into() })
    }

    /// As it travels.
    pub fn envelope(&self) -> Result<Envelope, Error> {
        let damaged = |reason: String| Error::usage(format!("the kept action `{}` is damaged: {reason}", self.id));
        let signatures = split_signatures(&self.armor).map_err(|error| damaged(error.to_string()))?;
        let payload = String::from_utf8(self.payload.clone()).map_err(|error| damaged(error.to_string()))?;
        Ok(Envelope { payload, signatures })
    }
}

impl Archive {
    pub fn new(places: &Places) -> Archive {
        Archive { folder: places.actions() }
    }

    /// Keeps an envelope before it is sent, so that nothing is asked without a record of it.
    pub fn keep(&self, id: &str, envelope: &Envelope) -> Result<(), Error> {
        private_folder(&self.folder).map_err(|error| unusable(&self.folder, &error))?;
        write(&self.folder, &Signed::of(id, envelope)?, 0o600)?;
        self.prune();
        Ok(())
    }

    /// The kept action whose id begins so; `last` is the newest.
    pub fn find(&self, wanted: &str) -> Result<Signed, Error> {
        self.get(wanted)?.ok_or_else(|| {
            Error::usage(format!("no action `{wanted}` was signed on this machine"))
                .hint("`canvass action show last` shows the newest; with `--server` those of others are found too")
        })
    }

    /// As [`Archive::find`], where it may be another machine's; `last` is the newest that was asked of this fleet.
    pub fn get_of(&self, fleet: &str, wanted: &str) -> Result<Option<Signed>, Error> {
        if !wanted.eq_ignore_ascii_case("last") {
            return self.get(wanted);
        }
        let signed = self.ids().into_iter().rev().filter_map(|id| self.read(&id).ok());
        Ok(signed.into_iter().find(|signed| Action::parse(&signed.payload).is_ok_and(|action| action.fleet == fleet)))
    }

    fn get(&self, wanted: &str) -> Result<Option<Signed>, Error> {
        let ids = self.ids();
        let wanted = wanted.to_lowercase();
        let found: Vec<&String> = match wanted.as_str() {
            "last" => ids.last().into_iter().collect(),
            prefix => ids.iter().filter(|id| !prefix.is_empty() && id.starts_with(prefix)).collect(),
        };
        match found.as_slice() {
            [id] => self.read(id).map(Some),
            [] => Ok(None),
            several => Err(Error::usage(format!("`{wanted}` begins the ids of {} actions", several.len()))
                .hint("write more of the id")),
        }
    }

    fn read(&self, id: &str) -> Result<Signed, Error> {
        let read = |path: PathBuf| std::fs::read(&path).map_err(|error| unusable(&path, &error));
        let payload = read(self.folder.join(format!("{id}.json")))?;
        let armor = read(self.folder.join(format!("{id}.json.asc")))?;
        Ok(Signed { id: id.to_owned(), payload, armor })
    }

    /// Ids in order of time, which is theirs by name: they are UUIDs of version 7.
    fn ids(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let id = |name: std::ffi::OsString| Some(name.to_str()?.strip_suffix(".json")?.to_owned());
        let mut ids: Vec<String> = names.filter_map(id).filter(|id| id.parse::<uuid::Uuid>().is_ok()).collect();
        ids.sort();
        ids
    }

    fn prune(&self) {
        let ids = self.ids();
        for id in &ids[..ids.len().saturating_sub(ACTIONS_MAX)] {
            // A file that cannot be removed now is tried again next time.
            let _ = std::fs::remove_file(self.folder.join(format!("{id}.json")));
            let _ = std::fs::remove_file(self.folder.join(format!("{id}.json.asc")));
        }
    }
}

/// Writes `ID.json` and `ID.json.asc` into a folder.
pub fn write(folder: &Path, signed: &Signed, mode: u32) -> Result<[PathBuf; 2], Error> {
    let payload = folder.join(format!("{}.json", signed.id));
    let armor = folder.join(format!("{}.json.asc", signed.id));
    for (path, bytes) in [(&armor, &signed.armor), (&payload, &signed.payload)] {
        write_whole(path, bytes, mode).map_err(|error| unusable(path, &error))?;
    }
    Ok([payload, armor])
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use canvass_protocol::openpgp::{KeyFile, Signer as _};
    use jiff::Timestamp;

    use super::*;

    const PAYLOAD: &str = "{\"canvass\":\"action/1\",\"statement\":\"SELECT 'é'\"}";

    fn archive() -> (tempfile::TempDir, Archive) {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(&Places::below(folder.path()));
        (folder, archive)
    }

    fn envelope(keys: &[&KeyFile]) -> Envelope {
        let sign = |key: &&KeyFile| key.sign(PAYLOAD.as_bytes(), Timestamp::now()).unwrap();
        Envelope { payload: PAYLOAD.into(), signatures: keys.iter().map(sign).collect() }
    }

    fn id() -> String {
        uuid::Uuid::now_v7().to_string()
    }

    #[test]
    fn a_stock_gpg_verifies_what_is_exported() {
        let (folder, archive) = archive();
        let now = Timestamp::now();
        let [alice, bob] = ["alice", "bob"].map(|name| KeyFile::generate(name, None, now).unwrap());
        let id = id();
        archive.keep(&id, &envelope(&[&alice, &bob])).unwrap();
        let signed = archive.find("last").unwrap();
        let [payload, armor] = write(folder.path(), &signed, 0o644).unwrap();
        assert_eq!(std::fs::read(&payload).unwrap(), PAYLOAD.as_bytes());

        // GnuPG's sockets need a short path, so its home is a folder of its own.
        let home = tempfile::Builder::new().prefix("gpg").tempdir_in("/tmp").unwrap();
        let gpg = |arguments: &[&Path]| {
            Command::new("gpg").arg("--homedir").arg(home.path()).arg("--batch").args(arguments).output().unwrap()
        };
        for (name, key) in [("alice", &alice), ("bob", &bob)] {
            let path = folder.path().join(name);
            std::fs::write(&path, key.public_armor().unwrap()).unwrap();
            assert!(gpg(&[Path::new("--import"), &path]).status.success());
        }
        let verified = gpg(&[Path::new("--verify"), &armor, &payload]);
        let said = String::from_utf8_lossy(&verified.stderr);
        assert!(verified.status.success(), "{said}");
        assert_eq!(said.matches("Good signature").count(), 2, "{said}");

        std::fs::write(&payload, PAYLOAD.replace("SELECT", "select")).unwrap();
        assert!(!gpg(&[Path::new("--verify"), &armor, &payload]).status.success());
        // Importing started an agent; it goes with its home.
        let _ = Command::new("gpgconf").arg("--homedir").arg(home.path()).args(["--kill", "all"]).status();
    }

    #[test]
    fn actions_are_found_by_the_start_of_their_id() {
        let (_folder, archive) = archive();
        let key = KeyFile::generate("alice", None, Timestamp::now()).unwrap();
        let envelope = envelope(&[&key]);
        assert!(archive.find("last").is_err());
        let ids = [id(), id()];
        for id in &ids {
            archive.keep(id, &envelope).unwrap();
        }
        assert_eq!(archive.find("last").unwrap().id, ids[1]);
        assert_eq!(archive.find(&ids[0].to_uppercase()).unwrap().id, ids[0]);
        assert!(archive.find(&ids[0][..4]).unwrap_err().message.contains("begins the ids of 2 actions"));
        for wanted in ["", "../../etc/passwd", "zz"] {
            assert!(archive.find(wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn the_oldest_make_room() {
        let (_folder, archive) = archive();
        private_folder(&archive.folder).unwrap();
        let old: Vec<String> = (0..ACTIONS_MAX + 5).map(|i| uuid::Uuid::from_u128(i as u128).to_string()).collect();
        for id in &old {
            std::fs::write(archive.folder.join(format!("{id}.json")), "").unwrap();
            std::fs::write(archive.folder.join(format!("{id}.json.asc")), "").unwrap();
        }
        std::fs::write(archive.folder.join("notes.json"), "").unwrap();
        archive.prune();
        assert_eq!(archive.ids(), old[5..]);
        assert!(archive.folder.join("notes.json").exists());
        assert!(!archive.folder.join(format!("{}.json.asc", old[0])).exists());
    }
}
