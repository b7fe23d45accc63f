//! What a person may leave out of a statement, put in before DataFusion reads it.
//!
//! `*` leaves out what costs a trip to the host; `agent.*` expands; in a join an unqualified `agent.x` in WHERE applies to
//! every endpoint table, and an unqualified `host` is the one that the tables share.

use std::collections::HashSet;
use std::ops::ControlFlow;

use canvass_tables::Table;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, ExcludeSelectItem, Expr, Ident, JoinConstraint, JoinOperator, ObjectName, Query, Select,
    SelectItem, SelectItemQualifiedWildcardKind, TableFactor, TableWithJoins, VisitMut, VisitorMut,
    WildcardAdditionalOptions,
};

use crate::catalog::{self, AGENT, AGENT_FIELDS, HOST};

/// Finds an endpoint table by its name.
pub type Find<'a> = &'a dyn Fn(&str) -> Option<&'static dyn Table>;

/// Rewrites a statement in place. Returns whether it decides for itself which `agent.status` to ask.
pub fn rewrite(statement: &mut Statement, find: Find<'_>) -> bool {
    match statement {
        Statement::Statement(inner) => {
            let mut rewriter = Rewriter { find, derived: HashSet::new(), decides_status: false };
            let _ = inner.visit(&mut rewriter);
            rewriter.decides_status
        }
        Statement::Explain(explain) => rewrite(&mut explain.statement, find),
        _ => false,
    }
}

struct Rewriter<'a> {
    find: Find<'a>,
    /// Names that WITH gives; they hide tables of the same name.
    derived: HashSet<String>,
    decides_status: bool,
}

/// One relation of a FROM clause.
struct Relation {
    /// How columns of it are qualified.
    name: Ident,
    /// The endpoint table it is, if it is one.
    table: Option<&'static dyn Table>,
    /// Columns that a USING merges with one further left.
    merged: Vec<String>,
}

impl VisitorMut for Rewriter<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.derived.extend(with.cte_tables.iter().map(|cte| cte.alias.name.value.to_lowercase()));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let relations: Vec<Relation> = select.from.iter().flat_map(|from| self.relations(from)).collect();
        self.decides_status |= decides_status(select);
        select.projection =
            std::mem::take(&mut select.projection).into_iter().flat_map(|item| expand(item, &relations)).collect();
        let endpoints: Vec<&Relation> = relations.iter().filter(|relation| relation.table.is_some()).collect();
        if endpoints.len() > 1 {
            share_agent_and_host(select, &endpoints);
        }
        ControlFlow::Continue(())
    }
}

impl Rewriter<'_> {
    fn relations(&self, from: &TableWithJoins) -> Vec<Relation> {
        let mut relations = Vec::new();
        self.relation(&from.relation, Vec::new(), &mut relations);
        for join in &from.joins {
            self.relation(&join.relation, merged_columns(&join.join_operator), &mut relations);
        }
        relations
    }

    fn relation(&self, factor: &TableFactor, merged: Vec<String>, relations: &mut Vec<Relation>) {
        match factor {
            TableFactor::Table { name, alias, args, .. } => {
                let plain = name.0.last().and_then(|part| part.as_ident());
                let (Some(plain), None) = (plain, args) else { return };
                let lower = plain.value.to_lowercase();
                let table = (!self.derived.contains(&lower)).then(|| (self.find)(&lower)).flatten();
                let name = alias.as_ref().map_or(plain, |alias| &alias.name).clone();
                relations.push(Relation { name, table, merged });
            }
            TableFactor::Derived { alias: Some(alias), .. } => {
                relations.push(Relation { name: alias.name.clone(), table: None, merged });
            }
            TableFactor::NestedJoin { table_with_joins, .. } => relations.extend(self.relations(table_with_joins)),
            _ => {}
        }
    }
}

fn constraint(operator: &JoinOperator) -> Option<&JoinConstraint> {
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

fn merged_columns(operator: &JoinOperator) -> Vec<String> {
    match constraint(operator) {
        Some(JoinConstraint::Using(columns)) => {
            columns.iter().filter_map(|name| name.0.last()?.as_ident()).map(|ident| ident.value.clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// WHERE and every ON of a select.
fn conditions(select: &mut Select) -> impl Iterator<Item = &mut Expr> {
    let joins = select.from.iter_mut().flat_map(|from| from.joins.iter_mut());
    let on = joins.filter_map(|join| match &mut join.join_operator {
        JoinOperator::Join(JoinConstraint::On(on))
        | JoinOperator::Inner(JoinConstraint::On(on))
        | JoinOperator::Left(JoinConstraint::On(on))
        | JoinOperator::LeftOuter(JoinConstraint::On(on))
        | JoinOperator::Right(JoinConstraint::On(on))
        | JoinOperator::RightOuter(JoinConstraint::On(on))
        | JoinOperator::FullOuter(JoinConstraint::On(on)) => Some(on),
        _ => None,
    });
    select.selection.iter_mut().chain(on)
}

fn decides_status(select: &mut Select) -> bool {
    conditions(select).any(|condition| {
        let mut found = false;
        each_expr(condition, &mut |expr| {
            if let Expr::CompoundIdentifier(parts) = expr {
                let tail: Vec<String> = parts.iter().rev().take(2).map(|part| part.value.to_lowercase()).collect();
                found |= tail == ["status", AGENT];
            }
        });
        found
    })
}

/// Expands the wildcards that stand for endpoint tables or for `agent`.
fn expand(item: SelectItem, relations: &[Relation]) -> Vec<SelectItem> {
    let is_endpoint = |relation: &&Relation| relation.table.is_some();
    match item {
        SelectItem::Wildcard(options) if is_plain(&options) && relations.iter().any(|r| is_endpoint(&r)) => {
            relations.iter().map(|relation| wildcard(relation, options.clone(), true)).collect()
        }
        SelectItem::Wildcard(options) => vec![SelectItem::Wildcard(hide(options, relations.iter()))],
        SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), options) => {
            let Some(ident) = name.0.last().and_then(|part| part.as_ident()).cloned() else { return vec![] };
            let named = |relation: &&Relation| relation.name.value.eq_ignore_ascii_case(&ident.value);
            match relations.iter().find(named) {
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
    let path: &[Ident] = match &expr {
        Expr::CompoundIdentifier(parts) => parts,
        Expr::CompoundFieldAccess { root, .. } => match root.as_ref() {
            Expr::Identifier(ident) => std::slice::from_ref(ident),
            Expr::CompoundIdentifier(parts) => parts,
            _ => &[],
        },
        _ => &[],
    };
    let agent = path.iter().position(|part| part.value.eq_ignore_ascii_case(AGENT));
    let is_field = |at: usize| at + 1 < path.len() || matches!(expr, Expr::CompoundFieldAccess { .. });
    match agent {
        Some(at) if at <= 1 && is_field(at) => {
            let typed = expr.to_string();
            let alias = if at == 0 { &typed[..] } else { typed.split_once('.').map_or(&typed[..], |(_, rest)| rest) };
            SelectItem::ExprWithAlias { alias: Ident::with_quote('"', alias), expr }
        }
        _ => SelectItem::UnnamedExpr(expr),
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
fn agent_fields(path: &[datafusion::sql::sqlparser::ast::ObjectNamePart], relations: &[Relation]) -> Vec<SelectItem> {
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

/// In a join of endpoint tables: WHERE's unqualified `agent.x` applies to each, other unqualified `agent.x` is the
/// first's, and so is unqualified `host` where the tables equate it.
fn share_agent_and_host(select: &mut Select, endpoints: &[&Relation]) {
    let equated = conditions(select).any(equates_host);
    if let Some(selection) = select.selection.take() {
        let parts = conjuncts(selection).into_iter().flat_map(|part| {
            if !mentions_bare_agent(&part) {
                return vec![part];
            }
            let copies = endpoints.iter().map(|endpoint| {
                let mut copy = part.clone();
                qualify(&mut copy, AGENT, &endpoint.name);
                copy
            });
            copies.collect()
        });
        select.selection = parts.reduce(and);
    }
    let first = &endpoints[0].name;
    let mut qualify_all = |expr: &mut Expr| {
        qualify(expr, AGENT, first);
        if equated {
            qualify(expr, HOST, first);
        }
    };
    let _ = select.projection.visit(&mut Each::new(&mut qualify_all));
    let _ = select.selection.visit(&mut Each::new(&mut qualify_all));
    let _ = select.group_by.visit(&mut Each::new(&mut qualify_all));
    let _ = select.having.visit(&mut Each::new(&mut qualify_all));
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
fn equates_host(condition: &mut Expr) -> bool {
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

/// Visits an expression and all inside it, but no sub-query's.
fn each_expr(expr: &mut Expr, visit: &mut dyn FnMut(&mut Expr)) {
    let _ = expr.visit(&mut Each::new(visit));
}

/// Calls a function for every expression that is not inside a sub-query, children first.
struct Each<'a> {
    visit: &'a mut dyn FnMut(&mut Expr),
    subqueries: usize,
}

impl Each<'_> {
    fn new(visit: &mut dyn FnMut(&mut Expr)) -> Each<'_> {
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
