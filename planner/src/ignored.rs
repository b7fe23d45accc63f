//! Clauses that the parser reads and the planner would pass over: refused, because the answer would not be the one asked for.

use datafusion::sql::sqlparser::ast::{
    GroupByExpr, Query, Select, SetExpr, SetOperator, SetQuantifier, TableAlias, TableFactor, TableWithJoins,
};

use crate::error::Error;

/// Refuses clauses of a query that would be ignored.
pub fn check_query(query: &Query) -> Result<(), Error> {
    let clauses = [
        ("FOR UPDATE", !query.locks.is_empty()),
        ("FOR …", query.for_clause.is_some()),
        ("SETTINGS", query.settings.is_some()),
        ("FORMAT", query.format_clause.is_some()),
        ("FETCH FIRST … WITH TIES, or PERCENT,", query.fetch.is_some()),
    ];
    refuse(&clauses)?;
    check_sets(&query.body)
}

/// Refuses set operations that count rows: DataFusion 55 takes every row that is in both, however often it is in either.
fn check_sets(body: &SetExpr) -> Result<(), Error> {
    let mut next = Some(body);
    while let Some(SetExpr::SetOperation { op, set_quantifier, left, right }) = next {
        let all = matches!(set_quantifier, SetQuantifier::All | SetQuantifier::AllByName);
        if all && !matches!(op, SetOperator::Union) {
            return Err(Error::usage(format!("{op} ALL is not understood here")).hint(format!(
                "{op} takes each row once; to count rows, number equal ones with row_number() on both sides"
            )));
        }
        check_sets(right)?;
        next = Some(left);
    }
    Ok(())
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
    check_grouping(&select.group_by)?;
    select.from.iter().try_for_each(check_from)
}

/// Refuses what stands behind a GROUP BY; WITH ROLLUP and WITH CUBE have become ROLLUP and CUBE by now.
fn check_grouping(group_by: &GroupByExpr) -> Result<(), Error> {
    let (GroupByExpr::All(modifiers) | GroupByExpr::Expressions(_, modifiers)) = group_by;
    match modifiers.first() {
        Some(modifier) => Err(Error::usage(format!("{modifier} is not understood here"))
            .hint("name the columns: GROUP BY ROLLUP (a, b), CUBE (a, b) or GROUPING SETS ((a, b), (a), ())")),
        None => Ok(()),
    }
}

fn check_from(from: &TableWithJoins) -> Result<(), Error> {
    refuse(&[("GLOBAL JOIN", from.joins.iter().any(|join| join.global))])?;
    let factors = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
    for factor in factors {
        match factor {
            TableFactor::Table {
                alias,
                with_hints,
                version,
                with_ordinality,
                partitions,
                json_path,
                sample,
                index_hints,
                ..
            } => refuse(&[
                ("FINAL", alias.as_ref().is_some_and(is_final)),
                ("WITH ORDINALITY", *with_ordinality),
                ("a path after a table", json_path.is_some()),
                ("WITH (…) after a table", !with_hints.is_empty()),
                ("AS OF", version.is_some()),
                ("PARTITION", !partitions.is_empty()),
                ("TABLESAMPLE", sample.is_some()),
                ("an index hint", !index_hints.is_empty()),
            ])?,
            TableFactor::UNNEST { with_ordinality, with_offset, .. } => {
                refuse(&[("WITH ORDINALITY", *with_ordinality), ("WITH OFFSET", *with_offset)])?;
            }
            TableFactor::Function { with_ordinality, .. } => refuse(&[("WITH ORDINALITY", *with_ordinality)])?,
            TableFactor::Derived { sample, .. } => refuse(&[("TABLESAMPLE", sample.is_some())])?,
            TableFactor::NestedJoin { table_with_joins, .. } => check_from(table_with_joins)?,
            _ => {}
        }
    }
    Ok(())
}

/// `FROM t FINAL`, which is read as an alias. Whoever means an alias writes AS.
fn is_final(alias: &TableAlias) -> bool {
    !alias.explicit && alias.name.quote_style.is_none() && alias.name.value.eq_ignore_ascii_case("final")
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
