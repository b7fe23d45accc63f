//! `.help`: lists the commands.

use canvass_planner::error::Error;

use super::{COMMANDS, Command};
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "help", aliases: &["?", "h"], takes: "", about: "list the commands", run };

fn run(session: &mut Session, _argument: &str) -> Result<Next, Error> {
    session.say(&text())
}

fn text() -> String {
    let lines = COMMANDS.iter().map(|command| {
        let aliases: Vec<String> = command.aliases.iter().map(|alias| format!("\\{alias}")).collect();
        let usage = format!(".{} {}", command.name, command.takes);
        format!("{usage:<24} {:<10} {}", aliases.join(" "), command.about).trim_end().to_owned()
    });
    let mut lines: Vec<String> = lines.collect();
    lines.push(String::new());
    lines.push(
        "A statement is SQL and ends with `;`. Commands also answer to a backslash; help, quit and exit need no mark."
            .into(),
    );
    lines.push(
        "Ctrl-C stops a running statement and keeps its rows; at an empty prompt, twice, it leaves, as Ctrl-D does."
            .into(),
    );
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_whole_of_it() {
        insta::assert_snapshot!(super::text());
    }
}
