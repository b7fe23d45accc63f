//! `vertical`: one line a cell, for rows too wide for a table.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use unicode_width::UnicodeWidthStr;

use super::cell::{cell, columns};
use super::escape::visible;
use super::table::null;
use super::{Closing, Look, Remark, Render};

pub struct Vertical {
    look: Look,
    names: Vec<String>,
    rows: usize,
}

impl Vertical {
    pub fn new(look: Look) -> Vertical {
        Vertical { look, names: Vec::new(), rows: 0 }
    }
}

impl Render for Vertical {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = schema.fields().iter().map(|field| visible(field.name()).into_owned()).collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        self.names = names.iter().map(|name| format!("{name}{}", " ".repeat(width - name.width()))).collect();
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            self.rows += 1;
            if self.look.rows_max.is_some_and(|max| self.rows > max) {
                continue;
            }
            writeln!(out, "─── row {} ───", self.rows)?;
            for (name, column) in self.names.iter().zip(&columns) {
                let cell = cell(column, row);
                let text = cell.text().map_or_else(|| null(self.look.colour), |text| visible(text).into_owned());
                writeln!(out, "{name} │ {text}")?;
            }
        }
        Ok(())
    }

    fn end(&mut self, closing: &Closing, out: &mut dyn Write) -> io::Result<Remark> {
        if let Some(cut) = &closing.cut {
            writeln!(out, "({})", visible(cut))?;
        }
        let hidden = self.look.rows_max.filter(|max| self.rows > *max);
        Ok(hidden.map(|max| format!("{max} of {} rows shown; `.maxrows 0` shows all", self.rows)))
    }
}
