//! One cell of an Arrow column as text or as JSON, by its real type.

use std::borrow::Cow;
use std::fmt::Write as _;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, MapArray, PrimitiveArray, StructArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Float16Type,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::duration;
use super::escape::{json_string, visible, visible_cell};

/// A cell, ready to be escaped for a format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Unknown.
    Null,
    /// A number or a truth value: the same letters in text and in JSON.
    Literal(String),
    Text(String),
    /// JSON of a list, map or struct.
    Nested(String),
    /// A length of time.
    Duration {
        text: String,
        json: String,
    },
}

impl Cell {
    /// The cell's letters before any escaping; `None` where unknown.
    pub fn text(&self) -> Option<&str> {
        match self {
            Cell::Null => None,
            Cell::Literal(text) | Cell::Text(text) | Cell::Nested(text) | Cell::Duration { text, .. } => Some(text),
        }
    }

    /// The cell's letters for people, with nothing in them that a terminal obeys; JSON spells out its line ends by itself.
    pub fn visible(&self) -> Option<Cow<'_, str>> {
        match self {
            Cell::Text(text) => Some(visible_cell(text)),
            other => other.text().map(visible),
        }
    }

    /// The cell as JSON.
    pub fn json(&self) -> String {
        match self {
            Cell::Null => "null".to_owned(),
            Cell::Literal(json) | Cell::Nested(json) | Cell::Duration { json, .. } => json.clone(),
            Cell::Text(text) => json_string(text),
        }
    }
}

/// The columns of a batch with dictionaries and run-ends unpacked, so that rows can be read one by one.
pub fn columns(batch: &RecordBatch) -> Vec<ArrayRef> {
    batch.columns().iter().map(unpacked).collect()
}

fn unpacked(column: &ArrayRef) -> ArrayRef {
    let values = match column.data_type() {
        DataType::Dictionary(_, values) => values.as_ref(),
        DataType::RunEndEncoded(_, values) => values.data_type(),
        _ => return column.clone(),
    };
    cast(column, values).unwrap_or_else(|_| column.clone())
}

/// Whether values of this type stand at the right of their column.
pub fn is_numeric(kind: &DataType) -> bool {
    match kind {
        DataType::Dictionary(_, values) => is_numeric(values),
        kind => kind.is_numeric(),
    }
}

/// Reads one cell.
pub fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Null => Cell::Null,
        DataType::Boolean => array
            .as_any()
            .downcast_ref::<BooleanArray>()
            .map_or(Cell::Null, |a| Cell::Literal(a.value(row).to_string())),
        DataType::Int8 => integer::<Int8Type>(array, row),
        DataType::Int16 => integer::<Int16Type>(array, row),
        DataType::Int32 => integer::<Int32Type>(array, row),
        DataType::Int64 => integer::<Int64Type>(array, row),
        DataType::UInt8 => integer::<UInt8Type>(array, row),
        DataType::UInt16 => integer::<UInt16Type>(array, row),
        DataType::UInt32 => integer::<UInt32Type>(array, row),
        DataType::UInt64 => integer::<UInt64Type>(array, row),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        // Through its own shortest text, or 0.1 would become 0.10000000149011612.
        DataType::Float32 => {
            float(array.as_primitive::<Float32Type>().value(row).to_string().parse().unwrap_or(f64::NAN))
        }
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(..) => Cell::Literal(array.as_primitive::<Decimal32Type>().value_as_string(row)),
        DataType::Decimal64(..) => Cell::Literal(array.as_primitive::<Decimal64Type>().value_as_string(row)),
        DataType::Decimal128(..) => Cell::Literal(array.as_primitive::<Decimal128Type>().value_as_string(row)),
        DataType::Decimal256(..) => Cell::Literal(array.as_primitive::<Decimal256Type>().value_as_string(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Cell::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Cell::Text(array.as_string_view().value(row).to_owned()),
        DataType::Binary => Cell::Text(hex::encode(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Cell::Text(hex::encode(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Cell::Text(hex::encode(array.as_binary_view().value(row))),
        DataType::FixedSizeBinary(_) => array
            .as_any()
            .downcast_ref::<FixedSizeBinaryArray>()
            .map_or(Cell::Null, |a| Cell::Text(hex::encode(a.value(row)))),
        DataType::Timestamp(unit, zone) => timestamp(array, *unit, zone.is_some(), row),
        DataType::Struct(_) => Cell::Nested(object(array.as_struct(), row)),
        DataType::Map(..) => Cell::Nested(map(array.as_map(), row)),
        DataType::List(_) => Cell::Nested(list(&array.as_list::<i32>().value(row))),
        DataType::LargeList(_) => Cell::Nested(list(&array.as_list::<i64>().value(row))),
        DataType::ListView(_) => Cell::Nested(list(&array.as_list_view::<i32>().value(row))),
        DataType::LargeListView(_) => Cell::Nested(list(&array.as_list_view::<i64>().value(row))),
        DataType::FixedSizeList(..) => Cell::Nested(list(&array.as_fixed_size_list().value(row))),
        _ => duration::cell(array, row).unwrap_or_else(|| other(array, row)),
    }
}

fn integer<T: ArrowPrimitiveType>(array: &dyn Array, row: usize) -> Cell
where
    T::Native: std::fmt::Display,
{
    Cell::Literal(array.as_primitive::<T>().value(row).to_string())
}

/// JSON has no word for what is not a number, so that becomes text.
fn float(value: f64) -> Cell {
    match serde_json::Number::from_f64(value) {
        Some(number) => Cell::Literal(number.to_string()),
        None => Cell::Text(value.to_string()),
    }
}

/// A moment, or what clocks somewhere showed, which belongs to no zone.
fn timestamp(array: &dyn Array, unit: TimeUnit, is_moment: bool, row: usize) -> Cell {
    let (value, scale) = match unit {
        TimeUnit::Second => (value_of::<TimestampSecondType>(array, row), 1_000_000_000),
        TimeUnit::Millisecond => (value_of::<TimestampMillisecondType>(array, row), 1_000_000),
        TimeUnit::Microsecond => (value_of::<TimestampMicrosecondType>(array, row), 1_000),
        TimeUnit::Nanosecond => (value_of::<TimestampNanosecondType>(array, row), 1),
    };
    match Timestamp::from_nanosecond(i128::from(value) * scale) {
        Ok(at) if is_moment => Cell::Text(at.to_string()),
        Ok(at) => Cell::Text(at.to_zoned(TimeZone::UTC).datetime().to_string()),
        Err(_) => other(array, row),
    }
}

fn value_of<T: ArrowPrimitiveType<Native = i64>>(array: &dyn Array, row: usize) -> i64 {
    let array: &PrimitiveArray<T> = array.as_primitive();
    array.value(row)
}

fn object(array: &StructArray, row: usize) -> String {
    let mut json = String::from("{");
    for (index, (field, column)) in array.fields().iter().zip(array.columns()).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(json, "{comma}{}:{}", json_string(field.name()), cell(&unpacked(column), row).json());
    }
    json.push('}');
    json
}

fn map(array: &MapArray, row: usize) -> String {
    let entries = array.value(row);
    let (keys, values) = (unpacked(entries.column(0)), unpacked(entries.column(1)));
    let mut json = String::from("{");
    for index in 0..entries.len() {
        let comma = if index == 0 { "" } else { "," };
        let key = cell(&keys, index);
        let _ = write!(json, "{comma}{}:{}", json_string(key.text().unwrap_or("null")), cell(&values, index).json());
    }
    json.push('}');
    json
}

fn list(values: &ArrayRef) -> String {
    let values = unpacked(values);
    let items: Vec<String> = (0..values.len()).map(|index| cell(&values, index).json()).collect();
    format!("[{}]", items.join(","))
}

/// Dates, times and unions, as Arrow writes them.
fn other(array: &dyn Array, row: usize) -> Cell {
    let options = FormatOptions::new().with_null("null");
    ArrayFormatter::try_new(array, &options)
        .and_then(|formatter| {
            let mut text = String::new();
            formatter.value(row).write(&mut text)?;
            Ok(text)
        })
        .map_or(Cell::Null, Cell::Text)
}
