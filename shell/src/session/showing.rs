//! Rows and words of a session on their way to where results go.

use std::io::Write as _;

use arrow::record_batch::RecordBatch;
use canvass_planner::error::Error;

use super::opening::no_parquet;
use super::{Next, Session};
use crate::error::Exit;
use crate::render::{Closing, Format, Lines, Look, Render};

impl Session {
    /// Writes rows that no endpoint was asked for, such as a list of tables.
    pub fn show(&mut self, batch: &RecordBatch) -> Result<Next, Error> {
        self.check_format()?;
        self.write(batch, false).map(Next::Go)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, explains: bool) -> Result<Exit, Error> {
        let mut renderer = self.renderer(explains)?;
        let out = &mut self.output;
        let written = renderer
            .begin(&batch.schema(), out)
            .and_then(|()| renderer.batch(batch, out))
            .and_then(|()| renderer.end(&Closing::default(), out))
            .and_then(|_| out.flush());
        self.results += 1;
        self.written(written)
    }

    /// Writes text for people to where results go.
    pub fn say(&mut self, text: &str) -> Result<Next, Error> {
        let written = writeln!(self.output, "{text}").and_then(|()| self.output.flush());
        self.written(written).map(Next::Go)
    }

    fn written(&self, written: std::io::Result<()>) -> Result<Exit, Error> {
        match written {
            Err(error) if !self.output.closed() => Err(Error::usage(format!("results cannot be written: {error}"))),
            _ => Ok(Exit::Complete),
        }
    }

    pub(super) fn look(&self) -> Look {
        let terminal = self.terminal.stdout && self.output.is_stdout();
        Look {
            terminal,
            colour: terminal && self.terminal.colour,
            width: if terminal { self.terminal.width() } else { None },
            rows_max: if terminal { self.settings.rows_max } else { None },
        }
    }

    pub(super) fn renderer(&self, explains: bool) -> Result<Box<dyn Render + Send>, Error> {
        if explains && self.settings.format == Format::Table {
            return Ok(Box::new(Lines));
        }
        let renderer = self.settings.format.renderer(self.look());
        renderer.ok_or_else(no_parquet)
    }

    /// Refuses formats that this result cannot be written in, before anything is signed.
    pub(super) fn check_format(&self) -> Result<(), Error> {
        let format = self.settings.format;
        if !format.is_text() && self.output.is_stdout() {
            return Err(Error::usage(format!("{} needs a file", format.as_str())).hint("add `-o FILE`"));
        }
        if format == Format::Arrow && self.results > 0 {
            return Err(Error::usage("an arrow file holds one result, and it has one already"));
        }
        self.renderer(false).map(drop)
    }
}
