//! Unqualified `agent.x` and `host` in a join of endpoint tables.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Join, JoinConstraint, JoinOperator, OrderByExpr, Select, SelectItem, TableWithJoins,
    Value, VisitMut as _,
};

use super::{Each, Relation, conditions, constraint, each_expr, on_mut};
use crate::catalog::{AGENT, HOST};

/// Where a predicate on one relation alone belongs, so that it narrows what is asked and makes no outer join an inner one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Where,
    /// The ON of a join, by the index of its FROM item and of the join in it: the relation is on the side that may be missing.
    On(usize, usize),
    /// In WHERE, but not where the relation is missing from a row.
    WhereUnlessMissing,
}

/// Finds the place of each relation of a FROM item.
pub(super) fn place(relations: &mut [Relation], from: &TableWithJoins, index: usize) {
    for (at, join) in from.joins.iter().enumerate() {
        let on = matches!(constraint(&join.join_operator), Some(JoinConstraint::On(_)));
        for relation in relations.iter_mut().filter(|relation| relation.place == Place::Where) {
            let (here, before) = (relation.join == Some(at), relation.join.is_none_or(|other| other < at));
            relation.hidden |= match &join.join_operator {
                JoinOperator::Semi(_)
                | JoinOperator::LeftSemi(_)
                | JoinOperator::Anti(_)
                | JoinOperator::LeftAnti(_) => here,
                JoinOperator::RightSemi(_) | JoinOperator::RightAnti(_) => before,
                _ => false,
            };
            let missing = match &join.join_operator {
                JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => here,
                JoinOperator::Right(_) | JoinOperator::RightOuter(_) => before,
                JoinOperator::FullOuter(_) => here || before,
                _ => relation.hidden,
            };
            let full = matches!(join.join_operator, JoinOperator::FullOuter(_));
            if missing {
                relation.place = if on && !full { Place::On(index, at) } else { Place::WhereUnlessMissing };
            }
        }
    }
}

/// In a join of endpoint tables: WHERE's and ON's unqualified `agent.x` applies to each, other unqualified `agent.x` is
/// the first's, and so is unqualified `host` where the tables equate it.
pub(super) fn share_agent_and_host(select: &mut Select, endpoints: &[&Relation]) {
    let equated = conditions(select).any(equates_host);
    share_on(&mut select.from, endpoints);
    if let Some(selection) = select.selection.take() {
        let mut kept = Vec::new();
        for part in conjuncts(selection) {
            if !mentions_bare_agent(&part) {
                kept.push(part);
                continue;
            }
            for endpoint in endpoints {
                let copy = qualified(&part, endpoint);
                match endpoint.place {
                    Place::Where => kept.push(copy),
                    // It has no ON to narrow it by, and no columns here.
                    Place::WhereUnlessMissing if endpoint.hidden => {}
                    Place::WhereUnlessMissing => kept.push(unless_missing(copy, endpoint)),
                    Place::On(from, join) => {
                        match select.from.get_mut(from).and_then(|from| from.joins.get_mut(join)) {
                            Some(join) => add_to_on(join, copy),
                            None => kept.push(copy),
                        }
                    }
                }
            }
        }
        select.selection = kept.into_iter().reduce(and);
    }
    let owner = owner(endpoints);
    let mut qualify_all = |expr: &mut Expr| {
        qualify(expr, AGENT, owner);
        if equated {
            qualify(expr, HOST, owner);
        }
    };
    let _ = select.projection.visit(&mut Each::new(&mut qualify_all));
    let _ = select.selection.visit(&mut Each::new(&mut qualify_all));
    let _ = select.group_by.visit(&mut Each::new(&mut qualify_all));
    let _ = select.having.visit(&mut Each::new(&mut qualify_all));
    let _ = select.qualify.visit(&mut Each::new(&mut qualify_all));
}

/// The relation whose `agent` and `host` stand for all: the first that no row lacks.
fn owner<'a>(endpoints: &[&'a Relation]) -> &'a Ident {
    let shown = || endpoints.iter().filter(|endpoint| !endpoint.hidden);
    let owner = shown().find(|endpoint| endpoint.place == Place::Where).or_else(|| shown().next());
    &owner.unwrap_or(&endpoints[0]).name
}

/// Likewise in ORDER BY, where a result column of the name comes first.
pub(super) fn share_order(orders: &mut [OrderByExpr], select: &mut Select, endpoints: &[&Relation]) {
    let equated = conditions(select).any(equates_host);
    let is_host = |ident: &Ident| ident.value.eq_ignore_ascii_case(HOST);
    let given = select.projection.iter().any(|item| match item {
        SelectItem::UnnamedExpr(Expr::Identifier(ident)) | SelectItem::ExprWithAlias { alias: ident, .. } => {
            is_host(ident)
        }
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => parts.last().is_some_and(is_host),
        _ => false,
    });
    let owner = owner(endpoints);
    for order in orders {
        each_expr(&mut order.expr, &mut |expr| {
            qualify(expr, AGENT, owner);
            if equated && !given {
                qualify(expr, HOST, owner);
            }
        });
    }
}

/// Orders a DISTINCT by the position of a result column that is spelled the same.
pub(super) fn order_by_position(orders: &mut [OrderByExpr], projection: &[SelectItem]) {
    let texts: Option<Vec<String>> = projection
        .iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr.to_string()),
            _ => None,
        })
        .collect();
    let Some(texts) = texts else { return };
    for order in orders.iter_mut().filter(|order| !matches!(order.expr, Expr::Identifier(_) | Expr::Value(_))) {
        let typed = order.expr.to_string();
        if let Some(at) = texts.iter().position(|text| *text == typed) {
            order.expr = Expr::Value(Value::Number((at + 1).to_string(), false).into());
        }
    }
}

/// `agent.x` in an ON applies to every endpoint table that is joined by then.
fn share_on(from: &mut [TableWithJoins], endpoints: &[&Relation]) {
    for from in from {
        for (at, join) in from.joins.iter_mut().enumerate() {
            let Some(on) = on_mut(join) else { continue };
            let known: Vec<&&Relation> =
                endpoints.iter().filter(|endpoint| endpoint.join.is_none_or(|join| join <= at)).collect();
            let condition = std::mem::replace(on, Expr::Value(Value::Null.into()));
            let parts = conjuncts(condition).into_iter().flat_map(|part| {
                if !mentions_bare_agent(&part) {
                    return vec![part];
                }
                known.iter().map(|endpoint| qualified(&part, endpoint)).collect()
            });
            if let Some(condition) = parts.reduce(and) {
                *on = condition;
            }
        }
    }
}

fn add_to_on(join: &mut Join, condition: Expr) {
    if let Some(on) = on_mut(join) {
        let present = std::mem::replace(on, Expr::Value(Value::Null.into()));
        *on = and(Expr::Nested(Box::new(present)), condition);
    }
}

fn qualified(part: &Expr, endpoint: &Relation) -> Expr {
    let mut copy = part.clone();
    qualify(&mut copy, AGENT, &endpoint.name);
    copy
}

/// The condition, or that the relation is missing from the row: its `host` is never unknown otherwise.
fn unless_missing(condition: Expr, endpoint: &Relation) -> Expr {
    let host = Expr::CompoundIdentifier(vec![endpoint.name.clone(), Ident::new(HOST)]);
    let missing = Expr::IsNull(Box::new(host));
    let either = Expr::BinaryOp { left: Box::new(condition), op: BinaryOperator::Or, right: Box::new(missing) };
    Expr::Nested(Box::new(either))
}

fn and(left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { left: Box::new(left), op: BinaryOperator::And, right: Box::new(right) }
}

fn conjuncts(expr: Expr) -> Vec<Expr> {
    let mut parts = Vec::new();
    let mut stack = vec![expr];
    while let Some(expr) = stack.pop() {
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => stack.extend([*right, *left]),
            other => parts.push(other),
        }
    }
    parts
}

fn mentions_bare_agent(expr: &Expr) -> bool {
    let mut found = false;
    each_expr(&mut expr.clone(), &mut |expr| found |= is_bare(expr, AGENT));
    found
}

/// Whether an expression is `word`, `word.x` or `word['x']` with no table before it.
fn is_bare(expr: &Expr, word: &str) -> bool {
    match expr {
        Expr::Identifier(ident) => ident.value.eq_ignore_ascii_case(word),
        Expr::CompoundIdentifier(parts) => parts[0].value.eq_ignore_ascii_case(word),
        _ => false,
    }
}

/// Puts a table before every bare `word` inside.
fn qualify(expr: &mut Expr, word: &str, table: &Ident) {
    each_expr(expr, &mut |expr| {
        if !is_bare(expr, word) {
            return;
        }
        let parts = match expr {
            Expr::Identifier(ident) => vec![ident.clone()],
            Expr::CompoundIdentifier(parts) => parts.clone(),
            _ => return,
        };
        *expr = Expr::CompoundIdentifier(std::iter::once(table.clone()).chain(parts).collect());
    });
}

/// Whether a condition says `a.host = b.host`.
pub(super) fn equates_host(condition: &mut Expr) -> bool {
    let is_host = |expr: &Expr| match expr {
        Expr::CompoundIdentifier(parts) => parts.len() == 2 && parts[1].value.eq_ignore_ascii_case(HOST),
        _ => false,
    };
    let mut found = false;
    each_expr(condition, &mut |expr| {
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = expr {
            found |= is_host(left) && is_host(right);
        }
    });
    found
}
