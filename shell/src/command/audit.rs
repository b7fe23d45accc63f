//! `.audit`: who did what at the server, which administrators may read.

use std::collections::HashMap;

use canvass_planner::error::Error;
use canvass_protocol::api::AuditLine;

use super::Command;
use crate::key::Store;
use crate::listing::{batch, maybe_texts, texts};
use crate::session::{Next, Session};

/// Lines shown where it is not said.
const COUNT: usize = 20;

pub static COMMAND: Command = Command {
    name: "audit",
    aliases: &[],
    takes: "[n|all]",
    about: "who did what at the server, the latest n lines first, 20 if not said",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let lines = session.audit(count(argument)?)?;
    let ids = session.action_ids(lines.iter().filter_map(|line| line.action).collect())?;
    // Whoever's certificate is here goes by its name, as in `--key`.
    let keys = Store::new(&session.places).list().0.into_iter();
    let names: HashMap<String, String> = keys.map(|key| (key.fingerprint.0, key.name)).collect();
    let id = |line: &AuditLine| line.action.map(|hash| ids.get(&hash).cloned().unwrap_or_else(|| hash.to_string()));
    session.show(&batch(vec![
        ("at", texts(lines.iter().map(|line| line.at.to_string()))),
        ("who", texts(lines.iter().map(|line| names.get(&line.who).unwrap_or(&line.who)))),
        ("what", texts(lines.iter().map(|line| &line.what))),
        ("action", maybe_texts(lines.iter().map(id))),
        ("detail", texts(lines.iter().map(|line| &line.detail))),
    ])?)
}

fn count(argument: &str) -> Result<usize, Error> {
    match argument {
        "" => Ok(COUNT),
        "all" => Ok(usize::MAX),
        number => number
            .parse()
            .map_err(|_| Error::usage(format!("`{number}` is no count of lines")).hint("write a number, or `all`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_or_all() {
        for (argument, expected) in
            [("", Some(20)), ("7", Some(7)), ("all", Some(usize::MAX)), ("-1", None), ("x", None)]
        {
            assert_eq!(count(argument).ok(), expected, "{argument}");
        }
    }
}
