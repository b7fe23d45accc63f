//! `.cosign`: adds a signature to another investigator's action.

use canvass_planner::error::Error;

use super::Command;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "cosign",
    aliases: &[],
    takes: "ID",
    about: "shows what an action makes agents do, and signs it too",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return Err(Error::usage("which action? `.cosign ID`, or the file of an exported one"));
    }
    session.cosign(argument).map(Next::Go)
}
