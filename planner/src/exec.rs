//! The leaf of every plan that asks a fleet, and the way of answers into it.

use std::fmt;
use std::sync::{Arc, Mutex};

use canvass_protocol::scan::Scan;
use canvass_tables::Table;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StructArray, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, exec_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, ChildrenPropertiesMode, EmissionType, ReplaceChildrenOptions,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use futures::StreamExt as _;
use tokio::sync::mpsc;

use crate::catalog::{AGENT, HOST};

/// What a scan's rows come through: batches in the scan's planned schema.
pub type Feed = mpsc::UnboundedReceiver<RecordBatch>;

/// One scan of the action, as a leaf of the plan.
pub struct FleetExec {
    pub table: &'static dyn Table,
    pub scan: Scan,
    properties: Arc<PlanProperties>,
    feed: Mutex<Option<Feed>>,
}

impl FleetExec {
    pub fn new(table: &'static dyn Table, scan: Scan, schema: SchemaRef) -> FleetExec {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        FleetExec { table, scan, properties: Arc::new(properties), feed: Mutex::new(None) }
    }

    /// Opens the way for the scan's rows; the sender's end closes it.
    pub fn open(&self) -> mpsc::UnboundedSender<RecordBatch> {
        let (sender, receiver) = mpsc::unbounded_channel();
        *self.feed.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(receiver);
        sender
    }

    /// The schema of the endpoint's own part of the rows, where it was asked for these columns.
    pub fn answer_schema(&self, columns: &[String]) -> Arc<Schema> {
        Arc::new(self.table.schema(columns))
    }
}

/// All scans of a plan, in the order in which EXPLAIN shows them.
pub fn scans(plan: &Arc<dyn ExecutionPlan>) -> Vec<Arc<dyn ExecutionPlan>> {
    if as_fleet(plan).is_some() {
        return vec![plan.clone()];
    }
    plan.children().into_iter().flat_map(scans).collect()
}

/// A node of the plan as a scan of ours, if it is one.
pub fn as_fleet(plan: &Arc<dyn ExecutionPlan>) -> Option<&FleetExec> {
    (plan.as_ref() as &dyn std::any::Any).downcast_ref::<FleetExec>()
}

/// Completes an endpoint's rows with what the desk knows of it: `host` and `agent` are never taken from an answer.
pub fn complete(answer: &RecordBatch, schema: &SchemaRef, host: &str, agent: &StructArray) -> Result<RecordBatch> {
    let rows = answer.num_rows();
    let column = |name: &str| -> Result<ArrayRef> {
        match name {
            HOST => Ok(Arc::new(StringArray::from_iter_values(std::iter::repeat_n(host, rows)))),
            AGENT => Ok(take(agent, &UInt32Array::from(vec![0; rows]), None)?),
            own => match answer.column_by_name(own) {
                Some(array) => Ok(array.clone()),
                None => exec_err!("the answer of `{host}` lacks `{own}`"),
            },
        }
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
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
        let feed = self.feed.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let Some(mut feed) = feed else {
            return exec_err!("the scan of `{}` was not asked, or its rows were taken before", self.scan.table);
        };
        let rows = futures::stream::poll_fn(move |context| feed.poll_recv(context)).map(Ok);
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}
