//! Tests of text, compiled once: what `=`, LIKE, `~` and UNDER mean for every text column and every fact.

use std::borrow::Cow;
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

use crate::filter::{Is, Pattern, Place, VersionTest};
use crate::limits;
use crate::value::{Truth, Value};

/// A pattern that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bad regular expression `{pattern}`: {reason}")]
pub struct PatternError {
    pub pattern: String,
    pub reason: String,
}

/// One test of text, ready to run.
#[derive(Debug, Clone)]
pub enum TextMatcher {
    Null,
    Compare(Comparison, String),
    In(Arc<HashSet<String>>),
    Regex(Regex),
    Under(Place),
    Private,
    Loopback,
    Version(VersionTest),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Comparison {
    /// The operator as SQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Comparison::Equal => "=",
            Comparison::NotEqual => "<>",
            Comparison::Less => "<",
            Comparison::LessOrEqual => "<=",
            Comparison::Greater => ">",
            Comparison::GreaterOrEqual => ">=",
        }
    }

    /// Whether `order`, of the column to the constant, satisfies the comparison.
    pub fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Comparison::Equal => order.is_eq(),
            Comparison::NotEqual => order.is_ne(),
            Comparison::Less => order.is_lt(),
            Comparison::LessOrEqual => order.is_le(),
            Comparison::Greater => order.is_gt(),
            Comparison::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Is {
    /// The comparison and its constant, where the test is one.
    pub fn comparison(&self) -> Option<(Comparison, &Value)> {
        match self {
            Is::Equal(value) => Some((Comparison::Equal, value)),
            Is::NotEqual(value) => Some((Comparison::NotEqual, value)),
            Is::Less(value) => Some((Comparison::Less, value)),
            Is::LessOrEqual(value) => Some((Comparison::LessOrEqual, value)),
            Is::Greater(value) => Some((Comparison::Greater, value)),
            Is::GreaterOrEqual(value) => Some((Comparison::GreaterOrEqual, value)),
            _ => None,
        }
    }
}

impl TextMatcher {
    /// Compiles a test; `None` where the test does not fit text (a number, a set, every_line).
    pub fn new(is: &Is) -> Result<Option<TextMatcher>, PatternError> {
        if let Some((comparison, value)) = is.comparison() {
            return Ok(match value {
                Value::Text(text) => Some(TextMatcher::Compare(comparison, text.clone())),
                _ => None,
            });
        }
        Ok(match is {
            Is::Null => Some(TextMatcher::Null),
            Is::In(values) => values
                .iter()
                .map(|value| match value {
                    Value::Text(text) => Some(text.clone()),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map(|texts| TextMatcher::In(Arc::new(texts))),
            Is::Like(pattern) => Some(TextMatcher::Regex(compile_like(pattern)?)),
            Is::Matches(pattern) => Some(TextMatcher::Regex(compile(pattern)?)),
            Is::Under(place) => Some(TextMatcher::Under(place.clone())),
            Is::Private => Some(TextMatcher::Private),
            Is::Loopback => Some(TextMatcher::Loopback),
            Is::Version(test) => Some(TextMatcher::Version(test.clone())),
            _ => None,
        })
    }

    /// Tests a value; NULL is unknown to all but `Null`.
    pub fn test(&self, value: Option<&str>) -> Truth {
        let Some(text) = value else {
            return if matches!(self, TextMatcher::Null) { Truth::True } else { Truth::Unknown };
        };
        match self {
            TextMatcher::Null => Truth::False,
            TextMatcher::Compare(comparison, constant) => comparison.holds(text.cmp(constant.as_str())).into(),
            TextMatcher::In(values) => values.contains(text).into(),
            TextMatcher::Regex(regex) => regex.is_match(text).into(),
            TextMatcher::Under(place) => place.holds(text).into(),
            TextMatcher::Private => text.parse().ok().map(is_private).into(),
            TextMatcher::Loopback => text.parse().ok().map(is_loopback).into(),
            TextMatcher::Version(test) => test.holds(text).into(),
        }
    }
}

/// Compiles a regular expression with the size limits of [`limits`].
pub fn compile(pattern: &Pattern) -> Result<Regex, PatternError> {
    RegexBuilder::new(&pattern.pattern)
        .case_insensitive(pattern.ignore_case)
        .size_limit(limits::REGEX_BYTES_MAX)
        .dfa_size_limit(limits::REGEX_BYTES_MAX)
        .build()
        .map_err(|error| PatternError { pattern: pattern.pattern.clone(), reason: error.to_string() })
}

/// Compiles a pattern, or a LIKE pattern that must fit the whole value, where it takes no more bytes than these; `None` where
/// it takes more.
pub fn compile_within(pattern: &Pattern, like: bool, bytes: usize) -> Result<Option<Regex>, PatternError> {
    #[cfg(test)]
    COMPILED.set(COMPILED.get() + 1);
    let text = if like { Cow::Owned(like_to_regex(&pattern.pattern)) } else { Cow::Borrowed(&*pattern.pattern) };
    let mut regex = RegexBuilder::new(&text);
    match regex.case_insensitive(pattern.ignore_case).size_limit(bytes).dfa_size_limit(bytes).build() {
        Ok(regex) => Ok(Some(regex)),
        Err(regex::Error::CompiledTooBig(_)) => Ok(None),
        Err(error) => Err(PatternError { pattern: pattern.pattern.clone(), reason: error.to_string() }),
    }
}

#[cfg(test)]
thread_local! {
    /// How many patterns were compiled.
    pub(crate) static COMPILED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Compiles a LIKE pattern, which must fit the whole value; `\` escapes.
pub fn compile_like(pattern: &Pattern) -> Result<Regex, PatternError> {
    compile(&Pattern { pattern: like_to_regex(&pattern.pattern), ignore_case: pattern.ignore_case })
}

/// Translates a LIKE pattern into a regular expression that fits the whole value, line ends included.
///
/// A `%` at either end is said by leaving out the anchor, which lets the regex engine look for what stands between.
pub fn like_to_regex(pattern: &str) -> String {
    let mut regex = String::from("(?s)");
    let pattern = match pattern.strip_prefix('%') {
        Some(rest) => rest,
        None => {
            regex.push('^');
            pattern
        }
    };
    let mut open_end = pattern.is_empty() && !regex.ends_with('^');
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        open_end = character == '%' && characters.as_str().is_empty();
        match character {
            '%' if open_end => {}
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            '\\' => regex.push_str(&regex::escape(characters.next().unwrap_or('\\').encode_utf8(&mut [0; 4]))),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    if !open_end {
        regex.push('$');
    }
    regex
}

/// Whether an address is of a private range: RFC 1918, RFC 4193, link-local or loopback.
pub fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local() || v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_loopback(),
    }
}

/// Whether an address is of 127.0.0.0/8 or ::1.
pub fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
