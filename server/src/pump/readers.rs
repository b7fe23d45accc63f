//! Which parts of answers are stored and counted: those that a desk will believe. A part is held against its agent's
//! signature, the parts before it and what its action allows; rows are the desk's to open, since nothing here reads Arrow.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::thread;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{AnswerError, Counts, Final, Opened, Outcome, Part, Reader, Says, Summary, agent_id};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits::Limits;

use crate::scheduler::State;
use crate::store::{Conclusion, Totals};

/// Actions remembered at once; what is forgotten is read from the store again.
const ACTIONS_MAX: usize = 1024;
/// Answers that one agent has begun and not ended.
const OPEN_MAX: usize = 1024;
/// Answers of one agent whose end is remembered, for parts that come twice.
const FINISHED_MAX: usize = 16;
/// Parts worth a thread of their own to be verified.
const SHARE_MIN: usize = 8;

/// Bytes that an answer may have beside its frames' bodies: a final record with all its troubles, some refusals before it.
const SLACK_BYTES: u64 = 16 << 20;
/// And for each scan: the statements of many small frames.
const SLACK_SCAN_BYTES: u64 = 1 << 20;

/// What is to be done about a part.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is stored where its command has room.
    Take(Take),
    /// It has come before.
    Known,
    /// Parts before it are missing: its agent is to send the answer again, from the first on.
    Again,
    /// No desk believes it.
    Drop(String),
}

/// A part that is to be stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Take {
    pub run: u64,
    /// Bytes that its command may have in all.
    pub room: u64,
    /// For the last part of an answer, what the answer concludes.
    pub conclusion: Option<Conclusion>,
}

/// What the parts of an answer are held against.
#[derive(Debug, Clone, Copy)]
pub struct Allowed {
    scans: usize,
    limits: Limits,
}

impl Allowed {
    /// What an action of the store allows; `None` where it cannot be read.
    pub fn by(envelope: &Envelope) -> Option<Allowed> {
        let action = Action::parse(envelope.payload.as_bytes()).ok()?;
        Some(Allowed { scans: action.scans.len(), limits: action.limits })
    }

    /// Bytes that an agent's answers may have in all, whatever it sends.
    fn room(&self) -> u64 {
        let each = self.limits.bytes.saturating_add(SLACK_SCAN_BYTES);
        each.saturating_mul(self.scans as u64).saturating_add(SLACK_BYTES)
    }
}

/// The answers under way.
pub struct Readers {
    fleet: String,
    /// `None` where the store has no such action.
    actions: HashMap<ActionHash, Option<Allowed>>,
    agents: HashMap<String, OfAgent>,
}

#[derive(Default)]
struct OfAgent {
    open: HashMap<(ActionHash, u64), Answer>,
    /// The latest answers that ended, with the signature of their final record.
    finished: VecDeque<((ActionHash, u64), String)>,
    /// Whether it was made to send an answer again already: who has lost a part does not come again and again.
    called: bool,
}

struct Answer {
    reader: Reader,
    counts: Counts,
    /// A part was not believed, so nothing after it is.
    broken: bool,
}

impl Readers {
    pub fn new(fleet: String) -> Readers {
        Readers { fleet, actions: HashMap::new(), agents: HashMap::new() }
    }

    /// Whether it is known what an action allows.
    pub fn knows(&self, action: ActionHash) -> bool {
        self.actions.contains_key(&action)
    }

    /// What an action allows, as the store has it.
    pub fn learn(&mut self, action: ActionHash, allowed: Option<Allowed>) {
        if self.actions.len() >= ACTIONS_MAX {
            self.actions.clear();
        }
        self.actions.insert(action, allowed);
    }

    /// Forgets how far these agents' answers are: they send them again, from the first part on.
    pub fn forget<'a>(&mut self, agents: impl IntoIterator<Item = &'a String>) {
        for agent in agents {
            if let Some(of_agent) = self.agents.get_mut(agent) {
                of_agent.open.clear();
                of_agent.finished.clear();
            }
        }
    }

    /// Forgets an agent that has left, but not that it was made to send an answer again.
    pub fn leave(&mut self, agent: &str) {
        match self.agents.get_mut(agent) {
            Some(of_agent) if of_agent.called => *of_agent = OfAgent { called: true, ..OfAgent::default() },
            _ => drop(self.agents.remove(agent)),
        }
    }

    /// Gives up an answer of which a part was not stored: nothing after it is believed.
    pub fn give_up(&mut self, agent: &str, action: ActionHash, run: u64) {
        let Some(of_agent) = self.agents.get_mut(agent) else { return };
        let this = (action, run);
        of_agent.finished.retain(|(finished, _)| *finished != this);
        if let Some(answer) = of_agent.open.get_mut(&this) {
            answer.broken = true;
        }
    }

    /// Judges the next part of an agent's answer.
    pub fn judge(
        &mut self,
        agent: &str,
        action: ActionHash,
        judged: usize,
        signature: &str,
        opened: Result<Opened, AnswerError>,
    ) -> Verdict {
        let Some(allowed) = self.actions.get(&action).copied().flatten() else {
            return Verdict::Drop("it is about an action that was not asked".to_owned());
        };
        let of_agent = self.agents.entry(agent.to_owned()).or_default();
        let opened = match opened {
            Ok(opened) => opened,
            // The desk gives the rest of the answer up as well, but only what the agent signed ends its answer here: nobody
            // else can.
            Err(error) => return Verdict::Drop(error.to_string()),
        };
        let statement = &opened.statement;
        if statement.fleet != self.fleet || statement.action != action {
            return Verdict::Drop("it is about something else".to_owned());
        }
        if agent_id(&statement.key).as_deref() != Some(agent) {
            return Verdict::Drop("it is another agent's".to_owned());
        }
        let run = statement.run;
        let this = (action, run);
        if let Some((_, last)) = of_agent.finished.iter().find(|(finished, _)| *finished == this) {
            // Told again that its answer is stored, it forgets it at last.
            let again = *last == signature || matches!(statement.says, Says::Frame(_));
            return if again { Verdict::Known } else { Verdict::Drop(AnswerError::AfterFinal.to_string()) };
        }
        if of_agent.open.len() >= OPEN_MAX && !of_agent.open.contains_key(&this) {
            return Verdict::Drop("it has begun too many answers at once".to_owned());
        }
        let answer = of_agent.open.entry(this).or_insert_with(|| Answer {
            reader: Reader::new(self.fleet.clone(), action, agent.to_owned()).of_run(run),
            counts: Counts::new(allowed.scans, allowed.limits),
            broken: false,
        });
        if answer.broken {
            return Verdict::Drop("a part before it was not believed".to_owned());
        }
        if answer.reader.has_read(&opened) {
            return Verdict::Known;
        }
        match read(answer, opened) {
            Ok(None) => Verdict::Take(Take { run, room: allowed.room(), conclusion: None }),
            Ok(Some(last)) => {
                of_agent.open.remove(&this);
                // After a refusal it may come to another end, with more signatures.
                if !matches!(last.outcome, Outcome::Refused(_)) {
                    of_agent.finished.truncate(FINISHED_MAX - 1);
                    of_agent.finished.push_front((this, signature.to_owned()));
                }
                let conclusion = Some(conclude(*last, judged));
                Verdict::Take(Take { run, room: allowed.room(), conclusion })
            }
            Err(AnswerError::Sequence) if !of_agent.called => {
                of_agent.called = true;
                of_agent.open.remove(&this);
                Verdict::Again
            }
            Err(error) => {
                answer.broken = true;
                Verdict::Drop(error.to_string())
            }
        }
    }
}

fn read(answer: &mut Answer, opened: Opened) -> Result<Option<Box<Final>>, AnswerError> {
    let body_bytes = opened.body_bytes();
    match answer.reader.accept(opened)? {
        Says::Frame(frame) => answer.counts.frame(&frame, body_bytes).map(|()| None),
        Says::Final(last) => {
            last.last.iter().try_for_each(|frame| answer.counts.frame(frame, body_bytes))?;
            answer.counts.last(&last)?;
            Ok(Some(last))
        }
    }
}

/// What the end of an answer says to the server.
fn conclude(last: Final, judged: usize) -> Conclusion {
    let Summary { state, rows, bytes, troubles, reason, code, cut } = last.summary();
    let state = State::parse(state).unwrap_or(State::Failed);
    Conclusion { state, totals: Totals { rows, bytes, troubles }, reason, code, cut, judged }
}

/// Verifies the signatures of many parts, on all cores where there are enough of them.
pub fn open(parts: &[Part]) -> Vec<Result<Opened, AnswerError>> {
    let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let share = parts.len().div_ceil(cores).max(SHARE_MIN);
    if parts.len() <= share {
        return parts.iter().map(Part::open).collect();
    }
    thread::scope(|scope| {
        let open = |parts: &'_ [Part]| parts.iter().map(Part::open).collect::<Vec<_>>();
        let threads: Vec<_> = parts.chunks(share).map(|share| scope.spawn(move || open(share))).collect();
        threads.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}
