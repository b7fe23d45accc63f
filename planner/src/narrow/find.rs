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
use crate::shown;

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
    pub whose: Whose,
}

/// Who chose the values.
pub enum Whose {
    /// The investigator; or they are names of hosts, which choose among those that would be asked anyway.
    Own,
    /// Endpoints, and the join equates their hosts: the scan's column, and the expression over what is known.
    OfEachHost { column: Column, key: Box<Expr> },
    /// Endpoints. No other is told of them, and what it reads is not theirs to choose.
    OfOthers,
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
    let (left, right): (Vec<&Expr>, Vec<&Expr>) = join.on.iter().map(|(left, right)| (left, right)).unzip();
    let sides = [
        (&join.left, &left, first_leaf, &join.right, &right, [Inner, Right, LeftSemi, RightSemi], LeftAnti),
        (&join.right, &right, right_leaf, &join.left, &left, [Inner, Left, LeftSemi, RightSemi], RightAnti),
    ];
    for (side, columns, leaf, other, keys, keeps_matches, anti_type) in sides {
        let anti = join.join_type == anti_type && decides && is_known(other)?;
        if !anti && !keeps_matches.contains(&join.join_type) {
            continue;
        }
        let scans: Vec<Vec<Narrowed>> = columns.iter().map(|column| narrowed(side, column, leaf)).collect();
        for (these, key) in scans.iter().zip(keys) {
            for Narrowed { leaf, table, column } in these {
                let host = scans.iter().zip(keys).find_map(|(scans, key)| {
                    let host = scans.iter().find(|scan| scan.leaf == *leaf && scan.column.name == HOST)?;
                    Some((&host.column, *key))
                });
                let Some((known, key, whose)) = values(other, key, column, host, anti)? else { continue };
                found.push(Candidate { leaf: *leaf, table: *table, column: column.clone(), known, key, anti, whose });
            }
        }
    }
    Ok(())
}

/// A column of a scan that a join compares.
struct Narrowed {
    leaf: usize,
    table: &'static dyn Table,
    column: Column,
}

fn narrowed(side: &LogicalPlan, column: &Expr, leaf: usize) -> Vec<Narrowed> {
    let mut scans = Vec::new();
    if let Expr::Column(column) = column {
        descend(side, column, leaf, &mut scans);
    }
    scans.into_iter().map(|(leaf, table, column)| Narrowed { leaf, table, column }).collect()
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

/// The values that a column is compared with: the part of the other side that has them, the expression over it, and whose
/// they are. `host` is the scan's host and what the join equates it with.
fn values(
    other: &LogicalPlan,
    key: &Expr,
    column: &Column,
    host: Option<(&Column, &Expr)>,
    anti: bool,
) -> Result<Option<(LogicalPlan, Expr, Whose)>> {
    let one = |known: Option<(LogicalPlan, Vec<Expr>)>, whose: Whose| {
        known.and_then(|(known, mut keys)| Some((known, keys.pop()?, whose)))
    };
    let key = std::slice::from_ref(key);
    if column.name == HOST {
        return Ok(one(known(other, key, &is_known)?, Whose::Own));
    }
    // An anti join compares with all rows of the other side, not with those of a part.
    if !anti || is_own(other)? {
        let own = known(other, key, &is_own)?;
        if own.is_some() {
            return Ok(one(own, Whose::Own));
        }
    }
    if let Some((column, host)) = host.filter(|_| !anti)
        && let Some((known, keys)) = known(other, &[host.clone(), key[0].clone()], &is_known)?
        && let [Expr::Column(named), key] = keys.as_slice()
        && shown::of(&known, named)
    {
        let whose = Whose::OfEachHost { column: column.clone(), key: Box::new(Expr::Column(named.clone())) };
        return Ok(Some((known.clone(), key.clone(), whose)));
    }
    Ok(one(known(other, key, &is_known)?, Whose::OfOthers))
}

/// The part of a plan whose values expressions over it can only have, and the expressions over that part; the first from the
/// top that `fits`.
fn known(
    plan: &LogicalPlan,
    keys: &[Expr],
    fits: &dyn Fn(&LogicalPlan) -> Result<bool>,
) -> Result<Option<(LogicalPlan, Vec<Expr>)>> {
    use JoinType::{Inner, Left, LeftAnti, LeftSemi, Right, RightAnti, RightSemi};
    if fits(plan)? {
        return Ok(Some((plan.clone(), keys.to_vec())));
    }
    let over = |input: &LogicalPlan, expr: &dyn Fn(usize) -> Option<Expr>| {
        let mut replaced = Vec::with_capacity(keys.len());
        for key in keys {
            let Some(key) = key_over(plan, key, expr)? else { return Ok(None) };
            replaced.push(key);
        }
        known(input, &replaced, fits)
    };
    let columns: Vec<&Column> = keys.iter().flat_map(Expr::column_refs).collect();
    let holds = |side: &LogicalPlan| columns.iter().all(|column| side.schema().has_column(column));
    match plan {
        LogicalPlan::Filter(filter) => known(&filter.input, keys, fits),
        LogicalPlan::Sort(sort) => known(&sort.input, keys, fits),
        LogicalPlan::Limit(limit) => known(&limit.input, keys, fits),
        LogicalPlan::Distinct(Distinct::All(input)) => known(input, keys, fits),
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
            Inner | Left | LeftSemi | LeftAnti if holds(&join.left) => known(&join.left, keys, fits),
            Inner | Right | RightSemi | RightAnti if holds(&join.right) => known(&join.right, keys, fits),
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// A key over a plan's output as one over its input, where each of its columns is something there.
fn key_over(plan: &LogicalPlan, key: &Expr, expr: &dyn Fn(usize) -> Option<Expr>) -> Result<Option<Expr>> {
    let mut whole = true;
    let replaced = key.clone().transform(|part| match &part {
        Expr::Column(column) => {
            let inner = plan.schema().index_of_column(column).ok().and_then(expr);
            whole &= inner.is_some();
            Ok(inner
                .map_or_else(|| Transformed::no(part), |inner| Transformed::new(inner, true, TreeNodeRecursion::Jump)))
        }
        _ => Ok(Transformed::no(part)),
    })?;
    Ok(whole.then_some(replaced.data))
}

/// Whether a plan can be put together without asking anybody, and from nothing that endpoints said.
fn is_own(plan: &LogicalPlan) -> Result<bool> {
    Ok(is_known(plan)? && !any_scan(plan, &is_from_endpoints)?)
}

fn any_scan(plan: &LogicalPlan, is: &dyn Fn(&TableScan) -> bool) -> Result<bool> {
    let mut found = false;
    plan.apply(|node| {
        found |= matches!(node, LogicalPlan::TableScan(scan) if is(scan));
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
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

/// The inventory, which is what agents say of themselves, and the rows of a past statement.
fn is_from_endpoints(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| (provider.as_ref() as &dyn Any).is::<MemTable>())
}

fn is_file(scan: &TableScan) -> bool {
    source_as_provider(&scan.source).is_ok_and(|provider| (provider.as_ref() as &dyn Any).is::<LocalFile>())
}
