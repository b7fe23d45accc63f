//! `.status`: whom this session asks, and how many of them are there.

use std::collections::BTreeMap;

use canvass_planner::error::Error;
use canvass_planner::fleet::Endpoint;
use canvass_protocol::features;
use canvass_protocol::target::Status;

use super::Command;
use crate::render::escape::visible;
use crate::session::{Next, Session};

/// Agents that are named of those that lack the same.
const NAMED_MAX: usize = 5;

pub static COMMAND: Command =
    Command { name: "status", aliases: &[], takes: "", about: "fleet, agents and format of this session", run };

fn run(session: &mut Session, _argument: &str) -> Result<Next, Error> {
    let endpoints = session.endpoints()?;
    let count = |status: Status| endpoints.iter().filter(|endpoint| endpoint.words.status == status).count();
    let states: Vec<String> =
        Status::ALL.iter().map(|status| format!("{} {}", count(*status), status.as_str())).collect();
    let view = &session.settings;
    let max = view.rows_max.map_or("all".to_owned(), |max| max.to_string());
    session.say(&format!(
        "fleet    {}\nagents   {}: {}{}\nformat   {}\nmaxrows  {max}\ntimer    {}",
        visible(session.fleet.name()),
        endpoints.len(),
        states.join(", "),
        cages(&endpoints).map(|line| format!("\ncage     {line}")).unwrap_or_default(),
        view.format.as_str(),
        if view.timer { "on" } else { "off" },
    ))
}

/// By what the agents' scans are confined, as far as they say so; who lacks a part is named.
fn cages(endpoints: &[Endpoint]) -> Option<String> {
    let mut lacking: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut whole = 0;
    for endpoint in endpoints {
        let features = &endpoint.facts.features;
        whole += usize::from(features.iter().any(|feature| feature == features::CAGE_WHOLE));
        for part in features.iter().filter_map(|feature| features::cage_lacks(feature)) {
            lacking.entry(part).or_default().push(visible(&endpoint.host).into_owned());
        }
    }
    let named = lacking.into_iter().map(|(part, hosts)| {
        let more = hosts.len().saturating_sub(NAMED_MAX);
        let shown = hosts[..hosts.len() - more].join(", ");
        let part = visible(part);
        if more > 0 { format!("without {part} {shown} and {more} more") } else { format!("without {part} {shown}") }
    });
    let parts: Vec<String> = (whole > 0).then(|| format!("whole {whole}")).into_iter().chain(named).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
