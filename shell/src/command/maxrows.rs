//! `.maxrows n`: rows shown on a terminal; 0 shows all.

use canvass_planner::error::Error;

use super::Command;
use crate::error::Exit;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "maxrows", aliases: &[], takes: "[n]", about: "rows shown on a terminal; 0 shows all", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return session.say(&session.settings.rows_max.unwrap_or(0).to_string());
    }
    let max: usize = argument.parse().map_err(|_| Error::usage(format!("`{argument}` is not a number of rows")))?;
    session.settings.rows_max = (max > 0).then_some(max);
    session.confirm(&if max > 0 { format!("maxrows is {max}") } else { "all rows are shown".to_owned() });
    Ok(Next::Go(Exit::Complete))
}
