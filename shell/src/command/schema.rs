//! `.schema t`: the columns of a table; without a table, all tables.

use canvass_planner::error::Error;

use super::Command;
use crate::listing;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "schema", aliases: &["d"], takes: "[table]", about: "columns of a table", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return session.show(&listing::tables("")?);
    }
    session.show(&listing::columns(argument)?)
}
