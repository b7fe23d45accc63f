//! A text of many statements and commands, taken apart.

use canvass_planner::desk::Desk;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    Statement(String),
    /// A line that begins with a dot or a backslash, or says help, quit or exit.
    Command(String),
}

/// Whether a line, at the start of a statement, is a command.
pub fn is_command(line: &str) -> bool {
    let line = line.trim();
    let mut characters = line.chars();
    let marked = matches!(characters.next(), Some('.' | '\\'))
        && characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '?');
    let bare = line.trim_end_matches(';').trim_end().to_ascii_lowercase();
    marked || matches!(bare.as_str(), "help" | "quit" | "exit")
}

/// Takes a text apart; the last statement needs no `;`.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut pending = String::new();
    for line in text.split_inclusive('\n') {
        if pending.trim().is_empty() && is_command(line) {
            pieces.push(Piece::Command(line.trim().to_owned()));
            continue;
        }
        pending.push_str(line);
        // Splitting is as long as the text; only a `;` can end a statement.
        if line.contains(';') {
            let (statements, ended) = Desk::split(&pending);
            if ended {
                pieces.extend(statements.into_iter().map(Piece::Statement));
                pending.clear();
            }
        }
    }
    pieces.extend(Desk::split(&pending).0.into_iter().map(Piece::Statement));
    pieces.retain(|piece| !matches!(piece, Piece::Statement(text) if text.trim().is_empty()));
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_stand_at_the_start_of_a_statement() {
        for line in [".tables", "  \\d files", "help", "QUIT;", "exit ", ".?"] {
            assert!(is_command(line), "{line}");
        }
        for line in ["SELECT .5", ".5", "helpme", "", "quit now", "\\"] {
            assert!(!is_command(line), "{line}");
        }
    }
}
