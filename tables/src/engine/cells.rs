//! The cells of the row in hand: read where needed, and once.

use canvass_protocol::answer::{ScanRecord, Trouble};
use canvass_protocol::value::Truth;

use super::reading::Reader;
use super::{Algorithm, Watch};
use crate::column::{Cell, Column, Source};
use crate::filter::Program;
use crate::host::Host;

/// Reads cells of one row after another, keeping what a trip to the host has cost.
pub(crate) struct Cells<'a, R: 'static> {
    pub columns: &'static [Column<R>],
    pub host: &'a Host,
    pub watch: Watch<'a>,
    pub withheld: Vec<bool>,
    pub record: ScanRecord,
    reader: Reader,
    /// By column; only what does not come from the row itself is kept.
    kept: Vec<Option<Cell<'static>>>,
    /// Some cell is kept.
    keeps: bool,
    /// What reading the row's content has told so far.
    told: Told,
}

impl<'a, R> Cells<'a, R> {
    pub fn new(
        columns: &'static [Column<R>],
        host: &'a Host,
        watch: Watch<'a>,
        withheld: Vec<bool>,
        reader: Reader,
    ) -> Self {
        let record = ScanRecord { asked: true, ..ScanRecord::default() };
        let kept = columns.iter().map(|_| None).collect();
        Cells { columns, host, watch, withheld, record, reader, kept, keeps: false, told: Told::default() }
    }

    /// The same for another worker, which begins with an empty record.
    pub fn fork(&self) -> Self {
        Cells::new(self.columns, self.host, self.watch.fork(), self.withheld.clone(), self.reader.fork())
    }

    /// Forgets the last row.
    pub fn next_row(&mut self) {
        if std::mem::take(&mut self.keeps) {
            self.kept.iter_mut().for_each(|cell| *cell = None);
        }
        self.told.forget();
    }

    /// Hands the row's cell to `use_cell`, reading it first if need be; withheld cells are NULL. `None` where the cell
    /// hangs on content that has not been read.
    pub fn with<T>(&mut self, row: &R, column: usize, use_cell: impl FnOnce(&Cell<'_>) -> T) -> Option<T> {
        if self.withheld[column] {
            return Some(use_cell(&Cell::Null));
        }
        match self.columns[column].source {
            Source::Field(get) => Some(use_cell(&get(row))),
            Source::Digest(algorithm) => self.told.digest(algorithm).map(|digest| use_cell(&digest.into())),
            Source::Probe(_) | Source::Content(_) => Some(use_cell(self.fetched(row, column))),
        }
    }

    /// The row's cell for the answer.
    pub fn take<'r>(&mut self, row: &'r R, column: usize) -> Cell<'r> {
        if self.withheld[column] {
            return Cell::Null;
        }
        match self.columns[column].source {
            Source::Field(get) => get(row),
            Source::Digest(algorithm) => {
                self.told.digest(algorithm).map_or(Cell::Null, |digest| digest.map(str::to_owned).into())
            }
            Source::Probe(_) | Source::Content(_) => self.fetched(row, column).clone(),
        }
    }

    fn fetched(&mut self, row: &R, column: usize) -> &Cell<'static> {
        if self.kept[column].is_none() {
            let fetched = match self.columns[column].source {
                Source::Probe(get) => get(row, self.host),
                Source::Field(_) | Source::Content(_) | Source::Digest(_) => Ok(Cell::Null),
            };
            let cell = fetched.unwrap_or_else(|trouble| {
                note(&mut self.record, &trouble);
                Cell::Null
            });
            self.kept[column] = Some(cell);
            self.keeps = true;
        }
        self.kept[column].as_ref().unwrap_or(&Cell::Null)
    }

    /// The truth of one of the tests of the row's content, as far as it was read.
    pub fn content(&self, column: usize, test: usize) -> Option<Truth> {
        if self.withheld[column] {
            return Some(Truth::Unknown);
        }
        self.told.truth(test)
    }

    /// Whether reading a row's content takes hashes of it.
    pub fn hashes(&self) -> bool {
        self.reader.hashes()
    }

    /// Reads the row's content, once for all its tests and digests, and only as far as the filter needs it.
    pub fn read(&mut self, row: &R, program: Option<&Program>, shows_digests: bool) {
        let content = self.columns.iter().enumerate().find_map(|(index, column)| match column.source {
            Source::Content(open) => Some((index, open)),
            _ => None,
        });
        let opened = content.map_or(Ok(None), |(_, open)| open(row, self.host));
        let content = match opened {
            Ok(content) => content,
            Err(trouble) => {
                note(&mut self.record, &trouble);
                None
            }
        };
        if let Some(content) = content {
            let mut reader = std::mem::take(&mut self.reader);
            let tests = program.map(|program| &program.content);
            let watch = self.watch.fork();
            let outcome = reader.read(&content, tests, shows_digests, &watch, &mut |truths| {
                self.told.reading(truths);
                let truth = program.map_or(Some(Truth::True), |program| program.evaluate(row, self));
                self.told.reading(truths);
                truth
            });
            self.reader = reader;
            self.watch.learn(&watch);
            if let Some(reason) = outcome.trouble {
                let subject = self.subject(row);
                self.record.trouble(subject.as_deref(), reason);
            }
            self.told.truths = outcome.truths;
            self.told.digests = outcome.digests;
        }
        self.told.stage = Stage::Read;
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

/// What reading a row's content has told.
#[derive(Default)]
struct Told {
    stage: Stage,
    truths: Vec<Option<Truth>>,
    digests: Vec<(Algorithm, String)>,
}

#[derive(Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Unread,
    Reading,
    Read,
}

impl Told {
    fn forget(&mut self) {
        self.stage = Stage::Unread;
        self.truths.clear();
        self.digests.clear();
    }

    /// Exchanges what is told with what a reader knows so far.
    fn reading(&mut self, truths: &mut Vec<Option<Truth>>) {
        self.stage = Stage::Reading;
        std::mem::swap(&mut self.truths, truths);
    }

    fn truth(&self, test: usize) -> Option<Truth> {
        let truth = self.truths.get(test).copied().flatten();
        if self.stage == Stage::Read { truth.or(Some(Truth::Unknown)) } else { truth }
    }

    /// `Some(None)` where there is nothing that could be digested.
    fn digest(&self, algorithm: Algorithm) -> Option<Option<&str>> {
        let digest = self.digests.iter().find(|(known, _)| *known == algorithm).map(|(_, digest)| digest.as_str());
        (self.stage == Stage::Read).then_some(digest)
    }
}
