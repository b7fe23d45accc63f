//! A statement's way through DataFusion: parsed to a logical plan, checked, narrowed, and made physical.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::temporal_conversions::timestamp_ns_to_datetime;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::sql::parser::Statement;
use jiff::Timestamp;

use super::Desk;
use crate::explain::steps;
use crate::fleet::Endpoint;
use crate::local::LocalFile;
use crate::past::{PAST, PastProvider};
use crate::provider::{EndpointTable, Scanning};
use crate::results::PastResult;
use crate::warning::Warning;
use crate::{catalog, meeting, narrow, predicate, shown, whom};

impl Desk {
    /// The optimised physical plan, the state it was made in, and what was read off the statement on the way.
    pub(super) async fn physical(
        &self,
        statement: Statement,
        endpoints: &[Endpoint],
        scanning: Scanning,
        known: &Brought<'_>,
        at: Timestamp,
    ) -> Result<Physical, DataFusionError> {
        let text = scanning.statement.clone();
        let mut state = self.state.clone();
        state.config_mut().set_extension(Arc::new(scanning));
        state.mark_start_execution();
        let now = i64::try_from(at.as_nanosecond()).ok().and_then(timestamp_ns_to_datetime);
        state.execution_props_mut().query_execution_start_time = now.map(|now| now.and_utc());
        let schema = state.schema_for_ref(catalog::AGENTS)?;
        for table in self.tables {
            let name = table.info().name;
            if !schema.table_exist(name) {
                schema.register_table(name.to_owned(), Arc::new(EndpointTable::new(*table)))?;
            }
        }
        for table in &PAST {
            if !schema.table_exist(table.name) {
                let provider = PastProvider::new(self.fleet.clone(), table);
                schema.register_table(table.name.to_owned(), Arc::new(provider))?;
            }
        }
        let agents = catalog::agents_batch(endpoints)?;
        schema.deregister_table(catalog::AGENTS)?;
        let agents = MemTable::try_new(agents.schema(), vec![vec![agents]])?;
        schema.register_table(catalog::AGENTS.to_owned(), Arc::new(agents))?;

        for (name, table) in known.tables()? {
            schema.register_table(name.to_owned(), table)?;
        }
        let logical = state.statement_to_plan(statement).await;
        // A file is a table of the statement that names it and of no other.
        for (name, _) in known.tables()? {
            schema.deregister_table(name)?;
        }
        let logical = logical?;
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&logical)?;
        let logical = predicate::check(logical, &text)?;
        let marks = (0..logical.schema().fields().len()).map(|index| shown::is(&logical, index)).collect();
        let reads_agents = reads(&logical, catalog::AGENTS)?;
        let mut reads_past = Vec::new();
        for table in &PAST {
            if reads(&logical, table.name)? {
                reads_past.push(table.name);
            }
        }
        let mut warnings = meeting::warnings(&logical, known.crossed)?;
        let optimised = state.optimize(&logical)?;
        // What this version would refuse before it is signed was signed all the same, and has its answers.
        if !known.past {
            predicate::constants::check(&optimised, &state, &text)?;
        }
        let typed = whom::targets(&optimised)?;
        if typed.is_empty() && !whom::targets(&logical)?.is_empty() {
            warnings.push(Warning::new("nobody is asked: no row of an endpoint can be as the statement says"));
        }
        let (narrowed, sets) = narrow::narrow(optimised, &state, endpoints, text.len()).await?;
        warnings.extend(sets.warnings.iter().cloned());
        let read = Read { typed, narrowed: whom::targets(&narrowed)?, warnings, steps: steps::of(&narrowed)? };
        state.config_mut().set_extension(Arc::new(sets));
        let plan = state.query_planner().create_physical_plan(&narrowed, &state).await?;
        Ok(Physical { state, plan, marks, reads_agents, reads_past, read })
    }
}

/// Whether a plan reads a table of this name.
fn reads(plan: &LogicalPlan, name: &str) -> Result<bool, DataFusionError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(node, LogicalPlan::TableScan(scan) if scan.table_name.table() == name);
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// A physical plan, and the state it was made in.
pub(super) struct Physical {
    pub(super) state: SessionState,
    pub(super) plan: Arc<dyn ExecutionPlan>,
    /// Which columns of the result hold names of endpoints.
    pub(super) marks: Vec<bool>,
    /// Whether the statement reads the inventory.
    pub(super) reads_agents: bool,
    /// What it reads of what was asked before.
    pub(super) reads_past: Vec<&'static str>,
    pub(super) read: Read,
}

/// What a statement reads that the desk has.
pub(super) struct Brought<'a> {
    pub(super) files: &'a [Arc<LocalFile>],
    pub(super) results: &'a [PastResult],
    /// The relations that CROSS JOIN brings in.
    pub(super) crossed: &'a BTreeSet<String>,
    /// The statement was asked before.
    pub(super) past: bool,
}

/// What is read off a statement while it is planned.
pub(super) struct Read {
    /// The target of each scan as the statement spells it, and as what the desk knows narrowed it.
    pub(super) typed: Vec<whom::Aimed>,
    pub(super) narrowed: Vec<whom::Aimed>,
    pub(super) warnings: Vec<Warning>,
    /// What is left for the desk, in words.
    pub(super) steps: Vec<String>,
}

/// A table and what the statement calls it.
type NamedTable<'a> = (&'a str, Arc<dyn TableProvider>);

impl Brought<'_> {
    fn tables(&self) -> Result<Vec<NamedTable<'_>>, DataFusionError> {
        let files = self.files.iter().map(|file| Ok((file.name.as_str(), file.clone() as Arc<dyn TableProvider>)));
        let results = self.results.iter().map(|result| Ok((result.name.as_str(), result.table()?)));
        files.chain(results).collect()
    }
}
