//! Commands of the prompt: one file each, listed once. They answer to a dot and to a backslash.

mod action;
mod agents;
mod approve;
mod audit;
mod cancel;
mod cosign;
mod help;
mod history;
mod hosts;
mod maxrows;
mod mode;
mod output;
mod plan;
mod quit;
mod read;
mod remove;
mod resume;
mod schema;
mod set;
mod status;
mod tables;
mod timer;

use canvass_planner::error::{Error, Span, closest};

use crate::session::{Next, Session};

/// A command: its name, what it takes, and what it does.
pub struct Command {
    pub name: &'static str,
    /// Other names it answers to.
    pub aliases: &'static [&'static str],
    /// What may follow the name, for `.help`.
    pub takes: &'static str,
    /// One sentence, without a final stop.
    pub about: &'static str,
    pub run: fn(&mut Session, &str) -> Result<Next, Error>,
}

/// All commands, in the order in which `.help` lists them.
pub static COMMANDS: &[&Command] = &[
    &help::COMMAND,
    &tables::COMMAND,
    &schema::COMMAND,
    &agents::COMMAND,
    &approve::COMMAND,
    &remove::COMMAND,
    &audit::COMMAND,
    &status::COMMAND,
    &mode::COMMAND,
    &mode::VERTICAL,
    &output::OUTPUT,
    &output::ONCE,
    &maxrows::COMMAND,
    &timer::COMMAND,
    &set::COMMAND,
    &read::COMMAND,
    &history::COMMAND,
    &hosts::COMMAND,
    &plan::COMMAND,
    &action::COMMAND,
    &resume::COMMAND,
    &cancel::COMMAND,
    &cosign::COMMAND,
    &quit::COMMAND,
];

/// Commands that later versions bring; naming them beats calling them unknown.
const LATER: &[&str] = &["edit", "e", "last", "actions", "save", "saved", "run", "export", "map", "chart"];

/// Runs one command line; what is wrong with it is said here.
pub fn run(session: &mut Session, line: &str) -> Next {
    let (name, argument) = parts(line);
    let result = match find(&name.to_ascii_lowercase()) {
        Some(command) => (command.run)(session, argument),
        None => Err(unknown(line, name)),
    };
    result.unwrap_or_else(|error| session.complain(&error, line))
}

/// A line's name without its mark, and what follows it.
fn parts(line: &str) -> (&str, &str) {
    let line = line.trim();
    let line = line.strip_prefix(['.', '\\']).unwrap_or(line);
    let line = line.strip_suffix(';').unwrap_or(line);
    let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    (name, argument.trim())
}

fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().copied().find(|command| command.name == name || command.aliases.contains(&name))
}

fn unknown(line: &str, name: &str) -> Error {
    let lead = line.chars().take_while(|c| c.is_whitespace()).count();
    let error = if LATER.contains(&name.to_ascii_lowercase().as_str()) {
        Error::usage(format!("`.{name}` is not in this version"))
    } else {
        let error = Error::usage(format!("there is no command `.{name}`"));
        match closest(name, COMMANDS.iter().map(|command| command.name)) {
            Some(close) => error.hint(format!("did you mean `.{close}`?")),
            None => error.hint("`.help` lists the commands"),
        }
    };
    error.at(Some(Span { line: 1, column: lead + 1, length: name.chars().count() + 1 }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_apart() {
        for (line, expected) in [
            (".schema files", ("schema", "files")),
            ("\\d  files ;", ("d", "files")),
            ("quit;", ("quit", "")),
            (" .read  my file.sql", ("read", "my file.sql")),
        ] {
            assert_eq!(parts(line), expected, "{line}");
        }
    }

    #[test]
    fn both_marks_and_all_aliases_are_found() {
        for name in ["schema", "d", "i", "x", "q", "exit", "help", "?"] {
            assert!(find(name).is_some(), "{name}");
        }
        for later in LATER {
            assert!(find(later).is_none(), "{later}");
        }
    }

    #[test]
    fn an_unknown_command_is_corrected() {
        assert_eq!(unknown(".tabels", "tabels").hint.as_deref(), Some("did you mean `.tables`?"));
        assert_eq!(unknown(".map", "map").message, "`.map` is not in this version");
        assert_eq!(unknown(".zzz", "zzz").hint.as_deref(), Some("`.help` lists the commands"));
    }

    #[test]
    fn every_file_of_the_room_is_listed() {
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/command");
        let files = here.read_dir().unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        for file in files.filter(|file| file.ends_with(".rs") && file != "mod.rs") {
            let name = file.trim_end_matches(".rs");
            assert!(find(name).is_some(), "{name}");
        }
    }
}
