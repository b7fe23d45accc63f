//! What our functions mean for an outer join: they are unknown where their subject is missing.
//!
//! DataFusion turns an outer join into an inner one, and then pushes predicates further, where a predicate of its own
//! cannot hold for a missing row. It cannot know that of our functions, so they are given company that says so.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::{Column, DFSchema, ExprSchema as _, Result, TableReference};
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Filter, Operator};

use super::is_comparison;
use crate::catalog::{ENDPOINT, HOST};
use crate::functions;

/// Adds `t.host IS NOT NULL` to a filter that no row without a `t` can pass.
pub fn require(filter: Filter) -> Result<Filter> {
    let schema = filter.input.schema();
    let needed: HashSet<TableReference> = split_conjunction(&filter.predicate).into_iter().flat_map(needs).collect();
    let missing = |table: TableReference| {
        let host = Column::new(Some(table), HOST);
        may_be_missing(&host, schema).then(|| Expr::Column(host).is_not_null())
    };
    let mut present: Vec<Expr> = needed.into_iter().filter_map(missing).collect();
    if present.is_empty() {
        return Ok(filter);
    }
    present.sort_by_key(ToString::to_string);
    present.push(filter.predicate);
    let predicate = conjunction(present).expect("there is a predicate at least");
    Filter::try_new(predicate, Arc::clone(&filter.input))
}

/// Whether the `host` of an endpoint table, which is never unknown in it, can be so here.
fn may_be_missing(column: &Column, schema: &DFSchema) -> bool {
    let endpoints = |field: &FieldRef| field.metadata().get(ENDPOINT.0).is_some_and(|mark| mark == ENDPOINT.1);
    schema.has_column(column)
        && schema.nullable(column).unwrap_or(false)
        && schema.field_from_column(column).is_ok_and(endpoints)
}

/// The tables without whose row a predicate built on our functions is not true.
fn needs(predicate: &Expr) -> HashSet<TableReference> {
    match predicate {
        Expr::Not(inner) => match inner.as_ref() {
            Expr::ScalarFunction(_) | Expr::Not(_) => needs(inner),
            _ => HashSet::new(),
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => &needs(left) | &needs(right),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => &needs(left) & &needs(right),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(..)) | (Expr::Literal(..), Expr::Column(column)) => table_of(column),
            _ => HashSet::new(),
        },
        Expr::ScalarFunction(call) if functions::test_of(call.func.name(), "").is_some() => match call.args.first() {
            Some(Expr::Column(column)) => table_of(column),
            _ => HashSet::new(),
        },
        _ => HashSet::new(),
    }
}

fn table_of(column: &Column) -> HashSet<TableReference> {
    column.relation.iter().cloned().collect()
}
