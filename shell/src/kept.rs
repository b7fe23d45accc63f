//! What old results depend on, kept beside the actions that were signed here: inventories and local files as they were.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use canvass_planner::error::Error;
use canvass_planner::kept::{Inventory, Keeper};
use canvass_protocol::action::Action;
use canvass_protocol::statement::InputFile;
use sha2::{Digest as _, Sha256};

use crate::config::{Places, private_folder, write_whole};
use crate::error::unusable;

/// Bytes of all inventories: of a fleet of 12,000 some 200 actions, of one of 100 more than actions are kept.
const INVENTORIES_BYTES_MAX: u64 = 256 << 20;

/// Bytes of all copies of local files; a larger file is not copied.
const FILES_BYTES_MAX: u64 = 512 << 20;

/// What is kept on this machine, for its user alone.
pub struct Kept {
    inventories: Folder,
    /// By their SHA-256.
    files: Folder,
}

/// Files of which the oldest make room.
struct Folder {
    path: PathBuf,
    bytes_max: u64,
}

impl Kept {
    pub fn new(places: &Places) -> Kept {
        let folder = |name: &str, bytes_max| Folder { path: places.kept().join(name), bytes_max };
        Kept { inventories: folder("inventories", INVENTORIES_BYTES_MAX), files: folder("files", FILES_BYTES_MAX) }
    }
}

impl Keeper for Kept {
    fn keep_inventory(&self, action: &Action, inventory: &Inventory) -> Result<(), Error> {
        let bytes = serde_json::to_vec(inventory).map_err(|error| Error::internal(error.to_string()))?;
        self.inventories.put(&format!("{}.json", action.id), &bytes)
    }

    /// One that is damaged is as good as none: what signed facts say is left.
    fn inventory(&self, action: &Action) -> Result<Option<Inventory>, Error> {
        let bytes = self.inventories.get(&format!("{}.json", action.id))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    fn keep_file(&self, file: &InputFile) -> Result<(), Error> {
        if file.bytes > self.files.bytes_max || self.files.touch(&file.sha256, file.bytes) {
            return Ok(());
        }
        let path = Path::new(&file.name);
        let changed =
            || Error::usage(format!("`{}` has changed since it was read to plan this", file.name)).hint("ask again");
        let open = std::fs::File::open(path).map_err(|_| changed())?;
        if !open.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Err(changed());
        }
        let mut bytes = Vec::new();
        // What grows while it is read is not read for ever.
        open.take(file.bytes + 1).read_to_end(&mut bytes).map_err(|error| unusable(path, &error))?;
        if hex::encode(Sha256::digest(&bytes)) != file.sha256 {
            return Err(changed());
        }
        self.files.put(&file.sha256, &bytes)
    }

    fn file(&self, sha256: &str) -> Option<std::fs::File> {
        let plain = sha256.bytes().all(|digit| digit.is_ascii_hexdigit());
        plain.then(|| std::fs::File::open(self.files.path.join(sha256)).ok()).flatten()
    }
}

impl Folder {
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Error> {
        if bytes.len() as u64 > self.bytes_max {
            return Ok(());
        }
        private_folder(&self.path).map_err(|error| unusable(&self.path, &error))?;
        self.make_room(bytes.len() as u64);
        let path = self.path.join(name);
        write_whole(&path, bytes, 0o600).map_err(|error| unusable(&path, &error))
    }

    /// Makes a file of so many bytes the newest; says whether it is there.
    fn touch(&self, name: &str, bytes: u64) -> bool {
        let Ok(file) = std::fs::File::options().append(true).open(self.path.join(name)) else { return false };
        let whole = file.metadata().is_ok_and(|metadata| metadata.len() == bytes);
        whole && file.set_modified(SystemTime::now()).is_ok()
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path.join(name);
        let mut bytes = Vec::new();
        match std::fs::File::open(&path) {
            Ok(file) => {
                let read = file.take(self.bytes_max).read_to_end(&mut bytes);
                read.map(|_| Some(bytes)).map_err(|error| unusable(&path, &error))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        }
    }

    /// Removes the oldest until so many bytes more fit.
    fn make_room(&self, bytes: u64) {
        let mut files: Vec<(SystemTime, u64, PathBuf)> = files(&self.path);
        files.sort();
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, length, path) in files {
            if total + bytes <= self.bytes_max {
                break;
            }
            // A file that cannot be removed now is tried again next time.
            if std::fs::remove_file(path).is_ok() {
                total -= length;
            }
        }
    }
}

fn files(folder: &Path) -> Vec<(SystemTime, u64, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let file = |entry: std::fs::DirEntry| {
        let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some((metadata.modified().ok()?, metadata.len(), entry.path()))
    };
    entries.filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_oldest_make_room() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder { path: home.path().join("kept"), bytes_max: 10 };
        let names = || {
            let mut names: Vec<String> = files(&folder.path)
                .into_iter()
                .map(|(_, _, path)| path.file_name().unwrap().to_str().unwrap().into())
                .collect();
            names.sort();
            names
        };
        for (index, name) in ["a", "b", "c"].iter().enumerate() {
            folder.put(name, b"123").unwrap();
            let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(index as u64);
            std::fs::File::options().write(true).open(folder.path.join(name)).unwrap().set_modified(then).unwrap();
        }
        assert_eq!(names(), ["a", "b", "c"]);
        folder.put("d", b"1234").unwrap();
        assert_eq!(names(), ["b", "c", "d"]);
        folder.put("e", b"123456789").unwrap();
        assert_eq!(names(), ["e"]);
        folder.put("f", b"12345678901").unwrap();
        assert_eq!(names(), ["e"], "what is larger than all there is room for is not kept");
        assert_eq!(folder.get("e").unwrap().as_deref(), Some(&b"123456789"[..]));
        assert_eq!(folder.get("a").unwrap(), None);
        assert!(folder.touch("e", 9) && !folder.touch("e", 8) && !folder.touch("a", 3));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder.path), mode(&folder.path.join("e"))), (0o700, 0o600));
    }

    #[test]
    fn copies_are_of_what_was_planned_with() {
        let home = tempfile::tempdir().unwrap();
        let kept = Kept::new(&Places::below(home.path()));
        let path = home.path().join("iocs.csv");
        std::fs::write(&path, "a\n1\n").unwrap();
        let sha256 = hex::encode(Sha256::digest("a\n1\n"));
        let file = |bytes, sha256: &str| InputFile { name: path.display().to_string(), bytes, sha256: sha256.into() };
        kept.keep_file(&file(4, &sha256)).unwrap();
        let mut text = String::new();
        kept.file(&sha256).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "a\n1\n");
        // It is there, so the file at its path is not read again.
        std::fs::write(&path, "a\n2\n").unwrap();
        kept.keep_file(&file(4, &sha256)).unwrap();
        let error = kept.keep_file(&file(4, &"0".repeat(64))).unwrap_err();
        assert!(error.message.ends_with("has changed since it was read to plan this"), "{error:?}");
        kept.keep_file(&file(FILES_BYTES_MAX + 1, &"1".repeat(64))).unwrap();
        assert!(kept.file(&"1".repeat(64)).is_none() && kept.file("../../iocs.csv").is_none());
    }
}
