//! `csv`: RFC 4180 with a header; an unknown cell is empty, an empty text is `""`. With `--safe-csv` no text is a formula to a
//! spreadsheet: one that could be begins with an apostrophe.

use std::borrow::Cow;
use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::cell::{Cell, cell, columns};
use super::escape::visible;
use super::{Closing, Look, Remark, Render};

pub struct Csv {
    look: Look,
}

impl Csv {
    pub fn new(look: Look) -> Csv {
        Csv { look }
    }

    fn field(&self, cell: &Cell) -> String {
        let Some(text) = cell.text() else { return String::new() };
        // Numbers are none: -1 is no formula.
        let guarded = self.look.safe_csv && matches!(cell, Cell::Text(_)) && may_be_formula(text);
        let text: Cow<'_, str> = if guarded { Cow::Owned(format!("'{text}")) } else { Cow::Borrowed(text) };
        let text = if self.look.terminal { Cow::Owned(visible(&text).into_owned()) } else { text };
        let plain = !text.is_empty() && !text.contains([',', '"', '\n', '\r']) && text.trim() == text;
        if plain { text.into_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    }

    fn line(&self, cells: &[Cell], out: &mut dyn Write) -> io::Result<()> {
        let fields: Vec<String> = cells.iter().map(|cell| self.field(cell)).collect();
        match fields.as_slice() {
            // An empty line is no row to many readers.
            [only] if only.is_empty() => writeln!(out, "\"\""),
            fields => writeln!(out, "{}", fields.join(",")),
        }
    }
}

/// Whether a spreadsheet may take a text for a formula.
fn may_be_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

impl Render for Csv {
    fn begin(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<Cell> = schema.fields().iter().map(|field| Cell::Text(field.name().clone())).collect();
        if names.is_empty() { Ok(()) } else { self.line(&names, out) }
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            let cells: Vec<Cell> = columns.iter().map(|column| cell(column, row)).collect();
            self.line(&cells, out)?;
        }
        Ok(())
    }

    fn end(&mut self, _closing: &Closing, _out: &mut dyn Write) -> io::Result<Remark> {
        Ok(None)
    }
}
