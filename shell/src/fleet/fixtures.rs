//! A folder of fixture hosts as a fleet: each sub-folder is the root of a host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use canvass_agent::agent::{Agent, Config, Storage};
use canvass_planner::error::Error;
use canvass_protocol::target::Mode;
use canvass_tables::host::{Host, HostSpec};

use super::here::{Here, Hosted};
use super::{of_agent, program};
use crate::config::Places;
use crate::error::unusable;

/// Opens every host of a folder, under a fleet name that no other run has.
pub fn fixtures(folder: &Path, places: &Places) -> Result<Here, Error> {
    // A scan's process may stand in another folder than we do.
    let root = folder.canonicalize().map_err(|error| unusable(folder, &error))?;
    let hosts = host_folders(&root).map_err(|error| unusable(folder, &error))?;
    if hosts.is_empty() {
        return Err(Error::usage(format!("`{}` holds no hosts", folder.display()))
            .hint("each sub-folder is a host: its root, with a `host.toml`"));
    }
    let fleet = random_name();
    let opened = hosts.iter().map(|(name, path)| open(name, path, &fleet, places));
    Ok(Here::new(fleet.clone(), opened.collect::<Result<_, _>>()?))
}

fn open(name: &str, path: &Path, fleet: &str, places: &Places) -> Result<Hosted, Error> {
    let spec = HostSpec::Fixture(path.to_owned());
    let host = Host::open(&spec).map_err(|error| Error::usage(format!("host `{name}` cannot be opened: {error}")))?;
    let config = Config {
        fleet: Some(fleet.to_owned()),
        host: spec,
        name: Some(name.to_owned()),
        mode: Mode::Daemon,
        tags: BTreeMap::new(),
        storage: Storage::Memory,
        policy: path.join("agent.toml"),
        policy_named: false,
        keyrings: vec![places.keys(), places.keyring()],
        secrets: Vec::new(),
        own: true,
        program: program()?,
    };
    let agent = Agent::open(config).map_err(|error| of_agent(&error))?;
    Ok(Hosted { agent, public_ip: host.about().public_ip })
}

/// Names and paths of the sub-folders, in order; hidden ones are not hosts.
fn host_folders(root: &Path) -> std::io::Result<Vec<(String, PathBuf)>> {
    let mut hosts = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !name.starts_with('.') {
            hosts.push((name, path));
        }
    }
    hosts.sort();
    Ok(hosts)
}

fn random_name() -> String {
    format!("fixtures:{}", uuid::Uuid::now_v7().simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_hosts_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        let hosts = folder.path().join("fleet");
        assert!(fixtures(&hosts, &places).err().unwrap().message.contains("No such file"));
        std::fs::create_dir_all(hosts.join(".git")).unwrap();
        std::fs::write(hosts.join("readme"), "").unwrap();
        let error = fixtures(&hosts, &places).err().unwrap();
        assert!(error.message.ends_with("holds no hosts"), "{error}");
    }

    #[test]
    fn hosts_come_in_order_and_fleets_differ() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["web-1", "db-1", ".hidden"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let names: Vec<String> = host_folders(folder.path()).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["db-1", "web-1"]);
        assert_ne!(random_name(), random_name());
    }
}
