//! Clauses that the parser reads and the planner would pass over: refused, because the answer would not be the one asked for.

use datafusion::sql::sqlparser::ast::{Query, Select, TableFactor, TableWithJoins};

use crate::error::Error;

/// Refuses clauses of a query that would be ignored.
pub fn check_query(query: &Query) -> Result<(), Error> {
    let clauses = [
        ("FOR UPDATE", !query.locks.is_empty()),
        ("FOR …", query.for_clause.is_some()),
        ("SETTINGS", query.settings.is_some()),
        ("FORMAT", query.format_clause.is_some()),
    ];
    refuse(&clauses)
}

/// Refuses clauses of a SELECT that would be ignored.
pub fn check_select(select: &Select) -> Result<(), Error> {
    let clauses = [
        ("INTO", select.into.is_some()),
        ("TOP", select.top.is_some()),
        ("PREWHERE", select.prewhere.is_some()),
        ("CONNECT BY", !select.connect_by.is_empty()),
        ("CLUSTER BY", !select.cluster_by.is_empty()),
        ("DISTRIBUTE BY", !select.distribute_by.is_empty()),
        ("SORT BY", !select.sort_by.is_empty()),
        ("LATERAL VIEW", !select.lateral_views.is_empty()),
    ];
    refuse(&clauses)?;
    select.from.iter().try_for_each(check_from)
}

fn check_from(from: &TableWithJoins) -> Result<(), Error> {
    let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
    for factor in factors {
        match factor {
            TableFactor::Table { with_hints, version, partitions, sample, index_hints, .. } => refuse(&[
                ("WITH (…) after a table", !with_hints.is_empty()),
                ("AS OF", version.is_some()),
                ("PARTITION", !partitions.is_empty()),
                ("TABLESAMPLE", sample.is_some()),
                ("an index hint", !index_hints.is_empty()),
            ])?,
            TableFactor::Derived { sample, .. } => refuse(&[("TABLESAMPLE", sample.is_some())])?,
            TableFactor::NestedJoin { table_with_joins, .. } => check_from(table_with_joins)?,
            _ => {}
        }
    }
    Ok(())
}

fn refuse(clauses: &[(&str, bool)]) -> Result<(), Error> {
    match clauses.iter().find(|(_, present)| *present) {
        Some((clause, _)) => {
            let hint = if *clause == "TOP" { "write LIMIT at the end" } else { "leave it out" };
            Err(Error::usage(format!("{clause} is not understood here")).hint(hint))
        }
        None => Ok(()),
    }
}
