//! Characters that a terminal would obey, reorder or hide, made visible.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character changes what a terminal shows beyond itself: controls, bidi marks, invisible ones.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e01ef}')
}

/// The text with hidden characters spelled out: `\n`, `\x1b`, `\u{202e}`.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            '\r' => shown.push_str("\\r"),
            c if c.is_ascii_control() => {
                let _ = write!(shown, "\\x{:02x}", u32::from(c));
            }
            c if is_hidden(c) => {
                let _ = write!(shown, "\\u{{{:x}}}", u32::from(c));
            }
            c => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Like [`visible`], for cells: a backslash is doubled, so that a line end and the letters `\\n` are told apart.
pub fn visible_cell(text: &str) -> Cow<'_, str> {
    if text.contains('\\') { Cow::Owned(visible(&text.replace('\\', "\\\\")).into_owned()) } else { visible(text) }
}

/// Like [`visible`], for text of several lines: line ends stay.
pub fn visible_lines(text: &str) -> String {
    text.lines().map(visible).collect::<Vec<_>>().join("\n")
}

/// The text as a JSON string; hidden characters are written as escapes, which any reader turns back.
pub fn json_string(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            c if is_hidden(c) => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    let _ = write!(json, "\\u{unit:04x}");
                }
            }
            c => json.push(c),
        }
    }
    json.push('"');
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_spelled_out() {
        let check = |text: &str, expected: &str| assert_eq!(visible(text), expected);
        check("plain ünï 🦀", "plain ünï 🦀");
        check("a\nb\tc\rd", "a\\nb\\tc\\rd");
        check("\x1b[31m\x07\x7f\0", "\\x1b[31m\\x07\\x7f\\x00");
        check("\u{9b}31m", "\\u{9b}31m");
        check("evil\u{202e}gpj.exe", "evil\\u{202e}gpj.exe");
        check("a\u{2066}b\u{feff}c\u{e0041}", "a\\u{2066}b\\u{feff}c\\u{e0041}");
    }

    /// Letters and marks that look like nothing: two names that differ in them alone look the same.
    #[test]
    fn what_looks_like_nothing_is_spelled_out() {
        for c in
            ['\u{34f}', '\u{115f}', '\u{1160}', '\u{200c}', '\u{200d}', '\u{3164}', '\u{fe00}', '\u{fe0f}', '\u{e0100}']
        {
            assert_eq!(visible(&format!("a{c}b")), format!("a\\u{{{:x}}}b", u32::from(c)));
        }
    }

    #[test]
    fn cells_that_differ_look_different() {
        let cells = ["a\nb", "a\\nb", "a\\\nb", "a\\\\nb", "\\x1b", "\x1b", "\\", "\\\\", "C:\\new"];
        let looks: std::collections::BTreeSet<_> = cells.iter().map(|cell| visible_cell(cell)).collect();
        assert_eq!(looks.len(), cells.len(), "{looks:?}");
        assert_eq!(visible_cell("C:\\new\n"), "C:\\\\new\\n");
    }

    #[test]
    fn json_strings_read_back_as_what_they_were() {
        for text in ["", "\"\\/", "a\nb\u{0}\u{1b}\u{7f}\u{9b}", "\u{202e}\u{2028}", "🦀\u{e0041}"] {
            let json = json_string(text);
            assert!(!json.contains(is_hidden), "{json}");
            assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }
}
