//! Who may read the files of the embedded store: its owner.

use std::fs::{OpenOptions, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Everything that was asked and answered lies there: the file, and what SQLite writes beside it with the file's own mode, is
/// readable for its owner alone, whatever the folder's mode and the umask are.
pub fn keep(path: &Path) -> std::io::Result<()> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    for file in [path.to_owned(), beside("-wal"), beside("-shm"), beside("-journal")] {
        match std::fs::set_permissions(&file, Permissions::from_mode(0o600)) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::store::sqlite::Sqlite;

    use super::*;

    /// As systemd makes a data folder, and as versions before this one made the file in it.
    #[tokio::test]
    async fn files_are_private_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let path = folder.path().join("server.sqlite");
        for before in [None, Some(0o644)] {
            if let Some(mode) = before {
                for file in folder.path().read_dir().unwrap() {
                    std::fs::set_permissions(file.unwrap().path(), Permissions::from_mode(mode)).unwrap();
                }
            }
            let store = Sqlite::open(&path).await.unwrap();
            let mut modes: Vec<(String, u32)> = Vec::new();
            for file in folder.path().read_dir().unwrap() {
                let file = file.unwrap();
                let mode = file.metadata().unwrap().permissions().mode() & 0o7777;
                modes.push((file.file_name().into_string().unwrap(), mode));
            }
            modes.sort();
            let expected =
                ["server.sqlite", "server.sqlite-shm", "server.sqlite-wal"].map(|name| (name.to_owned(), 0o600));
            assert_eq!(modes, expected, "{before:?}");
            // What is there then was left by a server that was killed.
            std::mem::forget(store);
        }
    }
}
