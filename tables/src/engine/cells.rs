//! The cells of the row in hand: read where needed, and once.

use std::fs::File;

use canvass_protocol::answer::{ScanRecord, Trouble};
use canvass_protocol::value::Truth;

use super::{ContentTests, Watch};
use crate::column::{Cell, Column, Source};
use crate::host::Host;

/// Reads cells of one row after another, keeping what a trip to the host has cost.
pub(crate) struct Cells<'a, R: 'static> {
    pub columns: &'static [Column<R>],
    pub host: &'a Host,
    pub watch: Watch<'a>,
    pub withheld: Vec<bool>,
    pub record: ScanRecord,
    /// By column; only what does not come from the row itself is kept.
    kept: Vec<Option<Cell<'static>>>,
    /// By set of content tests: the truth of each.
    tested: Vec<Option<Vec<Truth>>>,
    scratch: Vec<u8>,
}

impl<'a, R> Cells<'a, R> {
    pub fn new(columns: &'static [Column<R>], host: &'a Host, watch: Watch<'a>, withheld: Vec<bool>) -> Self {
        let record = ScanRecord { asked: true, ..ScanRecord::default() };
        let kept = columns.iter().map(|_| None).collect();
        let tested = columns.iter().map(|_| None).collect();
        Cells { columns, host, watch, withheld, record, kept, tested, scratch: Vec::new() }
    }

    /// Forgets the last row.
    pub fn next_row(&mut self) {
        self.kept.iter_mut().for_each(|cell| *cell = None);
        self.tested.iter_mut().for_each(|truths| *truths = None);
    }

    /// Hands the row's cell to `use_cell`, reading it first if need be; withheld cells are NULL.
    pub fn with<T>(&mut self, row: &R, column: usize, use_cell: impl FnOnce(&Cell<'_>) -> T) -> T {
        if self.withheld[column] {
            return use_cell(&Cell::Null);
        }
        if let Source::Field(get) = self.columns[column].source {
            return use_cell(&get(row));
        }
        use_cell(self.fetched(row, column))
    }

    /// The row's cell for the answer.
    pub fn take<'r>(&mut self, row: &'r R, column: usize) -> Cell<'r> {
        if self.withheld[column] {
            return Cell::Null;
        }
        if let Source::Field(get) = self.columns[column].source {
            return get(row);
        }
        self.fetched(row, column).clone()
    }

    fn fetched(&mut self, row: &R, column: usize) -> &Cell<'static> {
        if self.kept[column].is_none() {
            let fetched = match self.columns[column].source {
                Source::Probe(get) => get(row, self.host),
                Source::Long(get) => get(row, self.host, &self.watch),
                Source::Field(_) | Source::Content(_) => Ok(Cell::Null),
            };
            let cell = fetched.unwrap_or_else(|trouble| {
                note(&mut self.record, &trouble);
                Cell::Null
            });
            self.kept[column] = Some(cell);
        }
        self.kept[column].as_ref().unwrap_or(&Cell::Null)
    }

    /// The truth of one of the content tests of a column; all of them are decided in one read.
    pub fn content(&mut self, row: &R, column: usize, tests: &ContentTests, test: usize) -> Truth {
        if self.tested[column].is_none() {
            let truths = self.read_content(row, column, tests);
            self.tested[column] = Some(truths);
        }
        self.tested[column].as_ref().map_or(Truth::Unknown, |truths| truths[test])
    }

    fn read_content(&mut self, row: &R, column: usize, tests: &ContentTests) -> Vec<Truth> {
        let unknown = vec![Truth::Unknown; tests.len()];
        if self.withheld[column] {
            return unknown;
        }
        let Source::Content(open) = self.columns[column].source else { return unknown };
        let opened: Result<Option<File>, Trouble> = open(row, self.host);
        match opened {
            Ok(Some(mut file)) => {
                let read = tests.run(&mut file, &self.watch, &mut self.scratch);
                if let Some(reason) = read.trouble {
                    let subject = self.subject(row);
                    self.record.trouble(subject.as_deref(), reason);
                }
                read.truths
            }
            Ok(None) => unknown,
            Err(trouble) => {
                note(&mut self.record, &trouble);
                unknown
            }
        }
    }

    /// What a row is called in a trouble: its first column.
    fn subject(&self, row: &R) -> Option<String> {
        match self.columns.first()?.source {
            Source::Field(get) if !self.withheld[0] => match get(row) {
                Cell::Text(text) => Some(text.into_owned()),
                Cell::Integer(number) => Some(number.to_string()),
                _ => None,
            },
            _ => None,
        }
    }
}

fn note(record: &mut ScanRecord, trouble: &Trouble) {
    record.trouble(trouble.subject.as_deref(), trouble.reason.as_str());
}
