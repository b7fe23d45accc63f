//! What was asked before: the tables `actions` and `commands`, which a fleet answers from what it remembers.

mod filter;

use std::sync::Arc;

use async_trait::async_trait;
use canvass_protocol::api::{ActionSummary, CommandSummary};
use canvass_tables::column::Form;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use jiff::Timestamp;

pub use self::filter::PastFilter;
use crate::error::Error;
use crate::fleet::Fleet;
use crate::form;

/// One command, and the host it was for.
#[derive(Debug, Clone, PartialEq)]
pub struct PastCommand {
    pub host: Option<String>,
    pub command: CommandSummary,
}

/// A page of the past, and where the next one begins; `None` at the end.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<String>,
}

/// A table of the past: name, sentence, columns.
pub struct PastTable {
    pub name: &'static str,
    pub about: &'static str,
    pub columns: &'static [PastColumn],
}

/// A column of such a table: name, type, sentence.
pub struct PastColumn {
    pub name: &'static str,
    pub kind: PastKind,
    pub about: &'static str,
    /// What its values look like, beyond their type.
    pub form: Form,
}

impl PastColumn {
    const fn values(mut self, values: &'static [&'static str]) -> PastColumn {
        self.form = Form::OneOf(values);
        self
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PastKind {
    Text,
    Integer,
    Time,
}

impl PastKind {
    pub fn as_str(self) -> &'static str {
        match self {
            PastKind::Text => "text",
            PastKind::Integer => "integer",
            PastKind::Time => "timestamp",
        }
    }

    fn data_type(self) -> DataType {
        match self {
            PastKind::Text => DataType::Utf8,
            PastKind::Integer => DataType::Int64,
            PastKind::Time => canvass_tables::column::Kind::Timestamp.data_type(),
        }
    }
}

const fn column(name: &'static str, kind: PastKind, about: &'static str) -> PastColumn {
    PastColumn { name, kind, about, form: Form::Any }
}

/// Both tables.
pub static PAST: [PastTable; 2] = [
    PastTable {
        name: "actions",
        about: "what was asked of the fleet, as the server or this machine remembers it",
        columns: &[
            column("id", PastKind::Text, "the action's name, for .resume and .cancel"),
            column("statement", PastKind::Text, "what was typed"),
            column("investigator", PastKind::Text, "fingerprint of who asked"),
            column("hash", PastKind::Text, "SHA-256 of what was signed"),
            column("created_at", PastKind::Time, "when the server took it"),
            column("expires_at", PastKind::Time, "when the last agent may begin it"),
            column(
                "state",
                PastKind::Text,
                "open, complete (everybody is accounted for), expired (some did not answer in time) or withdrawn",
            )
            .values(&["open", "complete", "expired", "withdrawn"]),
            column("asked", PastKind::Integer, "agents it was brought to, which the others add up to"),
            column("answered", PastKind::Integer, "agents that have answered"),
            column("failed", PastKind::Integer, "agents that could not run it"),
            column("refused", PastKind::Integer, "agents whose guard said no"),
            column("interrupted", PastKind::Integer, "agents that were stopped in the middle of it"),
            column("expired", PastKind::Integer, "agents that did not come in time"),
            column("cancelled", PastKind::Integer, "agents that had not begun when it was withdrawn"),
            column("waiting", PastKind::Integer, "agents that may still answer"),
            column("rows", PastKind::Integer, "rows answered"),
        ],
    },
    PastTable {
        name: "commands",
        about: "one row for each action and agent",
        columns: &[
            column("action", PastKind::Text, "the action's id"),
            column("agent", PastKind::Text, "the agent's id"),
            column("host", PastKind::Text, "its name, where the inventory knows it"),
            column(
                "state",
                PastKind::Text,
                "waiting, sent, answered, failed, refused, interrupted, expired or cancelled",
            )
            .values(&[
                "waiting",
                "sent",
                "answered",
                "failed",
                "refused",
                "interrupted",
                "expired",
                "cancelled",
            ]),
            column("sent_at", PastKind::Time, "when it was given to the relay"),
            column("finished_at", PastKind::Time, "when it ended"),
            column("rows", PastKind::Integer, "rows answered"),
            column("bytes", PastKind::Integer, "bytes of the answer's frames"),
            column("troubles", PastKind::Integer, "things that went wrong beside the rows"),
            column("reason", PastKind::Text, "why it failed or was refused"),
            column("cut", PastKind::Text, "the limits that cut it short, by their names"),
        ],
    },
];

/// A table of the past as DataFusion sees it: read page by page when it is scanned, and only what WHERE wants.
pub struct PastProvider {
    fleet: Arc<dyn Fleet>,
    table: &'static PastTable,
    schema: SchemaRef,
}

impl PastProvider {
    pub fn new(fleet: Arc<dyn Fleet>, table: &'static PastTable) -> PastProvider {
        let fields = table.columns.iter().map(|column| {
            let metadata = form::mark(column.form).into_iter().collect();
            Field::new(column.name, column.kind.data_type(), true).with_metadata(metadata)
        });
        PastProvider { fleet, table, schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())) }
    }
}

impl std::fmt::Debug for PastProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PastProvider").field("table", &self.table.name).finish()
    }
}

#[async_trait]
impl TableProvider for PastProvider {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        let push = |filter: &&Expr| match PastFilter::default().add(filter) {
            // What is asked for may be more than what is wanted, and the filter stays at the desk.
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(push).collect())
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut filter = PastFilter::default();
        for wanted in filters {
            // What it cannot say stays at the desk.
            let _ = filter.add(wanted);
        }
        // The desk's filter comes after this, so its LIMIT is none of ours.
        let limit = limit.filter(|_| filters.is_empty());
        let (fleet, table, schema) = (self.fleet.clone(), self.table, self.schema.clone());
        let pages: Arc<dyn PartitionStream> = Arc::new(Pages { fleet, table, schema, filter: Arc::new(filter) });
        let plan = StreamingTableExec::try_new(self.schema.clone(), vec![pages], projection, [], false, limit)?;
        Ok(Arc::new(plan))
    }
}

/// Rows of the past, a batch a page.
struct Pages {
    fleet: Arc<dyn Fleet>,
    table: &'static PastTable,
    schema: SchemaRef,
    filter: Arc<PastFilter>,
}

/// Where the next page begins.
enum Place {
    First,
    After(String),
    End,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pages").field("table", &self.table.name).field("filter", &self.filter).finish()
    }
}

impl PartitionStream for Pages {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let (fleet, filter, table, schema) = (self.fleet.clone(), self.filter.clone(), self.table, self.schema.clone());
        let first = if self.filter.is_empty() { Place::End } else { Place::First };
        let pages = futures::stream::try_unfold(first, move |place| {
            let (fleet, filter, schema) = (fleet.clone(), filter.clone(), schema.clone());
            async move {
                let after = match &place {
                    Place::First => None,
                    Place::After(place) => Some(place.as_str()),
                    Place::End => return Ok(None),
                };
                let (columns, next) = page(fleet.as_ref(), table, &filter, after)
                    .await
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
                let next = next.map_or(Place::End, Place::After);
                Ok(Some((RecordBatch::try_new(schema, columns)?, next)))
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), pages))
    }
}

async fn page(
    fleet: &dyn Fleet,
    table: &PastTable,
    filter: &PastFilter,
    after: Option<&str>,
) -> std::result::Result<(Vec<ArrayRef>, Option<String>), Error> {
    let (columns, next) = if table.name == "actions" {
        let Page { items, next } = fleet.actions(filter, after).await?;
        (actions(&items), next)
    } else {
        let Page { items, next } = fleet.commands(filter, after).await?;
        (commands(&items), next)
    };
    // Whoever says that the next page begins where this one did would be asked for ever.
    if next.is_some() && next.as_deref() == after {
        return Err(Error::unreachable("the server tells its past in no order"));
    }
    Ok((columns, next))
}

/// The columns of `actions`, in their order.
fn actions(actions: &[ActionSummary]) -> Vec<ArrayRef> {
    let texts = |get: fn(&ActionSummary) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(actions.iter().map(get)))
    };
    let times = |get: fn(&ActionSummary) -> Timestamp| times(actions.iter().map(|action| Some(get(action))));
    let count = |states: &'static [&str]| {
        numbers(actions.iter().map(|action| states.iter().filter_map(|state| action.tally.get(*state)).sum()))
    };
    vec![
        texts(|action| action.id.to_string()),
        texts(|action| action.statement.clone()),
        texts(|action| action.investigator.clone()),
        texts(|action| action.hash.to_string()),
        times(|action| action.created_at),
        times(|action| action.expires_at),
        texts(|action| action.state().to_owned()),
        numbers(actions.iter().map(|action| action.tally.values().sum())),
        count(&["answered"]),
        count(&["failed"]),
        count(&["refused"]),
        count(&["interrupted"]),
        count(&["expired"]),
        count(&["cancelled"]),
        count(&["waiting", "sent"]),
        numbers(actions.iter().map(|action| action.rows)),
    ]
}

/// The columns of `commands`, in their order.
fn commands(commands: &[PastCommand]) -> Vec<ArrayRef> {
    let texts = |get: fn(&PastCommand) -> Option<String>| -> ArrayRef {
        Arc::new(commands.iter().map(get).collect::<StringArray>())
    };
    let counts = |get: fn(&CommandSummary) -> u64| numbers(commands.iter().map(|past| get(&past.command)));
    vec![
        texts(|past| Some(past.command.action.to_string())),
        texts(|past| Some(past.command.agent.clone())),
        texts(|past| past.host.clone()),
        texts(|past| Some(past.command.state.clone())),
        times(commands.iter().map(|past| past.command.sent_at)),
        times(commands.iter().map(|past| past.command.finished_at)),
        counts(|command| command.rows),
        counts(|command| command.bytes),
        counts(|command| command.troubles),
        texts(|past| past.command.reason.clone()),
        texts(|past| past.command.cut.clone()),
    ]
}

fn times(times: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let ns = times.map(|time| i64::try_from(time?.as_nanosecond()).ok());
    Arc::new(ns.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn numbers(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(numbers.map(|number| i64::try_from(number).ok()).collect::<Int64Array>())
}
