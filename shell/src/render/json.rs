//! `json`: one array of objects, one object a line, every column in every row.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::cell::columns;
use super::jsonl::Jsonl;
use super::{Closing, Remark, Render};

#[derive(Default)]
pub struct Json {
    objects: Jsonl,
    begun: bool,
}

impl Render for Json {
    fn begin(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<()> {
        self.objects.begin(schema, out)?;
        write!(out, "[")
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            let comma = if self.begun { ",\n" } else { "\n" };
            write!(out, "{comma}{}", self.objects.object(&columns, row))?;
            self.begun = true;
        }
        Ok(())
    }

    fn end(&mut self, _closing: &Closing, out: &mut dyn Write) -> io::Result<Remark> {
        writeln!(out, "{}]", if self.begun { "\n" } else { "" })?;
        Ok(None)
    }
}
