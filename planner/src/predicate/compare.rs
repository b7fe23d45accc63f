//! Comparisons, however they are spelled: `=`, IN, CASE x WHEN, rows, `= ANY`.
//!
//! What stands on their two sides is read alike everywhere: sizes in words, hexadecimal digits without case, kinds that
//! can be compared at all.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, DFSchema, Result, ScalarValue};
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::expr::{Case, InList, InSubquery, ScalarFunction, SetComparison};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable as _, LogicalPlanBuilder, Operator, Subquery, lit, not,
};

use super::{Checker, HEX, has_mark};

impl Checker<'_> {
    /// Reads both sides of a comparison as each other means them.
    pub(super) fn compare(&self, left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
        let left = self.in_words(left, &right, schema)?;
        let right = self.in_words(right, &left, schema)?;
        let (left, right) = digits(left, right, schema);
        self.check_kinds(&left, &right, schema)?;
        Ok((left, right))
    }

    /// A comparison of two values or of two rows, `(a, b) = (1, 2)`.
    pub(super) fn comparison(&self, binary: BinaryExpr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let BinaryExpr { left, op, right } = binary;
        if let (Some(lefts), Some(rights), Operator::Eq | Operator::NotEq) = (row(&left), row(&right), op) {
            let equal = self.equal_rows(lefts, rights, schema)?;
            return Ok(Transformed::yes(if op == Operator::NotEq { not(equal) } else { equal }));
        }
        let (left, right) = self.compare(*left, *right, schema)?;
        Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: left.into(), op, right: right.into() })))
    }

    /// `x IN (a, b)`, or `(x, y) IN ((1, 2), (3, 4))`.
    ///
    /// A NULL in the list is put beside it, `x IN (a) OR NULL`: DataFusion 55 forgets it where it merges lists.
    pub(super) fn in_list(&self, list: InList, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let InList { expr, list, negated } = list;
        if let Some(lefts) = row(&expr) {
            let rows = list.iter().map(|item| match row(item) {
                Some(rights) => self.equal_rows(lefts, rights, schema),
                None => self
                    .comparison(BinaryExpr { left: expr.clone(), op: Operator::Eq, right: item.clone().into() }, schema)
                    .map(|equal| equal.data),
            });
            let any = any_of(rows.collect::<Result<_>>()?);
            return Ok(Transformed::yes(if negated { not(any) } else { any }));
        }
        let (nulls, list): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(is_null);
        let (expr, list) = self.against(*expr, list, schema)?;
        let unknown = Expr::Literal(ScalarValue::Boolean(None), None);
        Ok(Transformed::yes(match (nulls.is_empty(), list.is_empty()) {
            (true, _) => expr.in_list(list, negated),
            (false, true) => unknown,
            (false, false) if negated => expr.in_list(list, true).and(unknown),
            (false, false) => expr.in_list(list, false).or(unknown),
        }))
    }

    /// `CASE x WHEN a THEN …` compares `x` with every `a`.
    pub(super) fn case(&self, case: Case, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let Case { expr: Some(subject), when_then_expr, else_expr } = case else {
            return Ok(Transformed::no(Expr::Case(case)));
        };
        let (whens, thens): (Vec<_>, Vec<_>) = when_then_expr.into_iter().map(|(when, then)| (*when, then)).unzip();
        let (subject, whens) = self.against(*subject, whens, schema)?;
        let when_then_expr = whens.into_iter().map(Box::new).zip(thens).collect();
        Ok(Transformed::yes(Expr::Case(Case { expr: Some(Box::new(subject)), when_then_expr, else_expr })))
    }

    /// Reads many values that are compared with one.
    fn against(&self, one: Expr, many: Vec<Expr>, schema: &DFSchema) -> Result<(Expr, Vec<Expr>)> {
        let hex = |expr: &Expr| has_mark(expr, schema, HEX);
        let all_hex = many.iter().all(hex) && !many.is_empty();
        let one = if all_hex && !hex(&one) && is_text(&one, schema) { lower(one) } else { one };
        let many = many.into_iter().map(|item| self.compare(one.clone(), item, schema).map(|(_, item)| item));
        let many = many.collect::<Result<_>>()?;
        Ok((one, many))
    }

    fn equal_rows(&self, lefts: &[Expr], rights: &[Expr], schema: &DFSchema) -> Result<Expr> {
        if lefts.len() != rights.len() {
            let message = format!("a row of {} values is compared with one of {}", lefts.len(), rights.len());
            return Err(crate::error::Error::usage(message).into());
        }
        let pairs = lefts.iter().zip(rights).map(|(left, right)| {
            let (left, right) = self.compare(left.clone(), right.clone(), schema)?;
            Ok(left.eq(right))
        });
        let equal = pairs.collect::<Result<Vec<_>>>()?.into_iter().reduce(Expr::and);
        Ok(equal.unwrap_or_else(|| lit(true)))
    }

    /// `x IN (SELECT …)`
    pub(super) fn in_subquery(&self, test: InSubquery, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let (expr, subquery) = self.with_subquery(*test.expr, test.subquery, schema)?;
        Ok(Transformed::yes(Expr::InSubquery(InSubquery { expr: Box::new(expr), subquery, negated: test.negated })))
    }

    /// `x = ANY (SELECT …)`, `x <> ALL (SELECT …)`
    pub(super) fn set_comparison(&self, test: SetComparison, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let SetComparison { expr, subquery, op, quantifier } = test;
        let (expr, subquery) = self.with_subquery(*expr, subquery, schema)?;
        Ok(Transformed::yes(Expr::SetComparison(SetComparison::new(Box::new(expr), subquery, op, quantifier))))
    }

    fn with_subquery(&self, expr: Expr, mut subquery: Subquery, schema: &DFSchema) -> Result<(Expr, Subquery)> {
        let plan = &subquery.subquery;
        let Some(given) = plan.schema().columns().first().cloned() else { return Ok((expr, subquery)) };
        let kind = plan.schema().field(0).data_type().clone();
        let given = Expr::Column(given);
        if let Ok(own) = expr.get_type(schema) {
            self.same_kind((&expr, own), (&given, kind.clone()))?;
        }
        let (own_digits, their_digits) = (has_mark(&expr, schema, HEX), has_mark(&given, plan.schema(), HEX));
        if own_digits && !their_digits && kind == DataType::Utf8 {
            let name = plan.schema().field(0).name().clone();
            let given = Expr::Column(Column::from(plan.schema().qualified_field(0)));
            let small = LogicalPlanBuilder::from(Arc::clone(plan)).project([lower(given).alias(name)])?.build()?;
            subquery = subquery.with_plan(Arc::new(small));
        }
        let expr = if their_digits && !own_digits && is_text(&expr, schema) { lower(expr) } else { expr };
        Ok((expr, subquery))
    }
}

/// Hexadecimal digits have no case: what stands beside a column of them is compared in small letters.
pub(super) fn digits(left: Expr, right: Expr, schema: &DFSchema) -> (Expr, Expr) {
    let is_digits = |expr: &Expr| has_mark(expr, schema, HEX);
    let small = |expr: Expr| match expr {
        Expr::Literal(..) => expr,
        expr if is_text(&expr, schema) => lower(expr),
        expr => expr,
    };
    match (is_digits(&left), is_digits(&right)) {
        (true, false) => (left, small(right)),
        (false, true) => (small(left), right),
        _ => (left, right),
    }
}

fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|kind| kind == DataType::Utf8)
}

/// The values of a row that is written out.
fn row(expr: &Expr) -> Option<&[Expr]> {
    match expr {
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "struct" => Some(args),
        _ => None,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => is_null(&cast.expr),
        Expr::TryCast(cast) => is_null(&cast.expr),
        _ => false,
    }
}

/// A disjunction of little depth.
fn any_of(mut parts: Vec<Expr>) -> Expr {
    while parts.len() > 1 {
        let mut halved = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            halved.push(match rest.next() {
                Some(right) => left.or(right),
                None => left,
            });
        }
        parts = halved;
    }
    parts.pop().unwrap_or_else(|| lit(false))
}
