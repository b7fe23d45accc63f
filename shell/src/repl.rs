//! The prompt: reads statements over many lines, remembers them, and hands them to the session.

use std::borrow::Cow;
use std::cell::RefCell;
use std::rc::Rc;

use canvass_planner::desk::Desk;
use canvass_planner::error::Error;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, Helper};

use crate::error::{Exit, report, unusable};
use crate::script::is_command;
use crate::session::{Next, Session, read_script};
use crate::terminal::Terminal;
use crate::typing::Quiet;
use crate::variables::open_at_end;
use crate::{complete, highlight};

/// Statements remembered.
const HISTORY_MAX: usize = 10_000;

/// Where a statement begins.
const PROMPT: &str = "canvass> ";

/// Reads and runs until the user leaves.
pub fn run(session: &mut Session, init: bool) -> Exit {
    let typed = Rc::new(Typed::default());
    let mut editor = match editor(session, &typed) {
        Ok(editor) => editor,
        Err(error) => return report(&Error::internal(format!("no prompt: {error}")), None, &session.terminal),
    };
    let quiet = (!Terminal::edits_lines_itself()).then(Quiet::begin);
    greet(session);
    if init && run_init(session) == Next::Quit {
        return Exit::Complete;
    }
    session.at_prompt = true;
    session.history = editor.history().iter().cloned().collect();
    let mut interrupted = false;
    loop {
        let before = typed.before.borrow().clone();
        typed.line.borrow_mut().clear();
        let read = editor.readline(&prompt(&before));
        quiet.iter().for_each(Quiet::again);
        match read {
            Ok(line) => {
                interrupted = false;
                let text = before + &line;
                if !is_whole(&text) {
                    remind(&text, &line);
                    *typed.before.borrow_mut() = text + "\n";
                    continue;
                }
                typed.before.borrow_mut().clear();
                remember(session, &mut editor, &text);
                session.forget_interrupts();
                // What one entry ended in does not end the session.
                if session.script(&text) == Next::Quit {
                    return Exit::Complete;
                }
            }
            Err(ReadlineError::Interrupted) => {
                typed.before.borrow_mut().clear();
                let empty = before.is_empty() && typed.line.borrow().trim().is_empty();
                if empty && interrupted {
                    return Exit::Complete;
                }
                if empty {
                    eprintln!("once more leaves");
                }
                interrupted = empty;
            }
            Err(ReadlineError::Eof) => return Exit::Complete,
            Err(error) => {
                let error = Error::internal(format!("the prompt failed: {error}"));
                return report(&error, None, &session.terminal);
            }
        }
    }
}

/// The prompt of the next line: where a statement goes on, it shows what is still open, as psql does.
fn prompt(before: &str) -> String {
    if before.is_empty() {
        return PROMPT.to_owned();
    }
    format!("{:>1$}> ", open_at_end(before).unwrap_or('-'), PROMPT.len() - 2)
}

/// A command in the middle of a statement is part of it, which is seldom meant.
fn remind(text: &str, line: &str) {
    if text.len() > line.len() && is_command(line) {
        eprintln!("the statement goes on: end it with `;`, or press Ctrl-C to give it up");
    }
}

fn greet(session: &mut Session) {
    if session.settings.quiet {
        return;
    }
    let agents = session.endpoints().map_or(0, |endpoints| endpoints.len());
    let plural = if agents == 1 { "" } else { "s" };
    eprintln!("canvass {} · {agents} agent{plural} · .help lists the commands", env!("CARGO_PKG_VERSION"));
}

fn run_init(session: &mut Session) -> Next {
    let path = session.places.init();
    if !path.exists() {
        return Next::Go(Exit::Complete);
    }
    match read_script(&path) {
        Ok(text) => session.script(&text),
        Err(error) => Next::Go(report(&error, None, &session.terminal)),
    }
}

fn editor(session: &Session, typed: &Rc<Typed>) -> rustyline::Result<Editor<Assistant, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_MAX)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .bracketed_paste(true)
        .color_mode(if session.terminal.colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant {
        colour: session.terminal.colour,
        typed: typed.clone(),
        files: FilenameCompleter::new(),
    }));
    let path = session.places.history();
    if path.exists()
        && let Err(error) = editor.load_history(&path)
    {
        eprintln!("the history in `{}` cannot be read: {error}", path.display());
    }
    Ok(editor)
}

fn remember(session: &mut Session, editor: &mut Editor<Assistant, FileHistory>, text: &str) {
    let text = text.trim_end();
    if !matches!(editor.add_history_entry(text), Ok(true)) {
        return;
    }
    session.history.push(text.to_owned());
    let path = session.places.history();
    let kept = make_private(&path).and_then(|()| editor.append_history(&path).map_err(std::io::Error::other));
    if let Err(error) = kept {
        report(&unusable(&path, &error), None, &session.terminal);
    }
}

/// Statements hold what somebody looks for, which is nobody else's business.
fn make_private(path: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
    if let Some(folder) = path.parent() {
        crate::config::private_folder(folder)?;
    }
    let file = std::fs::File::options().append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

/// What is typed so far.
#[derive(Default)]
struct Typed {
    /// The lines of the statement that were entered.
    before: RefCell<String>,
    /// The line as it stands, so that Ctrl-C can tell an empty prompt from a full one.
    line: RefCell<String>,
}

/// What the line editor asks while somebody types.
struct Assistant {
    colour: bool,
    typed: Rc<Typed>,
    files: FilenameCompleter,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let before = self.typed.before.borrow();
        let start = line.trim_start();
        let takes_file =
            [".read ", "\\i ", "\\read ", ".i ", ".once ", ".output ", "\\o ", ".o ", "\\once ", "\\output "];
        if before.is_empty() && takes_file.iter().any(|command| start.starts_with(command)) {
            return self.files.complete_path(line, cursor);
        }
        let (start, found) = complete::complete(&format!("{before}{line}"), before.len() + cursor);
        let pairs = found.into_iter().map(|word| Pair { display: word.clone(), replacement: word });
        Ok((start.saturating_sub(before.len()), pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, _cursor: usize, _context: &Context<'_>) -> Option<String> {
        line.clone_into(&mut self.typed.line.borrow_mut());
        None
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _cursor: usize) -> Cow<'l, str> {
        let before = self.typed.before.borrow();
        let plain = !self.colour || (before.is_empty() && is_command(line));
        if plain { Cow::Borrowed(line) } else { Cow::Owned(highlight::highlight_after(&before, line)) }
    }

    fn highlight_char(&self, _line: &str, _cursor: usize, kind: CmdKind) -> bool {
        self.colour && kind != CmdKind::MoveCursor
    }
}

/// Enter ends a line wherever the cursor stands; whether the statement goes on is seen then.
impl Validator for Assistant {}

/// Whether a text is a command, or ends with a statement's `;`.
fn is_whole(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    is_command(first) || Desk::split(text).1
}

#[cfg(test)]
mod tests {
    use super::{is_whole, prompt};

    #[test]
    fn enter_ends_what_is_whole() {
        for text in ["", " ", ".tables", "help", "SELECT 1;", "SELECT ';'\n;", "-- nothing", ";"] {
            assert!(is_whole(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "SELECT 1 -- ;", "/* ;"] {
            assert!(!is_whole(text), "{text}");
        }
    }

    #[test]
    fn the_prompt_shows_what_is_open() {
        for (before, expected) in [
            ("", "canvass> "),
            ("SELECT 1\n", "      -> "),
            ("SELECT 'a\n", "      '> "),
            ("SELECT (\n", "      (> "),
            ("/* a\n", "      *> "),
        ] {
            assert_eq!(prompt(before), expected, "{before}");
        }
    }
}
