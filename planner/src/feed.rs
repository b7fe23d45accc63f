//! The way of rows into the plan: so many bytes wait in memory, and whoever brings more is held back.
//!
//! A plan reads its scans as it needs them: a join reads one side to its end before it looks at the other, while rows of both
//! come as they come. So nobody is held back while the plan waits for rows of any scan; what the others have too much is put
//! aside on disk.

mod aside;
mod kept;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::Result;
use tokio::sync::Notify;

use self::aside::{Aside, Place};
pub use self::kept::Kept;
use crate::error::Error;

/// Bytes of rows in memory that wait for a plan, of all its scans; what comes beyond is put aside.
const HELD_BYTES_MAX: usize = 64 << 20;
/// Bytes of rows on disk that wait for a plan.
const ASIDE_BYTES_MAX: u64 = 32 << 30;

/// The ways of one statement's scans into its plan.
pub struct Feeds {
    state: Mutex<State>,
    /// There may be room where there was none.
    room: Notify,
    /// A reader has gone.
    left: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    /// Bytes in memory.
    held: usize,
    queues: Vec<Queue>,
}

/// One of the ways.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whoever waits for rows while there are none.
    hungry: Option<Waker>,
    /// No more rows come.
    ended: bool,
    /// Nobody reads any more.
    left: bool,
    aside: Option<Aside>,
    /// Why rows are lost.
    failed: Option<Error>,
}

enum Waiting {
    Here(RecordBatch, usize),
    Aside(Place),
}

/// Where a scan's rows go in.
pub struct Feed {
    feeds: Arc<Feeds>,
    index: usize,
}

/// Where the plan takes them out, in the scan's planned schema.
pub struct Receiver {
    feeds: Arc<Feeds>,
    index: usize,
}

impl Feeds {
    pub fn new() -> Arc<Feeds> {
        Feeds::within(HELD_BYTES_MAX)
    }

    /// Holds this much in memory at most, and a batch more where it holds nothing else.
    pub fn within(bytes_max: usize) -> Arc<Feeds> {
        Arc::new(Feeds { state: Mutex::default(), room: Notify::new(), left: Notify::new(), bytes_max })
    }

    /// Opens one more way.
    pub fn open(self: &Arc<Feeds>) -> (Feed, Receiver) {
        let mut state = self.lock();
        state.queues.push(Queue::default());
        let index = state.queues.len() - 1;
        (Feed { feeds: self.clone(), index }, Receiver { feeds: self.clone(), index })
    }

    /// Waits until the plan wants more, of whatever scan; for one waiter.
    pub async fn room(&self) {
        loop {
            let told = self.room.notified();
            if self.lock().wants_more(self.bytes_max / 2) {
                return;
            }
            told.await;
        }
    }

    /// Waits until nobody reads any of them; for one waiter.
    pub async fn needless(&self) {
        loop {
            let told = self.left.notified();
            if self.lock().queues.iter().all(|queue| queue.left) {
                return;
            }
            told.await;
        }
    }

    /// Bytes of rows in memory.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.lock().held
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wants_more(&self, held_max: usize) -> bool {
        self.held < held_max || self.queues.iter().any(|queue| queue.hungry.is_some())
    }

    fn aside_bytes(&self) -> u64 {
        self.queues.iter().filter_map(|queue| queue.aside.as_ref()).map(Aside::bytes).sum()
    }

    fn push(&mut self, index: usize, batch: RecordBatch, bytes_max: usize) {
        let bytes = batch.get_array_memory_size();
        let too_much = self.held > 0 && self.held + bytes > bytes_max;
        let too_much_aside = too_much && self.aside_bytes() > ASIDE_BYTES_MAX;
        let queue = &mut self.queues[index];
        // A plan that has seen enough has gone; whoever follows the answers hears of it.
        if queue.left || queue.failed.is_some() {
            return;
        }
        if too_much_aside {
            let gib = ASIDE_BYTES_MAX >> 30;
            queue.failed = Some(Error::usage(format!("more than {gib} GiB of rows wait for the plan to read them")));
        } else if too_much {
            match queue.put_aside(&batch) {
                Ok(place) => queue.waiting.push_back(Waiting::Aside(place)),
                Err(error) => queue.failed = Some(not_aside(&error)),
            }
        } else {
            self.held += bytes;
            queue.waiting.push_back(Waiting::Here(batch, bytes));
        }
        if let Some(reader) = self.queues[index].hungry.take() {
            reader.wake();
        }
    }

    fn poll(&mut self, index: usize, context: &Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let queue = &mut self.queues[index];
        if let Some(error) = queue.failed.clone() {
            return Poll::Ready(Some(Err(error.into())));
        }
        match queue.waiting.pop_front() {
            Some(Waiting::Here(batch, bytes)) => {
                self.held -= bytes;
                Poll::Ready(Some(Ok(batch)))
            }
            Some(Waiting::Aside(place)) => {
                let taken = queue.aside.as_mut().map(|aside| aside.take(place));
                let lost = || std::io::Error::from(std::io::ErrorKind::NotFound);
                let taken = taken.unwrap_or_else(|| Err(lost()));
                Poll::Ready(Some(taken.map_err(|error| not_aside(&error).into())))
            }
            None if queue.ended => Poll::Ready(None),
            None => {
                queue.hungry = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    fn leave(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        let here = std::mem::take(&mut queue.waiting).into_iter().map(|waiting| match waiting {
            Waiting::Here(_, bytes) => bytes,
            Waiting::Aside(_) => 0,
        });
        self.held -= here.sum::<usize>();
        (queue.left, queue.hungry, queue.aside) = (true, None, None);
    }
}

impl Queue {
    fn put_aside(&mut self, batch: &RecordBatch) -> std::io::Result<Place> {
        let aside = match &mut self.aside {
            Some(aside) => aside,
            none => none.insert(Aside::new()?),
        };
        aside.put(batch)
    }
}

fn not_aside(error: &std::io::Error) -> Error {
    Error::usage(format!("rows that wait for the plan cannot be put aside: {error}"))
        .hint("they go where TMPDIR says; or ask for fewer columns and rows")
}

impl Feed {
    /// Adds rows. Whoever has more waits for [`Feeds::room`] first; what comes all the same is put aside.
    pub fn push(&self, batch: RecordBatch) {
        self.feeds.lock().push(self.index, batch, self.feeds.bytes_max);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let mut state = self.feeds.lock();
        let queue = &mut state.queues[self.index];
        queue.ended = true;
        if let Some(reader) = queue.hungry.take() {
            reader.wake();
        }
    }
}

impl Receiver {
    pub fn poll_recv(&mut self, context: &Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        let polled = self.feeds.lock().poll(self.index, context);
        self.feeds.room.notify_one();
        polled
    }

    pub async fn recv(&mut self) -> Option<Result<RecordBatch>> {
        poll_fn(|context| self.poll_recv(context)).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.feeds.lock().leave(self.index);
        self.feeds.room.notify_one();
        self.feeds.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray as _, Int64Array};
    use datafusion::arrow::datatypes::Int64Type;
    use futures::FutureExt as _;

    use super::*;

    pub fn batch(numbers: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter([("n", Arc::new(Int64Array::from(numbers.to_vec())) as _)]).unwrap()
    }

    /// A batch of 800 bytes and a little.
    fn hundred(from: i64) -> RecordBatch {
        batch(&(from..from + 100).collect::<Vec<_>>())
    }

    async fn numbers(receiver: &mut Receiver) -> Vec<i64> {
        let mut numbers = Vec::new();
        while let Some(batch) = receiver.recv().await {
            numbers.extend_from_slice(batch.unwrap().column(0).as_primitive::<Int64Type>().values());
        }
        numbers
    }

    #[tokio::test]
    async fn whoever_brings_more_than_is_read_is_held_back() {
        let one = hundred(0).get_array_memory_size();
        let feeds = Feeds::within(8 * one);
        let (feed, mut receiver) = feeds.open();
        let mut brought = 0;
        while brought < 1000 && feeds.room().now_or_never().is_some() {
            feed.push(hundred(brought * 100));
            brought += 1;
        }
        assert_eq!((brought, feeds.held()), (4, 4 * one), "half of what may be held, so that one part more fits");
        assert_eq!(receiver.recv().await.unwrap().unwrap(), hundred(0));
        assert!(feeds.room().now_or_never().is_some(), "there is room again");
        feed.push(hundred(400));
        assert!(feeds.room().now_or_never().is_none());
    }

    #[tokio::test]
    async fn a_scan_that_the_plan_waits_for_is_not_held_back_by_another() {
        let one = hundred(0).get_array_memory_size();
        let feeds = Feeds::within(2 * one);
        let ((build, mut built), (probe, mut probed)) = (feeds.open(), feeds.open());
        // The plan waits for the first scan, whose rows come last.
        assert!(built.recv().now_or_never().is_none());
        for from in 0..50 {
            assert!(feeds.room().now_or_never().is_some(), "{from}");
            probe.push(hundred(from * 100));
            assert!(feeds.held() <= 2 * one);
        }
        build.push(batch(&[7]));
        drop((build, probe));
        assert_eq!(numbers(&mut built).await, [7]);
        assert_eq!(numbers(&mut probed).await, (0..5000).collect::<Vec<_>>(), "in order, what was put aside too");
        assert_eq!(feeds.held(), 0);
    }

    #[tokio::test]
    async fn what_nobody_reads_is_not_held() {
        let feeds = Feeds::within(1 << 20);
        let ((one, first), (_other, second)) = (feeds.open(), feeds.open());
        one.push(hundred(0));
        assert!(feeds.needless().now_or_never().is_none());
        drop(first);
        assert_eq!(feeds.held(), 0);
        one.push(hundred(0));
        assert_eq!(feeds.held(), 0);
        assert!(feeds.needless().now_or_never().is_none(), "the other is still read");
        drop(second);
        assert!(feeds.needless().now_or_never().is_some());
    }

    #[tokio::test]
    async fn rows_without_columns_are_put_aside_too() {
        use datafusion::arrow::array::RecordBatchOptions;
        use datafusion::arrow::datatypes::Schema;
        let options = RecordBatchOptions::new().with_row_count(Some(8192));
        let bare = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        let feeds = Feeds::within(1);
        let (feed, mut receiver) = feeds.open();
        feed.push(hundred(0));
        feed.push(bare.clone());
        drop(feed);
        receiver.recv().await.unwrap().unwrap();
        assert_eq!(receiver.recv().await.unwrap().unwrap().num_rows(), 8192);
        assert!(receiver.recv().await.is_none());
    }
}
