//! The one engine that answers a scan: cheap tests first, probes for survivors only, projection, limits, accounts.

mod batch;
pub(crate) mod cells;
mod collector;
mod content;
pub(crate) mod decompress;
mod digest;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grams;
mod lines;
mod long;
mod needles;
mod reading;
mod search;
mod shared;
mod source;
mod watch;

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;

use canvass_protocol::answer::ScanRecord;
use canvass_protocol::filter::Pattern;
use canvass_protocol::limits::Limits;
use canvass_protocol::matcher::PatternError;
use canvass_protocol::scan::Scan;

use crate::bound;
use crate::column::Class;
use crate::filter::Program;
use crate::host::Host;
use crate::module::Sockets;
use crate::table::{Declared, Table as _};

pub use collector::Collector;
pub(crate) use content::ContentTests;
pub use digest::Algorithm;
pub(crate) use digest::hex;
use shared::Shared;
pub(crate) use watch::Watch;

/// Whether the lines of content can be asked for a regular expression, which may match bytes that are no text.
pub fn check_line_pattern(pattern: &Pattern) -> Result<(), PatternError> {
    let wrong = |reason| PatternError { pattern: pattern.pattern.clone(), reason };
    lines::LinePattern::regex(pattern).map(drop).map_err(wrong)
}

/// One scan, as an endpoint is to run it.
pub struct Request<'a> {
    pub host: &'a Host,
    pub scan: &'a Scan,
    /// Already clamped by policy.
    pub limits: Limits,
    /// Columns that policy withholds: NULL before any filter.
    pub withheld: &'a [String],
    /// Paths that no scan enters: the agent's own key, data and spool, and what policy names.
    pub forbidden: &'a [String],
    /// Workers that the scan may have; no more than the machine has cores for.
    pub threads: NonZeroUsize,
    /// Opened for what the table's module needs.
    pub sockets: &'a Sockets,
    /// Set from outside to stop early and keep what was found.
    pub stop: &'a AtomicBool,
}

/// Takes one frame: its number of rows and its Arrow IPC stream. An error stops the scan.
pub type Sink<'a> = dyn FnMut(u64, Vec<u8>) -> std::io::Result<()> + Send + 'a;

/// Why a scan cannot be run at all.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error("unknown table `{0}`")]
    UnknownTable(String),
    #[error("table `{table}` has no column `{column}`")]
    UnknownColumn { table: String, column: String },
    #[error("column `{0}` is content and cannot be returned")]
    ContentReturned(String),
    #[error("column `{column}` cannot be tested so: {reason}")]
    BadTest { column: String, reason: String },
    #[error("table `{table}` needs a bound on {missing}")]
    Unbounded { table: String, missing: String },
    #[error("table `{table}` cannot answer `{member}` yet")]
    Unsupported { table: String, member: &'static str },
    #[error("cannot hand over the answer: {0}")]
    Sink(#[from] std::io::Error),
}

/// Answers a scan of whatever table it names.
pub fn run(request: &Request<'_>, sink: &mut Sink<'_>) -> Result<ScanRecord, ScanError> {
    let table = crate::find(&request.scan.table).ok_or_else(|| ScanError::UnknownTable(request.scan.table.clone()))?;
    table.scan(request, sink)
}

/// Answers a scan of one table: everything is checked and compiled before the first row is collected.
pub(crate) fn scan<R>(
    table: &'static Declared<R>,
    request: &Request<'_>,
    sink: &mut Sink<'_>,
) -> Result<ScanRecord, ScanError> {
    let plan = plan(table, request)?;
    let shared = Shared::new(request, sink);
    let mut collector = Collector::new(table, request, plan, &shared);
    if table.info.live && !request.host.is_live() {
        let reason = format!("`{}` reads the running system, which a folder of fixtures is not", table.info.name);
        collector.trouble(None, reason);
    } else if !collector.is_over() {
        let _ = (table.collect)(&mut collector);
    }
    let record = collector.close();
    shared.finish(record)
}

/// A scan's names resolved to columns.
pub(crate) struct Plan {
    pub filter: Option<Program>,
    /// Indices of the answer's columns.
    pub projection: Vec<usize>,
    /// Of each column: whether policy withholds it.
    pub withheld: Vec<bool>,
    /// Of each column: whether filter or answer name it.
    pub wanted: Vec<bool>,
}

fn plan<R>(table: &'static Declared<R>, request: &Request<'_>) -> Result<Plan, ScanError> {
    let scan = request.scan;
    let unsupported = |member| ScanError::Unsupported { table: scan.table.clone(), member };
    let reads_content = table.columns.iter().any(|column| column.info.class == Class::Content);
    let members = [
        (scan.aggregate.is_some(), "aggregate"),
        (!scan.order.is_empty(), "order"),
        (scan.depends_on.is_some(), "depends_on"),
        (!scan.patterns.is_empty(), "patterns"),
        (!scan.blooms.is_empty(), "blooms"),
        (scan.options.decompress && !reads_content, "decompress"),
        (scan.options.follow && !table.info.follows, "follow"),
    ];
    if let Some((_, member)) = members.iter().find(|(present, _)| *present) {
        return Err(unsupported(member));
    }
    let index = |name: &String| {
        let found = table.columns.iter().position(|column| column.info.name == name);
        found.ok_or_else(|| ScanError::UnknownColumn { table: scan.table.clone(), column: name.clone() })
    };
    let projection = scan.columns.iter().map(index).collect::<Result<Vec<_>, _>>()?;
    if let Some(&content) = projection.iter().find(|&&column| table.columns[column].info.class == Class::Content) {
        return Err(ScanError::ContentReturned(table.columns[content].info.name.to_owned()));
    }
    if let Some(bound) = table.info.bound
        && let Some(missing) = bound::missing(scan.filter.as_ref(), &bound.keys, &scan.sets)
    {
        return Err(ScanError::Unbounded { table: scan.table.clone(), missing });
    }
    // Where there is one key the table looks nowhere but in its roots; of several it may look by any.
    let filter = match (&scan.filter, table.info.bound.and_then(|bound| bound.keys.column())) {
        (Some(filter), Some(column)) => Some(bound::within_roots(filter, column, &scan.sets)),
        (filter, _) => filter.clone(),
    };
    let filter = filter.map(|filter| Program::compile(&filter, table, scan)).transpose()?;
    let mut wanted = vec![false; table.columns.len()];
    projection.iter().for_each(|&column| wanted[column] = true);
    if let Some(program) = &filter {
        program.for_each_column(&mut |column| wanted[column] = true);
    }
    let withheld = table.columns().iter().map(|info| request.withheld.iter().any(|name| name == info.name)).collect();
    Ok(Plan { filter, projection, withheld, wanted })
}
