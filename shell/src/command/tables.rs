//! `.tables`: lists what can be asked.

use canvass_planner::error::Error;

use super::Command;
use crate::listing;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "tables",
    aliases: &["dt"],
    takes: "[pattern]",
    about: "list the tables, or those whose name fits: `net`, `*s`",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if !argument.is_empty() && !listing::names().any(|name| listing::fits(name, argument)) {
        return Err(Error::usage(format!("no table's name fits `{argument}`")).hint("`.tables` lists all"));
    }
    session.show(&listing::tables(argument)?)
}
