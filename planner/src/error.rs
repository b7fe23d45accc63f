//! What can be wrong with a statement, and where.

mod arithmetic;
mod names;
mod syntax;

use datafusion::common::Column;
use datafusion::error::DataFusionError;

use crate::refusal;
use crate::source::Source;

/// An error to show to the investigator.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    pub kind: ErrorKind,
    /// Lower case, names the thing in backticks, no final stop.
    pub message: String,
    /// What to do instead.
    pub hint: Option<String>,
    /// Where in the statement's text, in characters.
    pub span: Option<Span>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The statement or a setting is wrong; nothing was sent.
    Usage,
    /// The fleet cannot be reached, or does not let us in.
    Unreachable,
    /// A defect of ours, or rows that could not be put together after endpoints were asked.
    Internal,
    /// Somebody pressed Ctrl-C.
    Stopped,
}

/// A place in a statement: line and column count from 1, `length` is at least 1; all in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

impl Error {
    pub fn usage(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Usage, message: message.into(), hint: None, span: None }
    }

    pub fn internal(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Internal, message: message.into(), hint: None, span: None }
    }

    /// The same error, found when the question was under way already: it is no longer one where nothing was sent.
    pub(crate) fn after_asking(mut self) -> Error {
        if self.kind == ErrorKind::Usage {
            self.kind = ErrorKind::Internal;
            self.hint.get_or_insert_with(|| "the rows could not be put together; endpoints were asked".to_owned());
        }
        self
    }

    pub fn stopped() -> Error {
        Error { kind: ErrorKind::Stopped, message: "stopped by Ctrl-C".to_owned(), hint: None, span: None }
    }

    pub fn unreachable(message: impl Into<String>) -> Error {
        Error { kind: ErrorKind::Unreachable, message: message.into(), hint: None, span: None }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into());
        self
    }

    pub fn at(mut self, span: Option<Span>) -> Error {
        self.span = span;
        self
    }

    fn at_if_none(mut self, span: Option<Span>) -> Error {
        self.span = self.span.or(span);
        self
    }
}

impl Error {
    /// Tells an investigator what DataFusion found wrong with a statement.
    pub(crate) fn from_datafusion(error: &DataFusionError, statement: &str) -> Error {
        if let Some(ours) = ours(error) {
            return ours.clone();
        }
        let root = error.find_root();
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span).and_then(from_sql_span);
        if let Some((message, hint)) = refusal::of(&root.strip_backtrace()) {
            return Error::usage(message).hint(hint).at(span);
        }
        match root {
            DataFusionError::SQL(parser, _) => syntax::from_parser(&parser.to_string(), statement),
            DataFusionError::SchemaError(schema, _) => names::from_schema(schema, statement, span),
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                arithmetic::from_types(message, statement).unwrap_or_else(|| names::from_plan(message, statement, span))
            }
            DataFusionError::ArrowError(error, _) => arithmetic::from_arrow(error, statement),
            DataFusionError::Execution(message) => {
                arithmetic::from_sum(message).unwrap_or_else(|| Error::usage(tidy(&root.strip_backtrace())).at(span))
            }
            DataFusionError::Internal(message) => Error::internal(tidy(message)),
            DataFusionError::ResourcesExhausted(message) => {
                Error::internal(format!("the plan needs more memory than it may fill: {}", tidy(message)))
                    .hint("narrow it by WHERE, name fewer columns, or join the smaller side first")
            }
            other => Error::usage(tidy(&other.strip_backtrace())).at(span),
        }
    }
}

/// Our own error inside DataFusion's, wherever it was wrapped.
fn ours(error: &DataFusionError) -> Option<&Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours);
        }
        if let Some(DataFusionError::External(inner)) = error.downcast_ref::<DataFusionError>()
            && let Some(ours) = inner.downcast_ref::<Error>()
        {
            return Some(ours);
        }
        next = error.source();
    }
    None
}

fn from_sql_span(span: datafusion::common::Span) -> Option<Span> {
    let line = usize::try_from(span.start.line).ok().filter(|line| *line > 0)?;
    let column = usize::try_from(span.start.column).ok()?;
    let end = usize::try_from(span.end.column).unwrap_or(column);
    let length = if span.end.line == span.start.line { end.saturating_sub(column).max(1) } else { 1 };
    Some(Span { line, column, length })
}

/// Types as QUERY names them, for DataFusion's.
fn in_our_words(message: &str) -> String {
    const NAMES: [(&str, &str); 8] = [
        ("Timestamp(ns, \"+00:00\")", "timestamp"),
        ("Timestamp(ns, \"UTC\")", "timestamp"),
        ("Timestamp(ns)", "timestamp"),
        ("Utf8", "text"),
        ("UInt64", "integer"),
        ("Int64", "integer"),
        ("Float64", "float"),
        ("Boolean", "boolean"),
    ];
    NAMES.iter().fold(message.to_owned(), |message, (theirs, ours)| message.replace(theirs, ours))
}

/// The name closest to what was typed, if any is close.
pub fn closest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    closest_of(typed, names, |longest| (longest / 3).max(1))
}

/// Likewise, with as many letters changed as are allowed for the length of the longer name; of two as close the first.
fn closest_of<'a>(
    typed: &str,
    names: impl Iterator<Item = &'a str>,
    allowed: impl Fn(usize) -> usize,
) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    names
        .map(|name| (strsim::damerau_levenshtein(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed(name.chars().count().max(typed.chars().count())))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Where a word first stands in a statement, whole and in any case.
pub(crate) fn locate(statement: &str, word: &str) -> Option<Span> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let length = word.chars().count();
    for (index, line) in statement.lines().enumerate() {
        let characters: Vec<char> = line.chars().collect();
        for start in 0..(characters.len() + 1).saturating_sub(length.max(1)) {
            let here = characters[start..start + length].iter().flat_map(|c| c.to_lowercase());
            let alone = (start == 0 || !is_part(characters[start - 1]))
                && characters.get(start + length).is_none_or(|after| !is_part(*after));
            if alone && here.eq(word.chars().flat_map(char::to_lowercase)) {
                return Some(Span { line: index + 1, column: start + 1, length });
            }
        }
    }
    None
}

/// Where a constant stands, as it is typed with its quotes, from the column that it is compared with on; else anywhere.
pub(crate) fn locate_constant(statement: &str, column: &Column, typed: &str) -> Option<Span> {
    let from = column.spans.first().and_then(from_sql_span);
    let (first, skip) = from.map_or((0, 0), |span| (span.line - 1, span.column - 1));
    let length = typed.chars().count();
    let number = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    for (index, line) in statement.lines().enumerate().skip(first) {
        let skip = if index == first { skip } else { 0 };
        let start = line.char_indices().nth(skip).map_or(line.len(), |(at, _)| at);
        for (at, _) in line[start..].match_indices(typed) {
            let (before, after) = (&line[..start + at], &line[start + at + typed.len()..]);
            let within = number(before.chars().next_back()) || number(after.chars().next());
            if typed.starts_with('\'') || !within {
                return Some(Span { line: index + 1, column: before.chars().count() + 1, length });
            }
        }
    }
    if from.is_some() { locate_constant(statement, &Column::from_name(""), typed) } else { None }
}

/// Where a text constant stands in a statement.
pub(crate) fn locate_text(statement: &str, text: &str) -> Option<Span> {
    Source::new(statement).find_text(text).or_else(|| locate(statement, text))
}

/// DataFusion's sentence in the style of ours: first letter small, no final stop, no name of the engine or of its types.
fn tidy(message: &str) -> String {
    let message = message.trim();
    let message = [
        "type_coercion\ncaused by\n",
        "Error during planning: ",
        "Execution error: ",
        "External error: ",
        "Arrow error: ",
        "Parser error: ",
        "Cast error: ",
        "Internal error: ",
    ]
    .iter()
    .fold(message, |message, prefix| message.strip_prefix(prefix).unwrap_or(message));
    let message = message.split("\nThis issue was likely caused by a bug").next().unwrap_or(message);
    let message = message.split(": While expanding wildcard").next().unwrap_or(message);
    let message = match message {
        "ANY in LIKE expression" => "LIKE ANY is not understood here; write LIKE … OR LIKE …",
        other => other,
    };
    let message = in_our_words(message);
    let message = message.strip_suffix('.').unwrap_or(&message);
    let mut characters = message.chars();
    match (characters.next(), characters.clone().next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            first.to_lowercase().chain(characters).collect()
        }
        _ => message.to_owned(),
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        DataFusionError::External(Box::new(error))
    }
}
