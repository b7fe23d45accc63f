//! One statement under way: rows to the writer as they come, progress, and Ctrl-C.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use canvass_planner::desk::{Entry, Running, State};
use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet;
use futures::StreamExt as _;
use tokio::signal::unix::Signal;

use crate::footer;
use crate::output::Output;
use crate::progress::Progress;
use crate::render::{Closing, Remark, Render};

/// How long a stopped scan may take to hand over what it found.
const GRACE: Duration = Duration::from_secs(10);

/// How following ended.
#[derive(Debug)]
pub struct Followed {
    pub rows: usize,
    /// The hosts that the rows name, where they have a column `host`.
    pub hosts: Option<BTreeSet<String>>,
    pub entries: Vec<Entry>,
    pub interrupted: bool,
    /// What the writer left out.
    pub remark: Remark,
    /// What ended the rows early.
    pub error: Option<Error>,
}

/// What following needs of its session.
pub struct Follow<'a> {
    pub fleet: &'a dyn Fleet,
    pub renderer: &'a mut (dyn Render + Send),
    pub output: &'a mut Output,
    pub interrupts: &'a mut Signal,
    pub progress: Progress,
    pub action: Option<String>,
}

impl Follow<'_> {
    /// Writes rows until they end. Ctrl-C stops the scans and keeps what they found; a second one leaves at once.
    pub async fn run(mut self, schema: &SchemaRef, mut running: Running) -> Followed {
        let mut followed = Followed {
            rows: 0,
            hosts: host_column(schema).map(|_| BTreeSet::new()),
            entries: Vec::new(),
            interrupted: false,
            remark: None,
            error: None,
        };
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut begun = false;
        let patience = tokio::time::sleep(Duration::MAX);
        tokio::pin!(patience);
        loop {
            tokio::select! {
                biased;
                _ = self.interrupts.recv() => {
                    if followed.interrupted {
                        break;
                    }
                    followed.interrupted = true;
                    self.fleet.stop().await;
                    patience.as_mut().reset(tokio::time::Instant::now() + GRACE);
                }
                () = &mut patience, if followed.interrupted => break,
                _ = tick.tick() => self.progress.update(&running.account),
                batch = running.rows.next() => {
                    let Some(batch) = batch else { break };
                    let written = batch.and_then(|batch| {
                        followed.rows += batch.num_rows();
                        note_hosts(&mut followed.hosts, &batch);
                        self.write(schema, &mut begun, |renderer, out| renderer.batch(&batch, out))
                    });
                    if let Err(error) = written {
                        followed.error = Some(error);
                        break;
                    }
                    if self.output.closed() {
                        break;
                    }
                }
            }
        }
        drop(running.rows);
        self.progress.end();
        followed.entries = running.account.entries();
        if followed.interrupted {
            withdraw(&mut followed.entries);
        }
        // An error before the first row leaves nothing behind.
        if begun || followed.error.is_none() {
            let closing = Closing {
                cut: footer::cut(&followed.entries),
                completeness: footer::completeness(&followed.entries, self.action.as_deref()),
            };
            let mut remark = None;
            let ended = self.write(schema, &mut begun, |renderer, out| {
                remark = renderer.end(&closing, out)?;
                Ok(())
            });
            followed.remark = remark;
            followed.error = followed.error.or(ended.err());
        }
        followed
    }

    /// Writes, and flushes so that whoever reads sees rows as they come. A reader who left is no error.
    fn write(
        &mut self,
        schema: &SchemaRef,
        begun: &mut bool,
        act: impl FnOnce(&mut dyn Render, &mut dyn Write) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let (renderer, output) = (&mut *self.renderer, &mut *self.output);
        let written = self.progress.aside(|| {
            if !*begun {
                *begun = true;
                renderer.begin(schema, output)?;
            }
            act(renderer, output)?;
            output.flush()
        });
        match written {
            Err(_) if self.output.closed() => Ok(()),
            Err(error) => Err(Error::usage(format!("results cannot be written: {error}"))),
            Ok(()) => Ok(()),
        }
    }
}

fn host_column(schema: &Schema) -> Option<usize> {
    let (index, field) = schema.column_with_name("host")?;
    (*field.data_type() == DataType::Utf8).then_some(index)
}

fn note_hosts(hosts: &mut Option<BTreeSet<String>>, batch: &RecordBatch) {
    let (Some(hosts), Some(column)) = (hosts, host_column(&batch.schema())) else { return };
    for host in batch.column(column).as_string::<i32>().iter().flatten() {
        if !hosts.contains(host) {
            hosts.insert(host.to_owned());
        }
    }
}

/// Agents that had sent nothing when the action was withdrawn have not begun it.
fn withdraw(entries: &mut [Entry]) {
    for entry in entries.iter_mut().filter(|entry| entry.state == State::Waiting && entry.rows == 0) {
        entry.state = State::Cancelled;
    }
}
