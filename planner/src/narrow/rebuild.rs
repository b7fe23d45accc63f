//! A plan whose scans are told what the desk knows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Union};
use datafusion::prelude::lit;

/// What one scan is narrowed to.
#[derive(Default)]
pub struct Narrowing {
    /// On all hosts.
    pub all: Vec<Expr>,
    /// On each host by its id, in a scan of its own; no other host is asked.
    each: Option<BTreeMap<String, Vec<Expr>>>,
}

impl Narrowing {
    /// Narrows each of these hosts further, and asks no other.
    pub fn also(&mut self, mut each: BTreeMap<String, Vec<Expr>>) {
        let Some(before) = self.each.take() else {
            self.each = Some(each);
            return;
        };
        let both = before.into_iter().filter_map(|(id, mut tests)| {
            tests.append(each.get_mut(&id)?);
            Some((id, tests))
        });
        self.each = Some(both.collect());
    }

    fn of(self, mut scan: TableScan) -> LogicalPlan {
        scan.filters.extend(self.all);
        let Some(each) = self.each else { return LogicalPlan::TableScan(scan) };
        let with = |filters: Vec<Expr>| {
            let mut scan = scan.clone();
            scan.filters.extend(filters);
            LogicalPlan::TableScan(scan)
        };
        let mut scans: Vec<LogicalPlan> = each.into_values().map(with).collect();
        match scans.len() {
            0 => with(vec![lit(false)]),
            1 => scans.remove(0),
            _ => {
                let inputs = scans.into_iter().map(Arc::new).collect();
                LogicalPlan::Union(Union { inputs, schema: scan.projected_schema })
            }
        }
    }
}

/// The plan with its scans narrowed, by the leaf that each is, and with what is known standing in for how it came to be known.
pub fn rebuild(
    plan: LogicalPlan,
    mut narrowed: HashMap<usize, Narrowing>,
    known: &HashMap<LogicalPlan, Vec<RecordBatch>>,
) -> Result<LogicalPlan> {
    let mut leaf = 0;
    let told = plan.transform_down(|node| {
        if !node.inputs().is_empty() {
            return Ok(Transformed::no(node));
        }
        let mine = narrowed.remove(&leaf);
        leaf += 1;
        Ok(match (node, mine) {
            // What stands for one scan now is no place to look for further leaves.
            (LogicalPlan::TableScan(scan), Some(mine)) => {
                Transformed::new(mine.of(scan), true, TreeNodeRecursion::Jump)
            }
            (node, _) => Transformed::no(node),
        })
    })?;
    let replaced = told.data.transform_down(|node| match known.get(&node) {
        None => Ok(Transformed::no(node)),
        Some(batches) => {
            let at_hand = at_hand(&node, batches)?;
            Ok(Transformed::new(at_hand, true, TreeNodeRecursion::Jump))
        }
    })?;
    Ok(replaced.data)
}

/// Rows that are known, in the place of the plan that gave them.
fn at_hand(plan: &LogicalPlan, batches: &[RecordBatch]) -> Result<LogicalPlan> {
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let batches = batches.iter().map(|batch| {
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options)
    });
    let table = MemTable::try_new(schema.clone(), vec![batches.collect::<Result<_, _>>()?])?;
    Ok(LogicalPlan::TableScan(TableScan {
        table_name: "known".into(),
        source: provider_as_source(Arc::new(table)),
        projection: None,
        projected_schema: plan.schema().clone(),
        filters: vec![],
        fetch: None,
        statistics_requests: BTreeSet::new(),
    }))
}
