//! Room for statements that nest deeply, and an end to how deeply they may.
//!
//! Everything that reads a statement does so recursively; a run of thousands of OR, as lists of indicators make, is put
//! into the shape of a balanced tree first, and what is still too deep is refused before it can exhaust a stack.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::pin;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Query, SetExpr, Value, VisitMut, VisitorMut};

use crate::error::Error;

/// Stack for planning one statement: ample for what [`DEPTH_MAX`] allows, and only touched as far as it is used.
const STACK_BYTES: usize = 256 << 20;

/// Expressions, and unions, nest this deep.
const DEPTH_MAX: usize = 256;

/// Runs shorter than this are left as they are.
const RUN_MIN: usize = 16;

/// Runs a future on a stack of its own.
pub async fn with_room<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| stacker::grow(STACK_BYTES, || future.as_mut().poll(context))).await
}

/// Runs a function on a stack of its own, for what nests as deeply as a file pleases.
pub fn with_stack<T>(run: impl FnOnce() -> T) -> T {
    stacker::grow(STACK_BYTES, run)
}

/// Balances long runs of AND and OR, and refuses what nests too deeply.
pub fn check(statement: &mut Statement) -> Result<(), Error> {
    let inner = match statement {
        Statement::Explain(explain) => return check(&mut explain.statement),
        Statement::Statement(inner) => inner,
        _ => return Ok(()),
    };
    match inner.visit(&mut Depth { now: 0 }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(Error::usage(format!("the statement nests more than {DEPTH_MAX} deep"))
            .hint("write IN (…) for a run of comparisons, or split the statement")),
    }
}

struct Depth {
    now: usize,
}

impl VisitorMut for Depth {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let (mut body, mut depth) = (query.body.as_ref(), 0);
        while let SetExpr::SetOperation { left, .. } = body {
            (body, depth) = (left.as_ref(), depth + 1);
        }
        if depth > DEPTH_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        balance(expr);
        self.now += 1;
        if self.now > DEPTH_MAX { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn post_visit_expr(&mut self, _: &mut Expr) -> ControlFlow<()> {
        self.now -= 1;
        ControlFlow::Continue(())
    }
}

/// Gives a run of AND or OR the least depth; its operands keep their order.
fn balance(expr: &mut Expr) {
    let Expr::BinaryOp { op: op @ (BinaryOperator::And | BinaryOperator::Or), .. } = &*expr else { return };
    let op = op.clone();
    let mut parts = Vec::new();
    let mut stack = vec![std::mem::replace(expr, Expr::Value(Value::Null.into()))];
    while let Some(part) = stack.pop() {
        match part {
            Expr::BinaryOp { left, op: other, right } if other == op => stack.extend([*right, *left]),
            part => parts.push(part),
        }
    }
    let join = |left, right| Expr::BinaryOp { left: Box::new(left), op: op.clone(), right: Box::new(right) };
    while parts.len() >= RUN_MIN {
        let mut halved = Vec::with_capacity(parts.len().div_ceil(2));
        let mut rest = parts.into_iter();
        while let Some(left) = rest.next() {
            halved.push(match rest.next() {
                Some(right) => join(left, right),
                None => left,
            });
        }
        parts = halved;
    }
    if let Some(run) = parts.into_iter().reduce(join) {
        *expr = run;
    }
}
