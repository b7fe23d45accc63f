//! `.set [name value]`: the settings, or one of them changed, as `SET canvass.name = value` does.

use canvass_planner::error::Error;
use canvass_planner::settings::NAMES;

use super::Command;
use crate::listing::{batch, texts};
use crate::session::{Next, Session};
use crate::variables::quoted;

pub static COMMAND: Command =
    Command { name: "set", aliases: &[], takes: "[name value]", about: "show the settings, or change one", run };

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let settings = session.desk.settings();
    let (name, value) = argument.split_once([' ', '=', '\t']).unwrap_or((argument, ""));
    let name = name.strip_prefix("canvass.").unwrap_or(name);
    let value = value.trim().trim_start_matches('=').trim().trim_matches('\'');
    if !value.is_empty() {
        // Checked first, so that only a known name becomes part of a statement.
        settings.get(name)?;
        return Ok(Next::Go(session.statement(&format!("SET canvass.{name} = {}", quoted(value)))));
    }
    let names: Vec<&str> = if name.is_empty() { NAMES.to_vec() } else { vec![name] };
    let values = names.iter().map(|name| settings.get(name)).collect::<Result<Vec<_>, _>>()?;
    session.show(&batch(vec![("setting", texts(names)), ("value", texts(values))])?)
}
