//! The threads that a plan runs on, which can be left behind.
//!
//! A plan that never yields, such as a join that finds nothing in a billion pairs, holds the thread that polls it. So a plan
//! has threads of its own: whoever follows it goes on hearing Ctrl-C, the clock and the network, and can turn away at any
//! moment. What is turned away from ends at its next pause, or when it asks a leaf for more rows, and holds up nobody until then.

mod leaf;

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::{Stream, StreamExt as _};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Error;
use leaf::Abandoned;

/// Batches that wait for whoever follows; the plan waits where more are there.
const BATCHES_AHEAD: usize = 2;
/// As the main thread of a program has; it is only touched as far as it is used.
const STACK_BYTES: usize = 8 << 20;

/// Runs a plan on threads of its own. Dropping the stream abandons the plan.
pub fn run(
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let workers = Workers::start()?;
    let plan = leaf::wrap(plan, &workers.abandoned)?;
    let mut rows = {
        // What the plan spawns when it is opened belongs to it too.
        let _inside = workers.runtime()?.enter();
        execute_stream(plan, context)?
    };
    let (sender, batches) = mpsc::channel(BATCHES_AHEAD);
    let task = workers.runtime()?.spawn(async move {
        loop {
            let batch = tokio::select! {
                biased;
                () = sender.closed() => break,
                batch = rows.next() => batch,
            };
            let Some(batch) = batch else { break };
            if sender.send(batch).await.is_err() {
                break;
            }
        }
    });
    let under_way = UnderWay { batches, task: Some(task), _workers: workers };
    Ok(futures::stream::unfold(under_way, |mut under_way| async move {
        let batch = match under_way.batches.recv().await {
            Some(batch) => batch,
            // A plan that fell over has no last word, and must not pass for one that came to its end.
            None => match under_way.task.take()?.await {
                Ok(()) => return None,
                Err(error) => Err(DataFusionError::Internal(format!("the plan fell over: {error}"))),
            },
        };
        Some((batch, under_way))
    }))
}

/// A plan that runs.
struct UnderWay {
    batches: mpsc::Receiver<Result<RecordBatch>>,
    task: Option<JoinHandle<()>>,
    _workers: Workers,
}

struct Workers {
    runtime: Option<Runtime>,
    abandoned: Abandoned,
}

impl Workers {
    fn start() -> Result<Workers> {
        let runtime = Builder::new_multi_thread()
            .thread_name("plan")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| Error::internal(format!("no threads for the plan: {error}")))?;
        Ok(Workers { runtime: Some(runtime), abandoned: Abandoned::default() })
    }

    fn runtime(&self) -> Result<&Runtime> {
        self.runtime.as_ref().ok_or_else(|| DataFusionError::Internal("the plan's threads are gone".into()))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.abandoned.now();
        // Waiting for a plan that never yields is what these threads are there to avoid.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
