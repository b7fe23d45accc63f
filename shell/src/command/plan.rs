//! `.plan [statement]`: what will be asked of whom, or what the last statement asked.

use canvass_planner::error::Error;

use super::Command;
use crate::render::escape::visible_lines;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "plan", aliases: &[], takes: "[statement]", about: "what is asked of whom; nothing is sent", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if !argument.is_empty() {
        // The place of an error is a place in the statement, which is not where the line begins.
        return match session.plan(argument) {
            Ok(planned) => session.say(&visible_lines(&planned.explanation)),
            Err(error) => Ok(session.complain(&error, argument)),
        };
    }
    let explanation = session.last.explanation.clone();
    session.say(&visible_lines(&explanation.ok_or_else(|| Error::usage("no statement was planned yet"))?))
}
