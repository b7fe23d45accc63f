//! What a table's `collect` talks to.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use arrow::record_batch::RecordBatch;
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::filter::Filter;
use canvass_protocol::limits::{Cut, FRAME_BYTES_MAX};
use canvass_protocol::scan::Scan;
use canvass_protocol::value::Truth;

use super::batch::{self, Batch};
use super::cells::Cells;
use super::{Plan, Request, ScanError, Sink, Watch};
use crate::bound::{self, Root};
use crate::column::Cell;
use crate::filter::Program;
use crate::frame;
use crate::host::Host;
use crate::table::{Declared, Table as _};

/// How long a row waits for others of its batch.
const FLUSH_AFTER: Duration = Duration::from_millis(100);

/// Takes rows and troubles, and says when to stop.
pub struct Collector<'a, R: 'static> {
    pub host: &'a Host,
    /// The scan's filter, for tables that can look in the right place at once.
    pub filter: Option<&'a Filter>,
    /// Paths that are not entered.
    pub forbidden: &'a [String],
    scan: &'a Scan,
    program: Option<Program>,
    projection: Vec<usize>,
    wanted: Vec<bool>,
    cells: Cells<'a, R>,
    batch: Batch,
    rows_max: u64,
    bytes_max: u64,
    /// Rows that passed, sent or not.
    found: u64,
    cut: Option<Cut>,
    done: bool,
    flushed_at: Instant,
    sink: &'a mut Sink<'a>,
    sink_error: Option<io::Error>,
}

impl<'a, R> Collector<'a, R> {
    pub(super) fn new<'s: 'a>(
        table: &'static Declared<R>,
        request: &'a Request<'_>,
        plan: Plan,
        sink: &'a mut Sink<'s>,
    ) -> Collector<'a, R> {
        let watch = Watch::new(&request.limits, request.stop);
        let kinds = plan.projection.iter().map(|&column| table.columns[column].info.kind);
        let batch = Batch::new(table.schema(&request.scan.columns), kinds);
        let mut cells = Cells::new(table.columns, request.host, watch, plan.withheld);
        for (index, column) in table.columns.iter().enumerate() {
            if cells.withheld[index] && plan.wanted[index] {
                cells.record.trouble(Some(column.info.name), "withheld by the agent's policy");
            }
        }
        Collector {
            host: request.host,
            filter: request.scan.filter.as_ref(),
            forbidden: request.forbidden,
            scan: request.scan,
            program: plan.filter,
            projection: plan.projection,
            wanted: plan.wanted,
            cells,
            batch,
            rows_max: request.limits.rows,
            bytes_max: request.limits.bytes,
            found: 0,
            cut: None,
            done: request.scan.limit == Some(0),
            flushed_at: Instant::now(),
            sink,
            sink_error: None,
        }
    }

    /// Tests, probes and projects a row; breaks when the scan is over (limit, deadline, stop).
    #[expect(clippy::needless_pass_by_value, reason = "a row is handed over, and what it holds open is let go here")]
    pub fn row(&mut self, row: R) -> ControlFlow<()> {
        self.examined()?;
        self.cells.next_row();
        let truth = match &self.program {
            Some(program) => program.evaluate(&row, &mut self.cells),
            None => Truth::True,
        };
        if self.cells.watch.cut().is_some() {
            // The watch ended a probe half way: what it says of this row is not to be believed.
            return ControlFlow::Break(());
        }
        if truth != Truth::True {
            return ControlFlow::Continue(());
        }
        if self.found >= self.rows_max {
            self.cut = Some(Cut::Rows);
            return ControlFlow::Break(());
        }
        self.keep(&row)?;
        if self.batch.rows >= batch::ROWS_MAX || self.batch.bytes >= batch::BYTES_MAX {
            self.flush()?;
        }
        if self.scan.limit.is_some_and(|limit| self.found >= limit) {
            self.done = true;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Counts a candidate that the table itself could rule out; breaks when the scan is over. A row is counted by
    /// [`Collector::row`].
    pub fn examined(&mut self) -> ControlFlow<()> {
        self.go_on()?;
        self.cells.record.examined += 1;
        ControlFlow::Continue(())
    }

    /// Breaks when the scan is over; for loops that meet no candidate for long.
    pub fn go_on(&mut self) -> ControlFlow<()> {
        if self.is_over() {
            return ControlFlow::Break(());
        }
        if self.batch.rows > 0 && self.cells.watch.now().duration_since(self.flushed_at) >= FLUSH_AFTER {
            self.flush()?;
        }
        ControlFlow::Continue(())
    }

    /// Notes that something went wrong without spoiling the rest.
    pub fn trouble(&mut self, subject: Option<&str>, reason: impl Into<String>) {
        self.cells.record.trouble(subject, reason);
    }

    /// Whether the filter or the answer names the column; what nobody wants need not be read.
    pub fn wants(&self, column: &str) -> bool {
        let index = self.cells.columns.iter().position(|known| known.info.name == column);
        index.is_some_and(|index| self.wanted[index] && !self.cells.withheld[index])
    }

    /// The roots outside which no row can pass, those within others included; `None` where the column is not bounded.
    pub(crate) fn places(&self, column: &str) -> Option<Vec<Root>> {
        bound::places_with(self.filter, column, &self.scan.sets)
    }

    pub(super) fn is_over(&self) -> bool {
        self.done || self.cut.is_some() || self.sink_error.is_some() || self.cells.watch.is_over()
    }

    fn keep(&mut self, row: &R) -> ControlFlow<()> {
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(self.projection.len());
        let mut bytes = 0;
        for &column in &self.projection {
            let mut cell = self.cells.take(row, column);
            if bytes + batch::size(&cell) > batch::ROW_BYTES_MAX {
                let name = self.cells.columns[column].info.name;
                self.cells.record.trouble(Some(name), format!("a value of {} bytes is too long", batch::size(&cell)));
                cell = Cell::Null;
            }
            bytes += batch::size(&cell);
            cells.push(cell);
        }
        if self.cells.watch.cut().is_some() {
            return ControlFlow::Break(());
        }
        if self.batch.rows > 0 && self.batch.bytes + bytes > batch::ROW_BYTES_MAX {
            self.flush()?;
        }
        if self.batch.rows == 0 && self.found > 0 && self.cells.watch.now() > self.flushed_at {
            // The batch begins now, so its first row waits its full time for others.
            self.flushed_at = self.cells.watch.now();
        }
        self.batch.push(&cells);
        self.found += 1;
        ControlFlow::Continue(())
    }

    /// Hands over what was gathered, as much of it as the byte limit allows.
    fn flush(&mut self) -> ControlFlow<()> {
        self.flushed_at = Instant::now();
        if self.batch.rows == 0 {
            return ControlFlow::Continue(());
        }
        let whole = self.batch.take();
        let mut sent = 0;
        while sent < whole.num_rows() {
            let Some((rows, bytes)) = self.fitting(&whole, sent) else {
                self.cut = Some(Cut::Bytes);
                return ControlFlow::Break(());
            };
            let length = bytes.len() as u64;
            if let Err(error) = (self.sink)(rows as u64, bytes) {
                self.sink_error = Some(error);
                return ControlFlow::Break(());
            }
            self.cells.record.rows += rows as u64;
            self.cells.record.bytes += length;
            sent += rows;
        }
        ControlFlow::Continue(())
    }

    /// Encodes the most rows from `start` that halving finds to fit into a frame and the byte limit.
    fn fitting(&self, whole: &RecordBatch, start: usize) -> Option<(usize, Vec<u8>)> {
        let room = self.bytes_max.saturating_sub(self.cells.record.bytes).min(FRAME_BYTES_MAX as u64);
        let mut rows = whole.num_rows() - start;
        while rows > 0 {
            let bytes = frame::encode(&whole.slice(start, rows));
            if bytes.len() as u64 <= room {
                return Some((rows, bytes));
            }
            rows /= 2;
        }
        None
    }

    /// Sends the last rows and closes the account.
    pub(super) fn finish(mut self) -> Result<ScanRecord, ScanError> {
        if self.sink_error.is_none() && self.cut != Some(Cut::Bytes) {
            let _ = self.flush();
        }
        if let Some(error) = self.sink_error {
            return Err(ScanError::Sink(error));
        }
        let late = if self.done { None } else { self.cells.watch.cut() };
        self.cells.record.cut = self.cut.or(late);
        Ok(self.cells.record)
    }
}
