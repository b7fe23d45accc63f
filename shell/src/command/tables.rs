//! `.tables`: lists what can be asked.

use canvass_planner::error::Error;

use super::Command;
use crate::listing;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command { name: "tables", aliases: &["dt"], takes: "", about: "list the tables", run };

fn run(session: &mut Session, _argument: &str) -> Result<Next, Error> {
    session.show(&listing::tables()?)
}
