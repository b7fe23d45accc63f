//! The one engine that answers a scan: cheap tests first, probes for survivors only, projection, limits, accounts.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use canvass_protocol::answer::ScanRecord;
use canvass_protocol::filter::Filter;
use canvass_protocol::limits::Limits;
use canvass_protocol::scan::Scan;

use crate::host::Host;
use crate::table::Declared;

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
    /// Set from outside to stop early and keep what was found.
    pub stop: &'a AtomicBool,
}

/// Takes one frame: its number of rows and its Arrow IPC stream. An error stops the scan.
pub type Sink<'a> = dyn FnMut(u64, Vec<u8>) -> std::io::Result<()> + 'a;

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
    #[error("table `{table}` needs a bound on `{column}`")]
    Unbounded { table: String, column: String },
    #[error("cannot hand over the answer: {0}")]
    Sink(#[from] std::io::Error),
}

/// Answers a scan of whatever table it names.
pub fn run(request: &Request<'_>, sink: &mut Sink<'_>) -> Result<ScanRecord, ScanError> {
    let table = crate::find(&request.scan.table).ok_or_else(|| ScanError::UnknownTable(request.scan.table.clone()))?;
    table.scan(request, sink)
}

/// What a table's `collect` talks to: it takes rows and troubles, and says when to stop.
pub struct Collector<'a, R: 'static> {
    pub host: &'a Host,
    /// The scan's filter, for tables that can look in the right place at once.
    pub filter: Option<&'a Filter>,
    _rows: std::marker::PhantomData<R>,
}

impl<R> Collector<'_, R> {
    /// Tests, probes and projects a row; breaks when the scan is over (limit, deadline, stop).
    pub fn row(&mut self, row: R) -> ControlFlow<()> {
        let _ = row;
        ControlFlow::Continue(())
    }

    /// Notes that something went wrong without spoiling the rest.
    pub fn trouble(&mut self, subject: Option<&str>, reason: impl Into<String>) {
        let _ = (subject, reason.into());
    }

    /// Whether the filter or the answer names the column; what nobody wants need not be read.
    pub fn wants(&self, column: &str) -> bool {
        let _ = column;
        true
    }
}

pub(crate) fn scan<R>(
    table: &'static Declared<R>,
    request: &Request<'_>,
    sink: &mut Sink<'_>,
) -> Result<ScanRecord, ScanError> {
    let _ = (table, request, sink);
    Ok(ScanRecord::default())
}
