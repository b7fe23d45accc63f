//! A statement's text as its words stand in it: what was typed, and where.

use std::ops::Range;

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use crate::dialect;
use crate::error::Span;

/// A text and its tokens, white space among them.
pub struct Source<'a> {
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    pub tokens: Vec<TokenWithSpan>,
}

impl<'a> Source<'a> {
    /// Reads a text; one that cannot be read as SQL's words has none.
    pub fn new(text: &'a str) -> Source<'a> {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Source { text, lines, tokens: dialect::tokens(text).unwrap_or_default() }
    }

    /// The token that begins at a place.
    pub fn at(&self, start: Location) -> Option<usize> {
        self.tokens.iter().position(|token| token.span.start == start)
    }

    /// What was typed from one token up to another, with white space and comments folded to one space.
    pub fn folded(&self, range: Range<usize>) -> String {
        let mut folded = String::new();
        let mut apart = false;
        for token in self.tokens.get(range).unwrap_or_default() {
            if matches!(token.token, Token::Whitespace(_)) {
                apart = !folded.is_empty();
                continue;
            }
            if std::mem::take(&mut apart) {
                folded.push(' ');
            }
            folded.push_str(self.slice(token));
        }
        folded
    }

    /// What was typed from one token to another, both among it, folded likewise.
    pub fn between(&self, first: &TokenWithSpan, last: &TokenWithSpan) -> String {
        let at = |token: &TokenWithSpan| self.at(token.span.start).unwrap_or_default();
        self.folded(at(first)..at(last) + 1)
    }

    /// The letters of one token.
    pub fn slice(&self, token: &TokenWithSpan) -> &'a str {
        let (start, end) = (self.offset(token.span.start), self.offset(token.span.end));
        self.text.get(start..end.max(start)).unwrap_or_default()
    }

    fn offset(&self, place: Location) -> usize {
        let line = usize::try_from(place.line).ok().and_then(|line| self.lines.get(line.wrapping_sub(1)));
        let Some(&start) = line else { return self.text.len() };
        let skip = usize::try_from(place.column).unwrap_or(usize::MAX).saturating_sub(1);
        self.text[start..].char_indices().nth(skip).map_or(self.text.len(), |(at, _)| start + at)
    }

    /// The tokens that are words, numbers, signs and texts.
    pub fn words(&self) -> impl Iterator<Item = (usize, &TokenWithSpan)> {
        let is_word = |token: &Token| !matches!(token, Token::Whitespace(_) | Token::EOF);
        self.tokens.iter().enumerate().filter(move |(_, token)| is_word(&token.token))
    }

    /// Where the text ends: just behind its last word.
    pub fn end(&self) -> Option<Span> {
        let last = self.words().last()?.1;
        Some(Span { line: number(last.span.end.line), column: number(last.span.end.column), length: 1 })
    }

    /// Where a run of words first stands, in any case.
    pub fn find(&self, run: &[&str]) -> Option<Span> {
        let words: Vec<&TokenWithSpan> = self.words().map(|(_, token)| token).collect();
        let is = |token: &TokenWithSpan, word: &str| self.slice(token).eq_ignore_ascii_case(word);
        let found =
            words.windows(run.len().max(1)).find(|here| here.iter().zip(run).all(|(token, word)| is(token, word)))?;
        Some(self.span(found.first()?, found.last()?))
    }

    /// From the beginning of one token to the end of another; to the end of its line where that is further.
    pub fn span(&self, from: &TokenWithSpan, to: &TokenWithSpan) -> Span {
        let (line, column) = (number(from.span.start.line), number(from.span.start.column));
        let length = if to.span.end.line == from.span.start.line {
            number(to.span.end.column).saturating_sub(column)
        } else {
            self.text
                .lines()
                .nth(line.saturating_sub(1))
                .map_or(1, |text| text.chars().count() + 1)
                .saturating_sub(column)
        };
        Span { line, column, length: length.max(1) }
    }

    /// Where the value of a text constant stands, whatever quotes are around it.
    pub fn find_text(&self, value: &str) -> Option<Span> {
        let is = |token: &Token| match token {
            Token::SingleQuotedString(text)
            | Token::NationalStringLiteral(text)
            | Token::EscapedStringLiteral(text) => text == value,
            _ => false,
        };
        self.words().find(|(_, token)| is(&token.token)).map(|(_, token)| self.span(token, token))
    }
}

/// The keyword of a token, where it is one that is not quoted.
pub fn keyword(token: &Token) -> Option<Keyword> {
    match token {
        Token::Word(word) if word.quote_style.is_none() && word.keyword != Keyword::NoKeyword => Some(word.keyword),
        _ => None,
    }
}

fn number(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
