//! `.output file` and `.once file`: results into a file, all of them or the next.

use std::path::Path;

use canvass_planner::error::Error;

use super::Command;
use crate::error::Exit;
use crate::session::{Next, Session};

pub static OUTPUT: Command = Command {
    name: "output",
    aliases: &["o"],
    takes: "[file]",
    about: "results into a file, in the format of its ending; without a file, back here",
    run: |session, argument| send(session, argument, false),
};

pub static ONCE: Command = Command {
    name: "once",
    aliases: &[],
    takes: "file",
    about: "the next result into a file, in the format of its ending",
    run: |session, argument| send(session, argument, true),
};

fn send(session: &mut Session, argument: &str, once: bool) -> Result<Next, Error> {
    let argument = argument.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).unwrap_or(argument);
    match argument {
        "" if once => return Err(Error::usage("`.once` needs a file")),
        "" => session.back_to_terminal()?,
        path => session.send_to(Path::new(path), once)?,
    }
    Ok(Next::Go(Exit::Complete))
}
