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
        if is_command(line) && Desk::split(&pending).0.is_empty() {
            pending.clear();
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
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_comes_apart() {
        let statement = |text: &str| Piece::Statement(text.to_owned());
        let command = |text: &str| Piece::Command(text.to_owned());
        let check = |text: &str, expected: &[Piece]| assert_eq!(pieces(text), expected, "{text}");
        check("", &[]);
        check(" ;; -- nothing\n", &[]);
        check("SELECT 1", &[statement("SELECT 1")]);
        check("SELECT 1;SELECT ';'", &[statement("SELECT 1"), statement("SELECT ';'")]);
        check(
            "-- first\n.mode json\nSELECT\n.5;\nquit\n",
            &[command(".mode json"), statement("SELECT\n.5"), command("quit")],
        );
        check("SELECT '\n.tables\n';\n\\d files", &[statement("SELECT '\n.tables\n'"), command("\\d files")]);
        check("SELECT 'open", &[statement("SELECT 'open")]);
    }

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
