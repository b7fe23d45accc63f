//! `.approve`: lets agents into the fleet, where the server asks an administrator, and certifies those that are in.

use canvass_planner::error::Error;

use super::Command;
use crate::listing::{batch, texts};
use crate::render::escape::visible;
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "approve",
    aliases: &[],
    takes: "[ID …]",
    about: "certify agents, which lets in those that wait; without an id, list those",
    run,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let pending = session.pending()?;
    if argument.is_empty() {
        let (names, ids): (Vec<_>, Vec<_>) = pending.into_iter().unzip();
        return session.show(&batch(vec![("host", texts(names)), ("id", texts(ids))])?);
    }
    let of_fleet = of_fleet(session)?;
    // All of them are found before the first is let in.
    let wanted = argument.split_whitespace();
    let found: Vec<(String, String)> =
        wanted.map(|wanted| find(wanted, &pending, &of_fleet)).collect::<Result<_, _>>()?;
    let mut said = Vec::new();
    for (name, id) in found {
        session.approve(&id)?;
        let word = if pending.iter().any(|(_, waits)| *waits == id) { "approved" } else { "certified" };
        said.push(visible(&format!("{word}: {name} {id}")).into_owned());
    }
    session.say(&said.join("\n"))
}

/// Agents of the fleet, each with the name that it is shown by and its id.
pub fn of_fleet(session: &mut Session) -> Result<Vec<(String, String)>, Error> {
    let endpoints = session.endpoints()?.into_iter();
    Ok(endpoints.map(|endpoint| (endpoint.host, endpoint.facts.id.clone())).collect())
}

/// The agent that a text means: the start of the id of one that waits or is in the fleet, or the name by which one of the fleet
/// is shown. What those call themselves that wait says nothing.
pub fn find(
    wanted: &str,
    pending: &[(String, String)],
    of_fleet: &[(String, String)],
) -> Result<(String, String), Error> {
    let start = wanted.to_ascii_lowercase();
    let named = of_fleet.iter().filter(|(name, _)| name == wanted);
    let begun = pending.iter().chain(of_fleet).filter(|(_, id)| id.starts_with(&start));
    let mut found: Vec<&(String, String)> = named.chain(begun).collect();
    found.dedup_by(|a, b| a.1 == b.1);
    match found.as_slice() {
        [one] => Ok((*one).clone()),
        [] => Err(Error::usage(format!(
            "no agent that waits has an id that begins `{wanted}`, and none of the fleet has, or is shown by that name"
        ))
        .hint("compare with what `canvass-agent identity` prints on the host")),
        several => Err(Error::usage(format!("`{wanted}` means {} agents", several.len())).hint("write more of the id")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_found_by_its_id_or_the_name_it_is_shown_by() {
        let agents = |agents: &[(&str, &str)]| -> Vec<(String, String)> {
            agents.iter().map(|(name, id)| ((*name).to_owned(), (*id).to_owned())).collect()
        };
        let pending = agents(&[("web-1", "aa11"), ("db-1", "ab22")]);
        let of_fleet = agents(&[("web-1", "cc33"), ("web-1#cd44", "cd44"), ("aa", "dd55")]);
        for (wanted, expected) in [
            ("aa1", Some("aa11")),
            ("AA1", Some("aa11")),
            ("ab22", Some("ab22")),
            // Whoever waits may call itself what it likes.
            ("db-1", None),
            ("web-1", Some("cc33")),
            ("web-1#cd44", Some("cd44")),
            ("cc", Some("cc33")),
            ("c", None),
            ("aa", None),
            ("ff", None),
        ] {
            let found = find(wanted, &pending, &of_fleet).ok().map(|(_, id)| id);
            assert_eq!(found.as_deref(), expected, "{wanted}");
        }
    }
}
