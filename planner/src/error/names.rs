//! Names that stand for nothing: columns, tables, functions, fields of `agent`.

use std::sync::LazyLock;

use datafusion::common::SchemaError;

use super::{Error, Span, closest, in_our_words, locate, tidy};
use crate::catalog::{AGENT, AGENT_FIELDS, AGENTS, HOST};
use crate::session;
use crate::source::Source;

/// What columns are called elsewhere, and here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("hostname", "host"),
    ("host", "name"),
    ("file", "path"),
    ("filepath", "path"),
    ("file_path", "path"),
    ("fullpath", "path"),
    ("filename", "name"),
    ("file_name", "name"),
    ("basename", "name"),
    ("dir", "directory"),
    ("folder", "directory"),
    ("ppid", "parent_pid"),
    ("parent", "parent_pid"),
    ("cmdline", "command_line"),
    ("cmd", "command_line"),
    ("command", "command_line"),
    ("args", "command_line"),
    ("cwd", "working_directory"),
    ("username", "name"),
    ("start_time", "started_at"),
    ("resident_size", "memory_bytes"),
    ("rss", "memory_bytes"),
    ("remote_address", "remote_ip"),
    ("local_address", "local_ip"),
    ("modified", "mtime"),
];

/// Functions that are meant more often than others as close to what was typed.
const COMMON: &[&str] = &[
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "lower",
    "upper",
    "length",
    "substr",
    "concat",
    "coalesce",
    "now",
    "string_agg",
    "array_agg",
    "date_trunc",
    "split_part",
    "replace",
    "trim",
    "regexp_like",
    "regexp_replace",
    "round",
    "abs",
];

/// All functions, the common ones first.
static FUNCTIONS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut others = session::functions();
    others.retain(|name| !COMMON.contains(&name.as_str()));
    COMMON.iter().map(|name| (*name).to_owned()).chain(others).collect()
});

pub fn from_schema(error: &SchemaError, statement: &str, span: Option<Span>) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let error = Error::usage(format!("there is no column `{}`", field.flat_name()));
            let names: Vec<&str> = valid_fields.iter().map(|field| field.name.as_str()).collect();
            let relation = field.relation.as_ref().map(|relation| relation.table().to_owned());
            let error = match no_column(&field.name, relation.as_deref(), &names, statement) {
                Some(hint) => error.hint(hint),
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

pub fn from_plan(message: &str, statement: &str, span: Option<Span>) -> Error {
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
        let error = Error::usage(format!("there is no function `{function}`"));
        let error = match closest(function, FUNCTIONS.iter().map(String::as_str)) {
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
        let names = AGENT_FIELDS.iter().map(|field| field.name);
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

/// What was meant by a column that is not there.
fn no_column(name: &str, relation: Option<&str>, names: &[&str], statement: &str) -> Option<String> {
    let source = Source::new(statement);
    if source.find(&[format!("\"{name}\"").as_str()]).is_some()
        && !names.iter().any(|known| known.eq_ignore_ascii_case(name))
    {
        return Some(format!("text stands in single quotes: '{}'", name.replace('\'', "''")));
    }
    if relation == Some(AGENTS) && AGENT_FIELDS.iter().any(|field| field.name == name) {
        return Some(format!("what is known of a row's agent is `{AGENT}.{name}`"));
    }
    let is_known = |name: &str| names.contains(&name);
    // The inventory calls a host by its name; everywhere else `host` is a column.
    let elsewhere = ELSEWHERE.iter().find(|(other, here)| {
        name.eq_ignore_ascii_case(other) && is_known(here) && (*other != HOST || is_known("heartbeat_at"))
    });
    if let Some((_, here)) = elsewhere {
        return Some(format!("did you mean `{here}`?"));
    }
    if let Some(near) = closest(name, names.iter().copied()) {
        return Some(format!("did you mean `{}`?", as_typed(near)));
    }
    // `name = root`: a word on the right of a comparison is a text without its quotes.
    let compared = ["=", "<>", "!=", "~", "~*", "under", "like"];
    compared
        .iter()
        .any(|operator| source.find(&[*operator, name]).is_some())
        .then(|| format!("text stands in single quotes: '{name}'"))
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
