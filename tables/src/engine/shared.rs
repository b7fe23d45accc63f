//! What the workers of one scan share: the way out for frames, the counts that limits speak of, and the word to stop.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use arrow::record_batch::RecordBatch;
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::limits::{Cut, FRAME_BYTES_MAX};

use super::{Request, ScanError, Sink};
use crate::frame;

/// One scan's common state.
pub(crate) struct Shared<'a> {
    out: Mutex<Out<'a>>,
    /// Rows that passed, sent or not.
    found: AtomicU64,
    over: AtomicBool,
    rows_max: u64,
    /// The statement's own limit, which cuts nothing short.
    limit: Option<u64>,
}

struct Out<'a> {
    sink: &'a mut Sink<'a>,
    bytes_max: u64,
    rows: u64,
    bytes: u64,
    cut: Option<Cut>,
    /// The statement has all the rows that it wants.
    satisfied: bool,
    error: Option<io::Error>,
}

/// Whether there is room for one more row.
pub(super) enum Place {
    Free,
    /// It is the last that the statement wants.
    Last,
    None,
}

impl<'a> Shared<'a> {
    pub fn new<'s: 'a>(request: &Request<'_>, sink: &'a mut Sink<'s>) -> Shared<'a> {
        let out =
            Out { sink, bytes_max: request.limits.bytes, rows: 0, bytes: 0, cut: None, satisfied: false, error: None };
        let shared = Shared {
            out: Mutex::new(out),
            found: AtomicU64::new(0),
            over: AtomicBool::new(false),
            rows_max: request.limits.rows,
            limit: request.scan.limit,
        };
        if shared.limit == Some(0) {
            shared.satisfy();
        }
        shared
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// Ends the scan for all workers; the first reason stands.
    pub fn end(&self, cut: Option<Cut>) {
        let mut out = self.out();
        if !out.satisfied {
            out.cut = out.cut.or(cut);
        }
        self.over.store(true, Ordering::Relaxed);
    }

    /// Takes the place of a row that passed.
    pub fn place(&self) -> Place {
        let taken = self.found.fetch_add(1, Ordering::Relaxed);
        if self.limit.is_some_and(|limit| taken >= limit) {
            return Place::None;
        }
        if taken >= self.rows_max {
            self.end(Some(Cut::Rows));
            return Place::None;
        }
        if self.limit.is_some_and(|limit| taken + 1 == limit) {
            self.satisfy();
            return Place::Last;
        }
        Place::Free
    }

    fn satisfy(&self) {
        self.out().satisfied = true;
        self.over.store(true, Ordering::Relaxed);
    }

    /// Hands over a batch, as much of it as the byte limit allows; false where the scan is over.
    pub fn send(&self, batch: &RecordBatch) -> bool {
        let mut start = 0;
        while start < batch.num_rows() {
            // Encoded before the lock is taken: workers wait for each other's writing, not for each other's encoding.
            let mut rows = batch.num_rows() - start;
            let mut bytes = encode(batch, start, &mut rows, FRAME_BYTES_MAX);
            let mut out = self.out();
            if out.cut == Some(Cut::Bytes) || out.error.is_some() {
                return false;
            }
            let room = usize::try_from(out.bytes_max - out.bytes).unwrap_or(usize::MAX);
            if bytes.as_ref().is_some_and(|bytes| bytes.len() > room) {
                bytes = encode(batch, start, &mut rows, room);
            }
            let Some(bytes) = bytes else {
                out.cut = out.cut.or(Some(Cut::Bytes));
                self.over.store(true, Ordering::Relaxed);
                return false;
            };
            let length = bytes.len() as u64;
            if let Err(error) = (out.sink)(rows as u64, bytes) {
                out.error = Some(error);
                self.over.store(true, Ordering::Relaxed);
                return false;
            }
            out.rows += rows as u64;
            out.bytes += length;
            start += rows;
        }
        true
    }

    /// Closes the account of all workers.
    pub fn finish(&self, mut record: ScanRecord) -> Result<ScanRecord, ScanError> {
        let mut out = self.out();
        if let Some(error) = out.error.take() {
            return Err(ScanError::Sink(error));
        }
        record.rows = out.rows;
        record.bytes = out.bytes;
        record.cut = out.cut;
        Ok(record)
    }

    fn out(&self) -> MutexGuard<'_, Out<'a>> {
        // A worker that panics takes the process with it; what it held is not looked at again.
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Encodes the most rows from `start` that halving `rows` finds to fit into `room` bytes.
fn encode(batch: &RecordBatch, start: usize, rows: &mut usize, room: usize) -> Option<Vec<u8>> {
    while *rows > 0 {
        let bytes = frame::encode(&batch.slice(start, *rows));
        if bytes.len() <= room {
            return Some(bytes);
        }
        *rows /= 2;
    }
    None
}
