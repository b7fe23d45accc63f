//! `markdown`: a table as GitHub shows it; nothing in a cell is markup.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;

use super::cell::{cell, columns, is_numeric};
use super::escape::visible;
use super::{Closing, Remark, Render};

pub struct Markdown;

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' => escaped.extend(['\\', c]),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            c => escaped.push(c),
        }
    }
    visible(&escaped).into_owned()
}

impl Render for Markdown {
    fn begin(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<()> {
        let names: Vec<String> = schema.fields().iter().map(|field| escaped(field.name())).collect();
        let rules = schema.fields().iter().map(|field| if is_numeric(field.data_type()) { "---:" } else { "---" });
        writeln!(out, "| {} |", names.join(" | "))?;
        writeln!(out, "| {} |", rules.collect::<Vec<_>>().join(" | "))
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        let columns = columns(batch);
        for row in 0..batch.num_rows() {
            let cells: Vec<String> =
                columns.iter().map(|column| cell(column, row).text().map_or("NULL".to_owned(), escaped)).collect();
            writeln!(out, "| {} |", cells.join(" | "))?;
        }
        Ok(())
    }

    fn end(&mut self, closing: &Closing, out: &mut dyn Write) -> io::Result<Remark> {
        if let Some(cut) = &closing.cut {
            writeln!(out, "\n*{}*", escaped(cut))?;
        }
        Ok(None)
    }
}
