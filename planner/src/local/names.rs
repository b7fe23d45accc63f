//! Which names of a statement are files: quoted ones that no table has and no WITH gives.

use std::ops::ControlFlow;
use std::path::Path;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, Select, TableAlias, TableFactor, TableWithJoins, Visit, VisitMut, Visitor, VisitorMut,
};

use super::Kind;

/// The files that a statement names, each once.
pub fn of(statement: &Statement, is_table: &impl Fn(&str) -> bool) -> Vec<String> {
    let inner = match statement {
        Statement::Explain(explain) => return of(&explain.statement, is_table),
        Statement::Statement(inner) => inner,
        _ => return Vec::new(),
    };
    let mut names = Names::default();
    let _ = inner.visit(&mut names);
    let mut found: Vec<String> = Vec::new();
    for ident in names.relations {
        let known = is_table(&ident.value) || names.given.contains(&ident.value);
        if !known && is_file(&ident) && !found.contains(&ident.value) {
            found.push(ident.value);
        }
    }
    found
}

/// In single quotes stands a text, which can only be a file's name; in double quotes any name may stand.
fn is_file(ident: &Ident) -> bool {
    match ident.quote_style {
        Some('\'') => true,
        Some(_) => Kind::of(&ident.value).is_some() || ident.value.contains('/'),
        None => false,
    }
}

#[derive(Default)]
struct Names {
    relations: Vec<Ident>,
    /// What any WITH of the statement gives.
    given: Vec<String>,
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let tables = query.with.iter().flat_map(|with| &with.cte_tables);
        self.given.extend(tables.map(|table| table.alias.name.value.clone()));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        self.relations.extend(only(name).cloned());
        ControlFlow::Continue(())
    }
}

fn only(name: &ObjectName) -> Option<&Ident> {
    match name.0.as_slice() {
        [only] => only.as_ident(),
        _ => None,
    }
}

/// Gives files without an alias a short one: `lists/iocs.csv` goes by `iocs` where nothing beside it does.
pub fn shorten(statement: &mut Statement, is_file: &dyn Fn(&str) -> bool, is_table: &dyn Fn(&str) -> bool) {
    match statement {
        Statement::Explain(explain) => shorten(&mut explain.statement, is_file, is_table),
        Statement::Statement(inner) => {
            let _ = inner.visit(&mut Shorten { is_file, is_table });
        }
        _ => {}
    }
}

struct Shorten<'a> {
    is_file: &'a dyn Fn(&str) -> bool,
    is_table: &'a dyn Fn(&str) -> bool,
}

impl VisitorMut for Shorten<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut factors = Vec::new();
        select.from.iter_mut().for_each(|from| flatten(from, &mut factors));
        let mut taken: Vec<String> = factors.iter().filter_map(|factor| called(factor)).collect();
        for factor in factors {
            let TableFactor::Table { name, alias: alias @ None, args: None, .. } = factor else { continue };
            let file = only(name).map(|ident| ident.value.as_str()).filter(|name| (self.is_file)(name));
            let stem = file.and_then(|file| Path::new(file).file_stem()?.to_str()).map(str::to_lowercase);
            let Some(stem) = stem.filter(|stem| !taken.contains(stem) && !(self.is_table)(stem)) else { continue };
            taken.push(stem.clone());
            let name = Ident::with_quote('"', stem);
            *alias = Some(TableAlias { explicit: true, name, columns: vec![], at: None });
        }
        ControlFlow::Continue(())
    }
}

/// The relations of a FROM, those of parenthesised joins too.
fn flatten<'a>(from: &'a mut TableWithJoins, factors: &mut Vec<&'a mut TableFactor>) {
    let all = std::iter::once(&mut from.relation).chain(from.joins.iter_mut().map(|join| &mut join.relation));
    for factor in all {
        match factor {
            TableFactor::NestedJoin { table_with_joins, .. } => flatten(table_with_joins, factors),
            other => factors.push(other),
        }
    }
}

/// What a relation is called by the columns of it, in small letters.
fn called(factor: &TableFactor) -> Option<String> {
    let name = match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => &alias.name,
        TableFactor::Table { name, .. } => name.0.last()?.as_ident()?,
        _ => return None,
    };
    Some(name.value.to_lowercase())
}
