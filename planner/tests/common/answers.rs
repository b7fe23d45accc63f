//! The rows of a statement, as lines of text.

use std::sync::Arc;

use canvass_planner::desk::{Desk, Planned};
use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet;
use canvass_planner::settings::Settings;
use canvass_protocol::envelope::Envelope;
use canvass_tables::Table;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt as _;

/// What came of a statement: its rows as `a,b`, NULL as `NULL`, in their order.
pub struct Answer {
    pub rows: Vec<String>,
    pub explanation: String,
    /// How many endpoints were asked.
    pub asked: usize,
}

/// Asks a fleet over these tables.
pub async fn ask(
    fleet: Arc<dyn Fleet>,
    tables: &'static [&'static dyn Table],
    statement: &str,
) -> Result<Answer, Error> {
    let mut desk = Desk::with_tables(fleet, Settings::default(), tables);
    let planned = desk.plan(statement).await?;
    let (explanation, asked) = (planned.explanation.clone(), planned.asked.len());
    let envelope = envelope(&planned);
    let batches: Vec<RecordBatch> = desk.run(planned, envelope).await?.rows.try_collect().await?;
    Ok(Answer { rows: batches.iter().flat_map(lines).collect(), explanation, asked })
}

/// The action of a plan, for a fleet that asks for no signatures.
pub fn envelope(planned: &Planned) -> Option<Envelope> {
    let payload = |bytes| String::from_utf8(bytes).expect("an action is text");
    planned.action.as_ref().map(|action| Envelope { payload: payload(action.to_bytes()), signatures: vec![] })
}

fn lines(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::new().with_null("NULL");
    let columns =
        batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).expect("a type with text"));
    let columns: Vec<_> = columns.collect();
    let line = |row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(",");
    (0..batch.num_rows()).map(line).collect()
}
