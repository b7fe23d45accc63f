//! Rows of an endpoint, completed with what the desk knows of it: `host` and `agent` are never taken from an answer.
//!
//! A frame of a few hundred bytes may claim thousands of rows, in each of which the host's name stands, and all that its agent
//! says of itself. So what is repeated is made once, shared by all batches of an endpoint, and a batch has no more rows than
//! it can be made for in a bounded number of bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, StructArray, UInt32Array,
};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{Result, exec_err};

use crate::catalog::{AGENT, HOST};

/// Bytes of `host` and `agent` in one batch.
const REPEATED_BYTES_MAX: usize = 1 << 20;
/// Endpoints whose `host` and `agent` are at hand, since more of their rows may come.
const RECENT_MAX: usize = 32;
/// Rows over which it is measured what one of them takes: an array has a size of its own besides.
const MEASURED_ROWS: usize = 64;

/// Completes the rows of one leaf of a plan.
pub struct Completing {
    schema: SchemaRef,
    recent: VecDeque<Repeated>,
}

/// What is the same in all rows of an endpoint.
struct Repeated {
    /// The endpoint's place in the account.
    index: usize,
    /// A row alone.
    host: String,
    agent: StructArray,
    rows_max: usize,
    /// As many rows as were needed so far.
    made: Columns,
}

/// Both columns, where the plan reads them, for the same number of rows.
#[derive(Clone, Default)]
struct Columns {
    rows: usize,
    host: Option<ArrayRef>,
    agent: Option<ArrayRef>,
}

impl Completing {
    pub fn new(schema: SchemaRef) -> Completing {
        Completing { schema, recent: VecDeque::new() }
    }

    /// The rows of an answer of the endpoint with this place, in the schema that the plan reads.
    pub fn complete(
        &mut self,
        answer: &RecordBatch,
        index: usize,
        host: &str,
        agent: &StructArray,
    ) -> Result<Vec<RecordBatch>> {
        let place = match self.recent.iter().position(|recent| recent.index == index) {
            Some(place) => place,
            None => {
                if self.recent.len() == RECENT_MAX {
                    self.recent.pop_front();
                }
                self.recent.push_back(Repeated::new(&self.schema, index, host, agent)?);
                self.recent.len() - 1
            }
        };
        let repeated = &mut self.recent[place];
        let (mut batches, mut from) = (Vec::new(), 0);
        loop {
            let rows = (answer.num_rows() - from).min(repeated.rows_max);
            let columns = repeated.columns(&self.schema, rows, answer.num_rows())?;
            batches.push(batch(&self.schema, &answer.slice(from, rows), &columns, host)?);
            from += rows;
            if from == answer.num_rows() {
                return Ok(batches);
            }
        }
    }
}

fn batch(schema: &SchemaRef, answer: &RecordBatch, repeated: &Columns, host: &str) -> Result<RecordBatch> {
    let column = |name: &str| -> Result<ArrayRef> {
        let array = match name {
            HOST => repeated.host.as_ref(),
            AGENT => repeated.agent.as_ref(),
            own => answer.column_by_name(own),
        };
        array.map_or_else(|| exec_err!("the answer of `{host}` lacks `{name}`"), |array| Ok(array.clone()))
    };
    let columns = schema.fields().iter().map(|field| column(field.name())).collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(answer.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

impl Repeated {
    fn new(schema: &SchemaRef, index: usize, host: &str, agent: &StructArray) -> Result<Repeated> {
        let one = Repeated {
            index,
            host: host.to_owned(),
            agent: agent.clone(),
            rows_max: usize::MAX,
            made: Columns::default(),
        };
        let measured = one.make(schema, MEASURED_ROWS)?;
        let row_bytes = measured.bytes().div_ceil(MEASURED_ROWS).max(1);
        Ok(Repeated { rows_max: (REPEATED_BYTES_MAX / row_bytes).max(1), ..one })
    }

    /// Both columns for so many rows of an answer of `whole`: those that are at hand, unless they are of a much larger one.
    fn columns(&mut self, schema: &SchemaRef, rows: usize, whole: usize) -> Result<Columns> {
        if self.made.rows / 2 > whole {
            return self.make(schema, rows);
        }
        if self.made.rows < rows {
            self.made = self.make(schema, rows)?;
        }
        let slice = |array: &Option<ArrayRef>| array.as_ref().map(|array| array.slice(0, rows));
        Ok(Columns { rows, host: slice(&self.made.host), agent: slice(&self.made.agent) })
    }

    fn make(&self, schema: &SchemaRef, rows: usize) -> Result<Columns> {
        let reads = |name: &str| schema.column_with_name(name).is_some();
        let host = || Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&self.host, rows))) as ArrayRef;
        let agent = || take(&self.agent, &UInt32Array::from(vec![0; rows]), None);
        Ok(Columns { rows, host: reads(HOST).then(host), agent: if reads(AGENT) { Some(agent()?) } else { None } })
    }
}

impl Columns {
    fn bytes(&self) -> usize {
        self.host.iter().chain(&self.agent).map(Array::get_array_memory_size).sum()
    }
}
