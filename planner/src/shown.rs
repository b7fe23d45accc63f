//! Which columns of a plan hold nothing but names under which endpoints are shown.
//!
//! Marks of columns are no answer: a union has those of whichever part has any.

use datafusion::common::Column;
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};

use crate::catalog;

/// Whether the column at this place does.
pub fn is(plan: &LogicalPlan, index: usize) -> bool {
    let column = |input: &LogicalPlan, expr: Option<&Expr>| match expr.map(|expr| expr.clone().unalias_nested().data) {
        Some(Expr::Column(column)) => of(input, &column),
        _ => false,
    };
    match plan {
        LogicalPlan::TableScan(scan) => catalog::is_shown(scan.projected_schema.field(index)),
        LogicalPlan::SubqueryAlias(alias) => is(&alias.input, index),
        LogicalPlan::Filter(filter) => is(&filter.input, index),
        LogicalPlan::Sort(sort) => is(&sort.input, index),
        LogicalPlan::Limit(limit) => is(&limit.input, index),
        LogicalPlan::Distinct(Distinct::All(input)) => is(input, index),
        LogicalPlan::Projection(projection) => column(&projection.input, projection.expr.get(index)),
        LogicalPlan::Aggregate(aggregate) => column(&aggregate.input, aggregate.group_expr.get(index)),
        LogicalPlan::Union(union) => union.inputs.iter().all(|input| is(input, index)),
        LogicalPlan::Join(join) => {
            let left = join.left.schema().fields().len();
            match join.join_type {
                JoinType::RightSemi | JoinType::RightAnti => is(&join.right, index),
                _ if index < left => is(&join.left, index),
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => is(&join.right, index - left),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Whether a column of this name does.
pub fn of(plan: &LogicalPlan, column: &Column) -> bool {
    plan.schema().index_of_column(column).is_ok_and(|index| is(plan, index))
}
