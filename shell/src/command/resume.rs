//! `.resume`: answers to an action that was posted before, and those that are still to come.

use canvass_planner::error::Error;

use super::Command;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "resume",
    aliases: &[],
    takes: "ID",
    about: "the answers to an action that was asked before, and those still to come",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return Err(Error::usage("which action? `.resume ID`, or `.resume last`"));
    }
    session.resume(argument)
}
