//! What a statement's author says of joins and the plan does not keep.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{JoinOperator, Select, TableFactor, TableWithJoins, Visit as _, Visitor};

/// The relations that CROSS JOIN brings in, by the names that columns of them are qualified with.
pub fn crossed(statement: &Statement) -> BTreeSet<String> {
    match statement {
        Statement::Explain(explain) => crossed(&explain.statement),
        Statement::Statement(inner) => {
            let mut found = Crossed::default();
            let _ = inner.visit(&mut found);
            found.names
        }
        _ => BTreeSet::new(),
    }
}

#[derive(Default)]
struct Crossed {
    names: BTreeSet<String>,
}

impl Visitor for Crossed {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        select.from.iter().for_each(|from| self.joins(from));
        ControlFlow::Continue(())
    }
}

impl Crossed {
    fn joins(&mut self, from: &TableWithJoins) {
        for join in &from.joins {
            if matches!(join.join_operator, JoinOperator::CrossJoin(_)) {
                self.names.extend(name_of(&join.relation));
            }
            if let TableFactor::NestedJoin { table_with_joins, .. } = &join.relation {
                self.joins(table_with_joins);
            }
        }
        if let TableFactor::NestedJoin { table_with_joins, .. } = &from.relation {
            self.joins(table_with_joins);
        }
    }
}

fn name_of(relation: &TableFactor) -> Option<String> {
    let (name, alias) = match relation {
        TableFactor::Table { name, alias, .. } => (name.0.last().and_then(|part| part.as_ident()), alias.as_ref()),
        TableFactor::Derived { alias, .. } => (None, alias.as_ref()),
        _ => return None,
    };
    let ident = alias.map(|alias| &alias.name).or(name)?;
    Some(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() })
}
