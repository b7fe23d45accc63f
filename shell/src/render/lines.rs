//! Lines for people, such as an explanation: the first column without any frame.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::cell::{cell, columns};
use super::escape::visible;
use super::{Closing, Remark, Render};

pub struct Lines;

impl Render for Lines {
    fn begin(&mut self, _schema: &SchemaRef, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            let line = columns.first().map(|column| cell(column, row));
            writeln!(out, "{}", visible(line.as_ref().and_then(|line| line.text()).unwrap_or_default()))?;
        }
        Ok(())
    }

    fn end(&mut self, _closing: &Closing, _out: &mut dyn Write) -> io::Result<Remark> {
        Ok(None)
    }
}
