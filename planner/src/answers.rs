//! Answers as they arrive: verified, opened, completed with what the desk knows, and handed to the plan's scans.

mod agent;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{Outcome, Part, Reader};
use canvass_protocol::api::Ending;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::target::{Facts, Target};
use datafusion::arrow::array::StructArray;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};

use self::agent::{Agent, Shown, Taken, Unread, close, may_be_meant, release_unsigned, take};
use crate::account::{Account, State};
use crate::error::Error;
use crate::exec::Completing;
use crate::feed::{Feed, Feeds};
use crate::fleet::{Delivery, Endpoint, Fleet};
use crate::{catalog, hosts};

/// Bytes of answers that are held until it is known whose they are and which scans were meant for them; past this the desk
/// judges by what it knows.
const HELD_BYTES_MAX: usize = 256 << 20;

/// How long agents of this program may take to hand over what they found when they are stopped; a little longer than a scan's
/// process is given for it.
const HAND_OVER_WITHIN: Duration = Duration::from_secs(3);
/// How long a server may take to hear that an action is withdrawn, and how soon after it says who had not begun.
const WITHDRAW_WITHIN: Duration = Duration::from_secs(2);
const ENDINGS_WITHIN: Duration = Duration::from_millis(200);
/// Said where the wait was over before agents of this program had answered.
const OVER: &str =
    "the wait is over and the scans were stopped; `--wait 10m`, or SET canvass.wait = 'expire', gives them more time";

/// One scan of the action, and where its rows go.
pub struct Scan {
    /// What the endpoint sends.
    pub answer: Arc<Schema>,
    pub target: Target,
    /// The leaves of the plan that read it: one, but for an action that another version planned.
    pub leaves: Vec<Leaf>,
}

/// A leaf of the plan.
pub struct Leaf {
    /// Makes of answers what the plan reads.
    completing: RefCell<Completing>,
    feed: Feed,
}

impl Leaf {
    /// A leaf that reads rows of this schema, by this way.
    pub fn new(planned: SchemaRef, feed: Feed) -> Leaf {
        Leaf { completing: RefCell::new(Completing::new(planned)), feed }
    }
}

/// An endpoint that was asked.
pub struct Expected {
    pub endpoint: Endpoint,
    pub known: Known,
}

/// What the desk knows of an endpoint before it has answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// How it was when it was asked, and for each scan whether that was meant for it.
    Then(Vec<bool>),
    /// How it is now, which need not be how it was: its final record will tell.
    Now,
    /// Its id alone.
    Nothing,
}

/// Follows one action to its end.
pub struct Follower {
    account: Arc<Account>,
    agents: HashMap<String, Agent>,
    fleet: Arc<dyn Fleet>,
    /// The fleet that the action was asked of, by the name that it had then.
    of: String,
    hash: ActionHash,
    scans: Vec<Scan>,
    /// What the leaves of all scans read.
    feeds: Arc<Feeds>,
    limits: Limits,
    /// Whose each name is that was given to an endpoint.
    names: HashMap<String, String>,
    /// Bytes held of all agents.
    held_bytes: usize,
    held_bytes_max: usize,
    /// From then on no clock lets an agent begin, and whoever has not answered is expired.
    expires: Timestamp,
}

impl Follower {
    /// Follows `action`, whose signed bytes have the hash `hash`.
    pub fn new(
        action: &Action,
        hash: ActionHash,
        expected: Vec<Expected>,
        account: Arc<Account>,
        (scans, feeds): (Vec<Scan>, Arc<Feeds>),
        fleet: Arc<dyn Fleet>,
    ) -> Result<Follower, Error> {
        let mut follower = Follower {
            account,
            agents: HashMap::with_capacity(expected.len()),
            fleet,
            of: action.fleet.clone(),
            hash,
            scans,
            feeds,
            limits: action.limits,
            names: HashMap::new(),
            held_bytes: 0,
            held_bytes_max: HELD_BYTES_MAX,
            expires: expires(action),
        };
        // Of all at once, of which each agent has a row: an array of its own for each costs more than its answer does.
        let (endpoints, known): (Vec<Endpoint>, Vec<Known>) =
            expected.into_iter().map(|expected| (expected.endpoint, expected.known)).unzip();
        let facts = facts_of(&endpoints)?;
        for (index, (endpoint, known)) in endpoints.into_iter().zip(known).enumerate() {
            let listed = !matches!(known, Known::Nothing);
            let shown = match known {
                Known::Then(meant) => Some(Shown { host: endpoint.host.clone(), facts: facts.slice(index, 1), meant }),
                Known::Now | Known::Nothing => None,
            };
            follower.expect(index, endpoint, shown, listed);
        }
        Ok(follower)
    }

    /// Expects an answer of this endpoint, which has this place in the account.
    fn expect(&mut self, index: usize, endpoint: Endpoint, shown: Option<Shown>, listed: bool) {
        let id = endpoint.facts.id.clone();
        if let Some(shown) = &shown {
            self.names.insert(shown.host.clone(), id.clone());
        }
        let reader = Reader::new(self.of.clone(), self.hash, id.clone());
        let taken = vec![Taken::default(); self.scans.len()];
        let agent = Agent { index, endpoint, shown, listed, reader, taken, held: Vec::new(), broken: false };
        self.agents.insert(id, agent);
    }

    /// Expects an endpoint's answer that was not asked at first: the server has found it meant by now, whatever it says of it
    /// later, so its own facts decide.
    fn join(&mut self, endpoint: Endpoint) {
        if self.agents.contains_key(&endpoint.facts.id) {
            return;
        }
        let facts = hosts::as_shown(&endpoint);
        let meant = self.scans.iter().map(|scan| may_be_meant(&scan.target, &facts)).collect();
        drop(facts);
        let index = self.account.add(endpoint.clone());
        match facts_of(std::slice::from_ref(&endpoint)) {
            Ok(facts) => {
                let shown = Shown { host: endpoint.host.clone(), facts, meant };
                self.expect(index, endpoint, Some(shown), true);
            }
            Err(error) => self.account.update(index, |entry| entry.doubt(error.to_string())),
        }
    }

    /// The server gave an agent up; a signed answer that comes all the same counts more.
    fn end(&mut self, id: &str, ending: Ending) {
        let Some(agent) = self.agents.get(id) else { return };
        self.account.update(agent.index, |entry| {
            if entry.state == State::Waiting {
                entry.state = match ending {
                    Ending::Expired => State::Expired,
                    Ending::Cancelled => State::Cancelled,
                };
            }
        });
    }

    /// Takes deliveries until all have answered, the wait is over, following is stopped, or nobody reads the rows any more.
    pub async fn follow(
        mut self,
        fleet: Arc<dyn Fleet>,
        mut deliveries: mpsc::Receiver<Delivery>,
        until: Option<Instant>,
        mut stop: watch::Receiver<bool>,
    ) {
        let feeds = self.feeds.clone();
        let needless = feeds.needless();
        let stop = async move {
            // Whoever could stop it has gone, and will not.
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let over = sleep_until(until);
        let patience = sleep_until(None);
        tokio::pin!(over, stop, patience, needless);
        // Agents that end with this program were told to stop, by a person or by the clock.
        let mut stopped = false;
        loop {
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => {
                    if fleet.outlives_us() {
                        return self.leave(fleet, deliveries).await;
                    }
                    fleet.stop().await;
                    stopped = true;
                    patience.set(sleep_until(Some(Instant::now() + HAND_OVER_WITHIN)));
                }
                // Where the plan has more than it reads, whoever delivers waits.
                delivery = next(&feeds, &mut deliveries) => match delivery {
                    Some(Delivery::Part { agent, part }) => self.part(&agent, &part),
                    Some(Delivery::Silence { agent, reason }) => self.silence(&agent, reason),
                    Some(Delivery::Joined(endpoint)) => self.join(*endpoint),
                    Some(Delivery::Ended { agent, ending }) => self.end(&agent, ending),
                    None => break,
                },
                () = &mut needless => {
                    fleet.stop().await;
                    self.account.settle(&State::Cancelled);
                    break;
                }
                () = &mut over, if !stopped => {
                    if fleet.outlives_us() {
                        break;
                    }
                    // Agents that end with this program are stopped instead, and hand over what they found.
                    self.account.remark(OVER.to_owned());
                    fleet.stop().await;
                    stopped = true;
                    patience.set(sleep_until(Some(Instant::now() + HAND_OVER_WITHIN)));
                }
                () = &mut patience => break,
            }
        }
        self.release_all();
        if stopped {
            self.account.settle_stopped();
        }
        self.expire(Timestamp::now());
    }

    /// Ends the feeds, so that the plan finishes over what came, and withdraws what no agent has begun. Who has begun goes on, and
    /// is waited for by nobody here.
    async fn leave(mut self, fleet: Arc<dyn Fleet>, mut deliveries: mpsc::Receiver<Delivery>) {
        // The plan finishes over what came, and what was held came too.
        self.release_all();
        self.scans.clear();
        let mut withdrawing = Some(tokio::spawn(async move { fleet.stop().await }));
        let patience = sleep_until(Some(Instant::now() + WITHDRAW_WITHIN));
        tokio::pin!(patience);
        let mut open = true;
        loop {
            let withdrawn = async {
                match &mut withdrawing {
                    Some(withdrawing) => drop(withdrawing.await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut patience => break,
                delivery = deliveries.recv(), if open => match delivery {
                    Some(Delivery::Ended { agent, ending }) => self.end(&agent, ending),
                    // Rows that come now would be in the account and not in the result.
                    Some(_) => {}
                    None => open = false,
                },
                () = withdrawn => {
                    withdrawing = None;
                    if !open {
                        break;
                    }
                    patience.set(sleep_until(Some(Instant::now() + ENDINGS_WITHIN)));
                }
            }
        }
        if withdrawing.is_some() {
            self.account.remark("the server has not said yet that the action is withdrawn".to_owned());
        }
    }

    /// Hands over what waits for final records that do not come.
    fn release_all(&mut self) {
        for agent in self.agents.values_mut().filter(|agent| !agent.held.is_empty() && !agent.broken) {
            let doubt = match release_unsigned(agent, &self.scans) {
                Ok(doubt) => doubt.map(str::to_owned),
                Err(reason) => Some(reason),
            };
            self.account.update(agent.index, |entry| doubt.into_iter().for_each(|doubt| entry.doubt(doubt)));
        }
    }

    /// Nobody is waited for once no clock lets an agent begin, whatever the server says of it.
    fn expire(&self, now: Timestamp) {
        if self.expires <= now {
            self.account.settle(&State::Expired);
        }
    }

    fn part(&mut self, id: &str, part: &Part) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.broken {
            return;
        }
        let index = agent.index;
        let (held, knew) = (agent.held_bytes(), agent.shown.is_some());
        let name = |now: Option<&Endpoint>, facts: &Facts| {
            let same = now.filter(|now| now.facts.name == facts.name).map(|now| now.host.clone());
            distinct(&mut self.names, same.unwrap_or_else(|| self.fleet.host_of(facts)), &facts.id)
        };
        let mut doubt = None;
        let mut taken = take(agent, &self.scans, &self.limits, part, name);
        if taken.is_ok() && self.held_bytes - held + agent.held_bytes() > self.held_bytes_max {
            // Rather this than the rows of a whole fleet in memory.
            match release_unsigned(agent, &self.scans) {
                Ok(said) => doubt = said,
                Err(reason) => taken = Err(reason.into()),
            }
        }
        let shown = agent.shown.as_ref().filter(|_| !knew).map(|_| agent.endpoint.clone());
        match taken {
            Ok((rows, last)) => {
                if last.as_ref().is_some_and(|last| matches!(last.outcome, Outcome::Refused(_))) {
                    // A refusal uses up nothing: with more signatures the agent may come to another end, in another run.
                    agent.reader = Reader::new(self.of.clone(), self.hash, id.to_owned());
                }
                self.account.update(index, |entry| {
                    shown.into_iter().for_each(|endpoint| entry.endpoint = endpoint);
                    doubt.into_iter().for_each(|doubt| entry.doubt(doubt.to_owned()));
                    rows.into_iter().for_each(|rows| entry.take(rows));
                    last.into_iter().for_each(|last| close(&self.account, entry, *last));
                });
            }
            Err(Unread::Sealed) => {
                agent.broken = true;
                let reason = Reason::new(Code::Sealed, "the answer is sealed, and this version cannot open it");
                self.account.update(index, |entry| entry.state = State::Failed(reason));
            }
            Err(Unread::Unbelieved(reason)) => {
                agent.broken = true;
                agent.held.clear();
                let trouble = format!("the answer is not believed: {reason}");
                self.account.update(index, |entry| entry.doubt(trouble));
            }
        }
        self.held_bytes = self.held_bytes - held + agent.held_bytes();
    }

    fn silence(&mut self, id: &str, reason: String) {
        if let Some(agent) = self.agents.get(id) {
            self.account.update(agent.index, |entry| entry.doubt(reason));
        }
    }
}

/// The next delivery, once the plan wants more rows; nothing is lost where nobody waits to the end.
async fn next(feeds: &Feeds, deliveries: &mut mpsc::Receiver<Delivery>) -> Option<Delivery> {
    feeds.room().await;
    deliveries.recv().await
}

/// Sleeps until then; where there is no such moment, for ever.
async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

fn expires(action: &Action) -> Timestamp {
    let skew = SignedDuration::from_secs(limits::CLOCK_SKEW_S);
    action.window.until.saturating_add(skew).unwrap_or(Timestamp::MAX)
}

fn facts_of(endpoints: &[Endpoint]) -> Result<StructArray, Error> {
    catalog::agent_structs(endpoints).map_err(|error| Error::internal(error.to_string()))
}

/// A name that no other endpoint of this action has.
fn distinct(names: &mut HashMap<String, String>, host: String, id: &str) -> String {
    match names.get(&host) {
        Some(other) if other != id => format!("{host}#{}", id.get(..8).unwrap_or(id)),
        _ => {
            names.insert(host.clone(), id.to_owned());
            host
        }
    }
}

#[cfg(test)]
mod tests;
