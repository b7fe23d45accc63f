//! Single operations, as functions of the plan that nobody types.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Datum};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::numeric::{add, div, mul, neg, rem, sub};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr_common::datum::apply;

/// `left op right`, as an error where the result does not fit. Both sides have the type that the operation is done in.
pub fn binary(op: Operator, left: Expr, right: Expr) -> Expr {
    call(Operation::Binary(op), vec![left, right])
}

/// `-expr` for integers, of which the smallest has no opposite.
pub fn negative(expr: Expr) -> Expr {
    call(Operation::Negative, vec![expr])
}

fn call(operation: Operation, args: Vec<Expr>) -> Expr {
    let arity = args.len();
    let name = match operation {
        Operation::Binary(op) => op.to_string(),
        Operation::Negative => "-".to_owned(),
    };
    let checked = Checked { name, operation, signature: Signature::any(arity, Volatility::Immutable) };
    Expr::ScalarFunction(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(checked)), args))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Binary(Operator),
    Negative,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    name: String,
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        &self.name
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(match args {
            [left, right] => format!("{} {} {}", left.schema_name(), self.name, right.schema_name()),
            args => {
                let args: Vec<String> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
                format!("(- {})", args.join(", "))
            }
        })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        match (self.operation, kinds) {
            (Operation::Binary(op), [left, right]) => BinaryTypeCoercer::new(left, &op, right).get_result_type(),
            (Operation::Negative, [kind]) => Ok(kind.clone()),
            _ => internal_err!("`{}` of {} arguments", self.name, kinds.len()),
        }
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let kinds: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(&self.name, self.return_type(&kinds)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.operation, args.args.as_slice()) {
            (Operation::Binary(op), [left, right]) => apply(left, right, |left, right| compute(op, left, right)),
            (Operation::Negative, [ColumnarValue::Array(array)]) => Ok(ColumnarValue::Array(neg(array)?)),
            (Operation::Negative, [ColumnarValue::Scalar(scalar)]) => {
                let negated = neg(&scalar.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&negated, 0)?))
            }
            _ => internal_err!("`{}` of {} arguments", self.name, args.args.len()),
        }
    }
}

fn compute(op: Operator, left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    let result = match op {
        Operator::Plus => add(left, right)?,
        Operator::Minus => sub(left, right)?,
        Operator::Multiply => mul(left, right)?,
        Operator::Divide => div(left, right)?,
        Operator::Modulo => rem(left, right)?,
        other => return Err(ArrowError::NotYetImplemented(format!("checked {other}"))),
    };
    if result.data_type().is_floating() {
        check_finite(op, left, right, &result)?;
    }
    Ok(result)
}

/// Finite numbers whose result is none: divided by zero, or too large for a float.
fn check_finite(op: Operator, left: &dyn Datum, right: &dyn Datum, result: &ArrayRef) -> Result<(), ArrowError> {
    let result = cast(result, &DataType::Float64)?;
    let result = result.as_primitive::<Float64Type>();
    if result.iter().flatten().all(f64::is_finite) {
        return Ok(());
    }
    let (left, left_is_scalar) = left.get();
    let (right, right_is_scalar) = right.get();
    let (left, right) = (cast(left, &DataType::Float64)?, cast(right, &DataType::Float64)?);
    let (left, right) = (left.as_primitive::<Float64Type>(), right.as_primitive::<Float64Type>());
    for row in (0..result.len()).filter(|row| result.is_valid(*row) && !result.value(*row).is_finite()) {
        let a = left.value(if left_is_scalar { 0 } else { row });
        let b = right.value(if right_is_scalar { 0 } else { row });
        if b == 0.0 && matches!(op, Operator::Divide | Operator::Modulo) {
            return Err(ArrowError::DivideByZero);
        }
        if a.is_finite() && b.is_finite() {
            return Err(ArrowError::ArithmeticOverflow(format!("Overflow happened on: {a:?} {op} {b:?}")));
        }
    }
    Ok(())
}
