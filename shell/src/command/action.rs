//! `.action`: the JSON that was signed for the last statement.

use canvass_planner::error::Error;

use super::Command;
use crate::render::escape::visible_lines;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "action", aliases: &[], takes: "", about: "the signed JSON of the last statement", run };

fn run(session: &mut Session, _argument: &str) -> Result<Next, Error> {
    let payload = session.last.payload.as_ref().ok_or_else(|| Error::usage("the last statement signed nothing"))?;
    let json: serde_json::Value = serde_json::from_str(payload)
        .map_err(|error| Error::internal(format!("the signed action is no JSON: {error}")))?;
    session.say(&visible_lines(&format!("{json:#}")))
}
