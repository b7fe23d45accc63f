//! `.read file`: runs the statements and commands of a file.

use std::path::Path;

use canvass_planner::error::Error;

use super::Command;
use crate::session::{Next, Session, read_script};

pub static COMMAND: Command =
    Command { name: "read", aliases: &["i"], takes: "file", about: "run the statements of a file", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return Err(Error::usage("`.read` needs a file"));
    }
    let argument = argument.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(argument);
    let text = read_script(Path::new(argument))?;
    Ok(session.script(&text))
}
