//! A statement in colours: keywords, texts, numbers, comments.

use nu_ansi_term::{Color, Style};

use crate::complete::KEYWORDS;
use crate::variables::opaque;

/// The line with colours; nothing but colours is added, so its width stays.
pub fn highlight(line: &str) -> String {
    highlight_after("", line)
}

/// The line as the statement whose beginning stands before it goes on there.
pub fn highlight_after(before: &str, line: &str) -> String {
    let text = format!("{before}{line}");
    let mut dressed = String::with_capacity(line.len() * 2);
    let mut at = 0;
    while let Some(first) = text[at..].chars().next() {
        let rest = &text[at..];
        let (length, style) = match opaque(&text, at) {
            0 => word(rest, first),
            length if first == '\'' || first == '$' => (length, Style::new().fg(Color::Green)),
            length if first == '"' => (length, Style::new()),
            length => (length, Style::new().dimmed()),
        };
        let own = at.max(before.len())..(at + length).max(before.len());
        if !own.is_empty() {
            dressed.push_str(&style.paint(&text[own]).to_string());
        }
        at += length;
    }
    dressed
}

fn word(rest: &str, first: char) -> (usize, Style) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if !is_word(first) {
        return (first.len_utf8(), Style::new());
    }
    let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    let word = &rest[..length];
    let style = if first.is_ascii_digit() {
        Style::new().fg(Color::Cyan)
    } else if KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word)) {
        Style::new().bold().fg(Color::Blue)
    } else {
        Style::new()
    };
    (length, style)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_colours_are_added() {
        for line in ["SELECT 'a''b', \"c\", 12 FROM x -- y", "/* open", "'open", "ünï 🦀 'x", "$$a$$ 1.5e3", ""] {
            let mut plain = String::new();
            let mut escape = false;
            for c in highlight(line).chars() {
                match c {
                    '\x1b' => escape = true,
                    'm' if escape => escape = false,
                    c if !escape => plain.push(c),
                    _ => {}
                }
            }
            assert_eq!(plain, line);
        }
    }

    #[test]
    fn a_line_goes_on_where_the_one_before_it_ended() {
        assert_eq!(highlight_after("SELECT 'a\n", "b' FROM"), "\x1b[32mb'\x1b[0m \x1b[1;34mFROM\x1b[0m");
        assert_eq!(highlight_after("SELECT 1 -- x\n", "FROM"), highlight("FROM"));
    }

    #[test]
    fn keywords_and_texts_differ() {
        assert_eq!(highlight("select 'x'"), "\x1b[1;34mselect\x1b[0m \x1b[32m'x'\x1b[0m");
    }
}
