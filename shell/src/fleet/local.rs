//! This machine as a fleet of one.

use std::collections::BTreeMap;

use canvass_agent::agent::{Agent, Config, Storage};
use canvass_planner::error::Error;
use canvass_protocol::target::Mode;
use canvass_tables::host::HostSpec;

use super::here::{Here, Hosted};
use super::{of_agent, program};
use crate::config::{Places, private_folder};
use crate::error::unusable;

/// Opens this machine's own agent, with the identity and journal it keeps from run to run.
pub fn local(places: &Places) -> Result<Here, Error> {
    let folder = places.agent();
    private_folder(&folder).map_err(|error| unusable(&folder, &error))?;
    let config = Config {
        fleet: None,
        host: HostSpec::Machine,
        name: None,
        mode: Mode::Daemon,
        tags: BTreeMap::new(),
        storage: Storage::Folder(folder),
        policy: places.policy(),
        policy_named: false,
        keyrings: vec![places.keys(), places.keyring()],
        secrets: Vec::new(),
        own: true,
        program: program()?,
    };
    let agent = Agent::open(config).map_err(|error| of_agent(&error))?;
    agent.cage();
    Ok(Here::new(agent.fleet().to_owned(), vec![Hosted { agent, public_ip: None }]))
}
