//! What was asked before: the tables `actions` and `commands`, which a server answers from what it remembers.

use std::sync::Arc;

use async_trait::async_trait;
use canvass_protocol::api::{ActionSummary, CommandSummary};
use canvass_tables::column::Form;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use jiff::Timestamp;

use crate::fleet::Fleet;
use crate::form;

/// One command, and the host it was for.
#[derive(Debug, Clone, PartialEq)]
pub struct PastCommand {
    pub host: Option<String>,
    pub command: CommandSummary,
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
        about: "what was asked of the fleet, as the server remembers it",
        columns: &[
            column("id", PastKind::Text, "the action's name, for .resume and .cancel"),
            column("statement", PastKind::Text, "what was typed"),
            column("investigator", PastKind::Text, "fingerprint of who asked"),
            column("hash", PastKind::Text, "SHA-256 of what was signed"),
            column("created_at", PastKind::Time, "when the server took it"),
            column("expires_at", PastKind::Time, "when the last agent may begin it"),
            column("state", PastKind::Text, "open, complete, expired or withdrawn").values(&[
                "open",
                "complete",
                "expired",
                "withdrawn",
            ]),
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
        ],
    },
];

/// A table of the past as DataFusion sees it: read from the server when it is scanned.
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

    async fn read(&self) -> Result<RecordBatch> {
        let failed = |error| DataFusionError::External(Box::new(error));
        let columns = match self.table.name {
            "actions" => actions(&self.fleet.actions().await.map_err(failed)?),
            _ => commands(&self.fleet.commands().await.map_err(failed)?),
        };
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
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

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = MemTable::try_new(self.schema.clone(), vec![vec![self.read().await?]])?;
        table.scan(session, projection, filters, limit).await
    }
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
        texts(state),
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

fn state(action: &ActionSummary) -> String {
    let open = ["waiting", "sent"].iter().any(|state| action.tally.get(*state).is_some_and(|count| *count > 0));
    match (action.withdrawn, open) {
        (true, _) => "withdrawn",
        (false, true) => "open",
        (false, false) => "complete",
    }
    .to_owned()
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
    ]
}

fn times(times: impl Iterator<Item = Option<Timestamp>>) -> ArrayRef {
    let ns = times.map(|time| i64::try_from(time?.as_nanosecond()).ok());
    Arc::new(ns.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
}

fn numbers(numbers: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(numbers.map(|number| i64::try_from(number).ok()).collect::<Int64Array>())
}
