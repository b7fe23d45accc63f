//! The b-tree of a table, from its smallest rowid to its largest.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::pager::{Encoding, HEADER_BYTES, Pager};
use super::record::{self, Row, varint};
use super::schema::Schema;
use super::{be16, be32};

/// Pages between the root and a row; a tree of SQLite's own has no more than twenty.
const DEPTH_MAX: usize = 24;
/// What cannot be read before the rest of a table is given up.
const FAULTS_MAX: u32 = 100;
/// The longest row that is read, and the longest whose texts take more space when decoded.
const ROW_BYTES_MAX: usize = 16 << 20;
const ROW_BYTES_MAX_UTF16: usize = 512 << 10;

const INTERIOR: u8 = 5;
const LEAF: u8 = 13;

/// Why a walk ends before its end.
enum Stop {
    Visitor,
    Faults,
}

struct Walk<'w> {
    pager: &'w mut Pager,
    schema: &'w Schema,
    /// Pages that were used, a bit each: a page belongs to one place of one tree.
    used: Vec<u64>,
    /// Interior pages on the way to where the walk is, and which of their children is next.
    path: Vec<(u32, usize)>,
    payload: Vec<u8>,
    values: Vec<(u64, usize)>,
    first_fault: Option<String>,
    faults: u32,
}

/// Visits the rows of the tree at `root`; says whether it was told to break, and what could not be read.
pub fn rows(
    pager: &mut Pager,
    root: u32,
    schema: &Schema,
    visit: &mut dyn FnMut(&Row<'_>) -> ControlFlow<()>,
) -> (ControlFlow<()>, Option<String>) {
    let used = vec![0; pager.pages as usize / 64 + 1];
    let mut walk = Walk {
        pager,
        schema,
        used,
        path: Vec::new(),
        payload: Vec::new(),
        values: Vec::new(),
        first_fault: None,
        faults: 0,
    };
    let stopped = walk.run(root, visit);
    if !walk.pager.is_unchanged() {
        walk.first_fault = Some("the database was written while it was read".to_owned());
        walk.faults = 1;
    }
    let reason = walk.first_fault.map(|first| match (walk.faults, &stopped) {
        (_, ControlFlow::Break(Stop::Faults)) => format!("{first} (given up after {FAULTS_MAX} faults)"),
        (0 | 1, _) => first,
        (2, _) => format!("{first} (and 1 more fault)"),
        (count, _) => format!("{first} (and {} more faults)", count - 1),
    });
    let flow = match stopped {
        ControlFlow::Break(Stop::Visitor) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    (flow, reason)
}

impl Walk<'_> {
    fn run(&mut self, root: u32, visit: &mut dyn FnMut(&Row<'_>) -> ControlFlow<()>) -> ControlFlow<Stop> {
        self.enter(root, visit)?;
        while let Some((number, child)) = self.path.last().copied() {
            match self.child(number, child) {
                Ok(Some(page)) => {
                    if let Some(last) = self.path.last_mut() {
                        last.1 += 1;
                    }
                    self.enter(page, visit)?;
                }
                Ok(None) => drop(self.path.pop()),
                Err(reason) => {
                    self.path.pop();
                    self.fault(reason)?;
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn fault(&mut self, reason: String) -> ControlFlow<Stop> {
        self.first_fault.get_or_insert(reason);
        self.faults += 1;
        if self.faults >= FAULTS_MAX { ControlFlow::Break(Stop::Faults) } else { ControlFlow::Continue(()) }
    }

    /// Marks a page as used, once.
    fn take(&mut self, number: u32) -> Result<Arc<[u8]>, String> {
        let page = self.pager.page(number)?;
        let bit = 1 << (number % 64);
        match self.used.get_mut(number as usize / 64) {
            Some(word) if *word & bit == 0 => *word |= bit,
            _ => return Err(format!("page {number} is used twice")),
        }
        Ok(page)
    }

    /// Enters a page: the rows of a leaf are visited, an interior page becomes part of the path.
    fn enter(&mut self, number: u32, visit: &mut dyn FnMut(&Row<'_>) -> ControlFlow<()>) -> ControlFlow<Stop> {
        let page = match self.take(number) {
            Ok(page) => page,
            Err(reason) => return self.fault(reason),
        };
        let begins = header_at(number);
        let (kind, cells) = (page.get(begins).copied(), be16(&page, begins + 3).unwrap_or_default());
        match kind {
            Some(INTERIOR) if self.path.len() < DEPTH_MAX => self.path.push((number, 0)),
            Some(INTERIOR) => return self.fault(format!("a tree of more than {DEPTH_MAX} levels")),
            // Only a table without rows has a leaf without cells.
            Some(LEAF) if cells == 0 && !self.path.is_empty() => {
                return self.fault(format!("page {number} is an empty leaf"));
            }
            Some(LEAF) => {
                for cell in 0..usize::from(cells) {
                    match self.row(&page, number, cell, visit) {
                        Ok(flow) => flow.map_break(|()| Stop::Visitor)?,
                        Err(reason) => self.fault(reason)?,
                    }
                }
            }
            _ => return self.fault(format!("page {number} is not of a table")),
        }
        ControlFlow::Continue(())
    }

    /// The page below an interior one at a place; `None` after the last.
    fn child(&mut self, number: u32, place: usize) -> Result<Option<u32>, String> {
        let page = self.pager.page(number)?;
        let begins = header_at(number);
        let cells = usize::from(be16(&page, begins + 3).unwrap_or_default());
        let found = match place.cmp(&cells) {
            std::cmp::Ordering::Less => be16(&page, begins + 12 + 2 * place).and_then(|at| be32(&page, at.into())),
            std::cmp::Ordering::Equal => be32(&page, begins + 8),
            std::cmp::Ordering::Greater => return Ok(None),
        };
        found.map(Some).ok_or_else(|| format!("page {number} is malformed"))
    }

    /// Visits the row of a leaf's cell.
    fn row(
        &mut self,
        page: &[u8],
        number: u32,
        cell: usize,
        visit: &mut dyn FnMut(&Row<'_>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, String> {
        let malformed = || format!("page {number}: a cell that is malformed");
        let used = page.get(..self.pager.usable).unwrap_or(page);
        let mut at = usize::from(be16(used, header_at(number) + 8 + 2 * cell).ok_or_else(malformed)?);
        let length = varint(used, &mut at).ok_or_else(malformed)?;
        let rowid = varint(used, &mut at).ok_or_else(malformed)?.cast_signed();
        let length = usize::try_from(length).map_err(|_| malformed())?;
        let rest = used.get(at..).ok_or_else(malformed)?;
        let local = local_bytes(self.pager.usable, length);
        let mut gathered = std::mem::take(&mut self.payload);
        let flow = (|| {
            let payload = if local == length {
                rest.get(..length).ok_or_else(malformed)?
            } else {
                let begin = rest.get(..local).ok_or_else(malformed)?;
                let next = be32(rest, local).ok_or_else(malformed)?;
                self.gather(begin, next, length, &mut gathered)?;
                &gathered
            };
            record::values(payload, self.schema.places, &mut self.values).ok_or_else(malformed)?;
            let encoding = self.pager.encoding;
            Ok(visit(&Row { rowid, schema: self.schema, encoding, payload, values: &self.values }))
        })();
        self.payload = gathered;
        flow
    }

    /// Puts together a row that goes on in other pages, each of which names the next.
    fn gather(&mut self, begin: &[u8], mut next: u32, length: usize, payload: &mut Vec<u8>) -> Result<(), String> {
        let most = if self.pager.encoding == Encoding::Utf8 { ROW_BYTES_MAX } else { ROW_BYTES_MAX_UTF16 };
        if length > most {
            return Err(format!("a row of {length} bytes is too long"));
        }
        payload.clear();
        payload.reserve_exact(length);
        payload.extend_from_slice(begin);
        while payload.len() < length {
            let page = self.take(next)?;
            let content = page.get(4..self.pager.usable).unwrap_or_default();
            let part = content.get(..length - payload.len()).unwrap_or(content);
            payload.extend_from_slice(part);
            next = be32(&page, 0).unwrap_or_default();
        }
        Ok(())
    }
}

/// Where a page's own header begins: behind the database's on the first.
fn header_at(number: u32) -> usize {
    if number == 1 { HEADER_BYTES } else { 0 }
}

/// How much of a row lies in its leaf.
fn local_bytes(usable: usize, length: usize) -> usize {
    let most = usable - 35;
    if length <= most {
        return length;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let fitting = least + (length - least) % (usable - 4);
    if fitting <= most { fitting } else { least }
}
