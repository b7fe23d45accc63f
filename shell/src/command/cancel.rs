//! `.cancel`: withdraws an action.

use canvass_planner::error::Error;

use super::Command;
use crate::error::Exit;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "cancel",
    aliases: &[],
    takes: "ID",
    about: "withdraws an action: nobody begins it any more, and it ends where it runs",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return Err(Error::usage("which action? `.cancel ID`, or `.cancel last`"));
    }
    let id = session.cancel(argument)?;
    eprintln!("withdrawn: {id}");
    Ok(Next::Go(Exit::Complete))
}
