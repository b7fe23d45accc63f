//! `.approve`: lets agents into the fleet, where the server asks an administrator.

use canvass_planner::error::Error;

use super::Command;
use crate::listing::{batch, texts};
use crate::render::escape::visible;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "approve",
    aliases: &[],
    takes: "[ID]",
    about: "let an agent into the fleet; without an id, list those that wait",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let pending = session.pending()?;
    if argument.is_empty() {
        let (names, ids): (Vec<_>, Vec<_>) = pending.into_iter().unzip();
        return session.show(&batch(vec![("host", texts(names)), ("id", texts(ids))])?);
    }
    let wanted = argument.to_ascii_lowercase();
    let found: Vec<_> = pending.iter().filter(|(_, id)| id.starts_with(&wanted)).collect();
    match found.as_slice() {
        [(name, id)] => {
            session.approve(id)?;
            session.say(&visible(&format!("approved: {name} {id}")))
        }
        [] => Err(Error::usage(format!("no agent that waits has an id that begins `{argument}`"))
            .hint("compare with what `canvass-agent identity` prints on the host")),
        several => Err(Error::usage(format!("`{argument}` begins the ids of {} agents", several.len()))
            .hint("write more of the id")),
    }
}
