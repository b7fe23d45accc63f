//! `.timer on|off`: whether each statement says how long its parts took.

use canvass_planner::error::Error;

use super::Command;
use crate::error::Exit;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "timer", aliases: &["timing"], takes: "[on|off]", about: "say how long each statement took", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    session.settings.timer = match argument.to_ascii_lowercase().as_str() {
        "" => !session.settings.timer,
        "on" => true,
        "off" => false,
        other => return Err(Error::usage(format!("the timer is on or off, not `{other}`"))),
    };
    session.confirm(if session.settings.timer { "timer is on" } else { "timer is off" });
    Ok(Next::Go(Exit::Complete))
}
