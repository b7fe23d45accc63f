//! `.agents [expr]`: the inventory, or the part of it for which an expression is true.

use canvass_planner::error::{Error, Span};

use super::Command;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "agents", aliases: &[], takes: "[expression]", about: "list the agents, or those where …", run };

/// `agent.os` is written as in any other statement, `os` as a column of the inventory.
const SELECT: &str = "SELECT name, status, os, arch, os_version, tags, addresses, version FROM agents AS agent";

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let filter = if argument.is_empty() { String::new() } else { format!("{LEAD}{argument}") };
    // A comment at the end of what is typed ends there.
    let statement = format!("{SELECT}{filter}\nORDER BY name");
    if let Err(error) = session.plan(&statement) {
        return Ok(session.complain(&as_typed(error), argument));
    }
    Ok(Next::Go(session.statement(&statement)))
}

const LEAD: &str = " WHERE ";

/// The error with its place in what was typed, where it has one there.
fn as_typed(mut error: Error) -> Error {
    let before = SELECT.chars().count() + LEAD.chars().count();
    error.span = error.span.and_then(|span| match span.line {
        1 => (span.column > before).then(|| Span { column: span.column - before, ..span }),
        _ => Some(span),
    });
    error
}
