//! `tsv`: one line a row, with a header; `\t \n \r \\` are escaped and an unknown cell is `\N`, as PostgreSQL's COPY has it.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::cell::{cell, columns};
use super::escape::visible;
use super::{Closing, Look, Remark, Render};

pub struct Tsv {
    look: Look,
}

impl Tsv {
    pub fn new(look: Look) -> Tsv {
        Tsv { look }
    }

    fn escaped(&self, text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\t' => escaped.push_str("\\t"),
                '\n' => escaped.push_str("\\n"),
                '\r' => escaped.push_str("\\r"),
                '\\' => escaped.push_str("\\\\"),
                c => escaped.push(c),
            }
        }
        if self.look.terminal { visible(&escaped).into_owned() } else { escaped }
    }
}

impl Render for Tsv {
    fn begin(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = schema.fields().iter().map(|field| self.escaped(field.name())).collect();
        if names.is_empty() { Ok(()) } else { writeln!(out, "{}", names.join("\t")) }
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            for (index, column) in columns.iter().enumerate() {
                let tab = if index == 0 { "" } else { "\t" };
                let text = cell(column, row).text().map_or("\\N".to_owned(), |text| self.escaped(text));
                write!(out, "{tab}{text}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }

    fn end(&mut self, _closing: &Closing, _out: &mut dyn Write) -> io::Result<Remark> {
        Ok(None)
    }
}
