//! Arithmetic that says when it overflows, where DataFusion's would go on with a wrapped number.
//!
//! `+ - *` and the sign become functions of ours once types are settled, and `sum` adds up in 128 bits. Integer division,
//! remainders and casts are checked by DataFusion itself; constants are computed before anybody is asked
//! ([`crate::predicate::constants`]).

mod checked;
mod sum;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

pub use sum::{SUM_OVERFLOW, Sum};

/// Puts checked operations in the place of DataFusion's.
#[derive(Debug)]
pub struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &'static str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(node).map(|checked| checked.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let checked = expr.transform_up(|expr| Ok(operation(expr, &schema)))?;
        Ok(checked.update_data(|expr| name.restore(expr)))
    })
}

fn operation(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let kind = |expr: &Expr| expr.get_type(schema).ok();
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if kind(&left).zip(kind(&right)).is_some_and(|(left, right)| may_overflow(op, &left, &right)) =>
        {
            Transformed::yes(checked::binary(op, *left, *right))
        }
        Expr::Negative(inner) if kind(&inner).is_some_and(|kind| kind.is_signed_integer()) => {
            Transformed::yes(checked::negative(*inner))
        }
        other => Transformed::no(other),
    }
}

/// Whether DataFusion computes a wrapped number, or none at all, where the result does not fit.
fn may_overflow(op: Operator, left: &DataType, right: &DataType) -> bool {
    let is_sum = matches!(op, Operator::Plus | Operator::Minus);
    match (left, right) {
        (DataType::Timestamp(unit, _), DataType::Timestamp(other, _)) => op == Operator::Minus && unit == other,
        (DataType::Duration(unit), DataType::Duration(other)) => is_sum && unit == other,
        (left, right) if left != right => false,
        (left, _) if left.is_integer() => is_sum || op == Operator::Multiply,
        (DataType::Float32 | DataType::Float64, _) => {
            is_sum || matches!(op, Operator::Multiply | Operator::Divide | Operator::Modulo)
        }
        _ => false,
    }
}

/// Whether values are lengths of time.
pub(crate) fn is_duration(kind: &DataType) -> bool {
    matches!(kind, DataType::Duration(_))
}
