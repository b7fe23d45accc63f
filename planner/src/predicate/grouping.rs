//! Keys of ROLLUP, CUBE and GROUPING SETS that stay apart.
//!
//! DataFusion 55 simplifies keys by what it knows of the rows that come in, and two keys that become the same become one:
//! `CUBE (coalesce(host, 'x'), host)` has two groupings and not four, for `host` is never NULL there. Among the rows that come
//! out it is, wherever another key alone is grouped by. So a key that is more than a column is computed below, where it is
//! nothing but a column to the grouping.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan, Projection};

pub(super) fn keep_apart(aggregate: Aggregate) -> Result<LogicalPlan> {
    let keys: Vec<Expr> = match aggregate.group_expr.as_slice() {
        [Expr::GroupingSet(sets)] => {
            let keys = sets.distinct_expr().into_iter().filter(|key| !matches!(key, Expr::Column(_)));
            keys.cloned().collect()
        }
        _ => Vec::new(),
    };
    if keys.is_empty() {
        return Ok(LogicalPlan::Aggregate(aggregate));
    }
    let name = |index: usize| format!("__key_{index}");
    let input = aggregate.input.schema().columns().into_iter().map(Expr::Column);
    let computed = keys.iter().enumerate().map(|(index, key)| key.clone().unalias().alias(name(index)));
    let input = Projection::try_new(input.chain(computed).collect(), aggregate.input.clone())?;
    let as_columns = |expr: Expr| -> Result<Expr> {
        let replaced = expr.transform_down(|part| match keys.iter().position(|key| *key == part) {
            Some(index) => {
                let column = Expr::Column(Column::new_unqualified(name(index)));
                Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
            }
            None => Ok(Transformed::no(part)),
        });
        replaced.map(|replaced| replaced.data)
    };
    let groups = aggregate.group_expr.into_iter().map(as_columns).collect::<Result<Vec<_>>>()?;
    // GROUPING looks for its argument among the keys.
    let is_grouping = |expr: &Expr| matches!(expr, Expr::AggregateFunction(call) if call.func.name() == "grouping");
    let values = aggregate.aggr_expr.into_iter();
    let values = values.map(|value| if is_grouping(&value) { as_columns(value) } else { Ok(value) });
    let values = values.collect::<Result<Vec<_>>>()?;
    let grouped = Aggregate::try_new(Arc::new(LogicalPlan::Projection(input)), groups, values)?;
    // What stands above knows the columns by the names they had, and nothing of the one that tells the groupings apart.
    let columns = aggregate.schema.iter().zip(grouped.schema.iter());
    let columns = columns.filter(|((_, field), _)| field.name() != Aggregate::INTERNAL_GROUPING_ID);
    let named = columns.map(|((before, field), (now, column))| {
        let column = Expr::Column(Column::new(now.cloned(), column.name()));
        let same = Expr::Column(Column::new(before.cloned(), field.name()));
        if column == same { column } else { column.alias_qualified(before.cloned(), field.name()) }
    });
    let named: Vec<Expr> = named.collect();
    Ok(LogicalPlan::Projection(Projection::try_new(named, Arc::new(LogicalPlan::Aggregate(grouped)))?))
}
