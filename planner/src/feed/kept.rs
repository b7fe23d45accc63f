//! Rows of a scan that the plan reads more than once.
//!
//! Endpoints are asked once. A plan that executes a scan again, as each round of WITH RECURSIVE does, is given the rows that
//! came before; those of all other scans are handed on and forgotten.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use tokio::sync::Mutex;

use super::Receiver;
use crate::error::Error;

/// Bytes of one scan's rows that are kept to be read again: several million rows of a few columns.
const KEPT_BYTES_MAX: usize = 256 << 20;

/// Rows that can be read from the start as often as it pleases; the first reader has them as they come.
pub struct Kept {
    state: Mutex<State>,
    table: &'static str,
    bytes_max: usize,
}

struct State {
    receiver: Receiver,
    batches: Vec<RecordBatch>,
    counter: RecordBatchMemoryCounter,
    /// They were too many: rows that were read before are gone.
    forgotten: bool,
}

impl Kept {
    pub fn new(receiver: Receiver, table: &'static str) -> Arc<Kept> {
        Kept::within(receiver, table, KEPT_BYTES_MAX)
    }

    fn within(receiver: Receiver, table: &'static str, bytes_max: usize) -> Arc<Kept> {
        let counter = RecordBatchMemoryCounter::new();
        let state = State { receiver, batches: Vec::new(), counter, forgotten: false };
        Arc::new(Kept { state: Mutex::new(state), table, bytes_max })
    }

    /// All rows, from the first.
    pub fn read(self: Arc<Kept>) -> BoxStream<'static, Result<RecordBatch>> {
        unfold((self, 0), |(kept, at)| async move {
            let batch = kept.batch(at).await.transpose()?;
            Some((batch, (kept, at + 1)))
        })
        .boxed()
    }

    /// A reader that waits for a batch holds the lock, so that no other reader misses it.
    async fn batch(&self, at: usize) -> Result<Option<RecordBatch>> {
        let mut state = self.state.lock().await;
        if let Some(batch) = state.batches.get(at) {
            return Ok(Some(batch.clone()));
        }
        if state.forgotten && at == 0 {
            return Err(self.too_many().into());
        }
        let Some(batch) = state.receiver.recv().await.transpose()? else { return Ok(None) };
        if !state.forgotten {
            state.counter.count_batch(&batch);
            if state.counter.memory_usage() > self.bytes_max {
                state.forgotten = true;
                state.batches = Vec::new();
            } else {
                state.batches.push(batch.clone());
            }
        }
        Ok(Some(batch))
    }

    fn too_many(&self) -> Error {
        let (table, mib) = (self.table, self.bytes_max >> 20);
        Error::usage(format!("the rows of `{table}` are read more than once here, and take more than {mib} MiB"))
            .hint(format!("name fewer columns of `{table}`, or narrow it by WHERE"))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::AsArray as _;
    use datafusion::arrow::datatypes::Int64Type;
    use futures::TryStreamExt as _;

    use super::super::Feeds;
    use super::super::tests::batch;
    use super::*;

    async fn all(kept: &Arc<Kept>) -> Result<Vec<i64>> {
        let batches: Vec<RecordBatch> = kept.clone().read().try_collect().await?;
        Ok(batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect())
    }

    #[tokio::test]
    async fn every_reader_has_all_rows() {
        let (sender, receiver) = Feeds::new().open();
        let kept = Kept::new(receiver, "t");
        let mut first = kept.clone().read();
        sender.push(batch(&[1, 2]));
        assert_eq!(first.next().await.unwrap().unwrap(), batch(&[1, 2]), "the first reader waits for no others");
        let second = all(&kept);
        let sends = async {
            sender.push(batch(&[3]));
            drop(sender);
        };
        let (second, ()) = tokio::join!(second, sends);
        assert_eq!(second.unwrap(), [1, 2, 3]);
        assert_eq!(first.next().await.unwrap().unwrap(), batch(&[3]));
        assert!(first.next().await.is_none());
        assert_eq!(all(&kept).await.unwrap(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn too_many_bytes_are_read_once() {
        let (sender, receiver) = Feeds::new().open();
        let kept = Kept::within(receiver, "t", 1000);
        for from in [0_i64, 100, 200] {
            sender.push(batch(&(from..from + 100).collect::<Vec<_>>()));
        }
        drop(sender);
        assert_eq!(all(&kept).await.unwrap(), (0..300).collect::<Vec<_>>());
        let error = all(&kept).await.unwrap_err().to_string();
        assert!(error.contains("the rows of `t` are read more than once here"), "{error}");
    }
}
