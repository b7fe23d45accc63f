//! Rows and words of a session on their way to where results go.

use std::io::Write as _;
use std::path::Path;

use arrow::record_batch::RecordBatch;
use canvass_planner::error::Error;

use super::opening::no_parquet;
use super::{Aside, Next, Session};
use crate::error::{Exit, unusable};
use crate::output::Output;
use crate::render::{Closing, Format, Lines, Look, Render};
use crate::terminal::Tone;

impl Session {
    /// Writes rows that no endpoint was asked for, such as a list of tables.
    pub fn show(&mut self, batch: &RecordBatch) -> Result<Next, Error> {
        self.check_format()?;
        let format = self.settings.format;
        let renderer =
            format.renderer(Look { listing: format == Format::Table, ..self.look() }).ok_or_else(no_parquet)?;
        self.write_with(renderer, batch).map(Next::Go)
    }

    pub(super) fn write(&mut self, batch: &RecordBatch, explains: bool) -> Result<Exit, Error> {
        let renderer = self.renderer(explains)?;
        self.write_with(renderer, batch)
    }

    fn write_with(&mut self, mut renderer: Box<dyn Render + Send>, batch: &RecordBatch) -> Result<Exit, Error> {
        let out = &mut self.output;
        let written = renderer
            .begin(&batch.schema(), out)
            .and_then(|()| renderer.batch(batch, out))
            .and_then(|()| renderer.end(&Closing::default(), out))
            .and_then(|remark| out.flush().map(|()| remark));
        if let Ok(Some(remark)) = &written
            && self.look().terminal
        {
            eprintln!("{}", self.terminal.paint(Tone::Quiet, &format!("({remark})")));
        }
        let exit = self.written(written.map(drop))?;
        self.result_written()?;
        Ok(exit)
    }

    /// Writes text for people to where results go.
    pub fn say(&mut self, text: &str) -> Result<Next, Error> {
        let written = writeln!(self.output, "{text}").and_then(|()| self.output.flush());
        let exit = self.written(written)?;
        self.result_written()?;
        Ok(Next::Go(exit))
    }

    /// Says what a command has done, to somebody who typed it.
    pub fn confirm(&self, text: &str) {
        if self.at_prompt && !self.settings.quiet {
            eprintln!("{text}");
        }
    }

    /// Says what a setting is, after a statement has set it.
    pub(super) fn confirm_set(&self, statement: &str) {
        let named = statement.split_once("canvass.").map(|(_, rest)| rest);
        let name: String = named.unwrap_or_default().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if let Ok(value) = self.desk.settings().get(&name.to_ascii_lowercase()) {
            self.confirm(&format!("canvass.{} is {value}", name.to_ascii_lowercase()));
        }
    }

    /// How results are written from now on; refuses what cannot be.
    pub fn set_format(&mut self, format: Format) -> Result<(), Error> {
        let before = std::mem::replace(&mut self.settings.format, format);
        self.check_format().inspect_err(|_| self.settings.format = before)
    }

    /// Sends results to a file, which appears when `.output` is given no file, or after one result.
    pub fn send_to(&mut self, path: &Path, once: bool) -> Result<(), Error> {
        self.back_to_terminal()?;
        let text = if self.settings.format.is_text() { self.settings.format } else { Format::Tsv };
        let (format, remark) = Format::for_file(path, text);
        if format == Format::Parquet {
            return Err(no_parquet());
        }
        let output = Output::file(path).map_err(|error| unusable(path, &error))?;
        if let Some(remark) = remark {
            eprintln!("{} {remark}", self.terminal.paint(Tone::Warning, "warning:"));
        }
        let output = std::mem::replace(&mut self.output, output);
        let format = std::mem::replace(&mut self.settings.format, format);
        self.aside = Some(Aside { output, format, once });
        Ok(())
    }

    /// Ends a file that results were sent to, where they were.
    pub fn back_to_terminal(&mut self) -> Result<(), Error> {
        let Some(aside) = self.aside.take() else { return Ok(()) };
        self.settings.format = aside.format;
        let file = std::mem::replace(&mut self.output, aside.output);
        let (path, results) = (file.path().map(Path::to_owned), file.results);
        // A file without a result would be in the way of what was there.
        let ended = if results == 0 { file.discard() } else { file.finish() };
        ended.map_err(|error| Error::usage(format!("results cannot be written: {error}")))?;
        if let Some(path) = path.filter(|_| results > 0) {
            self.confirm(&format!("written to `{}`", path.display()));
        }
        Ok(())
    }

    /// Counts a result, and comes back from a file that was for one alone.
    pub(super) fn result_written(&mut self) -> Result<(), Error> {
        self.output.results += 1;
        if self.aside.as_ref().is_some_and(|aside| aside.once) { self.back_to_terminal() } else { Ok(()) }
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
            expand: terminal && self.settings.expand,
            listing: false,
            safe_csv: self.settings.safe_csv,
            zone: terminal.then(|| self.desk.settings().timezone),
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
        if format == Format::Parquet {
            return Err(no_parquet());
        }
        if !format.is_text() && self.output.is_stdout() {
            let error = Error::usage(format!("{} needs a file", format.as_str()));
            return Err(error.hint(format!("`.once x.{}`, or `-o FILE` at the start", format.as_str())));
        }
        match self.output.path() {
            Some(path) if format.holds_one() && self.output.results > 0 => {
                Err(Error::usage(format!("`{}` holds one result, and it has one already", path.display()))
                    .hint("jsonl holds several, or give each a file of its own"))
            }
            _ => Ok(()),
        }
    }
}
