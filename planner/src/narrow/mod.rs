//! What the desk knows before it asks, told to the endpoints: the values that a join or an IN compares a column with.
//!
//! A part of a plan that asks no endpoint (a local file, `agents`) is put together first. Where a join with it drops the
//! rows of an endpoint table whose key it does not have, its values travel with the scan as a set and the endpoint keeps
//! such rows to itself. The join stays at the desk, so a set only ever narrows.

mod find;
mod odd;
mod values;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use canvass_protocol::limits::ACTION_BYTES_MAX;
use canvass_protocol::value::Value;
use canvass_tables::Table;
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::{ExecutionPlan, collect};

use crate::catalog::HOST;
use crate::fleet::Endpoint;
use crate::functions;
use crate::warning::Warning;
use find::Candidate;

/// Bytes of an action that are left to everything but sets.
const ACTION_BYTES_KEPT: usize = 512 << 10;

/// Hosts that a target names: every agent reads the target, and the desk compares it with every agent.
const HOSTS_MAX: usize = 2000;

/// What a statement's scans are told of values that the desk knows; travels as an extension of the session's
/// configuration.
#[derive(Debug, Default)]
pub struct Sets {
    /// By the names that filters call them.
    pub values: BTreeMap<String, Vec<Value>>,
    /// Where the values of each set come from, in words.
    pub sources: BTreeMap<String, String>,
    /// Columns whose values would have narrowed a scan, were they not too many to send.
    pub too_long: Vec<TooLong>,
    /// What of the values no row can have.
    pub warnings: Vec<Warning>,
}

/// A set that is left at the desk.
#[derive(Debug, Clone)]
pub struct TooLong {
    pub table: String,
    pub column: String,
    pub values: usize,
    pub source: String,
}

/// Puts together what the desk knows, and narrows the scans of an optimised plan by it.
///
/// `statement_bytes` is what the statement's text takes of the action.
pub async fn narrow(
    plan: LogicalPlan,
    state: &SessionState,
    endpoints: &[Endpoint],
    statement_bytes: usize,
) -> Result<(LogicalPlan, Sets)> {
    let candidates = find::candidates(&plan)?;
    let mut sets = Sets::default();
    if candidates.is_empty() {
        return Ok((plan, sets));
    }
    let mut known: HashMap<LogicalPlan, Vec<RecordBatch>> = HashMap::new();
    for candidate in &candidates {
        if !known.contains_key(&candidate.known) {
            let batches = put_together(&candidate.known, state).await?;
            known.insert(candidate.known.clone(), batches);
        }
    }
    let mut room = ACTION_BYTES_MAX.saturating_sub(ACTION_BYTES_KEPT).saturating_sub(2 * statement_bytes);
    let mut filters: HashMap<usize, Vec<Expr>> = HashMap::new();
    for candidate in &candidates {
        let batches = &known[&candidate.known];
        let Some(values) = values::of(&candidate.key, &candidate.known, batches, state)? else { continue };
        if let Some(warning) = odd::warning(candidate, &values).filter(|warning| !sets.warnings.contains(warning)) {
            sets.warnings.push(warning);
        }
        let filter = if candidate.column.name == HOST {
            sets.hosts(candidate, &values, endpoints)
        } else {
            sets.test(candidate, values, &mut room)
        };
        if let Some(filter) = filter {
            filters.entry(candidate.leaf).or_default().push(candidate.keeps(filter));
        }
    }
    Ok((rebuild(plan, filters, &known)?, sets))
}

impl Sets {
    /// A test of the candidate's column against its values; none where they are too many to send.
    fn test(&mut self, candidate: &Candidate, values: Vec<Value>, room: &mut usize) -> Option<Expr> {
        let source = candidate.source();
        let bytes = serde_json::to_vec(&values).map_or(usize::MAX, |json| json.len());
        // An envelope escapes the quotes of what it carries, but it is the action's own bytes that are limited.
        let Some(left) = room.checked_sub(bytes) else {
            self.leave(candidate, values.len());
            return None;
        };
        *room = left;
        let same = self.values.iter().find(|(name, other)| **other == values && self.sources[*name] == source);
        let name = match same {
            Some((name, _)) => name.clone(),
            None => {
                let name = (self.values.len() + 1).to_string();
                self.values.insert(name.clone(), values);
                self.sources.insert(name.clone(), source);
                name
            }
        };
        Some(functions::in_set(Expr::Column(candidate.column.clone()), &name))
    }

    /// Chooses hosts by the inventory, those that the values name and that exist; none where they are too many to name.
    ///
    /// A second claimant of a name goes by a name of the desk's making, so then agents are named by their ids.
    fn hosts(&mut self, candidate: &Candidate, values: &[Value], endpoints: &[Endpoint]) -> Option<Expr> {
        let values: HashSet<&str> = values.iter().filter_map(text).collect();
        let meant: Vec<&Endpoint> =
            endpoints.iter().filter(|endpoint| values.contains(endpoint.host.as_str())).collect();
        if meant.len() > HOSTS_MAX {
            if candidate.anti || meant.len() < endpoints.len() {
                self.leave(candidate, meant.len());
            }
            return None;
        }
        Some(among(candidate, &meant, endpoints))
    }

    fn leave(&mut self, candidate: &Candidate, values: usize) {
        let (table, column) = (candidate.table.info().name.to_owned(), candidate.column.name.clone());
        self.too_long.push(TooLong { table, column, values, source: candidate.source() });
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// The test that chooses these endpoints among all.
fn among(candidate: &Candidate, meant: &[&Endpoint], endpoints: &[Endpoint]) -> Expr {
    let meant = meant.iter();
    let literal = |text: &str| datafusion::prelude::lit(text.to_owned());
    let host = Expr::Column(candidate.column.clone());
    if endpoints.iter().all(|endpoint| endpoint.host == endpoint.facts.name) {
        return host.in_list(meant.map(|endpoint| literal(&endpoint.host)).collect(), false);
    }
    let agent = Column::new(candidate.column.relation.clone(), crate::catalog::AGENT);
    let id = datafusion::functions::core::expr_fn::get_field(Expr::Column(agent), "id");
    id.in_list(meant.map(|endpoint| literal(&endpoint.facts.id)).collect(), false)
}

async fn put_together(plan: &LogicalPlan, state: &SessionState) -> Result<Vec<RecordBatch>> {
    let physical: Arc<dyn ExecutionPlan> = state.query_planner().create_physical_plan(plan, state).await?;
    collect(physical, state.task_ctx()).await
}

/// The plan with its scans narrowed, and with what is known standing in for how it came to be known.
fn rebuild(
    plan: LogicalPlan,
    mut filters: HashMap<usize, Vec<Expr>>,
    known: &HashMap<LogicalPlan, Vec<RecordBatch>>,
) -> Result<LogicalPlan> {
    let mut leaf = 0;
    let narrowed = plan.transform_down(|node| {
        if !node.inputs().is_empty() {
            return Ok(Transformed::no(node));
        }
        let mine = filters.remove(&leaf);
        leaf += 1;
        Ok(match (node, mine) {
            (LogicalPlan::TableScan(mut scan), Some(mine)) => {
                scan.filters.extend(mine);
                Transformed::yes(LogicalPlan::TableScan(scan))
            }
            (node, _) => Transformed::no(node),
        })
    })?;
    let replaced = narrowed.data.transform_down(|node| match known.get(&node) {
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

/// An endpoint table by the source of its scan.
pub(crate) fn endpoint_table(scan: &TableScan) -> Option<&'static dyn Table> {
    let provider = datafusion::datasource::source_as_provider(&scan.source).ok()?;
    let provider = provider.as_ref() as &dyn std::any::Any;
    provider.downcast_ref::<crate::provider::EndpointTable>().map(crate::provider::EndpointTable::table)
}
