//! What the three standard streams are connected to.

use std::io::IsTerminal as _;
use std::os::fd::AsFd;

use nu_ansi_term::{Color, Style};

/// Facts about the streams, taken once at the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terminal {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Colours are wanted and understood.
    pub colour: bool,
}

impl Terminal {
    pub fn detect() -> Terminal {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Terminal {
            stdin: std::io::stdin().is_terminal(),
            stdout: std::io::stdout().is_terminal(),
            stderr: std::io::stderr().is_terminal(),
            colour: !dumb && !refused,
        }
    }

    /// Whether lines are edited by the terminal alone, since it cannot move its cursor; the line editor knows the same names.
    pub fn edits_lines_itself() -> bool {
        let term = std::env::var("TERM").unwrap_or_default().to_ascii_lowercase();
        matches!(term.as_str(), "dumb" | "cons25" | "emacs")
    }

    /// Whether a person can be asked something.
    pub fn can_ask(&self) -> bool {
        self.stdin && self.stderr
    }

    /// Columns of the terminal on standard output.
    pub fn width(&self) -> Option<usize> {
        self.stdout.then(|| columns(std::io::stdout())).flatten()
    }

    /// Columns of the terminal on standard error.
    pub fn error_width(&self) -> Option<usize> {
        self.stderr.then(|| columns(std::io::stderr())).flatten()
    }

    /// Dresses a word on standard error.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        if !(self.colour && self.stderr) {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Error => Style::new().bold().fg(Color::Red),
            Tone::Warning => Style::new().bold().fg(Color::Yellow),
            Tone::Hint => Style::new().bold().fg(Color::Cyan),
            Tone::Quiet => Style::new().dimmed(),
        };
        style.paint(text).to_string()
    }
}

fn columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// What a word on standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Error,
    Warning,
    Hint,
    Quiet,
}
