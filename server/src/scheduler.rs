//! Which agent is brought which action, and what became of it: a pure state machine, event in, effects out.
//!
//! It knows no clock, no store and no relay. It holds the actions whose window is open and the agents that were heard;
//! whoever drives it carries out the effects in their order, and feeds it again from the store after a restart.

#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use canvass_protocol::action::ActionHash;
use canvass_protocol::target::{Facts, ServerWords, Targets};
use canvass_protocol::value::Truth;
use jiff::Timestamp;

/// How often an action is brought on one line to an agent that refuses it with fewer signatures than it was given.
const AGAIN_MAX: usize = 2;

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nobody could be given it yet.
    Waiting,
    /// Given to the relay; it counts as waiting in every sum.
    Sent,
    Answered,
    Failed,
    Refused,
    Interrupted,
    Expired,
    Cancelled,
}

impl State {
    pub const ALL: [State; 8] = [
        State::Waiting,
        State::Sent,
        State::Answered,
        State::Failed,
        State::Refused,
        State::Interrupted,
        State::Expired,
        State::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Sent => "sent",
            State::Answered => "answered",
            State::Failed => "failed",
            State::Refused => "refused",
            State::Interrupted => "interrupted",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
        }
    }

    pub fn parse(word: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether an agent's word is waited for.
    pub fn is_open(self) -> bool {
        matches!(self, State::Waiting | State::Sent)
    }

    /// Whether it is an agent's last word for good: nothing of its answer is stored behind it.
    pub fn is_final(self) -> bool {
        matches!(self, State::Answered | State::Failed | State::Interrupted)
    }

    /// Whether an agent's word counts when it comes: what the server ended for want of one, and a refusal, which uses up
    /// nothing, give way to it.
    pub fn gives_way(self) -> bool {
        !self.is_final()
    }
}

/// What the scheduler has to know of an action.
#[derive(Debug, Clone)]
pub struct Posted {
    pub hash: ActionHash,
    pub targets: Targets,
    pub signatures: usize,
    /// The end of the window: nobody is brought it later.
    pub until: Timestamp,
    /// By then no clock that an agent may have lets it begin any more: who has not answered is expired. Its own word counts
    /// however late it comes.
    pub answers_until: Timestamp,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// An action was let in, for these agents.
    Posted { action: Posted, agents: Vec<String> },
    /// An action of before a restart, with its commands as they stood.
    Restored { action: Posted, withdrawn: bool, commands: Vec<(String, State)> },
    /// An admitted agent said what it is.
    Heard { facts: Box<Facts>, words: ServerWords },
    /// The relay can reach an agent from now on.
    Present { agent: String },
    /// The relay can reach it no more.
    Gone { agent: String },
    /// An agent was taken out of the fleet.
    Removed { agent: String },
    /// An agent's last word on an action is stored: answered, failed, refused, interrupted, or cancelled where it was
    /// withdrawn before it began there. It was judged with so many signatures.
    Concluded { hash: ActionHash, agent: String, state: State, judged: usize },
    /// An action has so many signatures now.
    Cosigned { hash: ActionHash, signatures: usize },
    /// An investigator withdrew an action.
    Withdrawn { hash: ActionHash },
    /// Time went by.
    Now(Timestamp),
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Commands are to be written for agents that an action came to mean.
    Ask { hash: ActionHash, agents: Vec<String> },
    /// The relay is to bring an action to these agents, and their commands are sent.
    Send { hash: ActionHash, agents: Vec<String> },
    /// The relay is to tell these agents that an action was withdrawn: they may have begun it.
    Stop { hash: ActionHash, agents: Vec<String> },
    /// These commands, which agents refused, are to be written down as waiting again.
    Reopen { hash: ActionHash, agents: Vec<String> },
    /// These commands are to be written down as ended.
    Settle { hash: ActionHash, agents: Vec<String>, state: State },
    /// No command of the action is open and none will be added.
    Close { hash: ActionHash },
}

impl Effect {
    /// The action that it is about.
    pub fn hash(&self) -> ActionHash {
        match self {
            Effect::Ask { hash, .. }
            | Effect::Send { hash, .. }
            | Effect::Stop { hash, .. }
            | Effect::Reopen { hash, .. }
            | Effect::Settle { hash, .. }
            | Effect::Close { hash } => *hash,
        }
    }
}

/// The state machine.
#[derive(Debug, Default)]
pub struct Scheduler {
    actions: BTreeMap<ActionHash, Open>,
    present: BTreeSet<String>,
    /// The latest time that was told.
    now: Option<Timestamp>,
}

/// An action that agents may still be brought or still answer.
#[derive(Debug)]
struct Open {
    targets: Targets,
    until: Timestamp,
    answers_until: Timestamp,
    commands: HashMap<String, Command>,
    progress: Progress,
    withdrawn: bool,
    /// The window has closed.
    over: bool,
    signatures: usize,
}

/// What became of an action at one agent.
#[derive(Debug, Clone, Copy)]
struct Command {
    state: State,
    /// With how many signatures the agent refused it last, by its own word.
    judged: usize,
    /// How often it was brought once more with so many signatures, because the agent said that it had judged fewer.
    again: usize,
    again_with: usize,
}

/// How far an action is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    pub asked: usize,
    pub waiting: usize,
    pub sent: usize,
    /// Expired or cancelled, by the server's word.
    pub ended: usize,
}

impl Progress {
    /// Whether all have answered, or nobody waits for them any more.
    pub fn is_complete(self) -> bool {
        self.waiting + self.sent == 0
    }

    /// Those whose agents have said their last word.
    pub fn concluded(&self) -> usize {
        self.asked - self.waiting - self.sent - self.ended
    }

    /// How far an action is whose commands are in these states, so many in each.
    pub fn of(counts: impl IntoIterator<Item = (State, usize)>) -> Progress {
        let mut progress = Progress::default();
        for (state, count) in counts {
            progress.asked += count;
            progress.part(state).into_iter().for_each(|part| *part += count);
        }
        progress
    }

    fn part(&mut self, state: State) -> Option<&mut usize> {
        match state {
            State::Waiting => Some(&mut self.waiting),
            State::Sent => Some(&mut self.sent),
            State::Expired | State::Cancelled => Some(&mut self.ended),
            State::Answered | State::Failed | State::Refused | State::Interrupted => None,
        }
    }
}

impl Open {
    fn new(action: &Posted, commands: Vec<(String, State)>, withdrawn: bool, over: bool) -> Open {
        let mut open = Open {
            targets: action.targets.clone(),
            until: action.until,
            answers_until: action.answers_until,
            commands: HashMap::with_capacity(commands.len()),
            progress: Progress::default(),
            withdrawn,
            over,
            signatures: action.signatures,
        };
        commands.into_iter().for_each(|(agent, state)| open.set(agent, state));
        open
    }

    fn set(&mut self, agent: String, state: State) {
        match self.commands.entry(agent) {
            Entry::Vacant(new) => {
                new.insert(Command { state, judged: 0, again: 0, again_with: 0 });
                self.progress.asked += 1;
            }
            Entry::Occupied(mut known) => {
                let before = std::mem::replace(&mut known.get_mut().state, state);
                self.progress.part(before).into_iter().for_each(|count| *count -= 1);
            }
        }
        self.progress.part(state).into_iter().for_each(|count| *count += 1);
    }

    fn state(&self, agent: &str) -> Option<State> {
        self.commands.get(agent).map(|command| command.state)
    }

    fn open_agents(&self) -> Vec<String> {
        let open = self.commands.iter().filter(|(_, command)| command.state.is_open());
        let mut agents: Vec<String> = open.map(|(agent, _)| agent.clone()).collect();
        agents.sort_unstable();
        agents
    }

    /// Takes an agent's last word where it counts; whether it refused the action as it was before, and is brought it as it
    /// is now.
    ///
    /// How many signatures it judged is the agent's own number. It is believed a few times on each line, for each number of
    /// signatures: a refusal may be late, and said twice, but an agent is not brought an action for ever.
    fn conclude(&mut self, agent: &str, state: State, judged: usize) -> bool {
        let signatures = self.signatures;
        let Some(command) = self.commands.get_mut(agent).filter(|command| command.state.gives_way()) else {
            return false;
        };
        if command.again_with < signatures {
            (command.again, command.again_with) = (0, signatures);
        }
        let again = state == State::Refused && judged < signatures && command.again < AGAIN_MAX;
        command.judged = judged;
        command.again += usize::from(again);
        self.set(agent.to_owned(), state);
        again
    }

    /// An agent has come; whether it has refused the action as it was before.
    fn come(&mut self, agent: &str) -> bool {
        let signatures = self.signatures;
        self.commands.get_mut(agent).is_some_and(|command| {
            command.again = 0;
            command.state == State::Refused && command.judged < signatures
        })
    }
}

impl Scheduler {
    /// When time is to be told next: where a window closes, or an answer is late.
    pub fn wake_at(&self) -> Option<Timestamp> {
        let next = |open: &Open| if open.over { open.answers_until } else { open.until };
        self.actions.values().map(next).min()
    }

    /// How far an action is whose window is open, or whose answers are not late yet.
    pub fn progress(&self, hash: ActionHash) -> Option<Progress> {
        self.actions.get(&hash).map(|open| open.progress)
    }

    /// Takes an event and says what is to be done, in this order.
    pub fn on(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Posted { action, agents } => {
                let commands = agents.into_iter().map(|agent| (agent, State::Waiting)).collect();
                self.begin(&action, commands, false, &mut effects);
            }
            Event::Restored { action, withdrawn, commands } => {
                self.begin(&action, commands, withdrawn, &mut effects);
            }
            Event::Heard { facts, words } => self.heard(&facts, &words, &mut effects),
            Event::Present { agent } => {
                self.present.insert(agent.clone());
                for (hash, open) in &mut self.actions {
                    if open.come(&agent) {
                        reopen(*hash, open, vec![agent.clone()], &self.present, &mut effects);
                    } else if open.state(&agent).is_some_and(State::is_open) {
                        reach(*hash, open, vec![agent.clone()], &mut effects);
                    }
                }
            }
            Event::Gone { agent } => {
                self.present.remove(&agent);
            }
            Event::Removed { agent } => self.remove(&agent, &mut effects),
            Event::Concluded { hash, agent, state, judged } => {
                // The store has it with the answer.
                if let Some(open) = self.actions.get_mut(&hash)
                    && open.conclude(&agent, state, judged)
                {
                    reopen(hash, open, vec![agent], &self.present, &mut effects);
                }
            }
            Event::Cosigned { hash, signatures } => self.cosigned(hash, signatures, &mut effects),
            Event::Withdrawn { hash } => self.withdraw(hash, &mut effects),
            Event::Now(now) => self.expire(now, &mut effects),
        }
        effects
    }

    fn begin(&mut self, action: &Posted, commands: Vec<(String, State)>, withdrawn: bool, effects: &mut Vec<Effect>) {
        let hash = action.hash;
        let over = self.now.is_some_and(|now| action.until <= now);
        // Posting twice is posting once.
        let open = self.actions.entry(hash).or_insert_with(|| Open::new(action, commands, withdrawn, over));
        let agents = open.open_agents().into_iter().filter(|agent| self.present.contains(agent)).collect();
        reach(hash, open, agents, effects);
    }

    /// Adds the agent to actions that mean it and have no command for it: it enrolled or woke since they were posted.
    fn heard(&mut self, facts: &Facts, words: &ServerWords, effects: &mut Vec<Effect>) {
        for (hash, open) in &mut self.actions {
            let meant = !open.withdrawn
                && !open.over
                && !open.commands.contains_key(&facts.id)
                && open.targets.any(facts, Some(words)) == Truth::True;
            if meant {
                open.set(facts.id.clone(), State::Waiting);
                effects.push(Effect::Ask { hash: *hash, agents: vec![facts.id.clone()] });
                if self.present.contains(&facts.id) {
                    reach(*hash, open, vec![facts.id.clone()], effects);
                }
            }
        }
    }

    /// Nobody waits for it any more.
    fn remove(&mut self, agent: &str, effects: &mut Vec<Effect>) {
        self.present.remove(agent);
        for (hash, open) in &mut self.actions {
            if open.state(agent).is_some_and(State::is_open) {
                open.set(agent.to_owned(), State::Cancelled);
                effects.push(Effect::Settle { hash: *hash, agents: vec![agent.to_owned()], state: State::Cancelled });
            }
        }
    }

    /// Agents that refused may think otherwise now. Those that were given it before and have not answered say what they
    /// judged.
    fn cosigned(&mut self, hash: ActionHash, signatures: usize, effects: &mut Vec<Effect>) {
        let Some(open) = self.actions.get_mut(&hash) else { return };
        open.signatures = open.signatures.max(signatures);
        let refused = open.commands.iter().filter(|(_, command)| command.state == State::Refused);
        let mut refused: Vec<String> = refused.map(|(agent, _)| agent.clone()).collect();
        refused.sort_unstable();
        reopen(hash, open, refused, &self.present, effects);
    }

    /// What no agent was given is cancelled; those who were given it answer: that they had not begun, or what they found.
    fn withdraw(&mut self, hash: ActionHash, effects: &mut Vec<Effect>) {
        let Some(open) = self.actions.get_mut(&hash) else { return };
        open.withdrawn = true;
        let (mut waiting, mut sent) = (Vec::new(), Vec::new());
        for agent in open.open_agents() {
            if open.state(&agent) == Some(State::Sent) {
                sent.push(agent);
            } else {
                open.set(agent.clone(), State::Cancelled);
                waiting.push(agent);
            }
        }
        if !waiting.is_empty() {
            effects.push(Effect::Settle { hash, agents: waiting, state: State::Cancelled });
        }
        if !sent.is_empty() {
            effects.push(Effect::Stop { hash, agents: sent });
        }
    }

    /// Nobody is brought an action after its window, and nobody is waited for once no clock lets it begin.
    fn expire(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.now = Some(now);
        for (hash, open) in &mut self.actions {
            open.over |= open.until <= now;
            let late = |state: State| match state {
                State::Waiting => open.until <= now,
                State::Sent => open.answers_until <= now,
                _ => false,
            };
            let is_late = |agent: &String| open.state(agent).is_some_and(late);
            let agents: Vec<String> = open.open_agents().into_iter().filter(is_late).collect();
            if !agents.is_empty() {
                let state = if open.withdrawn { State::Cancelled } else { State::Expired };
                agents.iter().for_each(|agent| open.set(agent.clone(), state));
                effects.push(Effect::Settle { hash: *hash, agents, state });
            }
        }
        self.actions.retain(|hash, open| {
            let over = open.answers_until <= now || open.until <= now && open.open_agents().is_empty();
            if over {
                effects.push(Effect::Close { hash: *hash });
            }
            !over
        });
    }
}

/// Opens commands again that agents refused, and brings the action to those who can be reached.
fn reopen(
    hash: ActionHash,
    open: &mut Open,
    agents: Vec<String>,
    present: &BTreeSet<String>,
    effects: &mut Vec<Effect>,
) {
    if open.withdrawn || open.over || agents.is_empty() {
        return;
    }
    agents.iter().for_each(|agent| open.set(agent.clone(), State::Waiting));
    effects.push(Effect::Reopen { hash, agents: agents.clone() });
    reach(hash, open, agents.into_iter().filter(|agent| present.contains(agent)).collect(), effects);
}

/// Brings an action to agents that can be reached, or the word that it was withdrawn.
fn reach(hash: ActionHash, open: &mut Open, agents: Vec<String>, effects: &mut Vec<Effect>) {
    if agents.is_empty() {
        return;
    }
    if open.withdrawn {
        effects.push(Effect::Stop { hash, agents });
        return;
    }
    if open.over {
        return;
    }
    for agent in &agents {
        open.set(agent.clone(), State::Sent);
    }
    effects.push(Effect::Send { hash, agents });
}
