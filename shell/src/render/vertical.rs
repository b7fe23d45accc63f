//! `vertical`: one line a cell, for rows too wide for a table.

use std::borrow::Cow;
use std::io::{self, Write};

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use unicode_width::UnicodeWidthStr;

use super::cell::{cell, columns};
use super::escape::{visible, visible_cell};
use super::table::null;
use super::{Closing, Look, Remark, Render, moments};

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

/// Writes one row, the `number`-th: a line a cell.
pub fn row(
    names: &[String],
    columns: &[ArrayRef],
    row: usize,
    number: usize,
    look: Look,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "─── row {number} ───")?;
    let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
    for (name, column) in names.iter().zip(columns) {
        let cell = cell(column, row);
        let text = cell.visible().map_or_else(|| null(look.colour), Cow::into_owned);
        writeln!(out, "{name}{} │ {text}", " ".repeat(width - name.width()))?;
    }
    Ok(())
}

impl Render for Vertical {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut dyn Write) -> io::Result<()> {
        self.names = schema.fields().iter().map(|field| visible_cell(field.name()).into_owned()).collect();
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let digits = self.look.terminal.then_some(moments::ALL_DIGITS);
        let Some(columns) = moments::shown(vec![columns(batch)], self.look.zone, digits).pop() else { return Ok(()) };
        for at in 0..batch.num_rows() {
            self.rows += 1;
            if self.look.rows_max.is_none_or(|max| self.rows <= max) {
                row(&self.names, &columns, at, self.rows, self.look, out)?;
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
