//! `table`: aligned columns for people; on a terminal fitted to its width, and said so.

use std::io::{self, Write};

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::record_batch::RecordBatch;
use nu_ansi_term::Style;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::cell::{cell, columns, is_numeric};
use super::escape::{visible, visible_cell};
use super::layout::Layout;
use super::{Closing, Look, Remark, Render, moments, vertical};

/// Rows written in one go.
const ROWS_AT_ONCE: usize = 256;
/// Names of columns in a remark; the rest is a count.
const NAMES_SHOWN: usize = 6;

pub struct Table {
    look: Look,
    names: Vec<String>,
    numeric: Vec<bool>,
    /// Columns that may be cut: whatever is no number, moment or truth value.
    text: Vec<bool>,
    batches: Vec<Vec<ArrayRef>>,
    rows: usize,
    kept: usize,
    /// Known once all rows are.
    layout: Option<Layout>,
    natural: Vec<usize>,
    written: usize,
}

impl Table {
    pub fn new(look: Look) -> Table {
        Table {
            look,
            names: Vec::new(),
            numeric: Vec::new(),
            text: Vec::new(),
            batches: Vec::new(),
            rows: 0,
            kept: 0,
            layout: None,
            natural: Vec::new(),
            written: 0,
        }
    }

    /// Widths that show every cell whole.
    fn natural_widths(&self) -> Vec<usize> {
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.width()).collect();
        for batch in &self.batches {
            for (width, column) in widths.iter_mut().zip(batch) {
                for row in 0..column.len() {
                    *width = (*width).max(self.piece(column, row).text.width());
                }
            }
        }
        widths
    }

    /// The layout, and the header written with it.
    fn laid_out(&mut self, out: &mut dyn Write) -> io::Result<Layout> {
        if let Some(layout) = &self.layout {
            return Ok(layout.clone());
        }
        self.batches = moments::shown(std::mem::take(&mut self.batches), self.look.zone, None);
        self.natural = self.natural_widths();
        let layout = Layout::of(&self.natural, &self.text, self.look.width);
        self.layout = Some(layout.clone());
        if !self.names.is_empty() && !self.is_vertical(&layout) {
            let header: Vec<Piece> = self.names.iter().map(|name| Piece { text: name.clone(), null: false }).collect();
            let bold = if self.look.colour { Style::new().bold() } else { Style::new() };
            self.line(&header, &layout, bold, out)?;
            let mut rules: Vec<String> = layout.columns.iter().map(|(_, width)| "─".repeat(*width)).collect();
            if let Some(gap) = layout.gap {
                rules.insert(gap, "─".to_owned());
            }
            writeln!(out, "{}", rules.join("─┼─"))?;
        }
        Ok(layout)
    }

    /// Whether rows that do not fit are written one line a cell instead.
    fn is_vertical(&self, layout: &Layout) -> bool {
        self.look.expand
            && (layout.gap.is_some() || layout.columns.iter().any(|(index, width)| *width < self.natural[*index]))
    }

    /// Writes some rows; says whether there are more.
    fn rows(&mut self, out: &mut dyn Write) -> io::Result<bool> {
        let layout = self.laid_out(out)?;
        let until = (self.written + ROWS_AT_ONCE).min(self.kept);
        let mut before = 0;
        for batch in &self.batches {
            let length = batch.first().map_or(0, |column| column.len());
            let from = self.written.saturating_sub(before).min(length);
            let to = until.saturating_sub(before).min(length);
            for row in from..to {
                if self.is_vertical(&layout) {
                    vertical::row(&self.names, batch, row, before + row + 1, self.look, out)?;
                } else {
                    let cells: Vec<Piece> = batch.iter().map(|column| self.piece(column, row)).collect();
                    self.line(&cells, &layout, Style::new(), out)?;
                }
            }
            before += length;
        }
        self.written = until;
        Ok(self.written < self.kept)
    }

    fn piece(&self, column: &ArrayRef, row: usize) -> Piece {
        match cell(column, row).visible() {
            Some(text) => Piece { text: barless(&text), null: false },
            None if self.look.listing => Piece { text: String::new(), null: false },
            None => Piece { text: "NULL".to_owned(), null: true },
        }
    }

    /// Writes the cells that are shown; in a listing what is too long goes on below.
    fn line(&self, cells: &[Piece], layout: &Layout, style: Style, out: &mut dyn Write) -> io::Result<()> {
        let folded: Vec<Vec<String>> = layout
            .columns
            .iter()
            .map(|(index, width)| match &cells[*index] {
                piece if self.look.listing && self.text[*index] => folded(&piece.text, *width),
                piece => vec![shortened(&piece.text, *width)],
            })
            .collect();
        for at in 0..folded.iter().map(Vec::len).max().unwrap_or(0) {
            let mut fields: Vec<String> = Vec::with_capacity(folded.len() + 1);
            for (place, (index, width)) in layout.columns.iter().enumerate() {
                let text = folded[place].get(at).map_or("", String::as_str);
                let padding = " ".repeat(width.saturating_sub(text.width()));
                let is_null = cells[*index].null;
                let dressed = if is_null { null(self.look.colour) } else { style.paint(text).to_string() };
                let is_last = place + 1 == folded.len() && layout.gap != Some(folded.len());
                fields.push(match (self.numeric[*index], is_last) {
                    (true, _) => padding + &dressed,
                    (false, true) => dressed,
                    (false, false) => dressed + &padding,
                });
            }
            if let Some(gap) = layout.gap {
                fields.insert(gap, if at == 0 { "…" } else { " " }.to_owned());
            }
            writeln!(out, "{}", fields.join(" │ "))?;
        }
        Ok(())
    }

    fn remark(&self) -> Remark {
        let Some(layout) = &self.layout else { return None };
        let mut remarks = Vec::new();
        if self.rows > self.kept {
            remarks.push(format!("{} of {} rows shown; `.maxrows 0` shows all", self.kept, self.rows));
        }
        if self.is_vertical(layout) {
            return (!remarks.is_empty()).then(|| remarks.join("; "));
        }
        let left_out = layout.left_out(self.names.len());
        let narrowed: Vec<usize> = match self.look.listing {
            true => Vec::new(),
            false => {
                layout.columns.iter().filter(|(index, width)| *width < self.natural[*index]).map(|c| c.0).collect()
            }
        };
        if !left_out.is_empty() {
            let (shown, all) = (layout.columns.len(), self.names.len());
            remarks.push(format!("{shown} of {all} columns shown, without {}", self.named(&left_out)));
        }
        if !narrowed.is_empty() {
            remarks.push(format!("cut to the terminal: {}", self.named(&narrowed)));
        }
        if !left_out.is_empty() || !narrowed.is_empty() {
            remarks.push("vertical (`\\x`) shows all of it".to_owned());
        }
        (!remarks.is_empty()).then(|| remarks.join("; "))
    }

    fn named(&self, columns: &[usize]) -> String {
        let names: Vec<&str> = columns.iter().take(NAMES_SHOWN).map(|index| self.names[*index].as_str()).collect();
        match columns.len() - names.len() {
            0 => names.join(", "),
            more => format!("{} and {more} more", names.join(", ")),
        }
    }
}

struct Piece {
    text: String,
    null: bool,
}

/// The word for an unknown cell, told apart from the text of the same letters where colours are.
pub fn null(colour: bool) -> String {
    if colour { Style::new().dimmed().paint("NULL").to_string() } else { "NULL".to_owned() }
}

/// Nothing in it looks like the end of a column.
fn barless(text: &str) -> String {
    text.replace('│', "\\u{2502}")
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

/// The text on as many lines as it needs at a width, broken between words where there are any.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_inclusive(' ') {
        if used > 0 && used + word.trim_end().width() > width {
            lines.push(String::new());
            used = 0;
        }
        for c in word.chars() {
            let step = c.width().unwrap_or(0);
            if used > 0 && used + step > width {
                // The blank that a line ends with needs no room of its own.
                if c == ' ' {
                    continue;
                }
                lines.push(String::new());
                used = 0;
            }
            used += step;
            lines.last_mut().into_iter().for_each(|line| line.push(c));
        }
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

fn is_text(kind: &DataType) -> bool {
    let is_simple = kind.is_numeric() || kind.is_temporal() || matches!(kind, DataType::Boolean | DataType::Null);
    match kind {
        DataType::Dictionary(_, values) => is_text(values),
        _ => !is_simple,
    }
}

impl Render for Table {
    fn begin(&mut self, schema: &SchemaRef, _out: &mut dyn Write) -> io::Result<()> {
        self.names = schema.fields().iter().map(|field| barless(&visible_cell(field.name()))).collect();
        self.numeric = schema.fields().iter().map(|field| is_numeric(field.data_type())).collect();
        self.text = schema.fields().iter().map(|field| is_text(field.data_type())).collect();
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

    fn pour(&mut self, out: &mut dyn Write) -> io::Result<bool> {
        self.rows(out)
    }

    fn held(&self) -> usize {
        self.kept - self.written
    }

    fn end(&mut self, closing: &Closing, out: &mut dyn Write) -> io::Result<Remark> {
        while !closing.stopped && self.rows(out)? {}
        if let Some(cut) = &closing.cut {
            writeln!(out, "({})", visible(cut))?;
        }
        Ok(self.remark())
    }
}
