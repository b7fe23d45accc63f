//! Rows on their way: record batches as bounded Arrow IPC streams, and their careful opening.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::Array as _;
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::ipc;
use arrow::ipc::reader::read_record_batch;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use canvass_protocol::limits::FRAME_BYTES_MAX;

/// Rows of one frame: enough to be efficient, few enough to stream. Without columns their number is a mere claim.
pub(crate) const ROWS_MAX: usize = 8192;

/// Why a frame's bytes are not the rows that were planned.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("malformed frame: {0}")]
    Malformed(String),
    #[error("the frame's columns are not the ones that were asked for")]
    Schema,
}

/// Writes one batch as a self-contained Arrow IPC stream: a schema, one batch, an end; nothing compressed.
pub fn encode(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).expect("a vector takes all that is written");
    writer.write(batch).expect("the batch is of its own schema, and a vector takes all");
    writer.into_inner().expect("a vector takes all that is written")
}

/// Opens bytes that may be hostile: lengths are checked before Arrow sees them, the schema must be `schema`, values are
/// validated in full, and a panic inside the decoder is an error.
///
/// The schema is compared where it lies and never built: Arrow's own reader of schemas panics on some of them.
pub fn decode(bytes: &[u8], schema: &Arc<Schema>) -> Result<RecordBatch, FrameError> {
    if bytes.len() > FRAME_BYTES_MAX {
        return Err(malformed("too long"));
    }
    catch_unwind(AssertUnwindSafe(|| open(bytes, schema))).unwrap_or_else(|_| Err(malformed("the decoder gave up")))
}

fn malformed(reason: impl Into<String>) -> FrameError {
    FrameError::Malformed(reason.into())
}

/// One message of a stream: its metadata and where its body lies.
struct Message<'a> {
    head: ipc::Message<'a>,
    body: &'a [u8],
}

fn open(bytes: &[u8], schema: &Arc<Schema>) -> Result<RecordBatch, FrameError> {
    let mut rest = bytes;
    let first = next_message(&mut rest)?.ok_or_else(|| malformed("no schema"))?;
    let sent = first.head.header_as_schema().ok_or_else(|| malformed("no schema"))?;
    if !first.body.is_empty() {
        return Err(malformed("a schema with a body"));
    }
    check_schema(&sent, schema)?;
    let second = next_message(&mut rest)?.ok_or_else(|| malformed("no rows"))?;
    let rows = second.head.header_as_record_batch().ok_or_else(|| malformed("no rows"))?;
    check_rows(&rows, schema, second.body.len())?;
    if next_message(&mut rest)?.is_some() || !rest.is_empty() {
        return Err(malformed("more than one batch"));
    }
    let arrow = |error: arrow::error::ArrowError| malformed(error.to_string());
    let body = Buffer::from(second.body);
    let version = ipc::MetadataVersion::V5;
    let batch = read_record_batch(&body, rows, Arc::clone(schema), &HashMap::new(), None, &version).map_err(arrow)?;
    for column in batch.columns() {
        column.to_data().validate_full().map_err(arrow)?;
    }
    Ok(batch)
}

/// Takes the next message off the stream; `None` at its end mark.
fn next_message<'a>(rest: &mut &'a [u8]) -> Result<Option<Message<'a>>, FrameError> {
    const CONTINUES: [u8; 4] = [0xff; 4];
    let short = || malformed("cut short");
    let mut take = |count: usize| -> Option<&'a [u8]> {
        let (taken, left) = rest.split_at_checked(count)?;
        *rest = left;
        Some(taken)
    };
    if take(4).ok_or_else(short)? != CONTINUES {
        return Err(malformed("no message begins where one has to"));
    }
    let length = take(4).and_then(|bytes| bytes.try_into().ok()).map(i32::from_le_bytes).ok_or_else(short)?;
    if length == 0 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| malformed("a length below zero"))?;
    let head = take(length).ok_or_else(short)?;
    let head = ipc::root_as_message(head).map_err(|error| malformed(error.to_string()))?;
    if head.version() != ipc::MetadataVersion::V5 || head.custom_metadata().is_some_and(|pairs| !pairs.is_empty()) {
        return Err(malformed("an unknown version or metadata"));
    }
    let length = usize::try_from(head.bodyLength()).map_err(|_| malformed("a length below zero"))?;
    let body = take(length).ok_or_else(short)?;
    Ok(Some(Message { head, body }))
}

fn check_schema(sent: &ipc::Schema<'_>, schema: &Schema) -> Result<(), FrameError> {
    let fields = sent.fields().ok_or(FrameError::Schema)?;
    let plain =
        sent.endianness() == ipc::Endianness::Little && sent.custom_metadata().is_none_or(|pairs| pairs.is_empty());
    if !plain || fields.len() != schema.fields().len() {
        return Err(FrameError::Schema);
    }
    for (sent, planned) in fields.iter().zip(schema.fields()) {
        if !is_field(&sent, planned) {
            return Err(FrameError::Schema);
        }
    }
    Ok(())
}

fn is_field(sent: &ipc::Field<'_>, planned: &Field) -> bool {
    let same_type = match planned.data_type() {
        DataType::Utf8 => sent.type_as_utf_8().is_some(),
        DataType::Boolean => sent.type_as_bool().is_some(),
        DataType::Int64 => sent.type_as_int().is_some_and(|int| int.bitWidth() == 64 && int.is_signed()),
        DataType::Float64 => {
            sent.type_as_floating_point().is_some_and(|float| float.precision() == ipc::Precision::DOUBLE)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => sent.type_as_timestamp().is_some_and(|timestamp| {
            timestamp.unit() == ipc::TimeUnit::NANOSECOND && timestamp.timezone() == zone.as_deref()
        }),
        _ => false,
    };
    same_type
        && sent.name() == Some(planned.name())
        && sent.nullable() == planned.is_nullable()
        && sent.dictionary().is_none()
        && sent.children().is_none_or(|children| children.is_empty())
        && sent.custom_metadata().is_none_or(|pairs| pairs.is_empty())
}

/// Checks all counts, offsets and lengths against each other and against the bytes that are there.
fn check_rows(rows: &ipc::RecordBatch<'_>, schema: &Schema, body: usize) -> Result<(), FrameError> {
    let count = usize::try_from(rows.length()).ok().filter(|count| *count <= ROWS_MAX);
    let count = count.ok_or_else(|| malformed("an impossible number of rows"))?;
    if rows.compression().is_some() || rows.variadicBufferCounts().is_some_and(|counts| !counts.is_empty()) {
        return Err(malformed("compressed or of variable shape"));
    }
    let nodes = rows.nodes().ok_or_else(|| malformed("no columns"))?;
    let buffers = rows.buffers().ok_or_else(|| malformed("no buffers"))?;
    if nodes.len() != schema.fields().len() {
        return Err(malformed("not one node a column"));
    }
    let mut lengths = Vec::with_capacity(buffers.len());
    for buffer in buffers {
        let offset = usize::try_from(buffer.offset()).ok();
        let length = usize::try_from(buffer.length()).ok();
        let end = offset.zip(length).and_then(|(offset, length)| offset.checked_add(length));
        if end.is_none_or(|end| end > body) {
            return Err(malformed("a buffer outside the frame"));
        }
        lengths.extend(length);
    }
    let mut lengths = lengths.into_iter();
    for (node, field) in nodes.iter().zip(schema.fields()) {
        let nulls = usize::try_from(node.null_count()).ok().filter(|nulls| *nulls <= count);
        if usize::try_from(node.length()) != Ok(count) || nulls.is_none() {
            return Err(malformed("a column of another length"));
        }
        let validity = if nulls == Some(0) { 0 } else { count.div_ceil(8) };
        let needed: &[usize] = match field.data_type() {
            DataType::Utf8 if count == 0 => &[validity, 0, 0],
            DataType::Utf8 => &[validity, (count + 1) * 4, 0],
            DataType::Boolean => &[validity, count.div_ceil(8)],
            _ => &[validity, count * 8],
        };
        for need in needed {
            if lengths.next().is_none_or(|length| length < *need) {
                return Err(malformed("a buffer shorter than its rows"));
            }
        }
    }
    if lengths.next().is_some() { Err(malformed("more buffers than columns need")) } else { Ok(()) }
}
