//! What is left for the desk, in words, one line a step in the order in which rows go through them.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{NullEquality, Result};
use datafusion::logical_expr::expr::Sort;
use datafusion::logical_expr::{Distinct, Expr, FetchType, Join, JoinType, LogicalPlan, SkipType, TableScan, Union};

use super::words::{Words, is_made_up};

/// The steps of an optimised plan, without its scans.
pub fn of(plan: &LogicalPlan) -> Result<Vec<String>> {
    let (mut extracted, mut scans) = (HashMap::new(), Vec::new());
    let mut aliases = HashMap::new();
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::Projection(projection) => {
                for expr in &projection.expr {
                    // What the optimiser computes early has a name of its making.
                    if let Expr::Alias(alias) = expr
                        && alias.name.starts_with("__")
                    {
                        extracted.insert(alias.name.clone(), alias.expr.as_ref().clone());
                    }
                }
            }
            LogicalPlan::TableScan(scan) => scans.push(scan.table_name.table().to_owned()),
            LogicalPlan::Union(union) if of_each_host(union).is_some() => {
                scans.extend(of_each_host(union).map(|scan| scan.table_name.table().to_owned()));
                return Ok(TreeNodeRecursion::Jump);
            }
            LogicalPlan::SubqueryAlias(alias) => {
                aliases.extend(scanned(&alias.input).map(|table| (table, alias.alias.table().to_owned())));
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    // What is pushed below an alias goes by the table's own name, which its author may not have used.
    aliases.retain(|table, _| scans.iter().filter(|scan| *scan == table).count() == 1);
    let mut steps = Steps { words: Words { extracted, aliases, qualified: scans.len() > 1 }, lines: Vec::new() };
    steps.plan(plan)?;
    Ok(steps.lines)
}

/// The table that a part of a plan scans, where it does no more than keep rows of it.
fn scanned(plan: &LogicalPlan) -> Option<String> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan.table_name.table().to_owned()),
        LogicalPlan::Filter(filter) => scanned(&filter.input),
        LogicalPlan::Projection(projection) => scanned(&projection.input),
        LogicalPlan::Union(union) => of_each_host(union).map(|scan| scan.table_name.table().to_owned()),
        _ => None,
    }
}

/// The first of the scans that one scan became, since each host is told values of its own.
fn of_each_host(union: &Union) -> Option<&TableScan> {
    let mut scans = union.inputs.iter().map(|input| match input.as_ref() {
        LogicalPlan::TableScan(scan) if Arc::ptr_eq(&scan.projected_schema, &union.schema) => Some(scan),
        _ => None,
    });
    let first = scans.next()??;
    scans.all(|scan| scan.is_some()).then_some(first)
}

struct Steps {
    words: Words,
    lines: Vec<String>,
}

impl Steps {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<()> {
        plan.apply_subqueries(|subquery| {
            self.plan(subquery)?;
            Ok(TreeNodeRecursion::Jump)
        })?;
        for input in plan.inputs() {
            self.plan(input)?;
        }
        let line = match plan {
            LogicalPlan::Filter(filter) => Some(format!("keeps rows where {}", self.words.of(&filter.predicate))),
            LogicalPlan::Join(join) => Some(self.join(join)),
            LogicalPlan::Projection(projection) => self.computed(&projection.expr),
            LogicalPlan::Window(window) => Some(format!("computes {}", self.words.list(&window.window_expr))),
            LogicalPlan::Aggregate(aggregate) => {
                let (groups, values) = (&aggregate.group_expr, &aggregate.aggr_expr);
                Some(match (groups.is_empty(), values.is_empty()) {
                    (_, true) => format!("keeps one row of each {}", self.words.list(groups)),
                    (true, false) => format!("computes {} over all rows", self.words.list(values)),
                    (false, false) => {
                        format!("groups by {}: {}", self.words.list(groups), self.words.list(values))
                    }
                })
            }
            LogicalPlan::Distinct(Distinct::All(_)) => Some("keeps one of each row".to_owned()),
            LogicalPlan::Distinct(Distinct::On(on)) => {
                Some(format!("keeps the first row of each {}", self.words.list(&on.on_expr)))
            }
            LogicalPlan::Sort(sort) => {
                let first = sort.fetch.map(|rows| format!(", and keeps the first {rows}")).unwrap_or_default();
                Some(format!("sorts by {}{first}", self.order(&sort.expr)))
            }
            LogicalPlan::Limit(limit) => {
                let skip = match limit.get_skip_type()? {
                    SkipType::Literal(0) => None,
                    SkipType::Literal(rows) => Some(format!("skips {rows} rows")),
                    SkipType::UnsupportedExpr => Some("skips some rows".to_owned()),
                };
                let fetch = match limit.get_fetch_type()? {
                    FetchType::Literal(None) => None,
                    FetchType::Literal(Some(rows)) => Some(format!("takes {rows} rows")),
                    FetchType::UnsupportedExpr => Some("takes some rows".to_owned()),
                };
                let parts: Vec<String> = skip.into_iter().chain(fetch).collect();
                (!parts.is_empty()).then(|| parts.join(", "))
            }
            LogicalPlan::Union(union) if of_each_host(union).is_some() => None,
            LogicalPlan::Union(union) => Some(format!("puts the rows of {} parts together", union.inputs.len())),
            LogicalPlan::Unnest(unnest) => {
                let columns: Vec<&str> = unnest.exec_columns.iter().map(|column| column.name.as_str()).collect();
                let columns: Vec<&str> =
                    columns.iter().map(|name| name.trim_start_matches("__unnest_placeholder")).collect();
                Some(format!("makes a row of each element of {}", columns.join(", ")))
            }
            LogicalPlan::RecursiveQuery(query) => {
                Some(format!("adds what `{}` finds from its own rows, until there is nothing new", query.name))
            }
            LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row => Some("has no rows to begin with".to_owned()),
            _ => None,
        };
        // A limit stands before a sort and after it.
        if line.is_some() && line.as_ref() != self.lines.last() {
            self.lines.extend(line);
        }
        Ok(())
    }

    fn join(&self, join: &Join) -> String {
        let (left, right) = (self.side(&join.left, "the rows so far"), self.side(&join.right, "the sub-query"));
        let mut conditions: Vec<String> =
            join.on.iter().map(|(a, b)| format!("{} = {}", self.words.of(a), self.words.of(b))).collect();
        conditions.extend(join.filter.as_ref().map(|filter| self.words.of(filter)));
        let on = match conditions.is_empty() {
            true => String::new(),
            false => format!(" where {}", conditions.join(" AND ")),
        };
        match join.join_type {
            JoinType::LeftAnti if join.null_equality == NullEquality::NullEqualsNull => {
                "takes away the rows that EXCEPT names".to_owned()
            }
            JoinType::LeftSemi if join.null_equality == NullEquality::NullEqualsNull => {
                "keeps the rows that INTERSECT names".to_owned()
            }
            JoinType::Inner if on.is_empty() => format!("pairs every row of {left} with every row of {right}"),
            JoinType::Inner => format!("joins {left} with {right}{on}"),
            JoinType::Left => format!("joins {left} with {right}{on}, and keeps {left} without a match"),
            JoinType::Right => format!("joins {left} with {right}{on}, and keeps {right} without a match"),
            JoinType::Full => format!("joins {left} with {right}{on}, and keeps both without a match"),
            JoinType::LeftSemi => format!("keeps rows of {left} that have a match in {right}{on}"),
            JoinType::RightSemi => format!("keeps rows of {right} that have a match in {left}{on}"),
            JoinType::LeftAnti => format!("keeps rows of {left} that have no match in {right}{on}"),
            JoinType::RightAnti => format!("keeps rows of {right} that have no match in {left}{on}"),
            JoinType::LeftMark => format!("notes which rows of {left} have a match in {right}{on}"),
            JoinType::RightMark => format!("notes which rows of {right} have a match in {left}{on}"),
        }
    }

    /// A side of a join by the names of its relations, those apart that the optimiser made up.
    fn side(&self, plan: &LogicalPlan, nameless: &str) -> String {
        let schema = plan.schema();
        let names: BTreeSet<&str> = schema
            .iter()
            .filter_map(|(relation, _)| Some(relation?.table()))
            .filter(|name| !is_made_up(name))
            .collect();
        let names: Vec<&str> = names.into_iter().collect();
        if names.is_empty() { nameless.to_owned() } else { names.join(", ") }
    }

    /// What a projection computes; columns that only pass are no work.
    fn computed(&self, expressions: &[Expr]) -> Option<String> {
        let computed = expressions.iter().filter(|expr| match expr {
            Expr::Alias(alias) if alias.name.starts_with("__") => false,
            expr => !self.words.passes(expr),
        });
        let computed: Vec<String> = computed.map(|expr| self.words.of(expr)).collect();
        (!computed.is_empty()).then(|| format!("computes {}", computed.join(", ")))
    }

    fn order(&self, sorts: &[Sort]) -> String {
        let order = sorts.iter().map(|sort| {
            let direction = if sort.asc { "" } else { " DESC" };
            // PostgreSQL's order of NULLs needs no word.
            let nulls = match (sort.asc, sort.nulls_first) {
                (true, true) => " NULLS FIRST",
                (false, false) => " NULLS LAST",
                _ => "",
            };
            format!("{}{direction}{nulls}", self.words.of(&sort.expr))
        });
        order.collect::<Vec<_>>().join(", ")
    }
}
