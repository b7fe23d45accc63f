//! `jsonl`: one object a line, every column in every row.

use std::io::{self, Write};

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::cell::{cell, columns};
use super::escape::json_string;
use super::{Closing, Remark, Render, distinct_names};

#[derive(Default)]
pub struct Jsonl {
    keys: Vec<String>,
}

impl Jsonl {
    /// The row as one JSON object without line ends.
    pub fn object(&self, columns: &[ArrayRef], row: usize) -> String {
        let members: Vec<String> =
            self.keys.iter().zip(columns).map(|(key, column)| format!("{key}:{}", cell(column, row).json())).collect();
        format!("{{{}}}", members.join(","))
    }
}

impl Render for Jsonl {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut dyn Write) -> io::Result<()> {
        self.keys = distinct_names(schema).iter().map(|name| json_string(name)).collect();
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        (0..batch.num_rows()).try_for_each(|row| writeln!(out, "{}", self.object(&columns, row)))
    }

    fn end(&mut self, _closing: &Closing, _out: &mut dyn Write) -> io::Result<Remark> {
        Ok(None)
    }
}
