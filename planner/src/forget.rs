//! A guard between plans and what DataFusion believes of constants in them.
//!
//! DataFusion 55 leaves a column out of ORDER BY where it takes it for a constant. It goes on doing so above an outer join
//! that makes the column NULL in some rows, above ROLLUP and above UNION, and then rows come in a wrong order, or wrong rows
//! pass a LIMIT; where a join is an inner one it may find its own plan insane. So no operator is told of a constant below
//! it, and ROLLUP, CUBE and GROUPING SETS are not told which of their keys are equal below them. `tests/upstream.rs` tells when
//! DataFusion has mended the former; the latter goes wrong in an order that differs from run to run, so `tests/sql.rs` alone keeps it.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::execution_plan::{CardinalityEffect, ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, PlanProperties,
};

/// Puts a [`ForgetExec`] above whatever has constants; to be run before all other rules.
#[derive(Debug)]
pub struct ForgetConstants;

impl PhysicalOptimizerRule for ForgetConstants {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let children: Vec<_> = node.children().into_iter().cloned().collect();
            let equal = makes_nulls(&node);
            if !children.iter().any(|child| misleads(child, equal)) {
                return Ok(Transformed::no(node));
            }
            let guarded = children.into_iter().map(|child| guard(child, equal)).collect();
            let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            node.replace_children(guarded, options).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "ForgetConstants"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// Whether a node gives rows in which keys are NULL that were not, as ROLLUP does: columns that were equal need not be so.
fn makes_nulls(node: &Arc<dyn ExecutionPlan>) -> bool {
    let aggregate = (node.as_ref() as &dyn std::any::Any).downcast_ref::<AggregateExec>();
    aggregate.is_some_and(|aggregate| !aggregate.group_expr().is_single())
}

/// Whether what is known of a plan's rows would mislead whoever reads them; `equal` where columns that are equal do too.
fn misleads(plan: &Arc<dyn ExecutionPlan>, equal: bool) -> bool {
    let known = plan.equivalence_properties();
    !known.constants().is_empty() || equal && !known.eq_group().is_empty()
}

fn guard(plan: Arc<dyn ExecutionPlan>, equal: bool) -> Arc<dyn ExecutionPlan> {
    if misleads(&plan, equal) { Arc::new(ForgetExec::new(plan)) } else { plan }
}

/// A plan without the guards in it, to be shown.
pub fn without_guards(plan: &Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let unguarded = plan.clone().transform_up(|node| {
        let inner = (node.as_ref() as &dyn std::any::Any).downcast_ref::<ForgetExec>().map(|guard| guard.input.clone());
        Ok(inner.map_or_else(|| Transformed::no(node), Transformed::yes))
    });
    unguarded.data()
}

/// Hands on the rows of its input, and nothing of what is known of their order or of constants among them.
#[derive(Debug, Clone)]
struct ForgetExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl ForgetExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> ForgetExec {
        let properties =
            PlanProperties::clone(input.properties()).with_eq_properties(EquivalenceProperties::new(input.schema()));
        ForgetExec { input, properties: Arc::new(properties) }
    }
}

impl DisplayAs for ForgetExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ForgetExec")
    }
}

impl ExecutionPlan for ForgetExec {
    fn name(&self) -> &'static str {
        "ForgetExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(match children.pop() {
            Some(input) => Arc::new(ForgetExec::new(input)),
            None => self,
        })
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }
}
