//! Results on their way to a person or a program: one file a format.
//!
//! Cells are hostile: in every format a cell stays inside its row and its column, and what a terminal would obey or hide
//! is spelled out. Machine formats are never coloured, localised or fitted to a width.

pub mod cell;
pub mod escape;

mod arrow_file;
mod csv;
mod duration;
mod json;
mod jsonl;
mod layout;
mod lines;
mod markdown;
mod moments;
mod table;
mod tsv;
mod vertical;

use std::io::{self, Write};
use std::path::Path;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use canvass_planner::zone::Zone;
use clap::ValueEnum;

pub use lines::Lines;

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Aligned columns, for people
    Table,
    /// RFC 4180, with a header
    Csv,
    /// Tab-separated with a header; `\t \n \r \\` escaped, NULL is `\N`
    Tsv,
    /// One array of objects
    Json,
    /// One object a line
    Jsonl,
    /// A table as GitHub shows it
    Markdown,
    /// One line a cell, for wide rows
    Vertical,
    /// Not in this version
    Parquet,
    /// Arrow IPC file; needs -o
    Arrow,
}

/// What a writer may assume of whoever reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Look {
    /// A terminal obeys control characters, so none may reach it.
    pub terminal: bool,
    pub colour: bool,
    /// Columns of the terminal; `None` where lines may have any length.
    pub width: Option<usize>,
    /// A table whose rows do not fit is written one line a cell.
    pub expand: bool,
    /// A list of ours, such as the columns of a table: long texts are folded, and what is not there is blank.
    pub listing: bool,
    /// Rows shown at most by `table` and `vertical`; `None` shows all.
    pub rows_max: Option<usize>,
    /// `csv` writes no text that a spreadsheet takes for a formula.
    pub safe_csv: bool,
    /// In which `table` and `vertical` show moments; `None` is UTC.
    pub zone: Option<Zone>,
}

/// What a result says of itself after its last row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Closing {
    /// One sentence where a limit cut the result short.
    pub cut: Option<String>,
    /// The completeness record as JSON, for formats with metadata.
    pub completeness: String,
    /// The rows that are kept back are not wanted any more.
    pub stopped: bool,
}

/// What the writer left out, to be said on standard error.
pub type Remark = Option<String>;

/// Writes one result: begin once, any number of batches, pour until nothing is left or not at all, end once.
pub trait Render {
    fn begin(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<()>;

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()>;

    /// Writes some of the rows that were kept back until all were known, and says whether there are more; whoever looks for
    /// Ctrl-C does so in between.
    fn pour(&mut self, _out: &mut dyn Write) -> io::Result<bool> {
        Ok(false)
    }

    /// Rows that were taken and are not written yet.
    fn held(&self) -> usize {
        0
    }

    /// Writes what is left, and the last words.
    fn end(&mut self, closing: &Closing, out: &mut dyn Write) -> io::Result<Remark>;
}

impl Format {
    /// Whether the format has a place for saying that a result was cut short.
    pub fn carries_cut(self) -> bool {
        matches!(self, Format::Table | Format::Markdown | Format::Vertical | Format::Arrow)
    }

    /// Whether the format may be written to standard output.
    pub fn is_text(self) -> bool {
        !matches!(self, Format::Parquet | Format::Arrow)
    }

    /// The format's name as `--format` and `.mode` spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Format::Table => "table",
            Format::Csv => "csv",
            Format::Tsv => "tsv",
            Format::Json => "json",
            Format::Jsonl => "jsonl",
            Format::Markdown => "markdown",
            Format::Vertical => "vertical",
            Format::Parquet => "parquet",
            Format::Arrow => "arrow",
        }
    }

    /// The format that a file's name asks for by its ending.
    pub fn of_path(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "txt" => Format::Table,
            "csv" => Format::Csv,
            "tsv" | "tab" => Format::Tsv,
            "json" => Format::Json,
            "jsonl" | "ndjson" => Format::Jsonl,
            "md" | "markdown" => Format::Markdown,
            "parquet" => Format::Parquet,
            "arrow" | "feather" => Format::Arrow,
            _ => return None,
        })
    }

    /// The format of results in a file where none was chosen, and what there is to say of it.
    pub fn for_file(path: &Path, default: Format) -> (Format, Option<String>) {
        match Format::of_path(path) {
            Some(format) => (format, None),
            // Devices and pipes are named as they are named.
            None if path.extension().is_none() || path.metadata().is_ok_and(|is| !is.is_file()) => (default, None),
            None => {
                let remark = format!(
                    "the ending of `{}` names no format: it is written as {}",
                    path.display(),
                    default.as_str()
                );
                (default, Some(remark))
            }
        }
    }

    /// Whether a file of this format holds one result and no second.
    pub fn holds_one(self) -> bool {
        matches!(self, Format::Csv | Format::Tsv | Format::Json | Format::Parquet | Format::Arrow)
    }

    /// A writer for one result; `None` for formats this version does not have.
    pub fn renderer(self, look: Look) -> Option<Box<dyn Render + Send>> {
        Some(match self {
            Format::Table => Box::new(table::Table::new(look)),
            Format::Csv => Box::new(csv::Csv::new(look)),
            Format::Tsv => Box::new(tsv::Tsv::new(look)),
            Format::Json => Box::new(json::Json::default()),
            Format::Jsonl => Box::new(jsonl::Jsonl::default()),
            Format::Markdown => Box::new(markdown::Markdown),
            Format::Vertical => Box::new(vertical::Vertical::new(look)),
            Format::Arrow => Box::new(arrow_file::ArrowFile::default()),
            Format::Parquet => return None,
        })
    }
}

/// Column names as a format without duplicate keys needs them: a second `path` becomes `path_2`.
pub fn distinct_names(schema: &SchemaRef) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for field in schema.fields() {
        let mut name = field.name().clone();
        let mut count = 1;
        while names.contains(&name) || (count > 1 && schema.fields().iter().any(|other| *other.name() == name)) {
            count += 1;
            name = format!("{}_{count}", field.name());
        }
        names.push(name);
    }
    names
}

#[cfg(test)]
mod tests;
