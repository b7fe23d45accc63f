//! `.help`: lists the commands, and tells of one of them or of what is written in statements.

use canvass_planner::error::{Error, closest};

use super::{COMMANDS, Command, find};
use crate::session::{Next, Session};

pub static COMMAND: Command = Command {
    name: "help",
    aliases: &["?", "h"],
    takes: "[word]",
    about: "list the commands, or tell of one, of an operator, of SET or of functions",
    run,
};

/// What stands in statements and is not standard SQL, or is often looked for.
const TOPICS: &[(&[&str], &str)] = &[
    (
        &["under"],
        "path UNDER '/home'                   the folder itself and everything below it
path UNDER ANY ('/bin', '/usr/bin')  under one of them
remote_ip UNDER '10.0.0.0/8'         an address in a network
A table that must be bounded, such as files, takes UNDER, `=`, IN, LIKE 'prefix%' or ~ '^prefix' as a bound.",
    ),
    (
        &["~", "!~", "~*", "!~*", "content", "regex"],
        "name ~ 're'      the regular expression matches; ~* in any case, !~ and !~* where it does not
content ~ 're'   some line of the file matches; !~ no line does
every_line(content, 're')   all lines match
Content is searched on the endpoint and never leaves it.",
    ),
    (
        &["set", "settings"],
        "SET canvass.wait = '1m'     follow for a minute; 'expire' follows to the end
SET canvass.expire = '6h'   how long agents may still answer
`.set` lists all settings and their values, `.set wait 1m` changes one. docs/prompt.md says what each means.",
    ),
    (
        &["functions"],
        "every_line(content, 're')   bytes('10MB')   is_private(ip)   is_loopback(ip)   now()
version_lt(version, '2.4.1')   version_le, _gt, _ge, _eq: by dpkg, rpm, apk, pip or npm, as `source` or a third argument says
and DataFusion's: SELECT DISTINCT routine_name FROM information_schema.routines ORDER BY 1;",
    ),
    (
        &["agent"],
        "agent.os, agent.status, agent.tags['team'] and their kin choose endpoints in WHERE, and work in SELECT and GROUP BY.
`.schema agents` lists them. Without agent.status, whoever is online is asked.",
    ),
];

fn run(session: &mut Session, argument: &str) -> Result<Next, Error> {
    let text = if argument.is_empty() { text() } else { about(argument)? };
    session.say(&text)
}

fn text() -> String {
    let mut lines: Vec<String> = COMMANDS.iter().map(|command| line(command)).collect();
    lines.push(String::new());
    lines.push(
        "A statement is SQL and ends with `;`. Commands also answer to a backslash; help, quit and exit need no mark."
            .into(),
    );
    lines.push("Ctrl-C stops following and finishes over the rows that came; once more abandons them. At an empty prompt, twice, it".into());
    lines.push("leaves, as Ctrl-D does.".into());
    lines
        .push(format!("More: .help {}", TOPICS.iter().map(|(words, _)| words[0]).collect::<Vec<_>>().join(", .help ")));
    lines.join("\n")
}

fn line(command: &Command) -> String {
    let aliases: Vec<String> = command.aliases.iter().map(|alias| format!("\\{alias}")).collect();
    let usage = format!(".{} {}", command.name, command.takes);
    format!("{usage:<24} {:<10} {}", aliases.join(" "), command.about).trim_end().to_owned()
}

/// One command, or one topic.
fn about(word: &str) -> Result<String, Error> {
    let word = word.to_ascii_lowercase();
    if let Some((_, text)) = TOPICS.iter().find(|(words, _)| words.contains(&word.as_str())) {
        return Ok((*text).to_owned());
    }
    let name = word.trim_start_matches(['.', '\\']);
    if let Some(command) = find(name) {
        return Ok(line(command));
    }
    let known =
        COMMANDS.iter().map(|command| command.name).chain(TOPICS.iter().flat_map(|(words, _)| words.iter().copied()));
    let error = Error::usage(format!("there is no help on `{word}`"));
    Err(match closest(name, known) {
        Some(close) => error.hint(format!("did you mean `.help {close}`?")),
        None => error.hint("`.help` lists the commands"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_of_it() {
        insta::assert_snapshot!(text());
    }

    #[test]
    fn one_of_it() {
        for (word, expected) in [
            ("resume", ".resume ID"),
            ("\\x", ".vertical"),
            ("UNDER", "10.0.0.0/8"),
            ("~", "content"),
            ("Set", "canvass.wait"),
        ] {
            assert!(about(word).unwrap().contains(expected), "{word}");
        }
        assert_eq!(about("resum").unwrap_err().hint.as_deref(), Some("did you mean `.help resume`?"));
    }
}
