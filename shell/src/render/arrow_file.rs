//! `arrow`: an Arrow IPC file, with the completeness record in its metadata.

use std::io::{self, Write};

use arrow::datatypes::SchemaRef;
use arrow::ipc::writer::FileWriter;
use arrow::record_batch::RecordBatch;

use super::{Closing, Remark, Render};

/// The metadata key of the completeness record.
pub const COMPLETENESS: &str = "canvass.completeness";

#[derive(Default)]
pub struct ArrowFile {
    writer: Option<FileWriter<Vec<u8>>>,
}

impl ArrowFile {
    fn writer(&mut self) -> io::Result<&mut FileWriter<Vec<u8>>> {
        self.writer.as_mut().ok_or_else(|| io::Error::other("the result has not begun"))
    }

    fn drain(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let bytes = std::mem::take(self.writer()?.get_mut());
        out.write_all(&bytes)
    }
}

impl Render for ArrowFile {
    fn begin(&mut self, schema: &SchemaRef, out: &mut dyn Write) -> io::Result<()> {
        self.writer = Some(FileWriter::try_new(Vec::new(), schema).map_err(io::Error::other)?);
        self.drain(out)
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut dyn Write) -> io::Result<()> {
        self.writer()?.write(batch).map_err(io::Error::other)?;
        self.drain(out)
    }

    fn end(&mut self, closing: &Closing, out: &mut dyn Write) -> io::Result<Remark> {
        let writer = self.writer()?;
        writer.write_metadata(COMPLETENESS, closing.completeness.as_str());
        writer.finish().map_err(io::Error::other)?;
        self.drain(out)?;
        Ok(None)
    }
}
