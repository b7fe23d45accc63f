//! Where in a plan a scan can be narrowed, and by which values.

use std::any::Any;

use canvass_tables::Table;
use canvass_tables::column::{Class, Kind};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, NullEquality, Result};
use datafusion::datasource::{MemTable, source_as_provider};
use datafusion::logical_expr::{Distinct, Expr, Join, JoinType, LogicalPlan, TableScan};

use super::endpoint_table;
use crate::catalog::HOST;
use crate::local::LocalFile;

/// A scan whose rows a join keeps or drops by values that the desk can know.
pub struct Candidate {
    /// Which leaf of the plan it is, from the left.
    pub leaf: usize,
    pub table: &'static dyn Table,
    pub column: Column,
    /// A part of the plan that asks no endpoint, and the expression over it whose values count.
    pub known: LogicalPlan,
    pub key: Expr,
    /// Rows that have one of the values are the ones dropped.
    pub anti: bool,
}

impl Candidate {
    /// The filter for what the join keeps: a row without a value is not for an anti join's endpoint to judge.
    pub fn keeps(&self, test: Expr) -> Expr {
        if !self.anti {
            return test;
        }
        Expr::Column(self.column.clone()).is_null().or(Expr::Not(Box::new(test)))
    }

    /// Where the values come from, in words.
    pub fn source(&self) -> String {
        let mut names = Vec::new();
        let _ = self.known.apply(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let table = scan.table_name.table();
                names.push(if is_file(scan) { format!("'{table}'") } else { table.to_owned() });
            }
            Ok(TreeNodeRecursion::Continue)
        });
        names.sort();
        names.dedup();
        let columns = self.key.column_refs();
        let mut columns = columns.iter().map(|column| column.name.as_str());
        match (columns.next(), columns.next()) {
            _ if names.is_empty() => "the statement".to_owned(),
            (Some(only), None) => format!("{only} of {}", names.join(", ")),
            _ => names.join(", "),
        }
    }
}

/// All of them, in the order of the plan.
pub fn candidates(plan: &LogicalPlan) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    search(plan, 0, &mut found)?;
    Ok(found)
}

fn search(plan: &LogicalPlan, first_leaf: usize, found: &mut Vec<Candidate>) -> Result<()> {
    if let LogicalPlan::Join(join) = plan {
        of_join(join, first_leaf, found)?;
    }
    let mut leaf = first_leaf;
    for input in plan.inputs() {
        search(input, leaf, found)?;
        leaf += leaves(input);
    }
    Ok(())
}

fn leaves(plan: &LogicalPlan) -> usize {
    match plan.inputs() {
        inputs if inputs.is_empty() => 1,
        inputs => inputs.into_iter().map(leaves).sum(),
    }
}

fn of_join(join: &Join, first_leaf: usize, found: &mut Vec<Candidate>) -> Result<()> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    if join.null_equality != NullEquality::NullEqualsNothing {
        return Ok(());
    }
    // A row is sure to be dropped by an anti join only where its key alone decides, and against all there is.
    let decides = join.on.len() == 1 && join.filter.is_none();
    let right_leaf = first_leaf + leaves(&join.left);
    for (left_key, right_key) in &join.on {
        let sides = [
            (&join.left, left_key, first_leaf, &join.right, right_key, [Inner, Right, LeftSemi, RightSemi], LeftAnti),
            (&join.right, right_key, right_leaf, &join.left, left_key, [Inner, Left, LeftSemi, RightSemi], RightAnti),
        ];
        for (side, column, leaf, other, key, keeps_matches, anti_type) in sides {
            let anti = join.join_type == anti_type && decides && is_known(other)?;
            if !anti && !keeps_matches.contains(&join.join_type) {
                continue;
            }
            let Expr::Column(column) = column else { continue };
            let Some((known, key)) = known(other, key)? else { continue };
            let mut scans = Vec::new();
            descend(side, column, leaf, &mut scans);
            found.extend(scans.into_iter().map(|(leaf, table, column)| Candidate {
                leaf,
                table,
                column,
                known: known.clone(),
                key: key.clone(),
                anti,
            }));
        }
    }
    Ok(())
}

/// The scans whose column this is, as long as every row without its value could be missing for all the plan cares.
fn descend(plan: &LogicalPlan, column: &Column, leaf: usize, found: &mut Vec<(usize, &'static dyn Table, Column)>) {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    let Ok(index) = plan.schema().index_of_column(column) else { return };
    let same_place = |input: &LogicalPlan| Column::from(input.schema().qualified_field(index));
    match plan {
        LogicalPlan::TableScan(scan) if scan.fetch.is_none() => {
            if let Some(table) = endpoint_table(scan).filter(|table| can_be_narrowed(*table, &column.name)) {
                found.push((leaf, table, column.clone()));
            }
        }
        LogicalPlan::Filter(filter) => descend(&filter.input, column, leaf, found),
        LogicalPlan::Sort(sort) if sort.fetch.is_none() => descend(&sort.input, column, leaf, found),
        LogicalPlan::Distinct(Distinct::All(input)) => descend(input, column, leaf, found),
        LogicalPlan::SubqueryAlias(alias) => descend(&alias.input, &same_place(&alias.input), leaf, found),
        LogicalPlan::Projection(projection) => {
            if let Expr::Column(inner) = projection.expr[index].clone().unalias_nested().data {
                descend(&projection.input, &inner, leaf, found);
            }
        }
        LogicalPlan::Aggregate(aggregate) => {
            if let Some(Expr::Column(inner)) = aggregate.group_expr.get(index) {
                descend(&aggregate.input, inner, leaf, found);
            }
        }
        LogicalPlan::Union(union) => {
            let mut leaf = leaf;
            for input in &union.inputs {
                descend(input, &same_place(input), leaf, found);
                leaf += leaves(input);
            }
        }
        LogicalPlan::Join(join) => match join.join_type {
            Inner | Left | LeftSemi | LeftAnti if join.left.schema().has_column(column) => {
                descend(&join.left, column, leaf, found);
            }
            Inner | Right | RightSemi | RightAnti if join.right.schema().has_column(column) => {
                descend(&join.right, column, leaf + leaves(&join.left), found);
            }
            _ => {}
        },
        _ => {}
    }
}

/// Whether the endpoint compares this column with a set as the desk does.
fn can_be_narrowed(table: &dyn Table, column: &str) -> bool {
    column == HOST
        || table.column(column).is_some_and(|column| {
            column.class != Class::Content && matches!(column.kind, Kind::Text | Kind::Integer | Kind::Timestamp)
        })
}

/// The part of a plan whose values an expression over it can only have, and the expression over that part.
fn known(plan: &LogicalPlan, key: &Expr) -> Result<Option<(LogicalPlan, Expr)>> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    if is_known(plan)? {
        return Ok(Some((plan.clone(), key.clone())));
    }
    let over = |input: &LogicalPlan, expr: &dyn Fn(usize) -> Option<Expr>| -> Result<Option<(LogicalPlan, Expr)>> {
        let mut whole = true;
        let replaced = key.clone().transform(|part| match &part {
            Expr::Column(column) => {
                let inner = plan.schema().index_of_column(column).ok().and_then(expr);
                whole &= inner.is_some();
                Ok(inner.map_or_else(
                    || Transformed::no(part),
                    |inner| Transformed::new(inner, true, TreeNodeRecursion::Jump),
                ))
            }
            _ => Ok(Transformed::no(part)),
        })?;
        if whole { known(input, &replaced.data) } else { Ok(None) }
    };
    let columns = key.column_refs();
    let holds = |side: &LogicalPlan| columns.iter().all(|column| side.schema().has_column(column));
    match plan {
        LogicalPlan::Filter(filter) => known(&filter.input, key),
        LogicalPlan::Sort(sort) => known(&sort.input, key),
        LogicalPlan::Limit(limit) => known(&limit.input, key),
        LogicalPlan::Distinct(Distinct::All(input)) => known(input, key),
        LogicalPlan::SubqueryAlias(alias) => {
            over(&alias.input, &|index| Some(Expr::Column(Column::from(alias.input.schema().qualified_field(index)))))
        }
        LogicalPlan::Projection(projection) => {
            over(&projection.input, &|index| Some(projection.expr[index].clone().unalias_nested().data))
        }
        LogicalPlan::Aggregate(aggregate) => over(&aggregate.input, &|index| {
            aggregate.group_expr.get(index).filter(|e| matches!(e, Expr::Column(_))).cloned()
        }),
        LogicalPlan::Join(join) => match join.join_type {
            Inner | Left | LeftSemi | LeftAnti if holds(&join.left) => known(&join.left, key),
            Inner | Right | RightSemi | RightAnti if holds(&join.right) => known(&join.right, key),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Whether a plan can be put together without asking anybody.
fn is_known(plan: &LogicalPlan) -> Result<bool> {
    let mut known = true;
    plan.apply(|node| {
        known &= match node {
            LogicalPlan::TableScan(scan) => is_at_desk(scan),
            LogicalPlan::RecursiveQuery(_) | LogicalPlan::Extension(_) | LogicalPlan::Subquery(_) => false,
            _ => true,
        };
        node.apply_expressions(|expr| {
            known &= !expr.exists(|part| {
                Ok(matches!(
                    part,
                    Expr::ScalarSubquery(_)
                        | Expr::InSubquery(_)
                        | Expr::Exists(_)
                        | Expr::SetComparison(_)
                        | Expr::OuterReferenceColumn(..)
                ))
            })?;
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(if known { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(known)
}

/// Local files, `agents`, and rows that stand in the statement.
fn is_at_desk(scan: &TableScan) -> bool {
    let Ok(provider) = source_as_provider(&scan.source) else { return false };
    let provider = provider.as_ref() as &dyn Any;
    provider.is::<LocalFile>() || provider.is::<MemTable>()
}

fn is_file(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| (provider.as_ref() as &dyn Any).is::<LocalFile>())
}
