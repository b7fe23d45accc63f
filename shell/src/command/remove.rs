//! `.remove`: takes agents out of the fleet, refuses those that wait, and forgets those that the server does not list.

use canvass_planner::error::Error;

use super::Command;
use super::approve::{find, of_fleet};
use crate::render::escape::visible;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "remove",
    aliases: &[],
    takes: "ID …",
    about: "take agents out of the fleet, or refuse those that wait",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return Err(
            Error::usage("this takes the ids of agents").hint("`.approve` lists those that wait, `.agents` the others")
        );
    }
    let pending = session.pending()?;
    let mut known = of_fleet(session)?;
    known.extend(session.missing()?);
    let wanted = argument.split_whitespace();
    let found: Vec<(String, String)> = wanted.map(|wanted| find(wanted, &pending, &known)).collect::<Result<_, _>>()?;
    let mut said = Vec::new();
    for (name, id) in found {
        session.remove(&id)?;
        said.push(visible(&format!("removed: {name} {id}")).into_owned());
    }
    session.say(&said.join("\n"))
}
