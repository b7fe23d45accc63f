//! The values that a key has among rows that are known.

use std::collections::{BTreeMap, BTreeSet};

use canvass_protocol::value::Value;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Values of one column: texts, or numbers.
#[derive(Default)]
struct Distinct {
    texts: BTreeSet<String>,
    numbers: BTreeSet<i64>,
}

impl Distinct {
    /// Takes the values of all rows, without NULL, which equals nothing; says whether they are of a kind that a set holds.
    fn take(&mut self, values: &ArrayRef) -> bool {
        let rows = (0..values.len()).filter(|row| values.is_valid(*row));
        match values.data_type() {
            DataType::Utf8 => {
                let values = values.as_string::<i32>();
                self.texts.extend(rows.map(|row| values.value(row).to_owned()));
            }
            DataType::Int64 => {
                let values = values.as_primitive::<Int64Type>();
                self.numbers.extend(rows.map(|row| values.value(row)));
            }
            DataType::Timestamp(TimeUnit::Nanosecond, Some(_)) => {
                let values = values.as_primitive::<TimestampNanosecondType>();
                self.numbers.extend(rows.map(|row| values.value(row)));
            }
            _ => return false,
        }
        true
    }

    fn values(self, kind: &DataType) -> Vec<Value> {
        match kind {
            DataType::Utf8 => self.texts.into_iter().map(Value::Text).collect(),
            DataType::Int64 => self.numbers.into_iter().map(Value::Integer).collect(),
            _ => self.numbers.into_iter().map(Value::TimestampNs).collect(),
        }
    }
}

fn holds(kind: &DataType) -> bool {
    matches!(kind, DataType::Utf8 | DataType::Int64 | DataType::Timestamp(TimeUnit::Nanosecond, Some(_)))
}

/// Each value once, in order; none where they are of a kind that no set holds.
pub fn of(key: &Expr, plan: &LogicalPlan, rows: &[RecordBatch], state: &SessionState) -> Result<Option<Vec<Value>>> {
    let key = state.create_physical_expr(key.clone(), plan.schema())?;
    let kind = key.data_type(plan.schema().as_arrow())?;
    if !holds(&kind) {
        return Ok(None);
    }
    let mut found = Distinct::default();
    for batch in rows {
        let values = key.evaluate(batch)?.into_array(batch.num_rows())?;
        if !found.take(&values) {
            return Ok(None);
        }
    }
    Ok(Some(found.values(&kind)))
}

/// As [`of`], for each host that the rows name; the keys are that of the values and that of the host.
pub fn by_host(
    (key, host): (&Expr, &Expr),
    plan: &LogicalPlan,
    rows: &[RecordBatch],
    state: &SessionState,
) -> Result<Option<BTreeMap<String, Vec<Value>>>> {
    let key = state.create_physical_expr(key.clone(), plan.schema())?;
    let host = state.create_physical_expr(host.clone(), plan.schema())?;
    let kind = key.data_type(plan.schema().as_arrow())?;
    if !holds(&kind) || host.data_type(plan.schema().as_arrow())? != DataType::Utf8 {
        return Ok(None);
    }
    let mut found: BTreeMap<String, Distinct> = BTreeMap::new();
    for batch in rows {
        let values = key.evaluate(batch)?.into_array(batch.num_rows())?;
        let hosts = host.evaluate(batch)?.into_array(batch.num_rows())?;
        let hosts = hosts.as_string::<i32>();
        for row in (0..batch.num_rows()).filter(|row| hosts.is_valid(*row)) {
            let of_host = match found.get_mut(hosts.value(row)) {
                Some(of_host) => of_host,
                None => found.entry(hosts.value(row).to_owned()).or_default(),
            };
            if !of_host.take(&values.slice(row, 1)) {
                return Ok(None);
            }
        }
    }
    Ok(Some(found.into_iter().map(|(host, found)| (host, found.values(&kind))).collect()))
}
