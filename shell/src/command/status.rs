//! `.status`: whom this session asks, and how many of them are there.

use canvass_planner::error::Error;
use canvass_protocol::target::Status;

use super::Command;
use crate::render::escape::visible;
use crate::session::{Next, Session};

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
        "fleet    {}\nagents   {}: {}\nformat   {}\nmaxrows  {max}\ntimer    {}",
        visible(session.fleet.name()),
        endpoints.len(),
        states.join(", "),
        view.format.as_str(),
        if view.timer { "on" } else { "off" },
    ))
}
