//! DataFusion as every statement finds it.

use std::num::NonZeroUsize;
use std::sync::Arc;

use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::registry::FunctionRegistry as _;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

use crate::arithmetic::{CheckedArithmetic, Sum};
use crate::forget::ForgetConstants;
use crate::functions;

/// Bytes of memory that the plans of one session may fill; what sorts and groups more than that does so on disk.
const MEMORY_BYTES_MAX: usize = 2 << 30;
/// Bytes that they may put on disk.
const DISK_BYTES_MAX: u64 = 32 << 30;
/// Operators that are named where memory is short.
const NAMED_MAX: NonZeroUsize = NonZeroUsize::MIN.saturating_add(2);

/// DataFusion set up for us: our functions, plain strings, spans for carets, `information_schema`, a bound on memory.
pub fn open() -> SessionState {
    open_within(MEMORY_BYTES_MAX)
}

fn open_within(memory_bytes_max: usize) -> SessionState {
    let mut config = SessionConfig::new()
        .with_information_schema(true)
        .with_default_catalog_and_schema("canvass", "public")
        .with_create_default_catalog_and_schema(true)
        // The same everywhere, so that one statement has one plan whoever explains it.
        .with_target_partitions(4);
    let options = config.options_mut();
    options.sql_parser.collect_spans = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.time_zone = Some("+00:00".into());
    // What it checks is that two of DataFusion's own steps agree whether a column can be NULL; where they do not, it refuses
    // statements that are right.
    options.execution.skip_physical_aggregate_schema_check = true;
    // It names the columns that it extracts alike on both sides of a join, and then cannot tell them apart.
    options.optimizer.enable_leaf_expression_pushdown = false;
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> = vec![Arc::new(ForgetConstants)];
    rules.extend(PhysicalOptimizer::default().rules);
    let builder = SessionStateBuilder::new_with_default_features();
    let builder = builder.with_config(config).with_physical_optimizer_rules(rules);
    let builder = builder.with_runtime_env(memory(memory_bytes_max));
    let mut state = builder.with_analyzer_rule(Arc::new(CheckedArithmetic)).build();
    for function in functions::all() {
        // Registering returns the function it replaces, of which there is none.
        let _ = state.register_udf(function);
    }
    let _ = state.register_udaf(Arc::new(AggregateUDF::from(Sum::default())));
    state
}

/// A pool of memory that is shared by all operators of a plan, each of which spills its fair part.
fn memory(bytes_max: usize) -> Arc<RuntimeEnv> {
    let pool = TrackConsumersPool::new(FairSpillPool::new(bytes_max), NAMED_MAX);
    let runtime =
        RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_max_temp_directory_size(DISK_BYTES_MAX);
    // It fails for folders that it is given, of which there are none.
    runtime.build_arc().unwrap_or_default()
}

/// The names of all functions that a statement can call.
pub fn functions() -> Vec<String> {
    let state = open();
    let scalar = state.scalar_functions().keys();
    let mut names: Vec<String> =
        scalar.chain(state.aggregate_functions().keys()).chain(state.window_functions().keys()).cloned().collect();
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray as _, Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::datatypes::Int64Type;
    use datafusion::datasource::MemTable;
    use datafusion::physical_plan::{ExecutionPlan, collect};

    use super::*;

    const ROWS: i64 = 200_000;

    /// Runs a statement over some 50 MB of rows, within so many bytes; how often it spilled, and the rows.
    async fn run(statement: &str, memory_bytes_max: usize) -> Result<(usize, Vec<RecordBatch>), String> {
        let state = open_within(memory_bytes_max);
        let batch = |from: i64| {
            let numbers = from..(from + 8000).min(ROWS);
            let texts: StringArray = numbers.clone().map(|n| Some(format!("{:0>250}", (n * 7919) % ROWS))).collect();
            let numbers: Int64Array = numbers.map(Some).collect();
            RecordBatch::try_from_iter([("n", Arc::new(numbers) as _), ("t", Arc::new(texts) as _)]).unwrap()
        };
        let batches: Vec<RecordBatch> = (0..ROWS).step_by(8000).map(batch).collect();
        let table = MemTable::try_new(batches[0].schema(), vec![batches]).unwrap();
        state.schema_for_ref("t").unwrap().register_table("t".to_owned(), Arc::new(table)).unwrap();
        let logical = state.create_logical_plan(statement).await.unwrap();
        let plan = state.create_physical_plan(&logical).await.unwrap();
        let rows = collect(plan.clone(), state.task_ctx()).await.map_err(|error| error.to_string())?;
        Ok((spills(&plan), rows))
    }

    fn spills(plan: &Arc<dyn ExecutionPlan>) -> usize {
        let own = plan.metrics().and_then(|metrics| metrics.spill_count()).unwrap_or_default();
        own + plan.children().into_iter().map(spills).sum::<usize>()
    }

    #[tokio::test]
    async fn what_does_not_fit_into_memory_is_sorted_on_disk() {
        let statement = "SELECT n, t FROM t ORDER BY t";
        let numbers = |batches: Vec<RecordBatch>| -> Vec<i64> {
            batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect()
        };
        let (spilled, expected) = run(statement, MEMORY_BYTES_MAX).await.unwrap();
        assert_eq!(spilled, 0);
        let (spilled, sorted) = run(statement, 112 << 20).await.unwrap();
        assert!(spilled > 0, "they hold no more than a part of it and of its order");
        assert!(numbers(sorted) == numbers(expected));
    }

    #[tokio::test]
    async fn a_join_that_does_not_fit_is_an_error_and_not_the_end_of_the_program() {
        let error = run("SELECT count(*) FROM t a JOIN t b ON a.t = b.t", 8 << 20).await.unwrap_err();
        assert!(error.contains("Resources exhausted"), "{error}");
    }
}
