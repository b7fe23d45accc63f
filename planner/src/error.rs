//! What can be wrong with a statement, and where.

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

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
    /// A defect of ours.
    Internal,
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
                Some(name) => error.hint(format!("did you mean `{name}`?")),
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
        let name = table.strip_prefix("canvass.public.").unwrap_or(table);
        let error = Error::usage(format!("there is no table `{name}`"));
        let names = canvass_tables::TABLES.iter().map(|table| table.info().name).chain(["agents"]);
        let error = match closest(name, names) {
            Some(name) => error.hint(format!("did you mean `{name}`?")),
            None if name.contains('.') => error.hint("local files cannot be read in this version"),
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
    Error::usage(tidy(message)).at(span)
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

/// DataFusion's sentence in the style of ours: first letter small, no final stop, no name of the engine.
fn tidy(message: &str) -> String {
    let message = message.trim();
    let message = ["Error during planning: ", "Execution error: ", "External error: ", "type_coercion\ncaused by\n"]
        .iter()
        .fold(message, |message, prefix| message.strip_prefix(prefix).unwrap_or(message));
    let message = message.strip_suffix('.').unwrap_or(message);
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
