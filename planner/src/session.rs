//! DataFusion as every statement finds it.

use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::registry::FunctionRegistry as _;
use datafusion::prelude::SessionConfig;

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
    let mut state = SessionStateBuilder::new_with_default_features().with_config(config).build();
    for function in functions::all() {
        // Registering returns the function it replaces, of which there is none.
        let _ = state.register_udf(function);
    }
    state
}
