//! Tables and their columns as rows, for `.tables`, `.schema` and `canvass tables`.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, StringArray};
use arrow::record_batch::RecordBatch;
use canvass_planner::catalog::{AGENT_FIELDS, AGENTS, AgentField};
use canvass_planner::error::{Error, closest};
use canvass_planner::past::PAST;
use canvass_tables::TABLES;
use canvass_tables::column::{Class, ColumnInfo};
use canvass_tables::table::Bound;

/// Rows of named columns; all of the same length.
pub fn batch(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch, Error> {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
        .map_err(|error| Error::internal(error.to_string()))
}

/// A column of texts.
pub fn texts<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// A column of texts, some of them unknown.
pub fn maybe_texts<T: AsRef<str>>(values: impl IntoIterator<Item = Option<T>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

/// Names of everything that can stand after FROM.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().map(|table| table.info().name).chain([AGENTS]).chain(PAST.iter().map(|table| table.name))
}

/// Whether a table's name fits a pattern: a part of it, or with `*` (or SQL's `%`) for any letters the whole of it.
pub fn fits(name: &str, pattern: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase().replace('%', "*");
    let Some((head, rest)) = pattern.split_once('*') else { return name.contains(&pattern) };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    true
}

/// The tables whose names fit: name, module, what must be bounded, and a sentence.
pub fn tables(pattern: &str) -> Result<RecordBatch, Error> {
    let bound = |bound: Bound| bound.keys.to_string().replace('`', "");
    let own = TABLES.iter().map(|table| table.info());
    let own = own.map(|info| (info.name, Some(info.module.name), info.bound.map(bound), info.about));
    let others = PAST.iter().map(|table| (table.name, None, None, table.about));
    let agents = (AGENTS, None, None, "the inventory, answered without asking any endpoint");
    let rows: Vec<_> = own.chain([agents]).chain(others).filter(|row| fits(row.0, pattern)).collect();
    batch(vec![
        ("table", texts(rows.iter().map(|row| row.0))),
        ("module", maybe_texts(rows.iter().map(|row| row.1))),
        ("bound", maybe_texts(rows.iter().map(|row| row.2.as_deref()))),
        ("about", texts(rows.iter().map(|row| row.3))),
    ])
}

/// The columns of one table.
pub fn columns(table: &str) -> Result<RecordBatch, Error> {
    let name = table.trim().trim_end_matches(';').to_ascii_lowercase();
    if name == AGENTS {
        return agent_columns();
    }
    if let Some(past) = PAST.iter().find(|table| table.name == name) {
        let columns = past.columns;
        return batch(vec![
            ("column", texts(columns.iter().map(|column| column.name))),
            ("type", texts(columns.iter().map(|column| column.kind.as_str()))),
            ("about", texts(columns.iter().map(|column| column.about))),
        ]);
    }
    let Some(table) = canvass_tables::find(&name) else {
        let error = Error::usage(format!("there is no table `{name}`"));
        return Err(match closest(&name, names()) {
            Some(close) => error.hint(format!("did you mean `{close}`?")),
            None => error.hint("`.tables` lists what can be asked"),
        });
    };
    let columns = table.columns();
    let bound = table.info().bound.map(|bound| bound.keys.columns()).unwrap_or_default();
    batch(vec![
        ("column", texts(columns.iter().map(|column| column.name))),
        ("type", texts(columns.iter().map(|column| column.kind.as_str()))),
        ("class", texts(columns.iter().map(|column| column.class.as_str()))),
        ("in_star", Arc::new(columns.iter().map(|column| Some(in_star(column))).collect::<BooleanArray>())),
        ("about", texts(columns.iter().map(|column| about(column, &bound)))),
    ])
}

/// Whether `*` shows the column.
fn in_star(column: &ColumnInfo) -> bool {
    !column.probe && column.class != Class::Content
}

fn about(column: &ColumnInfo, bound: &[&str]) -> String {
    let values = if column.values().is_empty() { String::new() } else { format!(" ({})", column.values().join(", ")) };
    let required = if bound.contains(&column.name) { "; must be bounded" } else { "" };
    format!("{}{values}{required}", column.about)
}

fn agent_columns() -> Result<RecordBatch, Error> {
    batch(vec![
        ("column", texts(AGENT_FIELDS.iter().map(|field| field.name))),
        ("type", texts(AGENT_FIELDS.iter().map(AgentField::kind))),
        ("said_by", texts(AGENT_FIELDS.iter().map(|field| field.said_by.as_str()))),
        ("about", texts(AGENT_FIELDS.iter().map(|field| field.about))),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_has_columns_to_show() {
        assert_eq!(tables("").unwrap().num_rows(), TABLES.len() + 1 + PAST.len());
        for name in names() {
            assert!(columns(name).unwrap().num_rows() > 0, "{name}");
        }
    }

    #[test]
    fn names_fit_patterns() {
        for (pattern, expected) in [
            ("", true),
            ("file", true),
            ("FILES", true),
            ("net", false),
            ("f*", true),
            ("*s", true),
            ("f%e*", true),
            ("*l*s*", true),
            ("f*x", false),
            ("*file", false),
            ("files*s", false),
        ] {
            assert_eq!(fits("files", pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn an_unknown_table_is_corrected() {
        let error = columns("proceses").unwrap_err();
        assert_eq!(error.hint.as_deref(), Some("did you mean `processes`?"));
    }
}
