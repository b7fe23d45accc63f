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
        let Some(value) = value(&column, holders.map(|(_, relation)| relation).collect()) else { continue };
        substitute(select, &column, &value);
        relations[first].replaced.push((column, value));
    }
    let endpoints: Vec<&Relation> = relations.iter().filter(|relation| relation.table.is_some()).collect();
    let missing = endpoints.len() > 1 && endpoints.iter().all(|endpoint| endpoint.place != Place::Where);
    if missing
        && conditions(select).any(equates_host)
        && let Some(value) = value(HOST, endpoints)
    {
        substitute(select, HOST, &value);
    }
}

fn holds(relation: &Relation, column: &str) -> bool {
    relation.table.is_none_or(|table| column == HOST || table.column(column).is_some())
}

/// The value of a side that is there; none where that is the first one's, as it is anyway.
fn value(column: &str, holders: Vec<&Relation>) -> Option<Expr> {
    let of = |relation: &Relation| Expr::CompoundIdentifier(vec![relation.name.clone(), Ident::new(column)]);
    match holders.iter().position(|relation| relation.place == Place::Where) {
        Some(0) => None,
        Some(at) => Some(of(holders[at])),
        None => Some(dialect::call("coalesce", holders.into_iter().map(of).collect())),
    }
}

fn substitute(select: &mut Select, column: &str, value: &Expr) {
    let is_it = |expr: &Expr| matches!(expr, Expr::Identifier(ident) if ident.value.eq_ignore_ascii_case(column));
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) = item
            && is_it(expr)
        {
            *item = SelectItem::ExprWithAlias { expr: value.clone(), alias: Ident::with_quote('"', column) };
        }
    }
    let mut put = |expr: &mut Expr| {
        if is_it(expr) {
            *expr = value.clone();
        }
    };
    let _ = select.projection.visit(&mut Each::new(&mut put));
    let _ = select.selection.visit(&mut Each::new(&mut put));
    let _ = select.group_by.visit(&mut Each::new(&mut put));
    let _ = select.having.visit(&mut Each::new(&mut put));
    let _ = select.qualify.visit(&mut Each::new(&mut put));
}
