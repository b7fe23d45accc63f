//! The leaf of every plan that asks a fleet, and the way of answers into it.

mod complete;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use canvass_protocol::scan::Scan;
use canvass_tables::Table;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::recursive_query::RecursiveQueryExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt as _;

pub use self::complete::Completing;
use crate::feed::{Feed as Sender, Feeds, Kept, Receiver};

/// One scan of the action, as a leaf of the plan.
pub struct FleetExec {
    pub table: &'static dyn Table,
    pub scan: Scan,
    properties: Arc<PlanProperties>,
    feed: Mutex<Feed>,
    /// The plan may execute it more than once.
    repeats: AtomicBool,
}

/// Where the rows of a scan are.
enum Feed {
    /// Nobody was asked, or somebody has them.
    Nowhere,
    Once(Receiver),
    Again(Arc<Kept>),
}

impl FleetExec {
    pub fn new(table: &'static dyn Table, scan: Scan, schema: SchemaRef) -> FleetExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        FleetExec {
            table,
            scan,
            properties: Arc::new(properties),
            feed: Mutex::new(Feed::Nowhere),
            repeats: AtomicBool::new(false),
        }
    }

    /// Opens the way for the scan's rows; the sender's end closes it.
    pub fn open(&self, feeds: &Arc<Feeds>) -> Sender {
        let (sender, receiver) = feeds.open();
        let feed = if self.repeats.load(Ordering::Relaxed) {
            Feed::Again(Kept::new(receiver, self.table.info().name))
        } else {
            Feed::Once(receiver)
        };
        *self.feed.lock().unwrap_or_else(PoisonError::into_inner) = feed;
        sender
    }

    /// The schema of the endpoint's own part of the rows, where it was asked for these columns.
    pub fn answer_schema(&self, columns: &[String]) -> Arc<Schema> {
        Arc::new(self.table.schema(columns))
    }
}

/// All scans of a plan that is complete, in the order in which EXPLAIN shows them.
pub fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    let mut found = Vec::new();
    search(plan, false, &mut found);
    found
}

fn search(plan: &Arc<dyn ExecutionPlan>, repeats: bool, found: &mut Vec<Arc<dyn ExecutionPlan>>) {
    if let Some(scan) = as_fleet(plan) {
        if repeats {
            scan.repeats.store(true, Ordering::Relaxed);
        }
        found.push(plan.clone());
    }
    for (index, child) in plan.children().into_iter().enumerate() {
        search(child, repeats || executes_again(plan, index), found);
    }
}

/// Whether a node may execute one of its children more than once: WITH RECURSIVE its second once a round, and a nested loop
/// join its first where memory is short.
fn executes_again(plan: &Arc<dyn ExecutionPlan>, child: usize) -> bool {
    let plan = plan.as_ref() as &dyn std::any::Any;
    (plan.is::<RecursiveQueryExec>() && child == 1) || (plan.is::<NestedLoopJoinExec>() && child == 0)
}

/// A node of the plan as a scan of ours, if it is one.
pub fn as_fleet(plan: &Arc<dyn ExecutionPlan>) -> Option<&FleetExec> {
    (plan.as_ref() as &dyn std::any::Any).downcast_ref::<FleetExec>()
}

impl fmt::Debug for FleetExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetExec").field("scan", &self.scan).finish()
    }
}

impl DisplayAs for FleetExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "FleetExec: {}", self.scan.table)
    }
}

impl ExecutionPlan for FleetExec {
    fn name(&self) -> &'static str {
        "FleetExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut feed = self.feed.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = match std::mem::replace(&mut *feed, Feed::Nowhere) {
            Feed::Once(mut receiver) => futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed(),
            Feed::Again(kept) => {
                *feed = Feed::Again(kept.clone());
                kept.read()
            }
            Feed::Nowhere => {
                return exec_err!("the scan of `{}` was not asked, or its rows were taken before", self.scan.table);
            }
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
