//! Rows gathered into one Arrow batch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Float64Builder, Int64Builder, RecordBatchOptions, StringBuilder,
    TimestampNanosecondBuilder,
};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;

use crate::column::{Cell, Kind};
pub(super) use crate::frame::ROWS_MAX;

/// Estimated bytes of one batch.
pub(super) const BYTES_MAX: usize = 1 << 20;
/// Estimated bytes of one row, so that even a batch of a single row fits into a frame.
pub(super) const ROW_BYTES_MAX: usize = 2 << 20;

enum Builder {
    Text(StringBuilder),
    Integer(Int64Builder),
    Float(Float64Builder),
    Boolean(BooleanBuilder),
    Timestamp(TimestampNanosecondBuilder),
}

/// A batch being filled.
pub(super) struct Batch {
    schema: Arc<Schema>,
    kinds: Arc<[Kind]>,
    builders: Vec<Builder>,
    pub rows: usize,
    /// An estimate from above.
    pub bytes: usize,
}

impl Batch {
    pub fn new(schema: Schema, kinds: impl Iterator<Item = Kind>) -> Batch {
        let kinds: Vec<Kind> = kinds.collect();
        let builders = kinds.iter().copied().map(Builder::new).collect();
        Batch { schema: Arc::new(schema), kinds: kinds.into(), builders, rows: 0, bytes: 0 }
    }

    /// Another batch of the same columns.
    pub fn empty(&self) -> Batch {
        let builders = self.kinds.iter().copied().map(Builder::new).collect();
        Batch { schema: Arc::clone(&self.schema), kinds: Arc::clone(&self.kinds), builders, rows: 0, bytes: 0 }
    }

    /// Adds one row, of one cell for each column.
    pub fn push(&mut self, cells: &[Cell<'_>]) {
        for (builder, cell) in self.builders.iter_mut().zip(cells) {
            builder.push(cell);
            self.bytes += size(cell);
        }
        self.rows += 1;
    }

    /// Takes what was gathered and begins anew.
    pub fn take(&mut self) -> RecordBatch {
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        self.rows = 0;
        self.bytes = 0;
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .expect("the builders are those of the schema's columns")
    }
}

impl Builder {
    fn new(kind: Kind) -> Builder {
        match kind {
            Kind::Text | Kind::Content => Builder::Text(StringBuilder::new()),
            Kind::Integer => Builder::Integer(Int64Builder::new()),
            Kind::Float => Builder::Float(Float64Builder::new()),
            Kind::Boolean => Builder::Boolean(BooleanBuilder::new()),
            Kind::Timestamp => Builder::Timestamp(TimestampNanosecondBuilder::new().with_timezone("UTC")),
        }
    }

    fn push(&mut self, cell: &Cell<'_>) {
        debug_assert!(self.fits(cell), "a column gave a cell that is not of its kind");
        match (self, cell) {
            (Builder::Text(builder), Cell::Text(text)) => builder.append_value(text),
            (Builder::Text(builder), _) => builder.append_null(),
            (Builder::Integer(builder), Cell::Integer(number)) => builder.append_value(*number),
            (Builder::Integer(builder), _) => builder.append_null(),
            (Builder::Float(builder), Cell::Float(number)) => builder.append_value(*number),
            (Builder::Float(builder), _) => builder.append_null(),
            (Builder::Boolean(builder), Cell::Boolean(truth)) => builder.append_value(*truth),
            (Builder::Boolean(builder), _) => builder.append_null(),
            (Builder::Timestamp(builder), Cell::Timestamp(at)) => builder.append_value(*at),
            (Builder::Timestamp(builder), _) => builder.append_null(),
        }
    }

    fn fits(&self, cell: &Cell<'_>) -> bool {
        matches!(
            (self, cell),
            (_, Cell::Null)
                | (Builder::Text(_), Cell::Text(_))
                | (Builder::Integer(_), Cell::Integer(_))
                | (Builder::Float(_), Cell::Float(_))
                | (Builder::Boolean(_), Cell::Boolean(_))
                | (Builder::Timestamp(_), Cell::Timestamp(_))
        )
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Builder::Text(builder) => Arc::new(builder.finish()),
            Builder::Integer(builder) => Arc::new(builder.finish()),
            Builder::Float(builder) => Arc::new(builder.finish()),
            Builder::Boolean(builder) => Arc::new(builder.finish()),
            Builder::Timestamp(builder) => Arc::new(builder.finish()),
        }
    }
}

/// Bytes that a cell takes in a frame, with its share of offsets and validity.
pub(super) fn size(cell: &Cell<'_>) -> usize {
    match cell {
        Cell::Text(text) => text.len() + 5,
        _ => 9,
    }
}
