//! Rows put aside on disk, in a file without a name, until the plan comes to read them.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;
use datafusion::arrow::ipc::writer::StreamWriter;

/// The file of one feed. What was read of it is not kept: once nothing waits in it, it begins anew.
pub struct Aside {
    file: File,
    end: u64,
    waiting: usize,
}

/// Where in the file a batch is.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    at: u64,
    length: usize,
}

impl Aside {
    pub fn new() -> io::Result<Aside> {
        Ok(Aside { file: tempfile::tempfile()?, end: 0, waiting: 0 })
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.end
    }

    pub fn put(&mut self, batch: &RecordBatch) -> io::Result<Place> {
        let encoded = encode(batch).map_err(io::Error::other)?;
        self.file.write_all_at(&encoded, self.end)?;
        let place = Place { at: self.end, length: encoded.len() };
        self.end += encoded.len() as u64;
        self.waiting += 1;
        Ok(place)
    }

    pub fn take(&mut self, place: Place) -> io::Result<RecordBatch> {
        let mut encoded = vec![0; place.length];
        self.file.read_exact_at(&mut encoded, place.at)?;
        self.waiting -= 1;
        if self.waiting == 0 {
            self.file.set_len(0)?;
            self.end = 0;
        }
        let mut reader = StreamReader::try_new(encoded.as_slice(), None).map_err(io::Error::other)?;
        let batch = reader.next().ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        batch.map_err(io::Error::other)
    }
}

fn encode(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}
