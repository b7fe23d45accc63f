//! Errors as a person sees them, and the exit codes they end in.

use canvass_planner::error::{Error, ErrorKind, Span};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::render::escape::{is_hidden, visible, visible_lines};
use crate::terminal::{Terminal, Tone};

/// How the program, or one statement, ended. The order is that of QUERY: where several apply the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Exit {
    #[default]
    Complete,
    /// A limit cut the result short.
    Cut,
    /// Some hosts failed, refused or did not answer.
    Incomplete,
    CheckFailed,
    /// A defect of ours.
    Internal,
    /// Usage or SQL error; nothing was sent.
    Usage,
    /// The fleet cannot be reached, or does not let us in.
    Unreachable,
    Interrupted,
}

impl Exit {
    pub fn code(self) -> u8 {
        match self {
            Exit::Complete => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Incomplete => 4,
            Exit::Cut => 5,
            Exit::CheckFailed => 6,
            Exit::Interrupted => 130,
        }
    }

    /// Whether a script goes on after a statement that ended so.
    pub fn stops_script(self) -> bool {
        matches!(self, Exit::Usage | Exit::Unreachable | Exit::Interrupted)
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Exit {
        match kind {
            ErrorKind::Usage => Exit::Usage,
            ErrorKind::Unreachable => Exit::Unreachable,
            ErrorKind::Internal => Exit::Internal,
            ErrorKind::Stopped => Exit::Interrupted,
        }
    }
}

/// Something the user gave or has, such as a file, cannot be used.
pub fn unusable(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::usage(format!("`{}`: {error}", path.display()))
}

/// Says an error on standard error, with its place in the statement, and returns what to exit with.
pub fn report(error: &Error, statement: Option<&str>, terminal: &Terminal) -> Exit {
    eprint!("{}", describe(error, statement, terminal));
    error.kind.into()
}

/// The error, the line of the statement with a caret under the token, and the hint.
pub fn describe(error: &Error, statement: Option<&str>, terminal: &Terminal) -> String {
    described(error, statement, terminal, terminal.error_width())
}

fn described(error: &Error, statement: Option<&str>, terminal: &Terminal, width: Option<usize>) -> String {
    let label = terminal.paint(Tone::Error, "error:");
    let mut text = format!("{label} {}\n", visible_lines(&error.message));
    if let Some((statement, span)) = statement.zip(error.span)
        && let Some(excerpt) = excerpt(statement, span, terminal, width)
    {
        text.push_str(&excerpt);
    }
    if let Some(hint) = &error.hint {
        let label = terminal.paint(Tone::Hint, "hint:");
        text.push_str(&format!("{label} {}\n", visible_lines(hint)));
    }
    text
}

/// Columns of a line shown before and after its token, where they may have any width.
const CONTEXT: usize = 60;

/// The line of the token with a caret below it; where the terminal has no room for all of the line, what stands around the token.
fn excerpt(statement: &str, span: Span, terminal: &Terminal, width: Option<usize>) -> Option<String> {
    let line: Vec<char> = statement.lines().nth(span.line.checked_sub(1)?)?.chars().collect();
    let start = span.column.saturating_sub(1).min(line.len());
    let end = (start + span.length.max(1)).min(line.len());
    let number = span.line.to_string();
    // The margin, and a mark at either end for what is not shown.
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(number.len() + 3 + 2).max(1));
    let token = shown(&line[start..start + fitting(line[start..end].iter(), room)]);
    let beside = room - token.width().min(room);
    // Each side has half of the room, and what the other leaves.
    let lead = |room: usize| fitting(line[..start].iter().rev(), room.min(CONTEXT));
    let width_of_lead = shown(&line[start - lead(beside / 2)..start]).width();
    let tail = fitting(line[end..].iter(), (beside - width_of_lead.min(beside)).min(CONTEXT));
    let after = if end + tail < line.len() { "…" } else { "" };
    let tail = shown(&line[end..end + tail]);
    let lead = lead(beside - tail.width().min(beside));
    let before = if lead < start { "…" } else { "" };
    let lead = shown(&line[start - lead..start]);
    let margin = " ".repeat(number.len());
    let caret = terminal.paint(Tone::Error, &"^".repeat(token.width().max(1)));
    let indent = " ".repeat(before.width() + lead.width());
    Some(format!("{margin} |\n{number} | {before}{lead}{token}{tail}{after}\n{margin} | {indent}{caret}\n"))
}

/// How many of these characters fit into a width.
fn fitting<'a>(characters: impl Iterator<Item = &'a char>, width: usize) -> usize {
    let used = characters.scan(0, |used, c| {
        *used += shown(std::slice::from_ref(c)).width();
        Some(*used)
    });
    used.take_while(|used| *used <= width).count()
}

/// Characters as one line whose width is known: a tab becomes a space, hidden ones are spelled out.
fn shown(characters: &[char]) -> String {
    characters
        .iter()
        .map(|c| match c {
            '\t' => " ".to_owned(),
            c if is_hidden(*c) || c.width().is_none() => visible(&c.to_string()).into_owned(),
            c => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::*;

    fn check(statement: &str, line: usize, column: usize, length: usize) -> String {
        let error = Error::usage("there is no column `pth`").hint("did you mean `path`?");
        describe(&error.at(Some(Span { line, column, length })), Some(statement), &Terminal::default())
    }

    #[test]
    fn a_caret_stands_under_the_token() {
        assert_snapshot!(check("SELECT pth FROM files", 1, 8, 3), @r"
        error: there is no column `pth`
          |
        1 | SELECT pth FROM files
          |        ^^^
        hint: did you mean `path`?
        ");
    }

    #[test]
    fn the_right_line_of_several_is_shown() {
        let lines = "SELECT 1,\n".repeat(9) + "\tpth FROM files";
        assert_snapshot!(check(&lines, 10, 2, 3), @r"
        error: there is no column `pth`
           |
        10 |  pth FROM files
           |  ^^^
        hint: did you mean `path`?
        ");
    }

    #[test]
    fn wide_and_hostile_characters_keep_the_caret_in_place() {
        assert_snapshot!(check("SELECT '漢字\u{202e}\x1b[31m', pth", 1, 20, 3), @r"
        error: there is no column `pth`
          |
        1 | SELECT '漢字\u{202e}\x1b[31m', pth
          |                                ^^^
        hint: did you mean `path`?
        ");
    }

    #[test]
    fn a_place_past_the_end_and_a_place_that_is_not_there() {
        assert_snapshot!(check("SELECT", 1, 7, 1), @r"
        error: there is no column `pth`
          |
        1 | SELECT
          |       ^
        hint: did you mean `path`?
        ");
        assert_snapshot!(check("SELECT", 7, 1, 1), @r"
        error: there is no column `pth`
        hint: did you mean `path`?
        ");
        assert_snapshot!(check("SELECT", 1, usize::MAX, usize::MAX / 2), @r"
        error: there is no column `pth`
          |
        1 | SELECT
          |       ^
        hint: did you mean `path`?
        ");
    }

    #[test]
    fn a_long_line_is_shown_around_its_token() {
        let line = format!("SELECT {}, pth FROM files WHERE {}", "a".repeat(200), "b".repeat(200));
        assert_snapshot!(check(&line, 1, 210, 3), @r"
        error: there is no column `pth`
          |
        1 | …aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, pth FROM files WHERE bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb…
          |                                                              ^^^
        hint: did you mean `path`?
        ");
    }

    #[test]
    fn an_excerpt_fits_the_terminal() {
        let statement = "SELECT host, path, size, mtime, pth, mode, sha256 FROM files WHERE path UNDER '/etc'";
        let error = Error::usage("x").at(Some(Span { line: 1, column: 34, length: 3 }));
        assert_snapshot!(described(&error, Some(statement), &Terminal::default(), Some(40)), @r"
        error: x
          |
        1 | … size, mtime, pth, mode, sha256 FR…
          |                 ^^^
        ");
        for (line, column, width) in [
            (statement, 34, 20),
            (statement, 34, 7),
            (statement, 1, 30),
            (statement, 83, 30),
            ("漢字漢字漢字漢字", 4, 15),
        ] {
            let error = Error::usage("x").at(Some(Span { line: 1, column, length: 3 }));
            let text = described(&error, Some(line), &Terminal::default(), Some(width));
            assert!(text.lines().skip(1).all(|line| line.width() <= width), "{text}");
        }
    }

    #[test]
    fn the_first_of_130_3_2_1_6_4_5_counts() {
        let order = [130, 3, 2, 1, 6, 4, 5, 0];
        let mut all = [
            Exit::Complete,
            Exit::Internal,
            Exit::Usage,
            Exit::Unreachable,
            Exit::Incomplete,
            Exit::Cut,
            Exit::CheckFailed,
            Exit::Interrupted,
        ];
        all.sort();
        all.reverse();
        assert_eq!(all.map(Exit::code), order);
        assert_eq!(Exit::Cut.max(Exit::Incomplete).code(), 4);
    }
}
