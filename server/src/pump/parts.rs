//! Parts of answers on their way into the store: those that a desk will believe, and what they conclude.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::relay::ToAgent;
use jiff::Timestamp;
use tokio::time::Instant;

use super::Pump;
use super::readers::{self, Allowed, Take, Verdict};
use crate::metrics::Refused;
use crate::scheduler::State;
use crate::store::{Conclusion, NewPart, StoreError, Taken};

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
                Verdict::Take(Take { run, room, conclusion }) => {
                    let Part { statement, signature, body } = part;
                    believed.push(NewPart { action, run, agent, statement, signature, body, room, conclusion });
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
        if !believed.is_empty() {
            self.store_parts(believed, now).await;
        }
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

    /// Stores parts in one transaction, or in several where the store refuses one of them: that one alone is lost.
    async fn store_parts(&mut self, parts: Vec<NewPart>, now: Timestamp) {
        if let Some(lead) = &mut self.lead {
            // Parts belong to commands, which have to be there.
            lead.catch_up().await;
        }
        let (began, count) = (Instant::now(), parts.len());
        let mut waiting = VecDeque::from([parts]);
        let mut changed = BTreeSet::new();
        // Answers that have lost a part: what comes behind it is not believed.
        let mut broken = HashSet::new();
        while let Some(mut parts) = waiting.pop_front() {
            if !broken.is_empty() {
                parts.retain(|part| !broken.contains(&(part.agent.clone(), part.action, part.run)));
            }
            if parts.is_empty() {
                continue;
            }
            match self.means.store.take(&parts, now).await {
                Ok(taken) => self.act_on(parts, &taken, &mut changed).await,
                Err(StoreError::Refused(reason)) if parts.len() > 1 => {
                    tracing::warn!(reason, parts = parts.len(), "the store refuses one of these parts");
                    let rest = parts.split_off(parts.len() / 2);
                    waiting.push_front(rest);
                    waiting.push_front(parts);
                }
                Err(StoreError::Refused(reason)) => {
                    for part in parts {
                        self.drop_part(&part, &reason);
                        broken.insert((part.agent, part.action, part.run));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "answers cannot be stored; their agents will send them again");
                    let rest = parts.into_iter().chain(std::mem::take(&mut waiting).into_iter().flatten());
                    self.call(rest.map(|part| part.agent).collect()).await;
                }
            }
        }
        self.means.metrics.stored_batch(began.elapsed());
        self.gathers_until = began + (GATHER_EACH * u32::try_from(count).unwrap_or(u32::MAX)).min(GATHER_MAX);
        self.tell(changed).await;
    }

    fn drop_part(&mut self, part: &NewPart, reason: &str) {
        self.means.metrics.refused(Refused::Part);
        self.readers.give_up(&part.agent, part.action, part.run);
        tracing::warn!(agent = part.agent, action = %part.action, reason, "a part of an answer is dropped");
    }

    /// What follows of parts that the store has taken or not.
    async fn act_on(&mut self, parts: Vec<NewPart>, taken: &[Taken], changed: &mut BTreeSet<ActionHash>) {
        let mut concluded = Vec::new();
        for (part, taken) in parts.into_iter().zip(taken) {
            match taken {
                Taken::Stored => self.means.metrics.stored(part.body.len()),
                Taken::Known => {}
                Taken::Dropped => self.drop_part(&part, "its command takes no more"),
            }
            let NewPart { action: hash, agent, conclusion, .. } = part;
            changed.insert(hash);
            let Some(Conclusion { state, judged, .. }) = conclusion else { continue };
            if state == State::Refused {
                // With another signature it is brought again, and whoever keeps its refusal does not look at it.
                self.means.relay.send(std::slice::from_ref(&agent), &ToAgent::Taken(hash)).await;
            } else {
                // What is not taken now never will be, so that its agent need not keep it either.
                concluded.push((hash, agent.clone()));
            }
            if let Some(lead) = self.lead.as_mut().filter(|_| *taken != Taken::Dropped) {
                lead.conclude(hash, agent, state, judged).await;
            }
        }
        if !concluded.is_empty() {
            self.receipts.add(concluded, Instant::now());
        }
    }
}
