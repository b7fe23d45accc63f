//! Parts of answers on their way into the store: those that a desk will believe, and what they conclude.

use std::collections::BTreeSet;
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::relay::ToAgent;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Pump;
use super::readers::{self, Allowed, Verdict};
use crate::metrics::Refused;
use crate::scheduler::State;
use crate::store::{Conclusion, NewPart, StoreError};

/// How long parts gather behind those that were stored, for each of these and at most: where few come none waits, where many
/// come a transaction is worth its price.
const GATHER_EACH: Duration = Duration::from_millis(2);
const GATHER_MAX: Duration = Duration::from_millis(50);

/// Whose a part is, what it is about, and how many signatures that had.
pub(super) struct Said {
    pub agent: String,
    pub action: ActionHash,
    pub judged: usize,
}

impl Pump {
    /// Stores the parts that a desk will believe, and acts on what they conclude.
    pub(super) async fn take_parts(&mut self, said: Vec<Said>, parts: Vec<Part>, now: Timestamp) {
        if parts.is_empty() {
            return;
        }
        if let Err(error) = self.learn_actions(&said).await {
            tracing::error!(%error, "actions cannot be read; their agents will send their answers again");
            return self.call(said.into_iter().map(|said| said.agent).collect()).await;
        }
        let opened = readers::open(&parts);
        let (mut believed, mut known, mut again) = (Vec::new(), Vec::new(), BTreeSet::new());
        for ((Said { agent, action, judged }, part), opened) in said.into_iter().zip(parts).zip(opened) {
            if again.contains(&agent) {
                continue;
            }
            match self.readers.judge(&agent, action, judged, &part.signature, opened) {
                Verdict::Take(run, conclusion) => {
                    let Part { statement, signature, body } = part;
                    believed.push(NewPart { action, run, agent, statement, signature, body, conclusion });
                }
                Verdict::Known if part.is_last() => known.push((action, agent)),
                Verdict::Known => {}
                Verdict::Again => {
                    tracing::warn!(agent, %action, "an answer lacks parts, and its agent has to come again");
                    again.insert(agent);
                }
                Verdict::Drop(reason) => {
                    self.means.metrics.refused(Refused::Part);
                    tracing::warn!(agent, %action, reason, "a part of an answer is dropped");
                }
            }
        }
        self.store_parts(believed, now).await;
        if !known.is_empty() {
            self.receipts.add(known, Instant::now());
        }
        if !again.is_empty() {
            self.call(again).await;
        }
    }

    /// Finds out what the actions allow that these parts are about.
    async fn learn_actions(&mut self, said: &[Said]) -> Result<(), StoreError> {
        let unknown: BTreeSet<ActionHash> =
            said.iter().map(|said| said.action).filter(|action| !self.readers.knows(*action)).collect();
        for hash in unknown {
            let envelope = self.means.store.envelope(hash).await?;
            self.readers.learn(hash, envelope.as_ref().and_then(Allowed::by));
        }
        Ok(())
    }

    /// Has agents come again, and send all again that is not taken for good.
    async fn call(&mut self, agents: BTreeSet<String>) {
        let agents: Vec<String> = agents.into_iter().collect();
        self.readers.forget(&agents);
        self.means.relay.shake(&agents).await;
        self.shaken.extend(agents);
    }

    async fn store_parts(&mut self, parts: Vec<NewPart>, now: Timestamp) {
        if parts.is_empty() {
            return;
        }
        let began = Instant::now();
        if let Err(error) = self.means.store.take(&parts, now).await {
            tracing::error!(%error, "answers cannot be stored; their agents will send them again");
            return self.call(parts.into_iter().map(|part| part.agent).collect()).await;
        }
        self.means.metrics.stored(parts.len(), parts.iter().map(|part| part.body.len()).sum(), began.elapsed());
        self.gathers_until = began + (GATHER_EACH * u32::try_from(parts.len()).unwrap_or(u32::MAX)).min(GATHER_MAX);
        let mut changed = BTreeSet::new();
        let mut concluded = Vec::new();
        for NewPart { action: hash, agent, conclusion, .. } in parts {
            changed.insert(hash);
            if let Some(Conclusion { state, judged, .. }) = conclusion {
                if state == State::Refused {
                    // With another signature it is brought again, and whoever keeps its refusal does not look at it.
                    self.means.relay.send(std::slice::from_ref(&agent), &ToAgent::Taken(hash)).await;
                } else {
                    concluded.push((hash, agent.clone()));
                }
                if let Some(lead) = &mut self.lead {
                    lead.conclude(hash, agent, state, judged).await;
                }
            }
        }
        if !concluded.is_empty() {
            self.receipts.add(concluded, Instant::now());
        }
        self.tell(changed).await;
    }
}
