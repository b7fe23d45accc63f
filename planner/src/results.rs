//! `results('ID')`: the output of a statement that was asked before, put together again from its stored answers.
//!
//! As with a local file, the rows are there before anything is signed, so that what an endpoint is told of them is what its
//! rows are joined with.

use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias, TableFactor, Value, VisitMut, VisitorMut,
};
use futures::StreamExt as _;

use crate::account::State;
use crate::desk::Running;
use crate::error::Error;

/// Results of results of results; who needs more asks again.
pub const DEPTH_MAX: usize = 4;
/// Bytes of one result in memory.
const BYTES_MAX: usize = 2 << 30;
/// The name that stands after FROM.
const NAME: &str = "results";

/// The rows of a statement that was asked before, and whose they are.
pub struct PastResult {
    /// As the statement names it from now on.
    pub name: String,
    batches: Vec<RecordBatch>,
    schema: SchemaRef,
    rows: usize,
    asked: usize,
    answered: usize,
    cut: bool,
    /// What is missing of results that it was made of.
    within: Vec<String>,
}

impl PastResult {
    /// Takes all rows.
    pub async fn collect(
        id: &str,
        schema: SchemaRef,
        running: Running,
        within: Vec<String>,
    ) -> Result<PastResult, Error> {
        let Running { mut rows, account, .. } = running;
        let (mut batches, mut count, mut bytes) = (Vec::new(), 0, 0);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            bytes += batch.get_array_memory_size();
            if bytes > BYTES_MAX {
                return Err(Error::usage(format!("{} holds more than {} MB", name_of(id), BYTES_MAX >> 20))
                    .hint("ask again with a narrower statement"));
            }
            count += batch.num_rows();
            batches.push(batch);
        }
        let entries = account.entries();
        Ok(PastResult {
            name: name_of(id),
            batches,
            schema,
            rows: count,
            asked: entries.len(),
            answered: entries.iter().filter(|entry| entry.state == State::Answered).count(),
            cut: entries.iter().flat_map(|entry| &entry.scans).any(|scan| scan.cut.is_some()),
            within,
        })
    }

    pub fn table(&self) -> Result<Arc<dyn TableProvider>, DataFusionError> {
        // A plan's rows may be marked otherwise than what is planned of them.
        let batches = self.batches.iter().map(|batch| {
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            RecordBatch::try_new_with_options(self.schema.clone(), batch.columns().to_vec(), &options)
        });
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        Ok(Arc::new(MemTable::try_new(self.schema.clone(), vec![batches])?))
    }

    /// What it is, for EXPLAIN.
    pub fn describe(&self) -> String {
        format!("{}: {} rows from {} of {} hosts", self.name, self.rows, self.answered, self.asked)
    }

    /// What is missing of it, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        self.within.iter().cloned().chain(self.remark()).collect()
    }

    fn remark(&self) -> Option<String> {
        if self.answered < self.asked {
            let (answered, asked) = (self.answered, self.asked);
            return Some(format!("{} is not whole: {answered} of {asked} hosts have answered", self.name));
        }
        self.cut.then(|| format!("{} is not whole: a limit cut it short", self.name))
    }
}

fn name_of(id: &str) -> String {
    format!("{NAME}('{id}')")
}

/// The actions whose results a statement reads, each once; from then on each is a table of the name `results('ID')`.
pub fn take(statement: &mut Statement) -> Result<Vec<String>, Error> {
    match statement {
        Statement::Explain(explain) => take(&mut explain.statement),
        Statement::Statement(inner) => {
            let mut taken = Take::default();
            let _ = inner.visit(&mut taken);
            taken.wrong.map_or(Ok(taken.ids), Err)
        }
        _ => Ok(Vec::new()),
    }
}

#[derive(Default)]
struct Take {
    ids: Vec<String>,
    wrong: Option<Error>,
}

impl VisitorMut for Take {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, args, .. } = factor else { return ControlFlow::Continue(()) };
        let is_ours = |name: &ObjectName| match name.0.as_slice() {
            [only] => only.as_ident().is_some_and(|ident| ident.value.eq_ignore_ascii_case(NAME)),
            _ => false,
        };
        let Some(given) = args.as_ref().filter(|_| is_ours(name)) else { return ControlFlow::Continue(()) };
        let Some(id) = one_text(&given.args) else {
            let error = Error::usage("`results` takes the id of an action, in quotes");
            self.wrong = Some(error.hint("`SELECT id, statement FROM actions` lists them: FROM results('ID')"));
            return ControlFlow::Break(());
        };
        let id = id.to_lowercase();
        *name = ObjectName::from(Ident::with_quote('"', name_of(&id)));
        *args = None;
        alias.get_or_insert_with(|| TableAlias {
            explicit: true,
            name: Ident::with_quote('"', NAME),
            columns: vec![],
            at: None,
        });
        if !self.ids.contains(&id) {
            self.ids.push(id);
        }
        ControlFlow::Continue(())
    }
}

fn one_text(args: &[FunctionArg]) -> Option<String> {
    match args {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))] => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}
