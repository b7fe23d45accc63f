//! What this desk has seen before: which fleet is behind a server's address, and which agent has a name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use canvass_planner::error::Error;
use serde::{Deserialize, Serialize};

use crate::config::{private_folder, write_whole};
use crate::error::unusable;

/// Hundreds of thousands of agents fit.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The pins of one user.
pub struct Pins {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Fleet by server's address.
    #[serde(default)]
    servers: BTreeMap<String, String>,
    /// Agent's id by fleet and name.
    #[serde(default)]
    agents: BTreeMap<String, BTreeMap<String, String>>,
}

impl Pins {
    pub fn open(path: PathBuf) -> Result<Pins, Error> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let known = match std::fs::File::open(&path) {
            Ok(file) => {
                file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| unusable(&path, &error))?;
                serde_json::from_slice(&bytes)
                    .map_err(|error| Error::usage(format!("`{}` is damaged: {error}", path.display())))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(unusable(&path, &error)),
        };
        Ok(Pins { path, known: Mutex::new(known) })
    }

    /// Notes which fleet a server is for, and refuses another one than before.
    pub fn check_server(&self, server: &str, fleet: &str) -> Result<(), Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.servers.get(server) {
            Some(pinned) if pinned == fleet => Ok(()),
            Some(pinned) => Err(Error::unreachable(format!(
                "`{server}` was the server of fleet `{pinned}` and now says that it is of `{fleet}`"
            ))
            .hint(format!("if that has changed, remove its line from `{}`", self.path.display()))),
            None => {
                known.servers.insert(server.to_owned(), fleet.to_owned());
                self.write(&known)
            }
        }
    }

    /// The names under which agents are shown: whoever had a name first keeps it, and others are told apart by their id.
    pub fn names(&self, fleet: &str, agents: &[(String, String)]) -> Result<Vec<String>, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = known.agents.entry(fleet.to_owned()).or_default();
        let before = pinned.len();
        let mut names = Vec::with_capacity(agents.len());
        for (name, id) in agents {
            let owner = pinned.entry(name.clone()).or_insert_with(|| id.clone());
            names.push(shown(name, id, owner));
        }
        if pinned.len() > before {
            self.write(&known)?;
        }
        Ok(names)
    }

    /// As [`Pins::names`], of one agent under a name that it had before, which it does not get a claim to by that.
    pub fn name(&self, fleet: &str, name: &str, id: &str) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = known.agents.get(fleet).and_then(|pinned| pinned.get(name));
        shown(name, id, owner.map_or(id, String::as_str))
    }

    fn write(&self, known: &Known) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(known).map_err(|error| Error::internal(error.to_string()))?;
        let folder = self.path.parent().unwrap_or(&self.path);
        private_folder(folder)
            .and_then(|()| write_whole(&self.path, &bytes, 0o600))
            .map_err(|error| unusable(&self.path, &error))
    }
}

fn shown(name: &str, id: &str, owner: &str) -> String {
    if owner == id { name.to_owned() } else { format!("{name}#{}", id.get(..8).unwrap_or(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_belong_to_who_had_them_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/pins.json");
        let agents = |ids: &[&str]| -> Vec<(String, String)> {
            ids.iter().map(|id| ("web-1".to_owned(), id.repeat(64))).collect()
        };
        let pins = Pins::open(path.clone()).unwrap();
        assert_eq!(pins.names("acme", &agents(&["b"])).unwrap(), ["web-1"]);
        let pins = Pins::open(path.clone()).unwrap();
        assert_eq!(pins.names("acme", &agents(&["a", "b"])).unwrap(), ["web-1#aaaaaaaa", "web-1"]);
        assert_eq!(pins.names("other", &agents(&["a"])).unwrap(), ["web-1"]);
        let name = |name: &str, id: &str| pins.name("acme", name, &id.repeat(64));
        assert_eq!(
            [name("web-1", "b"), name("web-1", "a"), name("db-1", "a"), name("db-1", "b")],
            ["web-1", "web-1#aaaaaaaa", "db-1", "db-1"]
        );
        pins.check_server("https://s", "acme").unwrap();
        let again = Pins::open(path).unwrap();
        again.check_server("https://s", "acme").unwrap();
        let error = again.check_server("https://s", "evil").unwrap_err();
        assert!(error.message.contains("was the server of fleet `acme`"), "{error}");
    }
}
