//! One statement under way: rows to the writer as they come, progress, and Ctrl-C.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use canvass_planner::desk::{Entry, Running};
use canvass_planner::error::Error;
use canvass_planner::whom::NotAsked;
use futures::StreamExt as _;

use crate::footer;
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::progress::Progress;
use crate::render::{Closing, Remark, Render};

/// Rows written between two looks for Ctrl-C.
pub const ROWS_AT_ONCE: usize = 256;

/// How following ended.
#[derive(Debug)]
pub struct Followed {
    pub rows: usize,
    /// The hosts that the rows name, where they have a column `host`.
    pub hosts: Option<BTreeSet<String>>,
    pub entries: Vec<Entry>,
    /// Hosts that were meant and not asked.
    pub not_asked: Vec<NotAsked>,
    pub interrupted: bool,
    /// What the writer left out.
    pub remark: Remark,
    /// What is to be said of the statement as a whole, a sentence each.
    pub remarks: Vec<String>,
    /// What ended the rows early.
    pub error: Option<Error>,
}

/// What following needs of its session.
pub struct Follow<'a> {
    pub renderer: &'a mut (dyn Render + Send),
    pub output: &'a mut Output,
    pub interrupts: &'a mut Interrupts,
    pub progress: Progress,
    pub action: Option<String>,
}

/// What goes on after a batch or a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    /// Nobody wants more rows.
    Leave,
    /// The rows that are not shown yet are given up.
    Abandon,
}

impl Follow<'_> {
    /// Writes rows until they end. While hosts are waited for, Ctrl-C stops following and the plan finishes over what came; a
    /// second one, or one that comes when all have answered, abandons the plan. Neither waits for anybody.
    pub async fn run(mut self, schema: &SchemaRef, mut running: Running) -> Followed {
        let mut followed = Followed {
            rows: 0,
            hosts: host_column(schema).map(|_| BTreeSet::new()),
            entries: Vec::new(),
            not_asked: Vec::new(),
            interrupted: false,
            remark: None,
            remarks: Vec::new(),
            error: None,
        };
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        let mut begun = false;
        let mut then = Then::GoOn;
        while then == Then::GoOn {
            tokio::select! {
                biased;
                () = self.interrupts.next() => then = self.heed(&running, &mut followed),
                _ = tick.tick() => self.progress.update(&running.account),
                batch = running.rows.next() => match batch {
                    Some(Ok(batch)) => then = self.batch(schema, &mut begun, &batch, &running, &mut followed),
                    Some(Err(error)) => {
                        followed.error = Some(error);
                        then = Then::Leave;
                    }
                    None => break,
                },
            }
        }
        let account = running.account;
        drop(running.rows);
        self.progress.end();
        followed.entries = account.entries();
        followed.not_asked = account.not_asked();
        followed.remarks = account.remarks();
        // An error before the first row leaves nothing behind.
        if begun || followed.error.is_none() {
            let ended = self.end(schema, &mut begun, then == Then::Abandon, &mut followed);
            followed.error = followed.error.or(ended.err());
        }
        followed
    }

    /// What one more Ctrl-C does, said on standard error.
    fn heed(&self, running: &Running, followed: &mut Followed) -> Then {
        let waiting = running.account.waiting();
        let again = std::mem::replace(&mut followed.interrupted, true);
        if waiting > 0 && !again {
            running.stop();
            let hosts = if waiting == 1 { "1 host had".to_owned() } else { format!("{waiting} hosts had") };
            self.progress.aside(|| {
                eprintln!("stopped following: {hosts} not answered; Ctrl-C again abandons the rows that came");
            });
            return Then::GoOn;
        }
        self.progress.aside(|| eprintln!("abandoned: what was not shown yet is lost"));
        Then::Abandon
    }

    /// Writes a batch, a few rows at a time.
    fn batch(
        &mut self,
        schema: &SchemaRef,
        begun: &mut bool,
        batch: &RecordBatch,
        running: &Running,
        followed: &mut Followed,
    ) -> Then {
        for from in (0..batch.num_rows()).step_by(ROWS_AT_ONCE) {
            let some = batch.slice(from, ROWS_AT_ONCE.min(batch.num_rows() - from));
            followed.rows += some.num_rows();
            note_hosts(&mut followed.hosts, &some);
            if let Err(error) = self.write(schema, begun, |renderer, out| renderer.batch(&some, out)) {
                followed.error = Some(error);
                return Then::Leave;
            }
            if self.output.closed() {
                return Then::Leave;
            }
            if self.interrupts.has_come() && self.heed(running, followed) == Then::Abandon {
                return Then::Abandon;
            }
        }
        Then::GoOn
    }

    /// Writes what the writer kept back, and its last words.
    fn end(
        &mut self,
        schema: &SchemaRef,
        begun: &mut bool,
        abandoned: bool,
        followed: &mut Followed,
    ) -> Result<(), Error> {
        let mut stopped = abandoned;
        while !stopped && !self.output.closed() {
            let mut more = false;
            self.write(schema, begun, |renderer, out| {
                more = renderer.pour(out)?;
                Ok(())
            })?;
            if !more {
                break;
            }
            if self.interrupts.has_come() {
                eprintln!("stopped: the rest of the rows is not shown");
                (followed.interrupted, stopped) = (true, true);
            }
        }
        if stopped {
            followed.rows -= self.renderer.held().min(followed.rows);
        }
        let lost = stopped.then(|| "stopped by Ctrl-C: rows are missing".to_owned());
        let closing = Closing {
            cut: lost.or_else(|| footer::cut(&followed.entries)),
            completeness: footer::completeness(&followed.entries, &followed.not_asked, self.action.as_deref()),
            stopped,
        };
        let mut remark = None;
        let ended = self.write(schema, begun, |renderer, out| {
            remark = renderer.end(&closing, out)?;
            Ok(())
        });
        followed.remark = remark;
        ended
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
