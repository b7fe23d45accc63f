//! `NOT IN (SELECT …)` where a NULL among the values decides.
//!
//! DataFusion 55 minds NULL where such a test is a part of WHERE's outermost AND. Where it stands under OR, or under another
//! test, it takes unknown for false, and NOT makes it true. There the test is put as ALL or ANY, of which it minds NULL.

use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DFSchema, ExprSchema as _, Result};
use datafusion::logical_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, Operator};

/// Rewrites the predicate of a filter.
pub(super) fn mind_nulls(predicate: Expr, schema: &DFSchema) -> Result<Expr> {
    rewrite(predicate, Place { negated: false, outermost: true }, schema)
}

/// Where a test stands in a predicate.
#[derive(Clone, Copy)]
struct Place {
    /// Under an odd number of NOTs.
    negated: bool,
    /// In the outermost AND, once the NOTs are carried inwards.
    outermost: bool,
}

fn rewrite(expr: Expr, place: Place, schema: &DFSchema) -> Result<Expr> {
    match expr {
        Expr::Not(inner) => {
            let inner = rewrite(*inner, Place { negated: !place.negated, ..place }, schema)?;
            Ok(Expr::Not(Box::new(inner)))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let outermost = place.outermost && (op == Operator::And) != place.negated;
            let place = Place { outermost, ..place };
            let (left, right) = (rewrite(*left, place, schema)?, rewrite(*right, place, schema)?);
            Ok(Expr::BinaryExpr(BinaryExpr { left: left.into(), op, right: right.into() }))
        }
        // Unknown counts as false here, as DataFusion has it.
        Expr::InSubquery(test) if test.negated == place.negated || place.outermost => Ok(Expr::InSubquery(test)),
        other => other
            .transform_down(|part| match part {
                Expr::InSubquery(test) if may_be_unknown(&test, schema) => {
                    Ok(Transformed::new(quantified(test), true, TreeNodeRecursion::Jump))
                }
                part => Ok(Transformed::no(part)),
            })
            .data(),
    }
}

fn may_be_unknown(test: &InSubquery, schema: &DFSchema) -> bool {
    let given = test.subquery.subquery.schema();
    let values = given.columns().first().is_none_or(|column| given.nullable(column).unwrap_or(true));
    values || test.expr.nullable(schema).unwrap_or(true)
}

/// `x <> ALL (…)` for `x NOT IN (…)`, and `x = ANY (…)` for `x IN (…)`.
fn quantified(test: InSubquery) -> Expr {
    let (op, quantifier) =
        if test.negated { (Operator::NotEq, SetQuantifier::All) } else { (Operator::Eq, SetQuantifier::Any) };
    Expr::SetComparison(SetComparison::new(test.expr, test.subquery, op, quantifier))
}
