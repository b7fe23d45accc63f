//! What the parser says, and what was meant where a keyword is misspelt.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::{Error, Span, closest_of, tidy};
use crate::source::Source;

/// The words that statements are built of; `depth` and its like are columns, so that short ones are left out.
const KEYWORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP",
    "ORDER",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "OUTER",
    "CROSS",
    "NATURAL",
    "USING",
    "UNDER",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "EXISTS",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "DISTINCT",
    "VALUES",
    "WITH",
    "RECURSIVE",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW",
    "INTERVAL",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "OVER",
    "PARTITION",
    "ESCAPE",
    "NULL",
];

/// Words before the one that the parser stopped at among which the misspelt one is looked for: it took that for a name.
const BACK: usize = 4;

/// `sql parser error: Expected: an expression, found: FROM at Line: 1, Column: 8`
pub fn from_parser(message: &str, statement: &str) -> Error {
    let message = message.trim_start_matches("sql parser error: ").trim_start_matches("SQL error: ");
    let text = message.rfind(" at Line: ").map_or(message, |end| &message[..end]);
    let source = Source::new(statement);
    let words: Vec<&TokenWithSpan> = source.words().map(|(_, token)| token).filter(|token| !ends(token)).collect();
    let found = text.rsplit_once("found: ").map(|(_, found)| found.trim());
    if found == Some("EOF") {
        let missing = text.strip_suffix("EOF").unwrap_or(text);
        let error = Error::usage(tidy(&format!("{missing}the end")));
        return keyword_meant(&source, &words, words.len()).unwrap_or(error).at_if_none(source.end());
    }
    let Some((line, column)) = place(message) else { return Error::usage(tidy(text)) };
    let at = words.iter().position(|token| (token.span.start.line, token.span.start.column) == (line, column));
    // The parser may have gone one word too far.
    let is_found = |at: usize| found.is_none_or(|found| source.slice(words[at]) == found);
    let at = at.map(|at| if !is_found(at) && at > 0 && is_found(at - 1) { at - 1 } else { at });
    let Some(at) = at else { return Error::usage(tidy(text)).at(at_letter(statement, line, column)) };
    let error = missing_by(&source, &words, at)
        .or_else(|| keyword_meant(&source, &words, at))
        .or_else(|| other_systems(&source, &words, at));
    error.unwrap_or_else(|| Error::usage(tidy(text)).at(Some(source.span(words[at], words[at]))))
}

fn ends(token: &TokenWithSpan) -> bool {
    token.token == Token::SemiColon
}

fn place(message: &str) -> Option<(u64, u64)> {
    let number = |after: &str| {
        let rest = &message[message.rfind(after)? + after.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u64>().ok()
    };
    number("Line: ").zip(number("Column: ")).filter(|(line, _)| *line > 0)
}

/// A place in a text that has no words, such as one with an open quote.
fn at_letter(statement: &str, line: u64, column: u64) -> Option<Span> {
    let (line, column) = (usize::try_from(line).ok()?, usize::try_from(column).ok()?);
    let rest = statement.lines().nth(line.checked_sub(1)?).unwrap_or_default().chars().skip(column.saturating_sub(1));
    let length = rest.take_while(|c| c.is_alphanumeric() || *c == '_').count().max(1);
    Some(Span { line, column, length })
}

/// `ORDER path`, `GROUP path`.
fn missing_by(source: &Source<'_>, words: &[&TokenWithSpan], at: usize) -> Option<Error> {
    let word = source.slice(words[at]).to_uppercase();
    if !matches!(word.as_str(), "ORDER" | "GROUP") {
        return None;
    }
    let next = words.get(at + 1).map(|token| source.slice(token)).filter(|next| !next.eq_ignore_ascii_case("by"))?;
    let error = Error::usage(format!("{word} lacks its BY")).hint(format!("write {word} BY {next}"));
    Some(error.at(Some(source.span(words[at], words[at]))))
}

/// A name at the place of the error, or shortly before it, that is nearly a keyword.
fn keyword_meant(source: &Source<'_>, words: &[&TokenWithSpan], at: usize) -> Option<Error> {
    let nearest_first = (at.saturating_sub(BACK)..=at.min(words.len().checked_sub(1)?)).rev();
    for word in nearest_first.map(|at| words[at]) {
        let Token::Word(name) = &word.token else { continue };
        let typed = name.value.to_uppercase();
        if name.quote_style.is_some() || KEYWORDS.contains(&typed.as_str()) {
            continue;
        }
        if let Some(keyword) = closest_of(&typed, KEYWORDS.iter().copied(), |longest| if longest > 6 { 2 } else { 1 }) {
            let error = Error::usage(format!("`{}` is not understood here", name.value));
            return Some(error.hint(format!("did you mean `{keyword}`?")).at(Some(source.span(word, word))));
        }
    }
    None
}

/// Operators of other systems that the parser does not know.
fn other_systems(source: &Source<'_>, words: &[&TokenWithSpan], at: usize) -> Option<Error> {
    let word = source.slice(words[at]);
    let before = at.checked_sub(1).map_or("name", |at| source.slice(words[at]));
    let hint = match word.to_uppercase().as_str() {
        "GLOB" => format!("write {before} LIKE 'a%' for names that begin with a, or {before} ~ '^a.*z$'"),
        "MATCH" => format!("write {before} ~ 'pattern'"),
        "ISNULL" => format!("write {before} IS NULL"),
        "NOTNULL" => format!("write {before} IS NOT NULL"),
        _ => return None,
    };
    let error = Error::usage(format!("{} is not understood here", word.to_uppercase())).hint(hint);
    Some(error.at(Some(source.span(words[at], words[at]))))
}
