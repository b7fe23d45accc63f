//! Columns that tables share by USING, NATURAL or an equality of `host`, in a join whose left side may be missing.
//!
//! Their value is that of a side that is there; DataFusion takes the left one's, which is unknown in such a row.

use datafusion::sql::sqlparser::ast::{Expr, Ident, Select, SelectItem, VisitMut as _};

use super::share::{Place, equates_host};
use super::{Each, Relation, conditions};
use crate::catalog::HOST;
use crate::dialect;

/// Gives unqualified shared columns, and those that `*` shows, the value of a side that is there.
pub(super) fn replace(select: &mut Select, relations: &mut [Relation]) {
    let mut columns: Vec<String> = relations.iter().flat_map(|relation| relation.merged.iter().cloned()).collect();
    columns.sort();
    columns.dedup();
    for column in columns {
        let merges = |relation: &Relation| relation.merged.contains(&column);
        let Some(first) = relations.iter().position(|relation| holds(relation, &column)) else { continue };
        let holders = relations.iter().enumerate().filter(|(at, relation)| *at == first || merges(relation));
        let holders: Vec<(usize, &Relation)> = holders.filter(|(_, holder)| !holder.hidden).collect();
        let Some((shown, first)) = holders.first().copied() else { continue };
        let shared = value(&column, &holders.iter().map(|(_, holder)| *holder).collect::<Vec<_>>());
        match shared {
            Some(value) => {
                substitute(select, &column, &value);
                relations[shown].replaced.push((column, value));
            }
            // DataFusion takes the first one's value where it shows the column, and no one's where it tests it.
            None => substitute_in_conditions(select, &column, &of(first, &column)),
        }
    }
    let endpoints = relations.iter().filter(|relation| relation.table.is_some() && !relation.hidden);
    let endpoints: Vec<&Relation> = endpoints.collect();
    let missing = endpoints.len() > 1 && endpoints.iter().all(|endpoint| endpoint.place != Place::Where);
    if missing
        && conditions(select).any(equates_host)
        && let Some(value) = value(HOST, &endpoints)
    {
        substitute(select, HOST, &value);
    }
}

fn holds(relation: &Relation, column: &str) -> bool {
    relation.table.is_none_or(|table| column == HOST || table.column(column).is_some())
}

/// The value of a side that is there; none where that is the first one's, as it is anyway.
fn value(column: &str, holders: &[&Relation]) -> Option<Expr> {
    match holders.iter().position(|relation| relation.place == Place::Where) {
        Some(0) => None,
        Some(at) => Some(of(holders[at], column)),
        None => Some(dialect::call("coalesce", holders.iter().map(|holder| of(holder, column)).collect())),
    }
}

fn of(relation: &Relation, column: &str) -> Expr {
    Expr::CompoundIdentifier(vec![relation.name.clone(), Ident::new(column)])
}

fn substitute(select: &mut Select, column: &str, value: &Expr) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && is_it(expr, column)
        {
            *item = SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', column) };
        }
    }
    let mut put = |expr: &mut Expr| put(expr, column, value);
    let _ = select.projection.visit(&mut Each::new(&mut put));
    let _ = select.group_by.visit(&mut Each::new(&mut put));
    substitute_in_conditions(select, column, value);
}

fn substitute_in_conditions(select: &mut Select, column: &str, value: &Expr) {
    let mut put = |expr: &mut Expr| put(expr, column, value);
    let _ = select.selection.visit(&mut Each::new(&mut put));
    let _ = select.having.visit(&mut Each::new(&mut put));
    let _ = select.qualify.visit(&mut Each::new(&mut put));
}

fn put(expr: &mut Expr, column: &str, value: &Expr) {
    if is_it(expr, column) {
        *expr = value.clone();
    }
}

fn is_it(expr: &Expr, column: &str) -> bool {
    matches!(expr, Expr::Identifier(ident) if ident.value.eq_ignore_ascii_case(column))
}
