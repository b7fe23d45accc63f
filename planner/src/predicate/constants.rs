//! Constants that cannot be computed, such as `now() - interval '1000 years'`: found before anybody is asked.
//!
//! The optimiser computes what it can and leaves what fails to be an error of the rows, which are not there yet.

use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};

use crate::error::Error;

/// Computes what is left of constants in an optimised plan.
pub fn check(plan: &LogicalPlan, state: &SessionState, statement: &str) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|part| {
                if may_stay_out(part) {
                    return Ok(TreeNodeRecursion::Jump);
                }
                if matches!(part, Expr::Literal(..) | Expr::Column(_)) || !is_constant(part) {
                    return Ok(TreeNodeRecursion::Continue);
                }
                compute(part, state).map_err(|error| about(&error, statement))?;
                Ok(TreeNodeRecursion::Jump)
            })
        })
    })?;
    Ok(())
}

/// Whether parts of an expression are computed for some rows only, perhaps for none.
fn may_stay_out(expr: &Expr) -> bool {
    match expr {
        Expr::Case(_) => true,
        Expr::ScalarFunction(call) => call.func.short_circuits(),
        _ => false,
    }
}

/// Whether an expression is computed from constants alone, and the same each time.
fn is_constant(expr: &Expr) -> bool {
    let computes = |part: &Expr| {
        matches!(
            part,
            Expr::Literal(..)
                | Expr::ScalarFunction(_)
                | Expr::BinaryExpr(_)
                | Expr::Cast(_)
                | Expr::Negative(_)
                | Expr::Not(_)
                | Expr::Between(_)
                | Expr::InList(_)
                | Expr::Like(_)
                | Expr::IsNull(_)
                | Expr::IsNotNull(_)
                | Expr::Alias(_)
        )
    };
    !expr.is_volatile() && !expr.exists(|part| Ok(!computes(part))).unwrap_or(true)
}

fn compute(expr: &Expr, state: &SessionState) -> Result<()> {
    let row = RecordBatchOptions::new().with_row_count(Some(1));
    let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &row)?;
    let physical = state.create_physical_expr(expr.clone(), &DFSchema::empty())?;
    physical.evaluate(&row).map(drop)
}

fn about(error: &DataFusionError, statement: &str) -> DataFusionError {
    let reason = Error::from_datafusion(error, statement);
    if reason.message.to_lowercase().contains("timestamp out of range") {
        let error = Error::usage("a time of the statement is out of range")
            .hint("times lie between 1677-09-22 and 2262-04-11, to the nanosecond");
        return error.at(reason.span).into();
    }
    reason.into()
}
