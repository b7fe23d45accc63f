//! What a table's `collect` talks to.

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use canvass_protocol::answer::{ScanRecord, Trouble};
use canvass_protocol::filter::Filter;
use canvass_protocol::scan::Scan;
use canvass_protocol::value::Truth;

use super::batch::{self, Batch};
use super::cells::Cells;
use super::reading::Reader;
use super::shared::{Place, Shared};
use super::{Plan, Request, Watch};
use crate::bound::{self, Root};
use crate::column::{Cell, Source};
use crate::filter::Program;
use crate::host::Host;
use crate::module::Sockets;
use crate::table::{Declared, Table as _};

/// How long a row waits for others of its batch.
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// Candidates between two looks at the clocks: a look costs as much as a cheap candidate.
const LOOK_EVERY: u8 = 32;

/// Takes rows and troubles, and says when to stop; each worker of a scan has its own.
pub struct Collector<'a, R: 'static> {
    pub host: &'a Host,
    /// The scan's filter, for tables that can look in the right place at once.
    pub filter: Option<&'a Filter>,
    /// Paths that are not entered.
    pub forbidden: &'a [String],
    /// Workers that the scan may have, this one included.
    pub threads: NonZeroUsize,
    /// What the scan may not open itself.
    pub sockets: &'a Sockets,
    pub(crate) scan: &'a Scan,
    shared: &'a Shared<'a>,
    program: Option<Program>,
    projection: Arc<[usize]>,
    wanted: Arc<[bool]>,
    /// The answer shows digests, so a row that passes is read to its end.
    shows_digests: bool,
    cells: Cells<'a, R>,
    batch: Batch,
    flushed_at: Instant,
    looks: u8,
}

impl<'a, R> Collector<'a, R> {
    pub(super) fn new(
        table: &'static Declared<R>,
        request: &'a Request<'_>,
        plan: Plan,
        shared: &'a Shared<'a>,
    ) -> Collector<'a, R> {
        let digest = |index: usize| match table.columns[index].source {
            Source::Digest(algorithm) if !plan.withheld[index] => Some(algorithm),
            _ => None,
        };
        let wanted = |index: &usize| plan.wanted[*index];
        let algorithms = (0..table.columns.len()).filter(wanted).filter_map(digest).collect();
        let decompress = request.scan.options.decompress.then_some(request.limits.memory_bytes / 4 * 3);
        let reader = Reader::new(algorithms, decompress, request.threads);
        let shows_digests = plan.projection.iter().any(|&column| digest(column).is_some());
        let watch = Watch::new(&request.limits, request.stop);
        let kinds = plan.projection.iter().map(|&column| table.columns[column].info.kind);
        let batch = Batch::new(table.schema(&request.scan.columns), kinds);
        let mut cells = Cells::new(table.columns, request.host, watch, plan.withheld, reader);
        for (index, column) in table.columns.iter().enumerate() {
            if cells.withheld[index] && plan.wanted[index] {
                cells.record.trouble(Some(column.info.name), "withheld by the agent's policy");
            }
        }
        Collector {
            host: request.host,
            filter: request.scan.filter.as_ref(),
            forbidden: request.forbidden,
            threads: request.threads,
            sockets: request.sockets,
            scan: request.scan,
            shared,
            program: plan.filter,
            projection: plan.projection.into(),
            wanted: plan.wanted.into(),
            shows_digests,
            cells,
            batch,
            flushed_at: Instant::now(),
            looks: 0,
        }
    }

    /// The same for another worker, which is [joined](Self::join) again at its end.
    pub fn fork(&self) -> Collector<'a, R> {
        Collector {
            program: self.program.clone(),
            projection: Arc::clone(&self.projection),
            wanted: Arc::clone(&self.wanted),
            cells: self.cells.fork(),
            batch: self.batch.empty(),
            flushed_at: Instant::now(),
            looks: 0,
            ..*self
        }
    }

    /// Takes over the account of a worker that has ended.
    pub fn join(&mut self, other: Collector<'a, R>) {
        let other = other.close();
        let listed = other.troubles.len() as u64;
        for trouble in other.troubles {
            self.cells.record.trouble(trouble.subject.as_deref(), trouble.reason);
        }
        self.cells.record.troubles_count += other.troubles_count - listed;
        self.cells.record.examined += other.examined;
    }

    /// Tests, probes and projects a row; breaks when the scan is over (limit, deadline, stop).
    #[expect(clippy::needless_pass_by_value, reason = "a row is handed over, and what it holds open is let go here")]
    pub fn row(&mut self, row: R) -> ControlFlow<()> {
        if self.sift(&row)? { self.read_now(&row) } else { ControlFlow::Continue(()) }
    }

    /// Tests a row as far as that needs no look at its content, and hands it on if that is enough. Returns whether its
    /// content has to be [read](Self::read).
    pub fn sift(&mut self, row: &R) -> ControlFlow<(), bool> {
        self.examined()?;
        self.cells.next_row();
        let truth = match &self.program {
            Some(program) => program.evaluate(row, &mut self.cells),
            None => Some(Truth::True),
        };
        match truth {
            Some(Truth::True) if !self.shows_digests => self.pass(row).map_continue(|()| false),
            Some(Truth::True) | None => ControlFlow::Continue(true),
            Some(_) => ControlFlow::Continue(false),
        }
    }

    /// Whether reading a row's content takes hashes of it.
    pub fn hashes(&self) -> bool {
        self.cells.hashes()
    }

    /// Reads the content of a row that was sifted before, by this worker or another, and hands the row on if it passes.
    pub fn read(&mut self, row: &R) -> ControlFlow<()> {
        self.look()?;
        self.cells.next_row();
        self.read_now(row)
    }

    fn read_now(&mut self, row: &R) -> ControlFlow<()> {
        self.cells.read(row, self.program.as_ref(), self.shows_digests);
        let truth = match &self.program {
            Some(program) => program.evaluate(row, &mut self.cells),
            None => Some(Truth::True),
        };
        if self.cells.watch.cut().is_some() {
            // The watch ended the read half way: what it says of this row is not to be believed.
            return self.look();
        }
        if truth == Some(Truth::True) { self.pass(row) } else { ControlFlow::Continue(()) }
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
        self.looks += 1;
        if self.looks < LOOK_EVERY && !self.shared.is_over() {
            return ControlFlow::Continue(());
        }
        self.look()
    }

    /// Like [`Collector::go_on`], but looks at the clocks each time; for loops that wait.
    pub(crate) fn look(&mut self) -> ControlFlow<()> {
        self.looks = 0;
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

    /// The same of a trouble that somebody has put in words.
    pub fn note_trouble(&mut self, trouble: Trouble) {
        self.cells.record.trouble(trouble.subject.as_deref(), trouble.reason);
    }

    /// What was read; where it was not, a trouble is noted.
    pub fn note<T>(&mut self, read: Result<T, Trouble>) -> Option<T> {
        read.map_err(|trouble| self.note_trouble(trouble)).ok()
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
        if self.cells.watch.is_over() {
            self.shared.end(self.cells.watch.cut());
        }
        self.shared.is_over()
    }

    /// Hands on a row that passed.
    fn pass(&mut self, row: &R) -> ControlFlow<()> {
        let place = self.shared.place();
        if matches!(place, Place::None) {
            return ControlFlow::Break(());
        }
        self.keep(row)?;
        if self.batch.rows >= batch::ROWS_MAX || self.batch.bytes >= batch::BYTES_MAX {
            self.flush()?;
        }
        if matches!(place, Place::Last) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn keep(&mut self, row: &R) -> ControlFlow<()> {
        let mut cells: Vec<Cell<'_>> = Vec::with_capacity(self.projection.len());
        let mut bytes = 0;
        for &column in self.projection.iter() {
            let mut cell = self.cells.take(row, column);
            if bytes + batch::size(&cell) > batch::ROW_BYTES_MAX {
                let name = self.cells.columns[column].info.name;
                self.cells.record.trouble(Some(name), format!("a value of {} bytes is too long", batch::size(&cell)));
                cell = Cell::Null;
            }
            bytes += batch::size(&cell);
            cells.push(cell);
        }
        if self.batch.rows > 0 && self.batch.bytes + bytes > batch::ROW_BYTES_MAX {
            self.flush()?;
        }
        if self.batch.rows == 0 {
            // The batch begins now, so its first row waits its full time for others.
            self.flushed_at = self.cells.watch.now();
        }
        self.batch.push(&cells);
        ControlFlow::Continue(())
    }

    /// Hands over what was gathered, as much of it as the byte limit allows.
    pub(crate) fn flush(&mut self) -> ControlFlow<()> {
        self.flushed_at = Instant::now();
        if self.batch.rows == 0 || self.shared.send(&self.batch.take()) {
            return ControlFlow::Continue(());
        }
        ControlFlow::Break(())
    }

    /// Sends the last rows and gives up the account.
    pub(super) fn close(mut self) -> ScanRecord {
        let _ = self.flush();
        self.cells.record
    }
}
