//! What the desk knows before it asks, told to the endpoints: the values that a join or an IN compares a column with.
//!
//! A part of a plan that asks no endpoint (a local file, `agents`) is put together first. Where a join with it drops the
//! rows of an endpoint table whose key it does not have, its values travel with the scan as a set and the endpoint keeps
//! such rows to itself. The join stays at the desk, so a set only ever narrows.
//!
//! What endpoints said is known too: `agents`, and the rows of past statements. Each host is told what it said itself, where
//! the join equates hosts, in a scan of its own; else nobody is told. So no host learns what another has, and none chooses
//! what is read on another.

mod find;
mod odd;
mod rebuild;
mod values;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use canvass_protocol::limits::ACTION_BYTES_MAX;
use canvass_protocol::value::Value;
use canvass_tables::Table;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::{Column, Result};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use datafusion::physical_plan::{ExecutionPlan, collect};

use crate::catalog::HOST;
use crate::error::Error;
use crate::fleet::Endpoint;
use crate::functions;
use crate::warning::Warning;
use find::{Candidate, Whose};
use rebuild::Narrowing;

/// Bytes of an action that are left to everything but sets.
const ACTION_BYTES_KEPT: usize = 512 << 10;

/// Hosts that a target names: every agent reads the target, and the desk compares it with every agent.
const HOSTS_MAX: usize = 2000;

/// Hosts that are told values of their own: each has a scan of its own, in an action that has no more than so many.
const HOSTS_EACH_MAX: usize = 256;

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
    /// Columns whose values would have narrowed a scan, were they not what endpoints said.
    pub not_told: Vec<NotTold>,
    /// What of the values no row can have.
    pub warnings: Vec<Warning>,
}

/// A set that no endpoint is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotTold {
    pub table: String,
    pub column: String,
    pub source: String,
    /// Where each host would be told its own values: how many hosts there are.
    pub hosts: Option<usize>,
}

impl NotTold {
    /// Why a table that needs these values has no bound.
    pub fn refusal(&self) -> Error {
        let NotTold { table, column, source, hosts } = self;
        match hosts {
            None => Error::usage(format!(
                "endpoints gave {source}, and no host is told what another said: `{column}` of `{table}` has no bound"
            ))
            .hint(format!(
                "equate hosts as well, so that each is told its own: … AND {table}.{HOST} = …; or name the values"
            )),
            Some(hosts) => Error::usage(format!(
                "{source} is of {hosts} hosts, of which at most {HOSTS_EACH_MAX} are told their own values at a time: \
                 `{column}` of `{table}` has no bound"
            ))
            .hint(format!("ask fewer hosts at a time: … AND {table}.{HOST} IN (…)")),
        }
    }
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
    for candidate in candidates.iter().filter(|candidate| !matches!(candidate.whose, Whose::OfOthers)) {
        if !known.contains_key(&candidate.known) {
            let batches = put_together(&candidate.known, state).await?;
            known.insert(candidate.known.clone(), batches);
        }
    }
    let mut room = ACTION_BYTES_MAX.saturating_sub(ACTION_BYTES_KEPT).saturating_sub(2 * statement_bytes);
    let mut narrowed: HashMap<usize, Narrowing> = HashMap::new();
    for candidate in &candidates {
        let batches = known.get(&candidate.known).map_or(&[][..], Vec::as_slice);
        let leaf = narrowed.entry(candidate.leaf).or_default();
        match &candidate.whose {
            Whose::OfOthers => sets.leave_untold(NotTold::of(candidate, None)),
            Whose::OfEachHost { column, key } => {
                let keys = (&candidate.key, key.as_ref());
                let Some(values) = values::by_host(keys, &candidate.known, batches, state)? else { continue };
                if let Some(each) = sets.each(candidate, column, values, endpoints, &mut room) {
                    leaf.also(each);
                }
            }
            Whose::Own => {
                let Some(values) = values::of(&candidate.key, &candidate.known, batches, state)? else { continue };
                let warning = odd::warning(candidate, &values);
                sets.warnings.extend(warning.filter(|warning| !sets.warnings.contains(warning)));
                let filter = if candidate.column.name == HOST {
                    sets.hosts(candidate, &values, endpoints)
                } else {
                    sets.test(candidate, values, &mut room)
                };
                leaf.all.extend(filter.map(|filter| candidate.keeps(filter)));
            }
        }
    }
    Ok((rebuild::rebuild(plan, narrowed, &known)?, sets))
}

impl NotTold {
    fn of(candidate: &Candidate, hosts: Option<usize>) -> NotTold {
        let (table, column) = (candidate.table.info().name.to_owned(), candidate.column.name.clone());
        NotTold { table, column, source: candidate.source(), hosts }
    }
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
        Some(among(&candidate.column, &meant, endpoints))
    }

    /// For each host, by its id, the tests of a scan of its own; none where there are too many.
    fn each(
        &mut self,
        candidate: &Candidate,
        host: &Column,
        mut values: BTreeMap<String, Vec<Value>>,
        endpoints: &[Endpoint],
        room: &mut usize,
    ) -> Option<BTreeMap<String, Vec<Expr>>> {
        let meant: Vec<(&Endpoint, Vec<Value>)> = endpoints
            .iter()
            .filter_map(|endpoint| Some((endpoint, values.remove(endpoint.host.as_str())?)))
            .filter(|(_, values)| !values.is_empty())
            .collect();
        if meant.len() > HOSTS_EACH_MAX {
            self.leave_untold(NotTold::of(candidate, Some(meant.len())));
            return None;
        }
        let mut each = BTreeMap::new();
        for (endpoint, values) in meant {
            let tests = vec![among(host, &[endpoint], endpoints), self.test(candidate, values, room)?];
            each.insert(endpoint.facts.id.clone(), tests);
        }
        Some(each)
    }

    fn leave_untold(&mut self, not_told: NotTold) {
        if !self.not_told.contains(&not_told) {
            self.not_told.push(not_told);
        }
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
fn among(host: &Column, meant: &[&Endpoint], endpoints: &[Endpoint]) -> Expr {
    let meant = meant.iter();
    let literal = |text: &str| datafusion::prelude::lit(text.to_owned());
    let agent = Column::new(host.relation.clone(), crate::catalog::AGENT);
    let host = Expr::Column(host.clone());
    if endpoints.iter().all(|endpoint| endpoint.host == endpoint.facts.name) {
        return host.in_list(meant.map(|endpoint| literal(&endpoint.host)).collect(), false);
    }
    let id = datafusion::functions::core::expr_fn::get_field(Expr::Column(agent), "id");
    id.in_list(meant.map(|endpoint| literal(&endpoint.facts.id)).collect(), false)
}

async fn put_together(plan: &LogicalPlan, state: &SessionState) -> Result<Vec<RecordBatch>> {
    let physical: Arc<dyn ExecutionPlan> = state.query_planner().create_physical_plan(plan, state).await?;
    collect(physical, state.task_ctx()).await
}

/// An endpoint table by the source of its scan.
pub(crate) fn endpoint_table(scan: &TableScan) -> Option<&'static dyn Table> {
    let provider = datafusion::datasource::source_as_provider(&scan.source).ok()?;
    let provider = provider.as_ref() as &dyn std::any::Any;
    provider.downcast_ref::<crate::provider::EndpointTable>().map(crate::provider::EndpointTable::table)
}
