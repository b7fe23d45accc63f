//! A statement as it would be legal: the person's own, with the bound put in that a table lacks.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::error::Span;
use crate::source::{Source, keyword};

/// Words that a FROM or WHERE clause ends before.
const ENDS: &[Keyword] = &[
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::ORDER,
    Keyword::LIMIT,
    Keyword::OFFSET,
    Keyword::FETCH,
    Keyword::UNION,
    Keyword::EXCEPT,
    Keyword::INTERSECT,
    Keyword::QUALIFY,
    Keyword::WINDOW,
];

/// Where a table is named, and the statement with a predicate on it; the latter on one line.
pub fn with_bound(statement: &str, table: &str, predicate: &str) -> Option<(Span, String)> {
    let source = Source::new(statement);
    let words: Vec<&TokenWithSpan> = source.words().map(|(_, token)| token).collect();
    let is_table = |at: usize| source.slice(words[at]).eq_ignore_ascii_case(table);
    let opens_relation = |at: usize| match &words[at].token {
        Token::Comma | Token::Period => true,
        token => matches!(keyword(token), Some(Keyword::FROM | Keyword::JOIN)),
    };
    let at = (1..words.len()).find(|at| is_table(*at) && opens_relation(at - 1))?;
    let is_where = |at: usize| keyword(&words[at].token) == Some(Keyword::WHERE);
    let clause = end_of_clause(&words, at + 1, is_where);
    let several = is_joined(&words, at, clause);
    let name = alias(&source, &words, at).unwrap_or(source.slice(words[at]));
    let predicate = if several { format!("{name}.{predicate}") } else { predicate.to_owned() };

    let text = |from: usize, to: usize| -> String {
        match (words.get(from), to.checked_sub(1).and_then(|last| words.get(last))) {
            (Some(first), Some(last)) if from < to => source.between(first, last),
            _ => String::new(),
        }
    };
    let parts = if clause < words.len() && is_where(clause) {
        let end = end_of_clause(&words, clause + 1, |_| false);
        let condition = text(clause + 1, end);
        let condition = if has_or(&words[clause + 1..end]) { format!("({condition})") } else { condition };
        [text(0, clause), format!("WHERE {predicate} AND {condition}"), text(end, words.len())]
    } else {
        [text(0, clause), format!("WHERE {predicate}"), text(clause, words.len())]
    };
    let mut corrected = String::new();
    for part in parts.iter().filter(|part| !part.is_empty()) {
        if !corrected.is_empty() && !part.starts_with([')', ';']) {
            corrected.push(' ');
        }
        corrected.push_str(part);
    }
    Some((source.span(words[at], words[at]), corrected))
}

/// The first word behind a clause: one of [`ENDS`], a closing parenthesis of what is around, or what `also` says.
fn end_of_clause(words: &[&TokenWithSpan], from: usize, also: impl Fn(usize) -> bool) -> usize {
    let mut open = 0_usize;
    for (at, word) in words.iter().enumerate().skip(from) {
        match &word.token {
            Token::LParen => open += 1,
            Token::RParen if open == 0 => return at,
            Token::RParen => open -= 1,
            Token::SemiColon => return at,
            // `group` is a column too.
            token if open == 0 => {
                let ends = keyword(token).is_some_and(|word| ENDS.contains(&word));
                let by = words.get(at + 1).is_some_and(|next| keyword(&next.token) == Some(Keyword::BY));
                let needs_by = matches!(keyword(token), Some(Keyword::GROUP | Keyword::ORDER));
                if also(at) || (ends && (by || !needs_by)) {
                    return at;
                }
            }
            _ => {}
        }
    }
    words.len()
}

/// Whether the FROM clause around a table names others too.
fn is_joined(words: &[&TokenWithSpan], at: usize, end: usize) -> bool {
    let is_join =
        |word: &&&TokenWithSpan| matches!(word.token, Token::Comma) || keyword(&word.token) == Some(Keyword::JOIN);
    let comes_late =
        !matches!(keyword(&words[at - 1].token), Some(Keyword::FROM)) && !matches!(words[at - 1].token, Token::Period);
    comes_late || words[at..end].iter().any(|word| is_join(&word))
}

/// What a statement calls a table, where it gives it a name.
fn alias<'a>(source: &Source<'a>, words: &[&TokenWithSpan], at: usize) -> Option<&'a str> {
    let mut next = words.get(at + 1)?;
    if keyword(&next.token) == Some(Keyword::AS) {
        next = words.get(at + 2)?;
    }
    let is_name =
        matches!(&next.token, Token::Word(word) if word.keyword == Keyword::NoKeyword || word.quote_style.is_some());
    is_name.then(|| source.slice(next))
}

fn has_or(words: &[&TokenWithSpan]) -> bool {
    let mut open = 0_i32;
    words.iter().any(|word| {
        match word.token {
            Token::LParen => open += 1,
            Token::RParen => open -= 1,
            _ => {}
        }
        open == 0 && keyword(&word.token) == Some(Keyword::OR)
    })
}

#[cfg(test)]
mod tests {
    use super::with_bound;

    #[test]
    fn the_persons_own_statement_is_completed() {
        let cases = [
            ("SELECT path FROM files", "SELECT path FROM files WHERE path UNDER '/etc'"),
            (
                "select path from files where size > 5 order by path;",
                "select path from files WHERE path UNDER '/etc' AND size > 5 order by path;",
            ),
            (
                "SELECT path FROM files WHERE size > 5 OR uid = 0 LIMIT 3",
                "SELECT path FROM files WHERE path UNDER '/etc' AND (size > 5 OR uid = 0) LIMIT 3",
            ),
            (
                "SELECT f.path FROM users u JOIN files f ON f.host = u.host",
                "SELECT f.path FROM users u JOIN files f ON f.host = u.host WHERE f.path UNDER '/etc'",
            ),
            (
                "SELECT count(*) FROM (SELECT path FROM files WHERE uid = 0) x",
                "SELECT count(*) FROM (SELECT path FROM files WHERE path UNDER '/etc' AND uid = 0) x",
            ),
            (
                "SELECT group, count(*) FROM files WHERE group = 'root' GROUP BY group",
                "SELECT group, count(*) FROM files WHERE path UNDER '/etc' AND group = 'root' GROUP BY group",
            ),
            (
                "SELECT path -- of what?\nFROM files AS f, users AS u",
                "SELECT path FROM files AS f, users AS u WHERE f.path UNDER '/etc'",
            ),
        ];
        for (statement, expected) in cases {
            let corrected = with_bound(statement, "files", "path UNDER '/etc'").map(|(_, corrected)| corrected);
            assert_eq!(corrected.as_deref(), Some(expected));
        }
        assert!(with_bound("SELECT 1", "files", "path UNDER '/etc'").is_none());
    }
}
