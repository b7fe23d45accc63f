//! Where systemd looks for units: the system's folders, those of all users, and one user's own.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::folders::Reader;
use crate::files::is_local_type;
use crate::host::mountinfo;

/// Units of one manager: the system's, any user's, or one user's.
pub(super) struct Scope {
    pub name: &'static str,
    /// Whose home and session the first folders are of.
    pub user: Option<(String, u32)>,
    pub folders: Vec<Folder>,
}

/// A folder of units; what comes first wins.
pub(super) struct Folder {
    pub path: PathBuf,
    /// Links in it were made by `systemctl enable` or an administrator.
    pub is_config: bool,
    /// Of the one user's own.
    pub is_own: bool,
}

const SYSTEM: &[&str] = &[
    "/etc/systemd/system.control",
    "/run/systemd/system.control",
    "/run/systemd/transient",
    "/run/systemd/generator.early",
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/run/systemd/system",
    "/run/systemd/system.attached",
    "/run/systemd/generator",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
    "/run/systemd/generator.late",
];

const USERS: &[&str] = &[
    "/etc/xdg/systemd/user",
    "/etc/systemd/user",
    "/run/systemd/user",
    "/usr/local/share/systemd/user",
    "/usr/share/systemd/user",
    "/usr/local/lib/systemd/user",
    "/usr/lib/systemd/user",
    "/lib/systemd/user",
];

/// Folders of one user's, before and after those of all users; `~` is the home, `%` the folder of the session.
const OWN: &[&str] = &[
    "~/.config/systemd/user.control",
    "%/systemd/user.control",
    "%/systemd/transient",
    "%/systemd/generator.early",
    "~/.config/systemd/user",
    "%/systemd/user",
    "%/systemd/generator",
    "~/.local/share/systemd/user",
];
const OWN_LAST: &str = "%/systemd/generator.late";

const CONFIG: &[&str] = &["/etc/systemd/system", "/etc/systemd/user", "/etc/xdg/systemd/user"];

impl Folder {
    fn new(path: impl Into<PathBuf>) -> Folder {
        let path = path.into();
        let is_config = CONFIG.iter().any(|config| path == Path::new(config));
        Folder { path, is_config, is_own: false }
    }

    /// What is in it is gone with the next start.
    pub fn is_runtime(&self) -> bool {
        self.path.starts_with("/run")
    }

    /// Whether units in it were made by programs that systemd runs at its start.
    pub fn is_generated(&self) -> bool {
        self.has_name("generator")
    }

    /// Whether units in it were made by calls to systemd.
    pub fn is_transient(&self) -> bool {
        self.has_name("transient")
    }

    fn has_name(&self, start: &str) -> bool {
        self.is_runtime() && self.path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    }
}

/// The system's units and those of all users.
pub(super) fn common(reader: &Reader<'_>) -> [Scope; 2] {
    let scope = |name, paths: &[&str]| {
        let folders = paths.iter().map(|path| Folder::new(*path)).collect();
        Scope { name, user: None, folders: distinct(reader, folders) }
    };
    [scope("system", SYSTEM), scope("user", USERS)]
}

/// The units of each user who has folders of units; homes on file systems of networks are not touched.
pub(super) fn of_users<'a>(reader: &'a Reader<'_>) -> impl Iterator<Item = Scope> + 'a {
    let foreign = foreign(reader);
    let mut homes = HashSet::new();
    reader.host.accounts().users.iter().filter_map(move |user| {
        let home = Path::new(&user.home);
        let is_near = home.is_absolute() && !home.ancestors().any(|folder| foreign.contains(folder));
        if !homes.insert((home, user.uid)) {
            return None;
        }
        let own = |path: &str| {
            let session = PathBuf::from(format!("/run/user/{}", user.uid));
            let path = match path.split_once('/')? {
                ("~", path) => is_near.then(|| home.join(path))?,
                (_, path) => session.join(path),
            };
            matches!(reader.target(&path), Ok(Some(_))).then(|| Folder {
                is_config: path.ends_with(".config/systemd/user"),
                is_own: true,
                path,
            })
        };
        let mut folders: Vec<Folder> = OWN.iter().filter_map(|path| own(path)).collect();
        let last = own(OWN_LAST);
        if folders.is_empty() && last.is_none() {
            return None;
        }
        folders.extend(USERS.iter().map(|path| Folder::new(*path)));
        folders.extend(last);
        Some(Scope { name: "user", user: Some((user.name.clone(), user.uid)), folders: distinct(reader, folders) })
    })
}

/// Places where another machine or an automounter would answer.
fn foreign(reader: &Reader<'_>) -> HashSet<PathBuf> {
    let table =
        if reader.host.is_live() { reader.host.read(Path::new("/proc/self/mountinfo")) } else { Ok(Vec::new()) };
    let table = table.unwrap_or_default();
    let foreign = mountinfo::lines(&table).flatten().filter(|mount| !is_local_type(mount.kind));
    foreign.map(|mount| PathBuf::from(mountinfo::text(mount.path))).collect()
}

/// Folders that exist, each once: /lib may be a link to /usr/lib.
fn distinct(reader: &Reader<'_>, folders: Vec<Folder>) -> Vec<Folder> {
    let mut seen = HashSet::new();
    let is_new = |folder: &Folder| match reader.target(&folder.path) {
        Ok(Some((_, metadata))) => seen.insert(metadata.id()),
        Ok(None) => false,
        // Whoever lists it says why it cannot be.
        Err(_) => true,
    };
    folders.into_iter().filter(is_new).collect()
}
