//! Answers as they arrive: verified, opened, completed with what the desk knows, and handed to the plan's scans.

use std::collections::HashMap;
use std::sync::Arc;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{Final, Frame, Outcome, Part, Reader, Says};
use canvass_protocol::api::Ending;
use canvass_protocol::limits::Limits;
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::target::{self, Target};
use canvass_protocol::value::Truth;
use canvass_tables::frame;
use datafusion::arrow::array::{RecordBatch, StructArray};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::account::{Account, State};
use crate::catalog;
use crate::error::Error;
use crate::exec;
use crate::fleet::{Delivery, Endpoint, Fleet};

/// Where the rows of one scan go.
pub struct Scan {
    /// What the endpoint sends.
    pub answer: Arc<Schema>,
    /// What the plan reads.
    pub planned: SchemaRef,
    pub feed: mpsc::UnboundedSender<RecordBatch>,
    pub target: Target,
    /// For each endpoint asked, whether the desk finds this scan meant for it.
    pub meant_for: Vec<bool>,
}

/// Follows one action to its end.
pub struct Follower {
    account: Arc<Account>,
    agents: HashMap<String, Agent>,
    fleet: String,
    hash: ActionHash,
    scans: Vec<Scan>,
    limits: Limits,
}

struct Agent {
    index: usize,
    host: String,
    facts: StructArray,
    reader: Reader,
    /// What came so far, by scan.
    taken: Vec<Taken>,
    /// A part was not believed, so nothing after it is.
    broken: bool,
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
        asked: &[Endpoint],
        account: Arc<Account>,
        scans: Vec<Scan>,
    ) -> Result<Follower, Error> {
        let mut follower = Follower {
            account,
            agents: HashMap::with_capacity(asked.len()),
            fleet: action.fleet.clone(),
            hash,
            scans,
            limits: action.limits,
        };
        // Of all at once, of which each agent has a row: an array of its own for each costs more than its answer does.
        let facts = facts_of(asked)?;
        for (index, endpoint) in asked.iter().enumerate() {
            follower.expect(index, endpoint, facts.slice(index, 1));
        }
        Ok(follower)
    }

    /// Expects an answer of this endpoint, which has this place in the account; `facts` is its value of column `agent`.
    fn expect(&mut self, index: usize, endpoint: &Endpoint, facts: StructArray) {
        let id = endpoint.facts.id.clone();
        let reader = Reader::new(self.fleet.clone(), self.hash, id.clone());
        let (host, taken) = (endpoint.host.clone(), vec![Taken::default(); self.scans.len()]);
        self.agents.insert(id, Agent { index, host, facts, reader, taken, broken: false });
    }

    /// Expects an endpoint's answer that was not asked at first. Which scans are meant for it the desk finds itself.
    fn join(&mut self, endpoint: &Endpoint) {
        if self.agents.contains_key(&endpoint.facts.id) {
            return;
        }
        for scan in &mut self.scans {
            scan.meant_for.push(is_meant_for(&scan.target, endpoint));
        }
        let index = self.account.add(endpoint.clone());
        match facts_of(std::slice::from_ref(endpoint)) {
            Ok(facts) => self.expect(index, endpoint, facts),
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

    /// Takes deliveries until all have answered, the wait is over, or nobody reads the rows any more.
    pub async fn follow(
        mut self,
        fleet: Arc<dyn Fleet>,
        mut deliveries: mpsc::Receiver<Delivery>,
        until: Option<Instant>,
    ) {
        let feeds: Vec<_> = self.scans.iter().map(|scan| scan.feed.clone()).collect();
        let needless = async move {
            for feed in &feeds {
                feed.closed().await;
            }
        };
        let over = async move {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(needless, over);
        let mut stopped = false;
        loop {
            tokio::select! {
                biased;
                delivery = deliveries.recv() => match delivery {
                    Some(Delivery::Part { agent, part }) => self.part(&agent, &part),
                    Some(Delivery::Silence { agent, reason }) => self.silence(&agent, reason),
                    Some(Delivery::Joined(endpoint)) => self.join(&endpoint),
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
                    fleet.stop().await;
                    stopped = true;
                }
            }
        }
        if stopped {
            self.account.settle(&State::Cancelled);
        }
    }

    fn part(&mut self, id: &str, part: &Part) {
        let Some(agent) = self.agents.get_mut(id) else { return };
        if agent.broken {
            return;
        }
        let index = agent.index;
        match take(agent, &self.scans, &self.limits, part) {
            Ok((rows, last)) => {
                if last.as_ref().is_some_and(|last| matches!(last.outcome, Outcome::Refused(_))) {
                    // A refusal uses up nothing: with more signatures the agent may come to another end, in another run.
                    agent.reader = Reader::new(self.fleet.clone(), self.hash, id.to_owned());
                }
                self.account.update(index, |entry| {
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
                let trouble = format!("the answer is not believed: {reason}");
                self.account.update(index, |entry| entry.troubles.push(trouble));
            }
        }
    }

    fn silence(&mut self, id: &str, reason: String) {
        if let Some(agent) = self.agents.get(id) {
            self.account.update(agent.index, |entry| entry.troubles.push(reason));
        }
    }
}

fn facts_of(endpoints: &[Endpoint]) -> Result<StructArray, Error> {
    catalog::agent_structs(endpoints).map_err(|error| Error::internal(error.to_string()))
}

/// Whether an endpoint is among those a target means, as far as the desk knows.
pub fn is_meant_for(target: &Target, endpoint: &Endpoint) -> bool {
    target.as_ref().is_none_or(|filter| target::evaluate(filter, &endpoint.facts, Some(&endpoint.words)) == Truth::True)
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
/// is one.
fn take(
    agent: &mut Agent,
    scans: &[Scan],
    limits: &Limits,
    part: &Part,
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
        if (record.rows, record.bytes) != (taken.rows, taken.bytes) {
            return Err(format!(
                "its final record counts {} rows of scan {index}, and {} came",
                record.rows, taken.rows
            ));
        }
    }
    Ok(())
}

/// Opens a frame and feeds its rows; returns how many there were.
fn open(agent: &Agent, scans: &[Scan], frame: &Frame, body: &[u8]) -> Result<u64, String> {
    let scan = usize::try_from(frame.scan).ok().and_then(|index| scans.get(index));
    let scan = scan.ok_or_else(|| format!("it has rows of scan {}, which was not asked", frame.scan))?;
    let batch = frame::decode(body, &scan.answer).map_err(|error| error.to_string())?;
    let rows = batch.num_rows() as u64;
    if rows != frame.rows {
        return Err(format!("a frame signed for {} rows has {rows}", frame.rows));
    }
    if !scan.meant_for.get(agent.index).copied().unwrap_or(false) {
        return Ok(0);
    }
    let rows_of_host =
        exec::complete(&batch, &scan.planned, &agent.host, &agent.facts).map_err(|error| error.to_string())?;
    // A plan that has seen enough has dropped its end; `follow` notices.
    let _ = scan.feed.send(rows_of_host);
    Ok(rows)
}

fn close(entry: &mut crate::account::Entry, mut last: Final) {
    last.bound();
    entry.state = match last.outcome {
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
