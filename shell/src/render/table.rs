//! `table`: aligned columns for people; on a terminal fitted to its width, and said so.

use std::io::{self, Write};

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use nu_ansi_term::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cell::{cell, columns, is_numeric};
use super::escape::visible;
use super::{Closing, Look, Remark, Render};

/// A text column is never made narrower than this to fit a terminal.
const WIDTH_MIN: usize = 8;

pub struct Table {
    look: Look,
    names: Vec<String>,
    numeric: Vec<bool>,
    batches: Vec<Vec<ArrayRef>>,
    rows: usize,
    kept: usize,
}

impl Table {
    pub fn new(look: Look) -> Table {
        Table { look, names: Vec::new(), numeric: Vec::new(), batches: Vec::new(), rows: 0, kept: 0 }
    }

    /// Widths that show every cell whole.
    fn natural_widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.width()).collect();
        for batch in &self.batches {
            for (width, column) in widths.iter_mut().zip(batch) {
                for row in 0..column.len() {
                    let shown = cell(column, row).text().map_or(4, |text| shown(text).width());
                    *width = (*width).max(shown);
                }
            }
        }
        widths
    }

    fn line(&self, cells: &[Piece], widths: &[usize], style: Style, out: &mut dyn Write) -> io::Result<()> {
        let last = cells.len().saturating_sub(1);
        let mut line = String::new();
        for (index, (piece, width)) in cells.iter().zip(widths).enumerate() {
            if index > 0 {
                line.push_str(" │ ");
            }
            let text = shortened(&piece.text, *width);
            let padding = " ".repeat(width.saturating_sub(text.width()));
            let dressed = if piece.null { null(self.look.colour) } else { style.paint(text).to_string() };
            match (self.numeric[index], index == last) {
                (true, _) => line.extend([padding, dressed]),
                (false, true) => line.push_str(&dressed),
                (false, false) => line.extend([dressed, padding]),
            }
        }
        writeln!(out, "{line}")
    }

    fn rows(&self, widths: &[usize], out: &mut dyn Write) -> io::Result<()> {
        for batch in &self.batches {
            for row in 0..batch.first().map_or(0, |column| column.len()) {
                let cells: Vec<Piece> = batch.iter().map(|column| Piece::of(column, row)).collect();
                self.line(&cells, widths, Style::new(), out)?;
            }
        }
        Ok(())
    }
}

struct Piece {
    text: String,
    null: bool,
}

impl Piece {
    fn of(column: &ArrayRef, row: usize) -> Piece {
        match cell(column, row).text() {
            Some(text) => Piece { text: shown(text), null: false },
            None => Piece { text: "NULL".to_owned(), null: true },
        }
    }
}

/// The word for an unknown cell, told apart from the text of the same letters where colours are.
pub fn null(colour: bool) -> String {
    if colour { Style::new().dimmed().paint("NULL").to_string() } else { "NULL".to_owned() }
}

/// A cell on one line, in which nothing looks like the end of a column.
fn shown(text: &str) -> String {
    visible(text).replace('│', "\\u{2502}")
}

/// The text cut to a width, with `…` where something is missing.
fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in text.chars() {
        let step = c.width().unwrap_or(0);
        if used + step + 1 > width {
            break;
        }
        used += step;
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Narrows the widest text columns until a line fits; numbers are never cut, a cut number would be a wrong one.
fn fit(widths: &mut [usize], numeric: &[bool], available: usize) {
    let bars = widths.len().saturating_sub(1) * 3;
    for (width, numeric) in widths.iter_mut().zip(numeric) {
        if !numeric {
            *width = (*width).min(available.max(WIDTH_MIN));
        }
    }
    while widths.iter().sum::<usize>() + bars > available {
        let wide = (0..widths.len()).filter(|index| !numeric[*index] && widths[*index] > WIDTH_MIN);
        let Some(widest) = wide.max_by_key(|index| widths[*index]) else { return };
        widths[widest] -= 1;
    }
}

impl Render for Table {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut dyn Write) -> io::Result<()> {
        self.names = schema.fields().iter().map(|field| shown(field.name())).collect();
        self.numeric = schema.fields().iter().map(|field| is_numeric(field.data_type())).collect();
        Ok(())
    }

    fn batch(&mut self, batch: &RecordBatch, _out: &mut dyn Write) -> io::Result<()> {
        let room = self.look.rows_max.map_or(usize::MAX, |max| max - self.kept.min(max));
        let kept = batch.slice(0, room.min(batch.num_rows()));
        self.rows += batch.num_rows();
        self.kept += kept.num_rows();
        if kept.num_rows() > 0 {
            self.batches.push(columns(&kept));
        }
        Ok(())
    }

    fn end(&mut self, closing: &Closing, out: &mut dyn Write) -> io::Result<Remark> {
        let mut widths = self.natural_widths();
        let natural = widths.clone();
        if let Some(available) = self.look.width {
            fit(&mut widths, &self.numeric, available);
        }
        if !self.names.is_empty() {
            let header: Vec<Piece> = self.names.iter().map(|name| Piece { text: name.clone(), null: false }).collect();
            let bold = if self.look.colour { Style::new().bold() } else { Style::new() };
            self.line(&header, &widths, bold, out)?;
            let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
            writeln!(out, "{}", rules.join("─┼─"))?;
        }
        self.rows(&widths, out)?;
        if let Some(cut) = &closing.cut {
            writeln!(out, "({})", visible(cut))?;
        }
        Ok(self.remark(&natural, &widths))
    }
}

impl Table {
    fn remark(&self, natural: &[usize], widths: &[usize]) -> Remark {
        let narrowed: Vec<&str> = self
            .names
            .iter()
            .zip(natural.iter().zip(widths))
            .filter_map(|(name, (natural, width))| (width < natural).then_some(name.as_str()))
            .collect();
        let mut remarks = Vec::new();
        if self.rows > self.kept {
            remarks.push(format!("{} of {} rows shown; `.maxrows 0` shows all", self.kept, self.rows));
        }
        if !narrowed.is_empty() {
            remarks.push(format!("cut to the terminal: {}; vertical shows all of it", narrowed.join(", ")));
        }
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }
}
