//! `.agents [expr]`: the inventory, or the part of it for which an expression is true.

use canvass_planner::error::Error;

use super::Command;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "agents", aliases: &[], takes: "[expression]", about: "list the agents, or those where …", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let filter = if argument.is_empty() { String::new() } else { format!(" WHERE {argument}") };
    Ok(Next::Go(session.statement(&format!(
        "SELECT name, status, os, arch, os_version, tags, addresses, version FROM agents{filter} ORDER BY name"
    ))))
}
