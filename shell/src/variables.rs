//! `-v name=value`: variables in a statement become literals, never text of the statement.

use std::collections::BTreeMap;

use canvass_planner::error::{Error, Span, closest};

/// Reads `name=value`.
pub fn parse(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as `name=value`")?;
    let mut characters = name.chars();
    let is_name = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        return Err(format!("`{name}` is not a name: letters, digits and `_` only"));
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// The value as an SQL literal in quotes.
pub fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A whole number stays a number, so that `LIMIT :n` and `pid = :pid` mean what they say; all else is text.
fn literal(value: &str) -> String {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let whole = !digits.is_empty()
        && digits.len() <= 18
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'));
    match (whole, value.starts_with('-')) {
        // Bare, a second minus before it would begin a comment.
        (true, true) => format!("({value})"),
        (true, false) => value.to_owned(),
        (false, _) => quoted(value),
    }
}

/// Replaces `:name` and `:'name'` outside quotes and comments; `::` casts and slices are left alone.
pub fn substitute(statement: &str, variables: &BTreeMap<String, String>) -> Result<String, Error> {
    let mut scanner = Scanner { text: statement, position: 0, previous: None };
    let mut result = String::with_capacity(statement.len());
    while let Some(piece) = scanner.next() {
        match piece {
            Piece::Plain(text) => result.push_str(text),
            Piece::Variable { name, text_wanted, start } => match variables.get(name) {
                Some(value) if text_wanted => result.push_str(&quoted(value)),
                Some(value) => result.push_str(&literal(value)),
                None => return Err(unknown(statement, name, start, variables)),
            },
        }
    }
    Ok(result)
}

fn unknown(statement: &str, name: &str, start: usize, variables: &BTreeMap<String, String>) -> Error {
    let before = &statement[..start];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let error = Error::usage(format!("variable `{name}` has no value"));
    let error = error.at(Some(Span { line, column, length: name.chars().count() + 1 }));
    match closest(name, variables.keys().map(String::as_str)) {
        Some(close) => error.hint(format!("did you mean `:{close}`?")),
        None => error.hint(format!("give it one with `-v {name}=…`")),
    }
}

enum Piece<'a> {
    Plain(&'a str),
    Variable { name: &'a str, text_wanted: bool, start: usize },
}

/// Walks a statement in pieces, so that quotes and comments are passed over whole.
struct Scanner<'a> {
    text: &'a str,
    position: usize,
    previous: Option<char>,
}

impl<'a> Scanner<'a> {
    fn next(&mut self) -> Option<Piece<'a>> {
        let start = self.position;
        let rest = &self.text[start..];
        let first = rest.chars().next()?;
        let opaque = opaque(self.text, start);
        if opaque > 0 {
            return Some(self.plain(opaque));
        }
        if rest.starts_with("::") {
            return Some(self.plain(2));
        }
        let after_value = |c: char| is_word(c) || matches!(c, ']' | ')' | '\'' | '"');
        if first == ':' && !self.previous.is_some_and(after_value) {
            let (body, text_wanted) = match rest[1..].strip_prefix('\'') {
                Some(body) => (body, true),
                None => (&rest[1..], false),
            };
            let length = body.find(|c| !is_word(c)).unwrap_or(body.len());
            let name = &body[..length];
            let named = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
            if named && (!text_wanted || body[length..].starts_with('\'')) {
                self.plain(1 + length + if text_wanted { 2 } else { 0 });
                return Some(Piece::Variable { name, text_wanted, start });
            }
        }
        Some(self.plain(first.len_utf8()))
    }

    fn plain(&mut self, length: usize) -> Piece<'a> {
        let text = &self.text[self.position..self.position + length];
        self.position += length;
        self.previous = text.chars().next_back();
        Piece::Plain(text)
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Bytes of the quote or comment that begins at `start`, 0 where none does; one that never ends reaches to the end.
pub fn opaque(text: &str, start: usize) -> usize {
    let rest = &text[start..];
    let mut before = text[..start].chars().rev();
    let previous = before.next();
    let until = |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    match rest.as_bytes() {
        [b'\'', ..] => {
            let prefixed = matches!(previous, Some('e' | 'E')) && !before.next().is_some_and(is_word);
            quote(rest, '\'', prefixed)
        }
        [b'"', ..] => quote(rest, '"', false),
        [b'-', b'-', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'$', ..] if !previous.is_some_and(is_word) => {
            let tag = rest[1..].find(|c| !is_word(c)).unwrap_or(rest.len() - 1);
            let digit = rest[1..].starts_with(|c: char| c.is_ascii_digit());
            if rest[1 + tag..].starts_with('$') && !digit { until(tag + 2, &rest[..tag + 2]) } else { 0 }
        }
        _ => 0,
    }
}

/// What a text is in the middle of at its end: the mark that an open quote, comment or parenthesis begins with.
pub fn open_at_end(text: &str) -> Option<char> {
    let (mut at, mut depth) = (0, 0usize);
    while let Some(first) = text[at..].chars().next() {
        match opaque(text, at) {
            0 => {
                depth = match first {
                    '(' => depth + 1,
                    ')' => depth.saturating_sub(1),
                    ';' => 0,
                    _ => depth,
                };
                at += first.len_utf8();
            }
            // One more letter would still belong to it.
            length if first != '-' && at + length == text.len() && opaque(&format!("{text} "), at) > length => {
                return Some(if first == '/' { '*' } else { first });
            }
            length => at += length,
        }
    }
    (depth > 0).then_some('(')
}

/// A doubled quote inside ends and begins a quote, which comes to the same.
fn quote(rest: &str, mark: char, backslash: bool) -> usize {
    let mut escaped = false;
    for (index, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if backslash => escaped = true,
            c if c == mark => return index + 1,
            _ => {}
        }
    }
    rest.len()
}

fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut depth, mut index) = (0usize, 0);
    while index + 1 < bytes.len() {
        match &bytes[index..index + 2] {
            b"/*" => (depth, index) = (depth + 1, index + 2),
            b"*/" if depth == 1 => return index + 2,
            b"*/" => (depth, index) = (depth - 1, index + 2),
            _ => index += 1,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> BTreeMap<String, String> {
        [("name", "o'brien"), ("n", "5"), ("minus", "-5"), ("zip", "007"), ("evil", "1; DROP TABLE x --"), ("e", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn variables_become_literals() {
        let check = |statement: &str, expected: &str| {
            assert_eq!(substitute(statement, &variables()).unwrap(), expected, "{statement}");
        };
        check("x = :name", "x = 'o''brien'");
        check("x = :'name' AND y=:n", "x = 'o''brien' AND y=5");
        check("x = :'n'", "x = '5'");
        check("1-:minus, :zip, :e", "1-(-5), '007', ''");
        check("WHERE x = :evil", "WHERE x = '1; DROP TABLE x --'");
        check("IN (:n,:n)", "IN (5,5)");
        check("UNDER :'name'", "UNDER 'o''brien'");
    }

    #[test]
    fn what_is_open_at_the_end() {
        for (text, expected) in [
            ("", None),
            ("SELECT 1\n", None),
            ("SELECT 'a\n", Some('\'')),
            ("SELECT 'a'", None),
            ("SELECT 'it''s", Some('\'')),
            ("SELECT \"a;\n", Some('"')),
            ("SELECT $$ a", Some('$')),
            ("/* a 'b", Some('*')),
            ("-- it's\n", None),
            ("-- it's", None),
            ("WHERE x IN ('a',\n", Some('(')),
            ("SELECT (1);", None),
            ("SELECT f(x) ||\n", None),
        ] {
            assert_eq!(open_at_end(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_variable_stays() {
        for statement in [
            "x::text, x :: text, '12:30'",
            "':name' \":name\" ':it''s :name'",
            "E'it\\':name'",
            "x LIKE'a\\' AND ':name'",
            "-- :name\n",
            "/* :name /* :name */ :name */",
            "$$ :name $$ $a$ :name $b$ $a$",
            "a[1:2], a[b:n], {'a':n}",
            "':name",
            "/* :name",
            ": name, :1, :'not closed",
            "ünï:name",
        ] {
            assert_eq!(substitute(statement, &variables()).unwrap(), statement);
        }
    }

    #[test]
    fn an_unknown_variable_is_pointed_at() {
        let error = substitute("SELECT 1\n  WHERE x = :nme", &variables()).unwrap_err();
        assert_eq!(error.message, "variable `nme` has no value");
        assert_eq!(error.hint.unwrap(), "did you mean `:name`?");
        assert_eq!(error.span, Some(Span { line: 2, column: 13, length: 4 }));
    }

    #[test]
    fn definitions() {
        assert_eq!(parse("a_1=x=y"), Ok(("a_1".into(), "x=y".into())));
        assert!(parse("a").is_err());
        assert!(parse("1a=x").is_err());
        assert!(parse("=x").is_err());
    }
}
