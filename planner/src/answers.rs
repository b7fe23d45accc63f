//! Answers as they arrive: verified, opened, completed with what the desk knows, and handed to the plan's scans.

use std::collections::HashMap;
use std::sync::Arc;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{Final, Frame, Outcome, Part, Reader, Says};
use canvass_protocol::api::Ending;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::target::{self, Facts, Target};
use canvass_protocol::value::Truth;
use canvass_tables::frame;
use datafusion::arrow::array::{RecordBatch, StructArray};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};

use crate::account::{Account, State};
use crate::error::Error;
use crate::fleet::{Delivery, Endpoint, Fleet};
use crate::{catalog, exec, hosts};

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
    /// What the plan reads.
    pub planned: SchemaRef,
    pub feed: mpsc::UnboundedSender<RecordBatch>,
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
    limits: Limits,
    /// Whose each name is that was given to an endpoint.
    names: HashMap<String, String>,
    /// Bytes held of all agents.
    held_bytes: usize,
    held_bytes_max: usize,
    /// From then on no clock lets an agent begin, and whoever has not answered is expired.
    expires: Timestamp,
}

struct Agent {
    index: usize,
    endpoint: Endpoint,
    /// How its rows are completed; none until its final record tells.
    shown: Option<Shown>,
    /// Whether the inventory knows it.
    listed: bool,
    reader: Reader,
    /// What came so far, by scan.
    taken: Vec<Taken>,
    /// Frames of a scan that wait for the final record.
    held: Vec<(usize, Vec<u8>)>,
    /// A part was not believed, so nothing after it is.
    broken: bool,
}

/// An endpoint as its rows show it, and the scans whose rows count.
struct Shown {
    host: String,
    facts: StructArray,
    meant: Vec<bool>,
}

/// What came of one scan.
#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    rows: u64,
    bytes: u64,
}

impl Follower {
    /// Follows `action`, whose signed bytes have the hash `hash`.
    pub fn new(
        action: &Action,
        hash: ActionHash,
        expected: Vec<Expected>,
        account: Arc<Account>,
        scans: Vec<Scan>,
        fleet: Arc<dyn Fleet>,
    ) -> Result<Follower, Error> {
        let mut follower = Follower {
            account,
            agents: HashMap::with_capacity(expected.len()),
            fleet,
            of: action.fleet.clone(),
            hash,
            scans,
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
            Err(error) => self.account.update(index, |entry| entry.troubles.push(error.to_string())),
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
        let leaves = self.scans.iter().flat_map(|scan| &scan.leaves);
        let feeds: Vec<_> = leaves.map(|leaf| leaf.feed.clone()).collect();
        let mut needless = Box::pin(async move {
            for feed in &feeds {
                feed.closed().await;
            }
        });
        let stop = async move {
            // Whoever could stop it has gone, and will not.
            if stop.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let over = sleep_until(until);
        let patience = sleep_until(None);
        tokio::pin!(over, stop, patience);
        // Agents that end with this program were told to stop, by a person or by the clock.
        let mut stopped = false;
        loop {
            tokio::select! {
                biased;
                () = &mut stop, if !stopped => {
                    if fleet.outlives_us() {
                        // The feeds' other ends close once all of these are gone.
                        drop(needless);
                        return self.leave(fleet, deliveries).await;
                    }
                    fleet.stop().await;
                    stopped = true;
                    patience.set(sleep_until(Some(Instant::now() + HAND_OVER_WITHIN)));
                }
                delivery = deliveries.recv() => match delivery {
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
            self.account.update(agent.index, |entry| entry.troubles.extend(doubt));
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
                    entry.troubles.extend(doubt.map(str::to_owned));
                    rows.into_iter().for_each(|rows| entry.take(rows));
                    last.into_iter().for_each(|last| close(entry, *last));
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
                self.account.update(index, |entry| entry.troubles.push(trouble));
            }
        }
        self.held_bytes = self.held_bytes - held + agent.held_bytes();
    }

    fn silence(&mut self, id: &str, reason: String) {
        if let Some(agent) = self.agents.get(id) {
            self.account.update(agent.index, |entry| entry.troubles.push(reason));
        }
    }
}

impl Agent {
    fn held_bytes(&self) -> usize {
        self.held.iter().map(|(_, body)| body.len()).sum()
    }
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

/// Whether a target may mean an agent with these facts: what the server says of it may be anything.
fn may_be_meant(target: &Target, facts: &Facts) -> bool {
    target.as_ref().is_none_or(|filter| target::evaluate(filter, facts, None) != Truth::False)
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

/// Judges an agent by the facts that its final record signed.
fn judge_by_final(agent: &mut Agent, scans: &[Scan], last: &Final, facts: &Facts, host: String) -> Result<(), String> {
    let was_asked = |index: usize| last.scans.get(index).is_none_or(|record| record.asked);
    let meant =
        scans.iter().enumerate().map(|(index, scan)| was_asked(index) && may_be_meant(&scan.target, facts)).collect();
    agent.endpoint = Endpoint { host: host.clone(), facts: facts.clone().into(), words: agent.endpoint.words.clone() };
    let facts = catalog::signed_struct(&agent.endpoint).map_err(|error| error.to_string())?;
    agent.shown = Some(Shown { host, facts, meant });
    Ok(())
}

/// Judges an agent by what the desk knows of it, for want of a final record, and feeds what waited; says what it had to leave
/// out.
fn release_unsigned(agent: &mut Agent, scans: &[Scan]) -> Result<Option<&'static str>, String> {
    let endpoint = &agent.endpoint;
    let (facts, meant): (_, Vec<bool>) = if agent.listed {
        let facts = hosts::as_shown(endpoint);
        (catalog::signed_struct(endpoint), scans.iter().map(|scan| may_be_meant(&scan.target, &facts)).collect())
    } else {
        let on_facts = |scan: &Scan| scan.target.as_ref().is_some_and(hosts::is_about_own_facts);
        (catalog::unknown_struct(&endpoint.facts.id), scans.iter().map(|scan| !on_facts(scan)).collect())
    };
    let facts = facts.map_err(|error| error.to_string())?;
    let left_out = agent.held.iter().any(|(scan, _)| !meant[*scan]);
    agent.shown = Some(Shown { host: endpoint.host.clone(), facts, meant });
    release(agent, scans)?;
    let doubt = "rows are left out: without its final record nobody knows whether they were asked of it";
    Ok((left_out && !agent.listed).then_some(doubt))
}

/// Feeds what waited until it was known whose it is.
fn release(agent: &mut Agent, scans: &[Scan]) -> Result<(), String> {
    for (scan, body) in std::mem::take(&mut agent.held) {
        let batch = frame::decode(&body, &scans[scan].answer).map_err(|error| error.to_string())?;
        feed(agent, scans, scan, &batch)?;
    }
    Ok(())
}

/// Why a part gives no rows.
enum Unread {
    /// It is verified, and encrypted for whoever can open it.
    Sealed,
    Unbelieved(String),
}

impl From<String> for Unread {
    fn from(reason: String) -> Unread {
        Unread::Unbelieved(reason)
    }
}

/// Verifies a part and feeds its rows; returns how many there were, where it carries a frame, and the final record, where it
/// is one. `name` finds the name under which an agent with these facts is shown, whatever it is now.
fn take(
    agent: &mut Agent,
    scans: &[Scan],
    limits: &Limits,
    part: &Part,
    name: impl FnOnce(Option<&Endpoint>, &Facts) -> String,
) -> Result<(Option<u64>, Option<Box<Final>>), Unread> {
    let (frame, last) = match agent.reader.read(part).map_err(|error| error.to_string())? {
        Says::Frame(frame) => (Some(frame), None),
        Says::Final(mut last) => (last.last.take(), Some(last)),
    };
    if let Some(frame) = &frame {
        count(agent, limits, frame, &part.body)?;
    }
    if frame.as_ref().is_some_and(|frame| frame.seal.is_some()) {
        return Err(Unread::Sealed);
    }
    if let Some(last) = &last {
        check_totals(&agent.taken, last)?;
        if let (None, Some(facts)) = (&agent.shown, &last.facts) {
            let host = name(Some(&agent.endpoint).filter(|_| agent.listed), facts);
            judge_by_final(agent, scans, last, facts, host)?;
            release(agent, scans)?;
        }
    }
    let rows = frame.map(|frame| open(agent, scans, &frame, &part.body)).transpose()?;
    Ok((rows, last))
}

/// Counts a frame before it is opened: what the action does not allow is not held in memory for long.
fn count(agent: &mut Agent, limits: &Limits, frame: &Frame, body: &[u8]) -> Result<(), String> {
    let taken = usize::try_from(frame.scan).ok().and_then(|index| agent.taken.get_mut(index));
    let taken = taken.ok_or_else(|| format!("it has rows of scan {}, which was not asked", frame.scan))?;
    taken.rows = taken.rows.saturating_add(frame.rows);
    taken.bytes = taken.bytes.saturating_add(body.len() as u64);
    if taken.rows > limits.rows || taken.bytes > limits.bytes {
        return Err(format!("scan {} gives more than the action allows", frame.scan));
    }
    Ok(())
}

/// Checks that the final record speaks of what came.
fn check_totals(taken: &[Taken], last: &Final) -> Result<(), String> {
    if last.outcome != Outcome::Answered {
        return Ok(());
    }
    if last.scans.len() != taken.len() {
        return Err(format!("its final record is of {} scans, and {} were asked", last.scans.len(), taken.len()));
    }
    for (index, (record, taken)) in last.scans.iter().zip(taken).enumerate() {
        if !record.asked && record.rows > 0 {
            return Err(format!("its final record has rows of scan {index}, and says that it was not meant for it"));
        }
        if (record.rows, record.bytes) != (taken.rows, taken.bytes) {
            return Err(format!(
                "its final record counts {} rows of scan {index}, and {} came",
                record.rows, taken.rows
            ));
        }
    }
    Ok(())
}

/// Opens a frame, and feeds its rows or holds them; returns how many there were.
fn open(agent: &mut Agent, scans: &[Scan], frame: &Frame, body: &[u8]) -> Result<u64, String> {
    let index = usize::try_from(frame.scan).ok().filter(|index| *index < scans.len());
    let index = index.ok_or_else(|| format!("it has rows of scan {}, which was not asked", frame.scan))?;
    let scan = &scans[index];
    if scan.leaves.is_empty() {
        return Ok(frame.rows);
    }
    let batch = frame::decode(body, &scan.answer).map_err(|error| error.to_string())?;
    let rows = batch.num_rows() as u64;
    if rows != frame.rows {
        return Err(format!("a frame signed for {} rows has {rows}", frame.rows));
    }
    if agent.shown.is_some() {
        feed(agent, scans, index, &batch)?;
    } else {
        // As it came: that is the least it can take.
        agent.held.push((index, body.to_vec()));
    }
    Ok(rows)
}

/// Completes rows and feeds them to those who read the scan, where it was meant for the agent.
fn feed(agent: &Agent, scans: &[Scan], index: usize, batch: &RecordBatch) -> Result<(), String> {
    let Some(shown) = agent.shown.as_ref().filter(|shown| shown.meant.get(index).copied().unwrap_or(false)) else {
        return Ok(());
    };
    for leaf in &scans[index].leaves {
        let rows =
            exec::complete(batch, &leaf.planned, &shown.host, &shown.facts).map_err(|error| error.to_string())?;
        // A plan that has seen enough has dropped its end; `follow` notices.
        let _ = leaf.feed.send(rows);
    }
    Ok(())
}

fn close(entry: &mut crate::account::Entry, mut last: Final) {
    last.bound();
    entry.state = match last.outcome {
        outcome if outcome.is_withdrawn() => State::Cancelled,
        Outcome::Answered => State::Answered,
        Outcome::Failed(reason) => State::Failed(reason),
        Outcome::Refused(reason) => State::Refused(reason),
        Outcome::Interrupted => State::Interrupted,
    };
    if last.sealed.is_some() {
        entry.troubles.push("what went wrong is sealed, and this version cannot open it".to_owned());
    }
    entry.scans = last.scans;
}

#[cfg(test)]
mod tests;
