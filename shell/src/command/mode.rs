//! `.mode format`: how results are written; `\x` switches between vertical and table.

use canvass_planner::error::{Error, closest};
use clap::ValueEnum as _;

use super::Command;
use crate::error::Exit;
use crate::render::Format;
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "mode", aliases: &[], takes: "[format]", about: "how results are written", run };

pub static VERTICAL: Command = Command {
    name: "vertical",
    aliases: &["x"],
    takes: "[on|off|auto]",
    about: "one line a cell, or for rows that do not fit (auto); without a word, the other way",
    run: turn,
};

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    if argument.is_empty() {
        return session.say(session.settings.format.as_str());
    }
    let format = parse(argument)?;
    session.set_format(format)?;
    session.confirm(&format!("mode is {}", format.as_str()));
    Ok(Next::Go(Exit::Complete))
}

fn turn(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let now = session.settings.format == Format::Vertical;
    let (format, expand) = match argument.to_ascii_lowercase().as_str() {
        "" if now => (Format::Table, false),
        "" | "on" => (Format::Vertical, false),
        "off" => (Format::Table, false),
        "auto" => (Format::Table, true),
        other => return Err(Error::usage(format!("vertical is on, off or auto, not `{other}`"))),
    };
    session.set_format(format)?;
    session.settings.expand = expand;
    let auto = if expand { ", vertical where rows do not fit" } else { "" };
    session.confirm(&format!("mode is {}{auto}", format.as_str()));
    Ok(Next::Go(Exit::Complete))
}

fn parse(name: &str) -> Result<Format, Error> {
    Format::from_str(name, true).map_err(|_| {
        let names = || Format::value_variants().iter().map(|format| format.as_str());
        let error = Error::usage(format!("there is no mode `{name}`"));
        match closest(name, names()) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint(format!("the modes are {}", names().collect::<Vec<_>>().join(", "))),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_formats() {
        assert_eq!(parse("JSONL").unwrap(), Format::Jsonl);
        assert_eq!(parse("jsno").unwrap_err().hint.as_deref(), Some("did you mean `json`?"));
    }
}
