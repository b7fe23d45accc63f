//! DataFusion as every statement finds it.

use std::sync::Arc;

use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::registry::FunctionRegistry as _;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

use crate::arithmetic::{CheckedArithmetic, Sum};
use crate::forget::ForgetConstants;
use crate::functions;

/// DataFusion set up for us: our functions, plain strings, spans for carets, `information_schema`.
pub fn open() -> SessionState {
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
    let mut state = builder.with_analyzer_rule(Arc::new(CheckedArithmetic)).build();
    for function in functions::all() {
        // Registering returns the function it replaces, of which there is none.
        let _ = state.register_udf(function);
    }
    let _ = state.register_udaf(Arc::new(AggregateUDF::from(Sum::default())));
    state
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
