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
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{ColorMode, CompletionType, Config, Context, Editor, Helper};

use crate::error::{Exit, report, unusable};
use crate::script::is_command;
use crate::session::{Next, Session, read_script};
use crate::{complete, highlight};

/// Statements remembered.
const HISTORY_MAX: usize = 10_000;

/// Reads and runs until the user leaves.
pub fn run(session: &mut Session, init: bool) -> Exit {
    let typed = Rc::new(RefCell::new(String::new()));
    let mut editor = match editor(session, &typed) {
        Ok(editor) => editor,
        Err(error) => return report(&Error::internal(format!("no prompt: {error}")), None, &session.terminal),
    };
    greet(session);
    if init && run_init(session) == Next::Quit {
        return Exit::Complete;
    }
    session.history = editor.history().iter().cloned().collect();
    let mut interrupted = false;
    loop {
        typed.borrow_mut().clear();
        match editor.readline("canvass> ") {
            Ok(text) => {
                interrupted = false;
                remember(session, &mut editor, &text);
                session.forget_interrupts();
                // What one entry ended in does not end the session.
                if session.script(&text) == Next::Quit {
                    return Exit::Complete;
                }
            }
            Err(ReadlineError::Interrupted) => {
                let empty = typed.borrow().trim().is_empty();
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

fn greet(session: &Session) {
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

fn editor(session: &Session, typed: &Rc<RefCell<String>>) -> rustyline::Result<Editor<Assistant, FileHistory>> {
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

/// What the line editor asks while somebody types.
struct Assistant {
    colour: bool,
    /// The line as it stands, so that Ctrl-C can tell an empty prompt from a full one.
    typed: Rc<RefCell<String>>,
    files: FilenameCompleter,
}

impl Helper for Assistant {}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _context: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let start = line.trim_start();
        if [".read ", "\\i ", "\\read ", ".i "].iter().any(|command| start.starts_with(command)) {
            return self.files.complete_path(line, cursor);
        }
        let (start, found) = complete::complete(line, cursor);
        let pairs = found.into_iter().map(|word| Pair { display: word.clone(), replacement: word });
        Ok((start, pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    fn hint(&self, line: &str, _cursor: usize, _context: &Context<'_>) -> Option<String> {
        line.clone_into(&mut self.typed.borrow_mut());
        None
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _cursor: usize) -> Cow<'l, str> {
        if self.colour && !is_command(line) { Cow::Owned(highlight::highlight(line)) } else { Cow::Borrowed(line) }
    }

    fn highlight_char(&self, _line: &str, _cursor: usize, kind: CmdKind) -> bool {
        self.colour && kind != CmdKind::MoveCursor
    }
}

impl Validator for Assistant {
    /// Enter ends a command at once, and a statement once its `;` is there.
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(if is_whole(context.input()) { ValidationResult::Valid(None) } else { ValidationResult::Incomplete })
    }
}

fn is_whole(text: &str) -> bool {
    let first = text.trim_start().lines().next().unwrap_or_default();
    is_command(first) || Desk::split(text).1
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn enter_ends_what_is_whole() {
        for text in ["", " ", ".tables", "help", "SELECT 1;", "SELECT ';'\n;", "-- nothing", ";"] {
            assert!(is_whole(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1; SELECT", "SELECT 1 -- ;", "/* ;"] {
            assert!(!is_whole(text), "{text}");
        }
    }
}
