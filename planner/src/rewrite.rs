//! What a person may leave out of a statement, put in before DataFusion reads it.
//!
//! `*` leaves out what costs a trip to the host; `agent.*` expands; in a join an unqualified `agent.x` in WHERE applies to
//! every endpoint table, and an unqualified `host` is the one that the tables share.

mod merged;
mod share;
mod spelling;
mod status;

use std::ops::ControlFlow;

use canvass_tables::Table;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, OrderBy, OrderByKind, Query,
    ReplaceSelectElement, ReplaceSelectItem, Select, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableFactor,
    TableWithJoins, Value, VisitMut, VisitorMut, WildcardAdditionalOptions,
};

use self::share::Place;
use self::spelling::Spelling;
use crate::catalog::{self, AGENT, AGENT_FIELDS, HOST};
use crate::error::Error;
use crate::{dialect, ignored, zone};

/// Finds an endpoint table by its name.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<&'static dyn Table>;

/// Rewrites a statement in place. Returns whether it decides for itself which `agent.status` to ask.
///
/// A clause that would be ignored is an error.
pub fn rewrite(statement: &mut Statement, find: Find<'_>) -> Result<bool, Error> {
    match statement {
        Statement::Statement(inner) => {
            let _ = VisitMut::visit(inner.as_mut(), &mut Spelling);
            let decides_status = status::decides(inner);
            let mut rewriter = Rewriter { find, scopes: Vec::new() };
            match VisitMut::visit(inner.as_mut(), &mut rewriter) {
                ControlFlow::Continue(()) => Ok(decides_status),
                ControlFlow::Break(error) => Err(error),
            }
        }
        Statement::Explain(explain) => rewrite(&mut explain.statement, find),
        _ => Ok(false),
    }
}

struct Rewriter<'a> {
    find: Find<'a>,
    /// The queries around the place in hand, outermost first.
    scopes: Vec<Scope>,
}

/// The names that a query's WITH gives; they hide tables of the same name.
struct Scope {
    names: Vec<String>,
    recursive: bool,
    /// How many of its own WITH's queries were entered.
    entered: usize,
    /// Which of the WITH of the query around it this query is.
    member: Option<usize>,
}

/// One relation of a FROM clause.
struct Relation {
    /// How columns of it are qualified.
    pub name: Ident,
    /// The endpoint table it is, if it is one.
    pub table: Option<&'static dyn Table>,
    /// Columns that a USING or NATURAL merges with one further left.
    pub merged: Vec<String>,
    /// Which join of its FROM brings it in; none for the first relation.
    pub join: Option<usize>,
    /// Where a predicate on it alone belongs.
    pub place: Place,
    /// Columns of it for which `*` shows another value.
    pub replaced: Vec<(String, Expr)>,
    /// It decides which rows of others there are, and gives none itself: the far side of a SEMI or ANTI join.
    pub hidden: bool,
}

impl Relation {
    fn new(name: Ident, table: Option<&'static dyn Table>, join: Option<usize>) -> Relation {
        Relation { name, table, merged: Vec::new(), join, place: Place::Where, replaced: Vec::new(), hidden: false }
    }
}

impl VisitorMut for Rewriter<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let Err(error) = ignored::check_query(query) {
            return ControlFlow::Break(error);
        }
        let member = self.scopes.last_mut().filter(|scope| scope.entered < scope.names.len()).map(|scope| {
            scope.entered += 1;
            scope.entered - 1
        });
        let (names, recursive) = match &query.with {
            Some(with) => {
                let names = with.cte_tables.iter().map(|cte| cte.alias.name.value.to_lowercase());
                (names.collect(), with.recursive)
            }
            None => (Vec::new(), false),
        };
        self.scopes.push(Scope { names, recursive, entered: 0, member });
        self.order_by(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        // DataFusion's own changes the type and not what is shown.
        if let Expr::AtTimeZone { timestamp, time_zone } = expr {
            let null = || Box::new(Expr::Value(Value::Null.into()));
            let (time, zone) = (std::mem::replace(timestamp, null()), std::mem::replace(time_zone, null()));
            *expr = dialect::call(zone::AT_TIME_ZONE, vec![*time, *zone]);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if let Err(error) = ignored::check_select(select) {
            return ControlFlow::Break(error);
        }
        let mut relations = self.all_relations(select);
        merged::replace(select, &mut relations);
        let shown: Vec<&Relation> = relations.iter().filter(|relation| !relation.hidden).collect();
        let items = std::mem::take(&mut select.projection).into_iter().flat_map(|item| expand(item, &shown));
        select.projection = told_apart(items.collect());
        let endpoints: Vec<&Relation> = relations.iter().filter(|relation| relation.table.is_some()).collect();
        if endpoints.len() > 1 {
            share::share_agent_and_host(select, &endpoints);
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    /// Whether a name is one that WITH gives, here.
    fn is_derived(&self, name: &str) -> bool {
        let inner = self.scopes.iter().skip(1).map(|scope| scope.member).chain([None]);
        self.scopes.iter().zip(inner).any(|(scope, inside)| {
            let visible = inside.map_or(scope.names.len(), |member| member + usize::from(scope.recursive));
            scope.names.iter().take(visible).any(|other| other == name)
        })
    }

    /// ORDER BY stands outside of the SELECT whose tables it speaks of.
    fn order_by(&self, query: &mut Query) {
        let Some(OrderBy { kind: OrderByKind::Expressions(orders), .. }) = &mut query.order_by else { return };
        let SetExpr::Select(select) = query.body.as_mut() else {
            // The columns of a union are those of its first SELECT.
            if let Some(first) = first_select(&query.body) {
                share::order_by_position(orders, &first.projection);
            }
            return;
        };
        if select.distinct.is_some() {
            share::order_by_position(orders, &select.projection);
        }
        let relations = self.all_relations(select);
        let endpoints: Vec<&Relation> = relations.iter().filter(|relation| relation.table.is_some()).collect();
        if endpoints.len() > 1 {
            share::share_order(orders, select, &endpoints);
        }
    }

    /// The relations of a FROM clause, tables named without their schema.
    fn all_relations(&self, select: &mut Select) -> Vec<Relation> {
        let mut all = Vec::new();
        for (index, from) in select.from.iter_mut().enumerate() {
            let mut relations = self.relations(from);
            share::place(&mut relations, from, index);
            all.extend(relations);
        }
        all
    }

    fn relations(&self, from: &mut TableWithJoins) -> Vec<Relation> {
        let mut relations = Vec::new();
        self.relation(&mut from.relation, None, &mut relations);
        for (index, join) in from.joins.iter_mut().enumerate() {
            let before = relations.len();
            self.relation(&mut join.relation, Some(index), &mut relations);
            let (left, right) = relations.split_at_mut(before);
            for relation in right {
                relation.merged = merged_columns(&join.join_operator, left, relation);
            }
        }
        relations
    }

    fn relation(&self, factor: &mut TableFactor, join: Option<usize>, relations: &mut Vec<Relation>) {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let plain = name.0.last().and_then(|part| part.as_ident()).cloned();
                let (Some(plain), None) = (plain, args) else { return };
                let lower = plain.value.to_lowercase();
                let qualified = name.0.len() > 1;
                let table = (qualified || !self.is_derived(&lower)).then(|| (self.find)(&lower)).flatten();
                if table.is_some() && is_ours(name) {
                    *name = ObjectName::from(vec![plain.clone()]);
                }
                let name = alias.as_ref().map_or(plain, |alias| alias.name.clone());
                relations.push(Relation::new(name, table, join));
            }
            TableFactor::Derived { alias: Some(alias), .. } => {
                relations.push(Relation::new(alias.name.clone(), None, join));
            }
            TableFactor::NestedJoin { table_with_joins, .. } => {
                let nested = self.relations(table_with_joins);
                relations.extend(nested.into_iter().map(|relation| Relation { join, ..relation }));
            }
            _ => {}
        }
    }
}

/// The SELECT that a run of unions begins with.
fn first_select(mut body: &SetExpr) -> Option<&Select> {
    loop {
        match body {
            SetExpr::SetOperation { left, .. } => body = left,
            SetExpr::Select(select) => return Some(select),
            _ => return None,
        }
    }
}

/// Whether a name is in the schema that endpoint tables are in.
fn is_ours(name: &ObjectName) -> bool {
    let parts: Vec<String> = name.0.iter().map(|part| part.to_string().to_lowercase()).collect();
    matches!(parts.iter().map(String::as_str).collect::<Vec<_>>()[..], ["public", _] | ["canvass", "public", _])
}

pub(super) fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
    match operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint)
        | JoinOperator::Semi(constraint)
        | JoinOperator::LeftSemi(constraint)
        | JoinOperator::RightSemi(constraint)
        | JoinOperator::Anti(constraint)
        | JoinOperator::LeftAnti(constraint)
        | JoinOperator::RightAnti(constraint) => Some(constraint),
        _ => None,
    }
}

fn merged_columns(operator: &JoinOperator, left: &[Relation], right: &Relation) -> Vec<String> {
    match constraint(operator) {
        Some(JoinConstraint::Using(columns)) => {
            columns.iter().filter_map(|name| name.0.last()?.as_ident()).map(|ident| ident.value.clone()).collect()
        }
        Some(JoinConstraint::Natural) => {
            let names = |table: &'static dyn Table| table.columns().into_iter().map(|c| c.name).chain([HOST]);
            let shared =
                |name: &&str| left.iter().filter_map(|r| r.table).any(|t| names(t).any(|other| other == *name));
            right.table.into_iter().flat_map(names).filter(shared).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// WHERE and every ON of a select.
pub(super) fn conditions(select: &mut Select) -> impl Iterator<Item = &mut Expr> {
    let joins = select.from.iter_mut().flat_map(|from| from.joins.iter_mut());
    select.selection.iter_mut().chain(joins.filter_map(on_mut))
}

/// The ON of a join, where it has one.
pub(super) fn on_mut(join: &mut Join) -> Option<&mut Expr> {
    match &mut join.join_operator {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on))
        | JoinOperator::FullOuter(JoinConstraint::On(on))
        | JoinOperator::Semi(JoinConstraint::On(on))
        | JoinOperator::LeftSemi(JoinConstraint::On(on))
        | JoinOperator::RightSemi(JoinConstraint::On(on))
        | JoinOperator::Anti(JoinConstraint::On(on))
        | JoinOperator::LeftAnti(JoinConstraint::On(on))
        | JoinOperator::RightAnti(JoinConstraint::On(on)) => Some(on),
        _ => None,
    }
}

/// Expands the wildcards that stand for endpoint tables or for `agent`.
fn expand(item: SelectItem, relations: &[&Relation]) -> Vec<SelectItem> {
    let is_endpoint = |relation: &&Relation| relation.table.is_some();
    match item {
        SelectItem::Wildcard(options) if is_plain(&options) && relations.iter().any(is_endpoint) => {
            relations.iter().map(|relation| wildcard(relation, options.clone(), true)).collect()
        }
        SelectItem::Wildcard(options) => {
            vec![SelectItem::Wildcard(hide(options, relations.iter().copied()))]
        }
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            let Some(ident) = name.0.last().and_then(|part| part.as_ident()).cloned() else { return vec![] };
            let named = |relation: &&Relation| relation.name.value.eq_ignore_ascii_case(&ident.value);
            match relations.iter().copied().find(named) {
                Some(relation) if is_endpoint(&relation) => vec![wildcard(relation, options, false)],
                None if ident.value.eq_ignore_ascii_case(AGENT) => agent_fields(&name.0, relations),
                _ => vec![SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)],
            }
        }
        SelectItem::UnnamedExpr(expr) => vec![named(expr)],
        other => vec![other],
    }
}

/// Names a result column after what was typed: `agent.os`, not how it is computed.
fn named(expr: Expr) -> SelectItem {
    match agent_heading(&expr) {
        Some(alias) => SelectItem::ExprWithAlias { alias: Ident::with_quote('"', alias), expr },
        None => SelectItem::UnnamedExpr(expr),
    }
}

/// What a field of `agent` is called; none where the expression is something else.
pub(crate) fn agent_heading(expr: &Expr) -> Option<String> {
    let path: &[Ident] = match expr {
        Expr::CompoundIdentifier(parts) => parts,
        Expr::CompoundFieldAccess { root, .. } => match root.as_ref() {
            Expr::Identifier(ident) => std::slice::from_ref(ident),
            Expr::CompoundIdentifier(parts) => parts,
            _ => &[],
        },
        _ => &[],
    };
    let at = path.iter().position(|part| part.value.eq_ignore_ascii_case(AGENT)).filter(|at| *at <= 1)?;
    if at + 1 == path.len() && !matches!(expr, Expr::CompoundFieldAccess { .. }) {
        return None;
    }
    let mut plain = expr.clone();
    each_expr(&mut plain, &mut unquote);
    let typed = plain.to_string();
    Some(if at == 0 { typed } else { typed.split_once('.').map_or(typed.clone(), |(_, rest)| rest.to_owned()) })
}

/// Gives result columns of one name, such as `a.agent.os` and `b.agent.os`, the whole name that was typed.
fn told_apart(mut items: Vec<SelectItem>) -> Vec<SelectItem> {
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, expr } => {
            let is_given = alias.quote_style == Some('"') && expr.to_string().ends_with(&format!(".{}", alias.value));
            is_given.then(|| alias.value.clone())
        }
        _ => None,
    };
    let names: Vec<Option<String>> = items.iter().map(name).collect();
    for (index, item) in items.iter_mut().enumerate() {
        let twice = names[index].is_some() && names.iter().filter(|other| **other == names[index]).count() > 1;
        if let SelectItem::ExprWithAlias { alias, expr } = item
            && twice
        {
            alias.value = expr.to_string();
        }
    }
    items
}

/// Spells names as they are known: in small letters unless they were quoted, and without quotes.
fn unquote(expr: &mut Expr) {
    let parts: &mut [Ident] = match expr {
        Expr::Identifier(ident) => std::slice::from_mut(ident),
        Expr::CompoundIdentifier(parts) => parts,
        _ => return,
    };
    for part in parts {
        if part.quote_style.take().is_none() {
            part.value = part.value.to_lowercase();
        }
    }
}

fn is_plain(options: &WildcardAdditionalOptions) -> bool {
    options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_ilike.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
}

/// `t.*` without what is hidden, and without what USING merged where the bare `*` stood.
fn wildcard(relation: &Relation, options: WildcardAdditionalOptions, bare: bool) -> SelectItem {
    let mut options = hide(options, std::iter::once(relation));
    if bare && !relation.merged.is_empty() {
        exclude(&mut options, relation.merged.iter().map(String::as_str));
    }
    if bare && !relation.replaced.is_empty() {
        let replace = |(column, expr): &(String, Expr)| {
            let column_name = Ident::with_quote('"', column);
            Box::new(ReplaceSelectElement { expr: expr.clone(), column_name, as_keyword: true })
        };
        options.opt_replace = Some(ReplaceSelectItem { items: relation.replaced.iter().map(replace).collect() });
    }
    let name = ObjectName::from(vec![relation.name.clone()]);
    SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options)
}

fn hide<'a>(
    mut options: WildcardAdditionalOptions,
    relations: impl Iterator<Item = &'a Relation>,
) -> WildcardAdditionalOptions {
    for table in relations.filter_map(|relation| relation.table) {
        exclude(&mut options, catalog::hidden_columns(table).into_iter());
    }
    options
}

fn exclude<'a>(options: &mut WildcardAdditionalOptions, columns: impl Iterator<Item = &'a str>) {
    let mut names = match options.opt_exclude.take() {
        None => Vec::new(),
        Some(ExcludeSelectItem::Single(name)) => vec![name],
        Some(ExcludeSelectItem::Multiple(names)) => names,
    };
    for column in columns {
        let name = ObjectName::from(vec![Ident::new(column)]);
        if !names.iter().any(|other| other.to_string().eq_ignore_ascii_case(column)) {
            names.push(name);
        }
    }
    if !names.is_empty() {
        options.opt_exclude = Some(ExcludeSelectItem::Multiple(names));
    }
}

/// `agent.*`, of the first endpoint table unless one is named before it.
fn agent_fields(path: &[datafusion::sql::sqlparser::ast::ObjectNamePart], relations: &[&Relation]) -> Vec<SelectItem> {
    let mut prefix: Vec<Ident> = path.iter().filter_map(|part| part.as_ident()).cloned().collect();
    if prefix.len() == 1 {
        let first = relations.iter().find(|relation| relation.table.is_some());
        prefix.splice(0..0, first.map(|relation| relation.name.clone()));
    }
    let field = |name: &str| SelectItem::ExprWithAlias {
        expr: Expr::CompoundIdentifier(prefix.iter().cloned().chain([Ident::new(name)]).collect()),
        alias: Ident::with_quote('"', format!("{AGENT}.{name}")),
    };
    AGENT_FIELDS.iter().map(|agent| field(agent.name)).collect()
}

/// Visits an expression and all inside it, but no sub-query's.
pub(super) fn each_expr(expr: &mut Expr, visit: &mut dyn FnMut(&mut Expr)) {
    let _ = expr.visit(&mut Each::new(visit));
}

/// Calls a function for every expression that is not inside a sub-query, children first.
pub(super) struct Each<'a> {
    visit: &'a mut dyn FnMut(&mut Expr),
    subqueries: usize,
}

impl Each<'_> {
    pub fn new(visit: &mut dyn FnMut(&mut Expr)) -> Each<'_> {
        Each { visit, subqueries: 0 }
    }
}

impl VisitorMut for Each<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.subqueries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.subqueries -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.subqueries == 0 {
            (self.visit)(expr);
        }
        ControlFlow::Continue(())
    }
}
