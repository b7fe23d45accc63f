//! `sum` of integers and durations, added up in 128 bits and narrowed at the end.
//!
//! It is DataFusion's own sum over a wider type, so it may pass the limits on the way and be right in the end.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::functions_aggregate::sum::Sum as Inner;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity, Signature,
};

use super::is_duration;

/// 38 digits hold the sum of as many 64-bit integers as there can be rows.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// DataFusion's `sum`, wider inside.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub struct Sum {
    inner: Inner,
}

/// Whether a sum of this type is one that could wrap.
fn is_narrow(kind: &DataType) -> bool {
    matches!(kind, DataType::Int64 | DataType::UInt64) || is_duration(kind)
}

fn wide(array: &ArrayRef) -> Result<ArrayRef> {
    let numbers = if is_duration(array.data_type()) { cast(array, &DataType::Int64)? } else { array.clone() };
    Ok(cast(&numbers, &WIDE)?)
}

fn all_wide(arrays: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
    arrays.iter().map(wide).collect()
}

/// The sums in their own type; an error where one does not fit.
fn narrow(sums: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    let Some(sums) = sums.as_primitive_opt::<Decimal128Type>() else { return exec_err!("a sum of another type") };
    let fits =
        |sum: i128| if *kind == DataType::UInt64 { u64::try_from(sum).is_ok() } else { i64::try_from(sum).is_ok() };
    if let Some(sum) = sums.iter().flatten().find(|sum| !fits(*sum)) {
        return exec_err!("{SUM_OVERFLOW}{sum}");
    }
    let plain = if *kind == DataType::UInt64 { DataType::UInt64 } else { DataType::Int64 };
    Ok(cast(&cast(&(Arc::new(sums.clone()) as ArrayRef), &plain)?, kind)?)
}

/// How the error of a sum that does not fit begins, before the sum.
pub const SUM_OVERFLOW: &str = "sum() overflows: ";

fn widened<'a>(args: &AccumulatorArgs<'a>) -> AccumulatorArgs<'a> {
    let field = args.return_field.as_ref().clone().with_data_type(WIDE);
    AccumulatorArgs {
        return_field: Arc::new(field),
        schema: args.schema,
        ignore_nulls: args.ignore_nulls,
        order_bys: args.order_bys,
        is_reversed: args.is_reversed,
        name: args.name,
        is_distinct: args.is_distinct,
        exprs: args.exprs,
        expr_fields: args.expr_fields,
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_narrow(args.return_type()) {
            return self.inner.accumulator(args);
        }
        let kind = args.return_type().clone();
        Ok(Box::new(Total { inner: self.inner.accumulator(widened(&args))?, kind }))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if !is_narrow(args.return_type()) {
            return self.inner.create_sliding_accumulator(args);
        }
        let kind = args.return_type().clone();
        let inner: Box<dyn Accumulator> = if args.is_distinct {
            Box::new(Distinct::default())
        } else {
            self.inner.create_sliding_accumulator(widened(&args))?
        };
        Ok(Box::new(Total { inner, kind }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        if !is_narrow(args.return_field.data_type()) {
            return self.inner.state_fields(args);
        }
        let field = Arc::new(args.return_field.as_ref().clone().with_data_type(WIDE));
        self.inner.state_fields(StateFieldsArgs {
            name: args.name,
            input_fields: args.input_fields,
            return_field: field,
            ordering_fields: args.ordering_fields,
            is_distinct: args.is_distinct,
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        if !is_narrow(args.return_type()) {
            return self.inner.create_groups_accumulator(args);
        }
        let kind = args.return_type().clone();
        Ok(Box::new(Totals { inner: self.inner.create_groups_accumulator(widened(&args))?, kind }))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(kind)
    }
}

/// One sum.
#[derive(Debug)]
struct Total {
    inner: Box<dyn Accumulator>,
    kind: DataType,
}

impl Accumulator for Total {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(&all_wide(values)?)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(&all_wide(values)?)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = narrow(&self.inner.evaluate()?.to_array()?, &self.kind)?;
        ScalarValue::try_from_array(&sum, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// One sum a group.
struct Totals {
    inner: Box<dyn GroupsAccumulator>,
    kind: DataType,
}

impl GroupsAccumulator for Totals {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.inner.update_batch(&all_wide(values)?, groups, filter, count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, count)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        narrow(&self.inner.evaluate(emit)?, &self.kind)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(&all_wide(values)?, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// The sum of the distinct values in a window that moves.
#[derive(Debug, Default)]
struct Distinct {
    counts: HashMap<i128, u64>,
    sum: i128,
}

impl Distinct {
    fn values(values: &[ArrayRef]) -> Result<&Decimal128Array> {
        match values.first().and_then(|array| array.as_primitive_opt::<Decimal128Type>()) {
            Some(values) => Ok(values),
            None => exec_err!("a sum of another type"),
        }
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Distinct::values(values)?.iter().flatten() {
            let count = self.counts.entry(value).or_default();
            self.sum += if *count == 0 { value } else { 0 };
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Distinct::values(values)?.iter().flatten() {
            if let Some(count) = self.counts.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&value);
                    self.sum -= value;
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        exec_err!("windows have no partial sums")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        exec_err!("windows have no partial sums")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Decimal128((!self.counts.is_empty()).then_some(self.sum), 38, 0))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i128, u64)>()
    }
}
