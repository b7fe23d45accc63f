//! What a table is: a declaration, and a function that collects rows.

use std::ops::ControlFlow;

use arrow::datatypes::{Field, Schema};
use canvass_protocol::answer::ScanRecord;

use crate::column::{Column, ColumnInfo};
use crate::engine::{Collector, Request, ScanError, Sink};
use crate::module::Module;

/// What the planner, the shell, the policy and the manual know of a table.
#[derive(Debug, Clone, Copy)]
pub struct TableInfo {
    pub name: &'static str,
    pub module: Module,
    /// One sentence, without a final stop.
    pub about: &'static str,
    /// What must be bounded, and what bounding it means, e.g. `path` and "where to look".
    pub bound: Option<Bound>,
    /// Reads the running system, so a folder of fixtures has no answer.
    pub live: bool,
    /// Can enter folders behind links, where the scan says so.
    pub follows: bool,
    /// A statement that shows the table at work.
    pub example: &'static str,
}

/// Columns without a bound on which a table refuses to be asked.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    pub keys: Keys,
    /// What the bound says, for the message: "where to look".
    pub about: &'static str,
    /// A predicate that corrects a statement without one.
    pub example: &'static str,
}

/// Which columns have to be bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    Column(&'static str),
    /// This column, by `=` or IN alone: its values themselves are what is asked for.
    Values(&'static str),
    /// Every one of these; of none, nothing has to be.
    All(&'static [Keys]),
    /// At least one of these.
    Any(&'static [Keys]),
    /// This key, wherever `column` may be something else than `value`.
    Unless {
        key: &'static str,
        column: &'static str,
        value: &'static str,
    },
}

impl Keys {
    /// The columns, in declared order.
    pub fn columns(&self) -> Vec<&'static str> {
        match self {
            Keys::Column(column) | Keys::Values(column) | Keys::Unless { key: column, .. } => vec![column],
            Keys::All(parts) | Keys::Any(parts) => parts.iter().flat_map(Keys::columns).collect(),
        }
    }

    /// The one column, where it is only one.
    pub fn column(&self) -> Option<&'static str> {
        match self {
            Keys::Column(column) => Some(column),
            Keys::Values(_) | Keys::All(_) | Keys::Any(_) | Keys::Unless { .. } => None,
        }
    }

    fn join(f: &mut std::fmt::Formatter<'_>, parts: &[Keys], word: &str) -> std::fmt::Result {
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                write!(f, " {word} ")?;
            }
            match part {
                Keys::Column(_) | Keys::Values(_) | Keys::Unless { .. } => write!(f, "{part}")?,
                Keys::All(_) | Keys::Any(_) => write!(f, "({part})")?,
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Keys {
    /// Shows what has to be bounded: `` `pid` or `path` ``.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Keys::Column(column) | Keys::Values(column) => write!(f, "`{column}`"),
            Keys::Unless { key, column, value } => write!(f, "`{key}` (unless `{column}` = '{value}')"),
            Keys::All(parts) => Keys::join(f, parts, "and"),
            Keys::Any(parts) => Keys::join(f, parts, "or"),
        }
    }
}

/// A table as everybody but its own file sees it.
pub trait Table: Sync {
    fn info(&self) -> &TableInfo;

    /// The columns in declared order.
    fn columns(&self) -> Vec<&'static ColumnInfo>;

    /// Answers a scan: hands frames to `sink` as they fill, and returns what else there is to say.
    fn scan(&'static self, request: &Request<'_>, sink: &mut Sink<'_>) -> Result<ScanRecord, ScanError>;

    /// Finds a column by its name.
    fn column(&self, name: &str) -> Option<&'static ColumnInfo> {
        self.columns().into_iter().find(|column| column.name == name)
    }

    /// The Arrow schema of an answer with these columns; unknown names are left out.
    fn schema(&self, columns: &[String]) -> Schema {
        let field =
            |name: &String| self.column(name).map(|column| Field::new(column.name, column.kind.data_type(), true));
        Schema::new(columns.iter().filter_map(field).collect::<Vec<_>>())
    }
}

/// A table of rows of type `R`; the form in which all tables are declared.
pub struct Declared<R: 'static> {
    pub info: TableInfo,
    pub columns: &'static [Column<R>],
    /// Collects rows and hands each to the collector, which tests, probes and projects it; ends when told to break.
    pub collect: fn(&mut Collector<'_, R>) -> ControlFlow<()>,
}

impl<R: 'static> Table for Declared<R> {
    fn info(&self) -> &TableInfo {
        &self.info
    }

    fn columns(&self) -> Vec<&'static ColumnInfo> {
        self.columns.iter().map(|column| &column.info).collect()
    }

    fn scan(&'static self, request: &Request<'_>, sink: &mut Sink<'_>) -> Result<ScanRecord, ScanError> {
        crate::engine::scan(self, request, sink)
    }
}
