//! Parquet files: they say themselves what their columns are, and only the columns that are wanted are read.

use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::parquet::arrow::ProjectionMask;
use datafusion::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use super::{BATCH_ROWS, Malformed, distinct};

/// Bytes that the columns of one file may take in memory.
const MEMORY_BYTES_MAX: usize = 2 << 30;

/// An open file and what it says of itself.
pub struct Parquet {
    /// Reading moves the one place at which the file is read.
    file: Mutex<File>,
    metadata: ArrowReaderMetadata,
    schema: SchemaRef,
}

impl Parquet {
    pub fn open(file: File) -> Result<Parquet, Malformed> {
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).map_err(wrong)?;
        let written = metadata.schema().fields();
        if written.is_empty() {
            return Err(Malformed("it has no columns".to_owned()));
        }
        // Whatever else the file says of its columns is not for us: a mark of ours in it would be believed.
        let names = distinct(written.iter().map(|field| field.name().as_str()));
        let fields: Vec<Field> =
            names.iter().zip(written).map(|(name, field)| Field::new(name, plain(field.data_type()), true)).collect();
        Ok(Parquet { file: Mutex::new(file), metadata, schema: Arc::new(Schema::new(fields)) })
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Reads these columns of all rows.
    pub fn read(&self, columns: &[usize]) -> Result<Vec<RecordBatch>, Malformed> {
        let schema = Arc::new(self.schema.project(columns).map_err(wrong)?);
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let own = file.try_clone().map_err(wrong)?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(own, self.metadata.clone())
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(wrong)?;
        // They are read in the file's order, whatever order they are wanted in.
        let mut sorted = columns.to_vec();
        sorted.sort_unstable();
        let mut bytes = 0;
        let mut batches = Vec::new();
        for batch in reader {
            let batch = batch.map_err(wrong)?;
            let wanted = columns.iter().zip(schema.fields()).map(|(column, field)| {
                let at = sorted.binary_search(column).map_err(wrong_order)?;
                converted(batch.column(at), field.data_type())
            });
            let wanted = wanted.collect::<Result<Vec<ArrayRef>, Malformed>>()?;
            bytes += wanted.iter().map(Array::get_array_memory_size).sum::<usize>();
            if bytes > MEMORY_BYTES_MAX {
                return Err(Malformed("the columns asked of it take more than 2 GiB; name fewer".to_owned()));
            }
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            batches.push(RecordBatch::try_new_with_options(schema.clone(), wanted, &options).map_err(wrong)?);
        }
        Ok(batches)
    }
}

/// Text in one form, whatever form it is stored in, so that it compares with an endpoint's as it is.
fn plain(kind: &DataType) -> DataType {
    match kind {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Dictionary(_, values) => plain(values),
        other => other.clone(),
    }
}

fn converted(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef, Malformed> {
    if array.data_type() == kind {
        return Ok(array.clone());
    }
    cast(array, kind).map_err(wrong)
}

fn wrong(error: impl std::fmt::Display) -> Malformed {
    let text = error.to_string();
    let text = text.lines().next().unwrap_or_default();
    let text = ["Parquet argument error: ", "Parquet error: ", "Invalid argument error: ", "EOF: "]
        .iter()
        .fold(text, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    Malformed(format!("it is damaged, or no parquet file: {text}"))
}

fn wrong_order(_: usize) -> Malformed {
    Malformed("a column is missing".to_owned())
}
