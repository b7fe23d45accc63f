//! Spellings that DataFusion does not read, put as it does: `FROM t`, `GROUP BY x WITH ROLLUP`, `FETCH FIRST 3 ROWS ONLY`,
//! `t.agent.tags['team']`, `(lower(a), b) IN ((1, 2))`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, Fetch, GroupByExpr, GroupByWithModifier, Ident, LimitClause, Query, Select, SelectFlavor,
    SelectItem, Value, VisitorMut, WildcardAdditionalOptions,
};

use crate::dialect;

/// Rewrites every query inside, children after their parents.
pub(super) struct Spelling;

impl VisitorMut for Spelling {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Self::Break> {
        fetch_is_limit(query);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Self::Break> {
        if select.flavor == SelectFlavor::FromFirstNoSelect && select.projection.is_empty() {
            select.projection = vec![SelectItem::Wildcard(WildcardAdditionalOptions::default())];
            select.flavor = SelectFlavor::Standard;
        }
        group_with(&mut select.group_by, &select.projection);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        match expr {
            Expr::CompoundFieldAccess { root, access_chain } => lengthen(root, access_chain),
            Expr::InList { expr, list, .. } => std::iter::once(&mut **expr).chain(list).for_each(row),
            Expr::BinaryOp { left, right, .. } => [left, right].into_iter().for_each(|side| row(side)),
            Expr::InSubquery { expr, .. } => row(expr),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// `FETCH FIRST n ROWS ONLY` is LIMIT n, and of one row where n is left out.
fn fetch_is_limit(query: &mut Query) {
    let offset = match &query.limit_clause {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) if limit_by.is_empty() => offset.clone(),
        Some(_) => return,
    };
    if let Some(Fetch { with_ties: false, percent: false, quantity }) = &mut query.fetch {
        let one = || Expr::Value(Value::Number("1".into(), false).into());
        let limit = Some(quantity.take().unwrap_or_else(one));
        query.limit_clause = Some(LimitClause::LimitOffset { limit, offset, limit_by: Vec::new() });
        query.fetch = None;
    }
}

/// `GROUP BY a, b WITH ROLLUP` is `GROUP BY ROLLUP (a, b)`, where a position stands for its result column.
fn group_with(group_by: &mut GroupByExpr, projection: &[SelectItem]) {
    let GroupByExpr::Expressions(keys, modifiers) = group_by else { return };
    let grouped = match modifiers.as_slice() {
        [GroupByWithModifier::Rollup] => Expr::Rollup,
        [GroupByWithModifier::Cube] => Expr::Cube,
        _ => return,
    };
    let column = |key: Expr| match at_position(&key, projection) {
        Some(SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) => expr.clone(),
        _ => key,
    };
    let sets = std::mem::take(keys).into_iter().map(|key| vec![column(key)]).collect();
    *keys = vec![grouped(sets)];
    modifiers.clear();
}

fn at_position<'a>(key: &Expr, projection: &'a [SelectItem]) -> Option<&'a SelectItem> {
    let Expr::Value(value) = key else { return None };
    let Value::Number(number, _) = &value.value else { return None };
    projection.get(number.parse::<usize>().ok()?.checked_sub(1)?)
}

/// A row that is compared, `(lower(a), b)`, of which DataFusion reads those alone that begin with a name or a constant.
fn row(expr: &mut Expr) {
    if let Expr::Tuple(values) = expr {
        *expr = dialect::call("struct", std::mem::take(values));
    }
}

/// `a.b['c']` is read as `a`, of it `b`, of it `'c'`; that `a.b` may be a column of a table is known only where the two are
/// one name.
fn lengthen(root: &mut Expr, chain: &mut Vec<AccessExpr>) {
    let mut parts: Vec<Ident> = match root {
        Expr::Identifier(ident) => vec![ident.clone()],
        Expr::CompoundIdentifier(parts) => parts.clone(),
        _ => return,
    };
    let names = chain.iter().map_while(|access| match access {
        AccessExpr::Dot(Expr::Identifier(ident)) => Some(ident.clone()),
        _ => None,
    });
    let names: Vec<Ident> = names.collect();
    if names.is_empty() {
        return;
    }
    chain.drain(..names.len());
    parts.extend(names);
    *root = Expr::CompoundIdentifier(parts);
}
