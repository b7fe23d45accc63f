//! The values that a key has among rows that are known.

use std::collections::BTreeSet;

use canvass_protocol::value::Value;
use datafusion::arrow::array::{AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Each value once, in order, without NULL, which equals nothing; none where they are of a kind that no set holds.
pub fn of(key: &Expr, plan: &LogicalPlan, rows: &[RecordBatch], state: &SessionState) -> Result<Option<Vec<Value>>> {
    let key = state.create_physical_expr(key.clone(), plan.schema())?;
    let (mut texts, mut numbers) = (BTreeSet::new(), BTreeSet::new());
    let kind = key.data_type(plan.schema().as_arrow())?;
    for batch in rows {
        let values = key.evaluate(batch)?.into_array(batch.num_rows())?;
        match &kind {
            DataType::Utf8 => texts.extend(values.as_string::<i32>().iter().flatten().map(str::to_owned)),
            DataType::Int64 => numbers.extend(values.as_primitive::<Int64Type>().iter().flatten()),
            DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => {
                numbers.extend(values.as_primitive::<TimestampNanosecondType>().iter().flatten());
            }
            _ => return Ok(None),
        }
    }
    Ok(match kind {
        DataType::Utf8 => Some(texts.into_iter().map(Value::Text).collect()),
        DataType::Int64 => Some(numbers.into_iter().map(Value::Integer).collect()),
        DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => {
            Some(numbers.into_iter().map(Value::TimestampNs).collect())
        }
        _ => None,
    })
}
