//! Whether a statement decides for itself which `status` to ask: a WHERE or an ON that speaks of it, of an endpoint table's
//! `agent` or of the inventory.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr, ObjectName, Query, Select, Statement, Subscript, TableFactor, TableWithJoins, Value, Visit,
    Visitor,
};

use super::constraint;
use crate::catalog::{AGENT, AGENTS};

const STATUS: &str = "status";

/// Whether any condition of the statement speaks of a status.
pub fn decides(statement: &Statement) -> bool {
    let mut inventory = Inventory { names: HashSet::from([AGENTS.to_owned()]) };
    let _ = statement.visit(&mut inventory);
    statement.visit(&mut Conditions { inventory: &inventory.names }).is_break()
}

/// The names under which a statement has the inventory, or a query over it, in a FROM.
struct Inventory {
    names: HashSet<String>,
}

impl Visitor for Inventory {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            if reads(&cte.query, &self.names) {
                self.names.insert(cte.alias.name.value.to_lowercase());
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if is_inventory(factor, &self.names) {
            self.names.extend(called(factor));
        }
        ControlFlow::Continue(())
    }
}

/// Whether a relation is the inventory, by one of the names that are known for it, or a query over it.
fn is_inventory(factor: &TableFactor, names: &HashSet<String>) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => last(name).is_some_and(|name| names.contains(&name)),
        TableFactor::Derived { subquery, .. } => reads(subquery, names),
        _ => false,
    }
}

fn called(factor: &TableFactor) -> Option<String> {
    match factor {
        TableFactor::Table { alias: Some(alias), .. } | TableFactor::Derived { alias: Some(alias), .. } => {
            Some(alias.name.value.to_lowercase())
        }
        TableFactor::Table { name, .. } => last(name),
        _ => None,
    }
}

fn last(name: &ObjectName) -> Option<String> {
    name.0.last()?.as_ident().map(|ident| ident.value.to_lowercase())
}

/// Whether a query has one of these names in a FROM.
fn reads(query: &Query, names: &HashSet<String>) -> bool {
    struct Reads<'a>(&'a HashSet<String>);

    impl Visitor for Reads<'_> {
        type Break = ();

        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            match last(name) {
                Some(name) if self.0.contains(&name) => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    query.visit(&mut Reads(names)).is_break()
}

/// Stops at the first condition that speaks of a status.
struct Conditions<'a> {
    inventory: &'a HashSet<String>,
}

impl Visitor for Conditions<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let mut factors = Vec::new();
        select.from.iter().for_each(|from| flatten(from, &mut factors));
        let from_inventory = factors.iter().any(|(factor, _)| is_inventory(factor, self.inventory));
        let on = factors.iter().filter_map(|(_, on)| *on);
        let mut speaks = Speaks { inventory: self.inventory, from_inventory, subqueries: 0 };
        for condition in select.selection.iter().chain(on) {
            condition.visit(&mut speaks)?;
        }
        ControlFlow::Continue(())
    }
}

/// The relations of a FROM with the ON that brings each in, those of parenthesised joins too.
fn flatten<'a>(from: &'a TableWithJoins, factors: &mut Vec<(&'a TableFactor, Option<&'a Expr>)>) {
    use datafusion::sql::sqlparser::ast::JoinConstraint;
    let joins = from.joins.iter().map(|join| match constraint(&join.join_operator) {
        Some(JoinConstraint::On(on)) => (&join.relation, Some(on)),
        _ => (&join.relation, None),
    });
    for (factor, on) in std::iter::once((&from.relation, None)).chain(joins) {
        if let TableFactor::NestedJoin { table_with_joins, .. } = factor {
            flatten(table_with_joins, factors);
        }
        factors.push((factor, on));
    }
}

/// Stops at a status in a condition, but not in a sub-query's: that has conditions of its own.
struct Speaks<'a> {
    inventory: &'a HashSet<String>,
    /// The query reads the inventory, whose columns may stand without its name.
    from_inventory: bool,
    subqueries: usize,
}

impl Visitor for Speaks<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.subqueries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.subqueries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        let path = if self.subqueries == 0 { path(expr) } else { None };
        let speaks = match path.as_deref() {
            Some([only]) => self.from_inventory && only == STATUS,
            Some([.., of, last]) => last == STATUS && (of == AGENT || self.inventory.contains(of)),
            _ => false,
        };
        if speaks { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// The names that an expression walks: `a.agent.status` and `a.agent['status']` are `a`, `agent`, `status`.
fn path(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Identifier(ident) => Some(vec![ident.value.to_lowercase()]),
        Expr::CompoundIdentifier(parts) => Some(parts.iter().map(|part| part.value.to_lowercase()).collect()),
        Expr::CompoundFieldAccess { root, access_chain } => {
            let mut walked = path(root)?;
            for access in access_chain {
                match access {
                    AccessExpr::Dot(field) => walked.extend(path(field)?),
                    AccessExpr::Subscript(Subscript::Index { index: Expr::Value(value) }) => match &value.value {
                        Value::SingleQuotedString(name) => walked.push(name.clone()),
                        _ => return None,
                    },
                    AccessExpr::Subscript(_) => return None,
                }
            }
            Some(walked)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect;

    #[test]
    fn a_status_in_a_condition_decides() {
        let cases = [
            ("SELECT 1 FROM users", false),
            ("SELECT agent.status FROM users", false),
            ("SELECT status FROM agents", false),
            ("SELECT 1 FROM users WHERE agent.status = 'idle'", true),
            ("SELECT 1 FROM users WHERE name = 'x' OR NOT (AGENT.Status <> 'idle')", true),
            ("SELECT 1 FROM users u WHERE u.agent.status IN ('idle')", true),
            ("SELECT 1 FROM users WHERE agent['status'] = 'idle'", true),
            ("SELECT 1 FROM users u WHERE u.agent['status'] = 'idle'", true),
            ("SELECT 1 FROM users u WHERE u.agent.tags['status'] = 'idle'", false),
            ("SELECT 1 FROM users u JOIN groups g ON u.host = g.host AND g.agent.status = 'idle'", true),
            ("SELECT 1 FROM agents a JOIN users u ON u.host = a.name WHERE a.status = 'idle'", true),
            ("SELECT 1 FROM agents a JOIN users u ON u.host = a.name AND a.status = 'idle'", true),
            ("SELECT 1 FROM agents a, users u WHERE u.host = a.name AND status = 'idle'", true),
            ("SELECT 1 FROM users u, public.agents WHERE u.host = agents.name AND agents.status = 'idle'", true),
            ("SELECT 1 FROM users WHERE host IN (SELECT name FROM agents WHERE status = 'idle')", true),
            (
                "SELECT 1 FROM users u WHERE EXISTS (SELECT 1 FROM agents a WHERE a.name = u.host AND a.status = 'idle')",
                true,
            ),
            ("SELECT 1 FROM users u JOIN (SELECT * FROM agents) a ON a.name = u.host WHERE a.status = 'idle'", true),
            ("SELECT 1 FROM users u JOIN (agents a JOIN groups g ON a.status = 'idle') ON u.host = g.host", true),
            (
                "WITH i AS (SELECT * FROM agents), j AS (SELECT * FROM i) SELECT 1 FROM users u, j k WHERE k.status = 'idle'",
                true,
            ),
            ("SELECT 1 FROM users u JOIN 'x.csv' x ON x.host = u.host WHERE x.status = 'idle'", false),
            ("SELECT 1 FROM users u JOIN 'x.csv' x ON x.host = u.host WHERE status = 'idle'", false),
            ("SELECT status FROM agents a JOIN users u ON u.host = a.name WHERE a.os = 'linux'", false),
        ];
        for (text, expected) in cases {
            let datafusion::sql::parser::Statement::Statement(parsed) = dialect::parse(text).unwrap() else {
                panic!("{text}")
            };
            assert_eq!(decides(&parsed), expected, "{text}");
        }
    }
}
