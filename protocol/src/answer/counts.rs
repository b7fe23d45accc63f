//! What an answer amounts to, held against what its action allows and what its final record says of it.

use super::{AnswerError, Final, Frame, Outcome};
use crate::limits::Limits;

/// Rows and bytes that came of each scan.
#[derive(Debug, Clone)]
pub struct Counts {
    came: Vec<Came>,
    limits: Limits,
}

#[derive(Debug, Clone, Copy, Default)]
struct Came {
    rows: u64,
    bytes: u64,
}

impl Counts {
    /// Counts the answer to an action of so many scans.
    pub fn new(scans: usize, limits: Limits) -> Counts {
        Counts { came: vec![Came::default(); scans], limits }
    }

    /// Counts a frame before anybody opens it: what the action does not allow is not held in memory for long.
    pub fn frame(&mut self, frame: &Frame, body_bytes: usize) -> Result<(), AnswerError> {
        let scan = frame.scan;
        let came = usize::try_from(scan).ok().and_then(|index| self.came.get_mut(index));
        let came = came.ok_or(AnswerError::NoScan { scan })?;
        came.rows = came.rows.saturating_add(frame.rows);
        came.bytes = came.bytes.saturating_add(body_bytes as u64);
        if came.rows > self.limits.rows || came.bytes > self.limits.bytes {
            return Err(AnswerError::TooMuch { scan });
        }
        Ok(())
    }

    /// Checks that the final record speaks of what came.
    pub fn last(&self, last: &Final) -> Result<(), AnswerError> {
        if last.outcome != Outcome::Answered {
            return Ok(());
        }
        if last.scans.len() != self.came.len() {
            return Err(AnswerError::Scans { said: last.scans.len(), asked: self.came.len() });
        }
        for (scan, (record, came)) in last.scans.iter().zip(&self.came).enumerate() {
            if (record.rows, record.bytes) != (came.rows, came.bytes) {
                return Err(AnswerError::Totals { scan, said: record.rows, came: came.rows });
            }
        }
        Ok(())
    }
}
