//! What can be wrong with a statement, and where.

use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;

use crate::refusal;

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
            DataFusionError::SQL(parser, _) => from_parser(&parser.to_string(), statement),
            DataFusionError::SchemaError(schema, _) => from_schema(schema, statement, span),
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                from_plan(message, statement, span)
            }
            DataFusionError::Internal(message) => Error::internal(tidy(message)),
            DataFusionError::ResourcesExhausted(message) => Error::internal(tidy(message)),
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

/// `sql parser error: Expected: an expression, found: FROM at Line: 1, Column: 8`
fn from_parser(message: &str, statement: &str) -> Error {
    let message = message.trim_start_matches("sql parser error: ").trim_start_matches("SQL error: ");
    let number = |after: &str| {
        let rest = &message[message.rfind(after)? + after.len()..];
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<usize>().ok()
    };
    let place = number("Line: ").zip(number("Column: "));
    let text = message.rfind(" at Line: ").map_or(message, |end| &message[..end]);
    let span = place.filter(|(line, _)| *line > 0).map(|(line, column)| {
        let rest = statement.lines().nth(line - 1).unwrap_or_default().chars().skip(column.saturating_sub(1));
        let length = rest.take_while(|c| c.is_alphanumeric() || *c == '_').count().max(1);
        Span { line, column, length }
    });
    Error::usage(tidy(text)).at(span)
}

fn from_schema(error: &SchemaError, statement: &str, span: Option<Span>) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let error = Error::usage(format!("there is no column `{}`", field.flat_name()));
            let names = valid_fields.iter().map(|field| field.name.as_str());
            let error = match closest(&field.name, names) {
                Some(name) => error.hint(format!("did you mean `{}`?", as_typed(name))),
                None => error,
            };
            error.at(span.or_else(|| locate(statement, &field.name)))
        }
        SchemaError::AmbiguousReference { field } => {
            Error::usage(format!("column `{}` stands in more than one table", field.name))
                .hint(format!("write the table before it, as in `t.{}`", field.name))
                .at(span.or_else(|| locate(statement, &field.name)))
        }
        other => Error::usage(tidy(&other.to_string())).at(span),
    }
}

fn from_plan(message: &str, statement: &str, span: Option<Span>) -> Error {
    let quoted = |prefix: &str| message.strip_prefix(prefix)?.split('\'').next();
    if let Some(table) = quoted("table '") {
        let name = table.strip_prefix("canvass.public.").or(table.strip_prefix("canvass.")).unwrap_or(table);
        let error = Error::usage(format!("there is no table `{name}`"));
        let names =
            canvass_tables::TABLES.iter().map(|table| table.info().name).chain(["agents", "actions", "commands"]);
        let error = match closest(name, names) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None if names_a_file(name) => error.hint(format!("put a file's name in quotes: FROM '{name}'")),
            None => error.hint("`.tables` lists what can be asked"),
        };
        return error.at(span.or_else(|| locate(statement, name)));
    }
    if let Some(function) = quoted("Invalid function '") {
        let suggestion = message.lines().find_map(|line| line.strip_prefix("Did you mean '"));
        let error = Error::usage(format!("there is no function `{function}`"));
        let suggestion = suggestion.and_then(|rest| rest.split('\'').next());
        let error = match suggestion.and_then(|name| closest(function, std::iter::once(name))) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None => error,
        };
        return error.at(span.or_else(|| locate(statement, function)));
    }
    if let Some(rest) = message.split("argument types '").nth(1) {
        let call = rest.rsplit_once("'. ").map_or(rest, |(call, _)| call);
        let function = call.split('(').next().unwrap_or(call);
        return Error::usage(format!("there is no `{}`", in_our_words(call)))
            .hint(format!("`{function}` takes other arguments; cast them, as in name::bigint or uid::text"))
            .at(span.or_else(|| locate(statement, function)));
    }
    if let Some(field) = message.strip_prefix("Field ").and_then(|rest| rest.split(" not found in struct").next())
        && message.contains(" not found in struct")
    {
        let error = Error::usage(format!("there is no column `agent.{field}`"));
        let names = crate::catalog::AGENT_FIELDS.iter().map(|field| field.name);
        let error = match closest(field, names) {
            Some(name) => error.hint(format!("did you mean `agent.{name}`?")),
            None => error,
        };
        return error.at(span.or_else(|| locate(statement, field)));
    }
    if let Some(rest) = message.strip_prefix("Cannot create filter with non-boolean predicate '") {
        let predicate = rest.split('\'').next().unwrap_or(rest);
        let typed = predicate.rsplit('.').next().unwrap_or(predicate);
        return Error::usage(format!("`{typed}` is neither true nor false"))
            .hint(format!("write a comparison, such as {typed} = …"))
            .at(span.or_else(|| locate(statement, typed)));
    }
    if message.contains("OuterReferenceColumn") {
        return Error::usage("a sub-query uses columns from around it where it cannot").hint("write a join").at(span);
    }
    if let Some(join) = message.strip_prefix("Unsupported JOIN operator ") {
        let words = join.split(['(', ' ']).next().unwrap_or_default();
        return Error::usage(format!("a join of kind `{words}` is not understood here"))
            .hint("write JOIN, LEFT JOIN, LEFT SEMI JOIN or LEFT ANTI JOIN … ON …")
            .at(span);
    }
    Error::usage(tidy(message)).at(span)
}

/// Types as QUERY names them, for DataFusion's.
fn in_our_words(message: &str) -> String {
    const NAMES: [(&str, &str); 7] = [
        ("Timestamp(ns, \"+00:00\")", "timestamp"),
        ("Timestamp(ns, \"UTC\")", "timestamp"),
        ("Timestamp(ns)", "timestamp"),
        ("Utf8", "text"),
        ("Int64", "integer"),
        ("Float64", "float"),
        ("Boolean", "boolean"),
    ];
    NAMES.iter().fold(message.to_owned(), |message, (theirs, ours)| message.replace(theirs, ours))
}

fn names_a_file(name: &str) -> bool {
    let endings = [".csv", ".json", ".jsonl", ".ndjson", ".parquet"];
    name.contains('/') || endings.iter().any(|ending| name.to_lowercase().ends_with(ending))
}

/// A column's name as a statement spells it: with large letters or spaces it needs quotes.
fn as_typed(name: &str) -> String {
    let plain = |c: char| c == '_' || c.is_ascii_digit() || c.is_lowercase();
    if name.chars().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The name closest to what was typed, if any is close.
pub fn closest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let typed = typed.to_lowercase();
    names
        .map(|name| (strsim::damerau_levenshtein(&typed, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count().max(typed.chars().count()) / 3).max(1))
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
