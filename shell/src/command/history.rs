//! `.history [n]`: what was typed, oldest first.

use canvass_planner::error::Error;

use super::Command;
use crate::render::escape::visible_lines;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "history", aliases: &["s"], takes: "[n]", about: "the last n entries, 20 if not said", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let count: usize = match argument {
        "" => 20,
        number => number.parse().map_err(|_| Error::usage(format!("`{number}` is not a number of entries")))?,
    };
    let from = session.history.len().saturating_sub(count);
    let lines: Vec<String> = session.history[from..].iter().map(|entry| visible_lines(entry)).collect();
    session.say(&lines.join("\n"))
}
