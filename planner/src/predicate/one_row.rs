//! Conditions on the row that an aggregate gives of no rows, as one without GROUP BY does.
//!
//! DataFusion 55 carries a condition that names no column, such as HAVING's `(SELECT …) > 3` or what `x NOT IN (1, NULL)` has in
//! it, below any aggregate. Below one without GROUP BY, or with ROLLUP, it takes away the rows and leaves that one.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, Filter, Limit, LogicalPlan, lit};

/// Rows of an aggregate that no machine could hold; a limit of as many is none, but no condition is carried below it.
const ROWS_MAX: i64 = 1 << 32;

/// Keeps a filter above the aggregate that it stands on.
pub(super) fn stay_above(filter: Filter) -> Result<Filter> {
    match limited(&filter.input)? {
        Some(input) => Filter::try_new(filter.predicate, input),
        None => Ok(filter),
    }
}

/// The plan with a limit that cuts nothing above the aggregate at its end, where a filter would get below it.
fn limited(plan: &Arc<LogicalPlan>) -> Result<Option<Arc<LogicalPlan>>> {
    match plan.as_ref() {
        LogicalPlan::Aggregate(aggregate) => {
            let rows = match aggregate.group_expr.as_slice() {
                [] => 1,
                [Expr::GroupingSet(_)] => ROWS_MAX,
                _ => return Ok(None),
            };
            // DataFusion turns a sub-query that depends on what is around it into a join, but not through a limit.
            if !plan.all_out_ref_exprs().is_empty() {
                return Ok(None);
            }
            let limit = Limit { skip: None, fetch: Some(Box::new(lit(rows))), input: Arc::clone(plan) };
            Ok(Some(Arc::new(LogicalPlan::Limit(limit))))
        }
        LogicalPlan::Projection(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Filter(_) | LogicalPlan::Sort(_) => {
            let inputs = plan.inputs();
            let Some(input) = inputs.first() else { return Ok(None) };
            let Some(limited) = limited(&Arc::new((*input).clone()))? else { return Ok(None) };
            let plan = plan.with_new_exprs(plan.expressions(), vec![Arc::unwrap_or_clone(limited)])?;
            Ok(Some(Arc::new(plan)))
        }
        _ => Ok(None),
    }
}
