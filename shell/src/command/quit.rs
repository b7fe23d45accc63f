//! `.quit`: leaves.

use canvass_planner::error::Error;

use super::Command;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "quit", aliases: &["q", "exit"], takes: "", about: "leave, as Ctrl-D does", run };

fn run(_session: &mut Session, _argument: &str) -> Result<Next, Error> {
    Ok(Next::Quit)
}
