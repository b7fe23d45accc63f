//! Frames: what was encoded is decoded, and hostile bytes are errors.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatchOptions, StringArray};
use arrow::array::{DictionaryArray, TimestampNanosecondArray};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use canvass_tables::frame::{FrameError, decode, encode};
use proptest::prelude::*;

fn batch() -> RecordBatch {
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("name", Arc::new(StringArray::from(vec![Some("root"), None, Some("é\0\n")]))),
        ("uid", Arc::new(Int64Array::from(vec![Some(0), Some(-7), None]))),
        ("share", Arc::new(Float64Array::from(vec![Some(0.5), None, Some(f64::NAN)]))),
        ("live", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None]))),
        ("at", Arc::new(TimestampNanosecondArray::from(vec![Some(1), None, Some(i64::MIN)]).with_timezone("UTC"))),
    ];
    let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    RecordBatch::try_new(schema, columns.into_iter().map(|(_, column)| column).collect()).unwrap()
}

fn without_columns(rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap()
}

#[test]
fn what_was_encoded_is_decoded() {
    for batch in [batch(), batch().slice(1, 2), batch().slice(0, 0), without_columns(8192), without_columns(0)] {
        let decoded = decode(&encode(&batch), &batch.schema()).unwrap();
        assert_eq!(decoded.num_rows(), batch.num_rows());
        // NaN equals nothing, so what is shown is compared.
        assert_eq!(format!("{decoded:?}"), format!("{batch:?}"));
    }
}

#[test]
fn another_schema_is_refused() {
    let bytes = encode(&batch());
    let field = |name: &str, kind| Field::new(name, kind, true);
    let planned = |change: &dyn Fn(&mut Vec<Field>)| {
        let mut fields: Vec<Field> = batch().schema().fields().iter().map(|field| field.as_ref().clone()).collect();
        change(&mut fields);
        Arc::new(Schema::new(fields))
    };
    for schema in [
        planned(&|fields| drop(fields.pop())),
        planned(&|fields| fields.push(field("more", DataType::Utf8))),
        planned(&|fields| fields[0] = field("nom", DataType::Utf8)),
        planned(&|fields| fields[1] = field("uid", DataType::Utf8)),
        planned(&|fields| fields[1] = field("uid", DataType::Float64)),
        planned(&|fields| fields[3] = Field::new("live", DataType::Boolean, false)),
        planned(&|fields| fields.swap(0, 1)),
    ] {
        assert!(matches!(decode(&bytes, &schema), Err(FrameError::Schema)), "{schema:?}");
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let schema = batch().schema();
    let good = encode(&batch());
    let dictionary: DictionaryArray<Int32Type> = vec!["a", "b", "a"].into_iter().collect();
    let field = Field::new("name", dictionary.data_type().clone(), true);
    let dictionary = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(dictionary)]).unwrap();
    let mut two = StreamWriter::try_new(Vec::new(), &schema).unwrap();
    two.write(&batch()).unwrap();
    two.write(&batch()).unwrap();
    let mut trailing = good.clone();
    trailing.push(0);
    for bytes in [
        Vec::new(),
        vec![0xff; 8],
        b"ARROW1\0\0".to_vec(),
        good[..good.len() - 1].to_vec(),
        good[..good.len() - 8].to_vec(),
        trailing,
        two.into_inner().unwrap(),
        StreamWriter::try_new(Vec::new(), &schema).unwrap().into_inner().unwrap(),
        vec![0xff; (4 << 20) + 1],
    ] {
        assert!(decode(&bytes, &schema).is_err());
    }
    assert!(decode(&encode(&dictionary), &dictionary.schema()).is_err());
    let claims = without_columns((1 << 20) + 1);
    assert!(decode(&encode(&claims), &claims.schema()).is_err());
}

proptest! {
    /// Whatever happens to the bytes of a frame, the answer is rows of the planned schema, or an error.
    #[test]
    fn altered_frames_do_no_harm(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        words in proptest::collection::vec((any::<prop::sample::Index>(), any::<i32>()), 0..3),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = encode(&batch());
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for (at, word) in words {
            let at = at.index(bytes.len() / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(decoded) = decode(&bytes, &batch().schema()) {
            prop_assert_eq!(decoded.schema(), batch().schema());
            prop_assert!(decoded.num_rows() <= bytes.len());
            let _ = format!("{decoded:?}");
        }
    }
}
