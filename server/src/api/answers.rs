//! Answers as they come: one JSON record a line, from any position, until all is said.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Query;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::{Ending, Record};
use serde::Deserialize;
use tokio::sync::watch;

use super::problem::Problem;
use super::{Caller, Id, State, actions};
use crate::metrics::Stream;
use crate::scheduler;
use crate::store::{self, StoreError};
use crate::watchers::Seen;

/// Parts read from the store at once, where they are small.
const PARTS_MAX: u32 = 512;
/// A line without anything on it says that the server is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct From {
    /// The position of the last part that is known.
    #[serde(default)]
    after: i64,
    /// Whether answers still to come are waited for.
    #[serde(default = "yes")]
    follow: bool,
    /// How many agents are known to be asked, as the reply to the post listed them: they are told where it is not these any
    /// more.
    asked: Option<u32>,
}

fn yes() -> bool {
    true
}

/// `GET /v1/actions/{id}/answers`
pub async fn follow(
    shared: State,
    caller: Caller,
    id: Id,
    from: Result<Query<From>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, Problem> {
    let Query(From { after, follow, asked }) = from.map_err(|error| Problem::bad(error.body_text()))?;
    let action = actions::find(&shared, &caller, id.0).await?;
    shared.note_often(&caller.0.fingerprint, "read", Some(action.hash), String::new()).await?;
    let watch = if follow { shared.follow(action.hash).await? } else { None };
    let told = asked.map(|asked| Told { counts: (asked as usize, 0), ..Told::default() });
    let (hash, _stream) = (action.hash, shared.metrics.stream());
    let follower = Follower { shared, hash, after, watch, told, lines: VecDeque::new(), over: false, _stream };
    let lines = futures::stream::unfold(follower, async |mut follower| {
        let line = follower.next().await?;
        Some((Ok::<_, Infallible>(line), follower))
    });
    Ok(([(CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response())
}

struct Follower {
    shared: State,
    hash: ActionHash,
    after: i64,
    /// `None` where nothing changes any more.
    watch: Option<watch::Receiver<Seen>>,
    /// Commands asked and ended that were told.
    told: Option<Told>,
    lines: VecDeque<Bytes>,
    over: bool,
    /// Counts this stream.
    _stream: Stream,
}

#[derive(Default)]
struct Told {
    counts: (usize, usize),
    asked: HashSet<String>,
    ended: HashSet<String>,
}

impl Follower {
    /// The next line; `None` at the end, or where the store fails, which whoever follows takes for a lost server.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            if let Err(error) = self.fill().await {
                tracing::error!(%error, "answers cannot be read");
                return None;
            }
        }
    }

    async fn fill(&mut self) -> Result<(), StoreError> {
        // What is seen now is seen before the store is read, so that nothing falls between the two.
        let seen = self.watch.as_mut().map(|watch| *watch.borrow_and_update());
        self.tell_commands(seen).await?;
        let parts = self.shared.store.parts(self.hash, self.after, PARTS_MAX).await?;
        if let Some(last) = parts.last() {
            self.after = last.position;
            parts.into_iter().for_each(|part| self.say(&Record::Part(part)));
            return Ok(());
        }
        if !self.lines.is_empty() {
            return Ok(());
        }
        match (&mut self.watch, seen) {
            (Some(watch), Some(seen)) if !seen.progress.is_complete() => {
                match tokio::time::timeout(KEEP_ALIVE, watch.changed()).await {
                    Ok(Ok(())) => {}
                    // The action is closed: one more look at the store, and all is said.
                    Ok(Err(_)) => self.watch = None,
                    Err(_) => self.lines.push_back(Bytes::from_static(b"\n")),
                }
            }
            _ => {
                self.say(&Record::Complete);
                self.over = true;
            }
        }
        Ok(())
    }

    /// Tells of commands that were added and of those that ended without an answer.
    async fn tell_commands(&mut self, seen: Option<Seen>) -> Result<(), StoreError> {
        let counts = seen.map(|seen| (seen.progress.asked, seen.progress.ended));
        if self
            .told
            .as_ref()
            .is_some_and(|told| counts.is_none_or(|counts| counts == told.counts) && self.watch.is_some())
        {
            return Ok(());
        }
        let commands = self.shared.store.commands(self.hash).await?;
        let mut told = self.told.take().unwrap_or_default();
        told.counts = counts.unwrap_or_default();
        for store::Command { agent, state, .. } in commands {
            if told.asked.insert(agent.clone()) {
                self.say(&Record::Asked { agent: agent.clone() });
            }
            let ending = match state {
                scheduler::State::Expired => Ending::Expired,
                scheduler::State::Cancelled => Ending::Cancelled,
                _ => continue,
            };
            if told.ended.insert(agent.clone()) {
                self.say(&Record::Ended { agent, state: ending });
            }
        }
        self.told = Some(told);
        Ok(())
    }

    fn say(&mut self, record: &Record) {
        let mut line = serde_json::to_vec(record).expect("records have text keys");
        line.push(b'\n');
        self.lines.push_back(line.into());
    }
}
