//! The scheduler under seeds: messages are lost, late, doubled and reordered, agents come and go, the server restarts,
//! and in the end every agent asked is in one state that is true.

use std::collections::{BTreeMap, BTreeSet};

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::target::{Status, Target};
use canvass_protocol::value::Value;
use jiff::SignedDuration;

use super::*;

mod stories;

/// Numbers from a seed (splitmix64): the same seed, the same story.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }

    fn choose<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        let count = u64::try_from(of.len()).ok().filter(|count| *count > 0)?;
        of.get(usize::try_from(self.roll(count)).ok()?).cloned()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn facts(agent: &str) -> Facts {
    Facts {
        os: if agent.ends_with('0') { "darwin" } else { "linux" }.to_owned(),
        arch: "x86_64".to_owned(),
        version: "1".to_owned(),
        started_at: at(0),
        ..Facts::of(agent, agent)
    }
}

fn heard(agent: &str, now: Timestamp) -> Event {
    let words = ServerWords { status: Status::Online, heartbeat_at: now, public_ip: None };
    Event::Heard { facts: Box::new(facts(agent)), words }
}

fn targets(target: &Target) -> Targets {
    Targets::one(target).unwrap()
}

fn linux() -> Target {
    Some(Filter::test("os", Is::Equal(Value::Text("linux".into()))))
}

/// What an agent remembers: its journal, and answers that the server has not taken.
#[derive(Default)]
struct Endpoint {
    connected: bool,
    ran: BTreeMap<ActionHash, u32>,
    /// What has begun and not ended, how it will end, and with how many signatures it was judged.
    running: BTreeMap<ActionHash, (State, usize)>,
    withdrawn: BTreeSet<ActionHash>,
    spool: BTreeMap<ActionHash, (State, usize)>,
}

enum Message {
    /// With so many signatures.
    Command(ActionHash, usize),
    Stop(ActionHash),
    /// With what was judged.
    Answer(ActionHash, State, usize),
    /// Of which of its answers: a line is in order, so that of a refusal comes before the action is brought again.
    Taken(ActionHash, State),
}

/// A fleet, its store, and the messages between them.
struct World {
    dice: Dice,
    now: i64,
    scheduler: Scheduler,
    /// With how many signatures an answer was judged that is the latest.
    refusals: BTreeMap<(ActionHash, String), usize>,
    /// Signatures that each action has, and that agents ask for.
    signatures: BTreeMap<ActionHash, (usize, usize)>,
    /// The store: actions as posted, and their commands.
    actions: BTreeMap<ActionHash, (Posted, bool, bool)>,
    commands: BTreeMap<(ActionHash, String), State>,
    endpoints: BTreeMap<String, Endpoint>,
    flying: Vec<(String, Message)>,
}

impl World {
    fn new(seed: u64) -> World {
        let endpoints = (0..12).map(|number| (format!("agent-{number}"), Endpoint::default())).collect();
        World {
            dice: Dice(seed),
            now: 0,
            scheduler: Scheduler::default(),
            refusals: BTreeMap::new(),
            signatures: BTreeMap::new(),
            actions: BTreeMap::new(),
            commands: BTreeMap::new(),
            endpoints,
            flying: Vec::new(),
        }
    }

    fn feed(&mut self, event: Event) {
        for effect in self.scheduler.on(event) {
            match effect {
                Effect::Ask { hash, agents } => {
                    for agent in agents {
                        let before = self.commands.insert((hash, agent), State::Waiting);
                        assert_eq!(before, None, "an agent is asked once");
                    }
                }
                Effect::Send { hash, agents } => {
                    for agent in agents {
                        let state = self.commands.get_mut(&(hash, agent.clone())).expect("commands are written first");
                        assert!(state.is_open(), "what has ended is not sent");
                        *state = State::Sent;
                        self.fly(&agent, Message::Command(hash, self.signatures[&hash].0));
                    }
                }
                Effect::Stop { hash, agents } => {
                    for agent in agents {
                        self.fly(&agent, Message::Stop(hash));
                    }
                }
                Effect::Reopen { hash, agents } => {
                    for agent in agents {
                        let state = self.commands.get_mut(&(hash, agent)).expect("it was asked");
                        assert_eq!(*state, State::Refused);
                        *state = State::Waiting;
                    }
                }
                Effect::Settle { hash, agents, state } => {
                    for agent in agents {
                        let known = self.commands.get_mut(&(hash, agent)).expect("it was asked");
                        if known.is_open() {
                            *known = state;
                        }
                    }
                }
                Effect::Close { hash } => {
                    if let Some((_, _, closed)) = self.actions.get_mut(&hash) {
                        *closed = true;
                    }
                }
            }
        }
    }

    /// What the scheduler counts is what the store holds.
    fn check_progress(&self) {
        for hash in self.actions.keys() {
            let Some(progress) = self.scheduler.progress(*hash) else { continue };
            let states = || self.commands.iter().filter(|((action, _), _)| action == hash).map(|(_, state)| *state);
            let count = |wanted: State| states().filter(|state| *state == wanted).count();
            let expected = Progress {
                asked: states().count(),
                waiting: count(State::Waiting),
                sent: count(State::Sent),
                ended: count(State::Expired) + count(State::Cancelled),
            };
            assert_eq!(progress, expected);
        }
    }

    /// A message leaves; on its way it may be lost, and it may come twice.
    fn fly(&mut self, agent: &str, message: Message) {
        if self.dice.chance(20) {
            return;
        }
        if self.dice.chance(10) {
            let copy = match &message {
                Message::Command(hash, signatures) => Message::Command(*hash, *signatures),
                Message::Stop(hash) => Message::Stop(*hash),
                Message::Answer(hash, state, judged) => Message::Answer(*hash, *state, *judged),
                Message::Taken(hash, state) => Message::Taken(*hash, *state),
            };
            self.flying.push((agent.to_owned(), copy));
        }
        self.flying.push((agent.to_owned(), message));
    }

    fn arrive(&mut self) {
        if self.flying.is_empty() {
            return;
        }
        let number = usize::try_from(self.dice.roll(self.flying.len() as u64)).unwrap();
        let (agent, message) = self.flying.swap_remove(number);
        let until = |world: &World, hash: &ActionHash| world.actions[hash].0.until;
        match message {
            Message::Command(hash, signatures) => {
                let open = at(self.now) <= until(self, &hash);
                let outcome = match self.dice.roll(10) {
                    0 => State::Failed,
                    1 => State::Refused,
                    _ => State::Answered,
                };
                let endpoint = self.endpoints.get_mut(&agent).unwrap();
                let busy = endpoint.spool.contains_key(&hash) || endpoint.running.contains_key(&hash);
                if !endpoint.connected || busy {
                    return;
                }
                let runs = endpoint.ran.entry(hash).or_default();
                let missing = signatures < self.signatures[&hash].1;
                let state = if endpoint.withdrawn.contains(&hash) {
                    State::Cancelled
                } else if *runs > 0 || !open || missing {
                    State::Refused
                } else if outcome == State::Refused {
                    outcome
                } else {
                    *runs += 1;
                    endpoint.running.insert(hash, (outcome, signatures));
                    return;
                };
                endpoint.spool.insert(hash, (state, signatures));
                self.fly(&agent, Message::Answer(hash, state, signatures));
            }
            Message::Stop(hash) => drop(self.endpoints.get_mut(&agent).unwrap().withdrawn.insert(hash)),
            Message::Taken(hash, state) => {
                let spool = &mut self.endpoints.get_mut(&agent).unwrap().spool;
                spool.retain(|spooled, (said, _)| (*spooled, *said) != (hash, state));
            }
            Message::Answer(hash, state, judged) => self.conclude(&agent, hash, state, judged),
        }
    }

    /// A scan that has begun comes to its end, whoever withdrew it meanwhile.
    fn end(&mut self, agent: &str, hash: ActionHash) {
        let endpoint = self.endpoints.get_mut(agent).unwrap();
        let Some((state, signatures)) = endpoint.running.remove(&hash) else { return };
        endpoint.spool.insert(hash, (state, signatures));
        self.fly(agent, Message::Answer(hash, state, signatures));
    }

    fn end_one(&mut self) {
        let running = |(agent, endpoint): (&String, &Endpoint)| -> Vec<(String, ActionHash)> {
            endpoint.running.keys().map(|hash| (agent.clone(), *hash)).collect()
        };
        let running: Vec<(String, ActionHash)> = self.endpoints.iter().flat_map(running).collect();
        if let Some((agent, hash)) = self.dice.choose(&running) {
            self.end(&agent, hash);
        }
    }

    /// What the pump does: the store first, where an agent's own word counts however late it comes.
    fn conclude(&mut self, agent: &str, hash: ActionHash, state: State, judged: usize) {
        let Some(known) = self.commands.get_mut(&(hash, agent.to_owned())) else { return };
        if known.gives_way() {
            *known = state;
            self.refusals.insert((hash, agent.to_owned()), judged);
        }
        self.fly(agent, Message::Taken(hash, state));
        self.feed(Event::Concluded { hash, agent: agent.to_owned(), state, judged });
    }

    fn connect(&mut self, agent: &str) {
        let endpoint = self.endpoints.get_mut(agent).unwrap();
        endpoint.connected = true;
        let spooled: Vec<_> = endpoint.spool.iter().map(|(hash, said)| (*hash, *said)).collect();
        self.feed(Event::Present { agent: agent.to_owned() });
        self.feed(heard(agent, at(self.now)));
        for (hash, (state, judged)) in spooled {
            self.fly(agent, Message::Answer(hash, state, judged));
        }
    }

    fn restart(&mut self) {
        self.scheduler = Scheduler::default();
        self.flying.clear();
        self.endpoints.values_mut().for_each(|endpoint| endpoint.connected = false);
        let open: Vec<(Posted, bool)> = self
            .actions
            .values()
            .filter(|(_, _, closed)| !closed)
            .map(|(posted, withdrawn, _)| {
                (Posted { signatures: self.signatures[&posted.hash].0, ..posted.clone() }, *withdrawn)
            })
            .collect();
        for (action, withdrawn) in open {
            let of_action = self.commands.iter().filter(|((hash, _), _)| *hash == action.hash);
            let commands = of_action.map(|((_, agent), state)| (agent.clone(), *state)).collect();
            self.feed(Event::Restored { action, withdrawn, commands });
        }
    }

    fn post(&mut self) {
        let hash = ActionHash([u8::try_from(self.actions.len()).unwrap(); 32]);
        let until = self.now + 20 + i64::try_from(self.dice.roll(200)).unwrap();
        let target = if self.dice.chance(50) { linux() } else { None };
        let posted =
            Posted { hash, targets: targets(&target), signatures: 1, until: at(until), answers_until: at(until + 30) };
        // Those who are there now are asked at once, others when they come.
        let agents: Vec<String> = self
            .endpoints
            .iter()
            .filter(|(agent, endpoint)| endpoint.connected && (target.is_none() || !agent.ends_with('0')))
            .map(|(agent, _)| agent.clone())
            .collect();
        self.actions.insert(hash, (posted.clone(), false, false));
        let needed = if self.dice.chance(40) { 2 } else { 1 };
        self.signatures.insert(hash, (1, needed));
        self.commands.extend(agents.iter().map(|agent| ((hash, agent.clone()), State::Waiting)));
        self.feed(Event::Posted { action: posted, agents });
    }

    fn withdraw(&mut self) {
        let hashes: Vec<ActionHash> = self.actions.keys().copied().collect();
        let Some(hash) = self.dice.choose(&hashes) else { return };
        if let Some((_, withdrawn, false)) = self.actions.get_mut(&hash) {
            *withdrawn = true;
            self.feed(Event::Withdrawn { hash });
        }
    }

    fn cosign(&mut self) {
        let hashes: Vec<ActionHash> = self.actions.keys().copied().collect();
        let Some(hash) = self.dice.choose(&hashes) else { return };
        if self.actions.get(&hash).is_some_and(|(_, withdrawn, closed)| !withdrawn && !closed) {
            let (signatures, _) = self.signatures.get_mut(&hash).expect("it was posted");
            *signatures += 1;
            let signatures = *signatures;
            self.feed(Event::Cosigned { hash, signatures });
        }
    }

    /// Everything under way arrives, and everything that runs ends.
    fn settle_down(&mut self) {
        while !self.flying.is_empty() || self.endpoints.values().any(|endpoint| !endpoint.running.is_empty()) {
            self.arrive();
            self.end_one();
        }
    }

    fn step(&mut self) {
        let agents: Vec<String> = self.endpoints.keys().cloned().collect();
        match self.dice.roll(100) {
            0..=2 if self.actions.len() < 20 => self.post(),
            3 => self.withdraw(),
            31 | 32 => self.cosign(),
            4..=14 => {
                let agent = self.dice.choose(&agents).unwrap();
                if self.endpoints[&agent].connected {
                    self.endpoints.get_mut(&agent).unwrap().connected = false;
                    self.feed(Event::Gone { agent });
                } else {
                    self.connect(&agent);
                }
            }
            15 if self.dice.chance(10) => self.restart(),
            16..=30 => {
                self.now += 1;
                // Time is told when it was asked for, and now and then for nothing.
                if self.scheduler.wake_at().is_some_and(|due| due <= at(self.now)) || self.dice.chance(5) {
                    self.feed(Event::Now(at(self.now)));
                }
            }
            33..=45 => self.end_one(),
            _ => self.arrive(),
        }
    }
}

#[test]
fn nothing_is_lost_doubled_or_left_open() {
    for seed in 0..1000 {
        let mut world = World::new(seed);
        for step in 0..400 {
            world.step();
            if step % 50 == 0 {
                world.check_progress();
            }
        }
        // Everybody comes back once, and the last window closes.
        let last = world.actions.values().map(|(posted, _, _)| posted.answers_until).max();
        let agents: Vec<String> = world.endpoints.keys().cloned().collect();
        agents.iter().for_each(|agent| world.connect(agent));
        world.settle_down();
        // Whatever was lost on the way is sent again once everybody has come once more.
        agents.iter().for_each(|agent| world.connect(agent));
        world.settle_down();
        let refusals = |world: &World| -> Vec<(ActionHash, String, usize)> {
            let said = world.refusals.iter().map(|((hash, agent), judged)| (*hash, agent.clone(), *judged));
            said.filter(|(hash, agent, _)| world.commands[&(*hash, agent.clone())] == State::Refused).collect()
        };
        for (hash, agent, judged) in refusals(&world) {
            let (posted, withdrawn, closed) = &world.actions[&hash];
            let over = *withdrawn || *closed || posted.until <= at(world.now);
            assert!(over || judged == world.signatures[&hash].0, "seed {seed}: {agent} refused it with {judged}");
        }
        if let Some(last) = last {
            world.feed(Event::Now(last + SignedDuration::from_secs(1)));
        }
        for ((hash, agent), state) in &world.commands {
            let endpoint = &world.endpoints[agent];
            let runs = endpoint.ran.get(hash).copied().unwrap_or_default();
            assert!(runs <= 1, "seed {seed}: an agent ran an action {runs} times");
            assert!(!state.is_open(), "seed {seed}: {agent} is left {state:?}");
            if matches!(state, State::Answered | State::Failed) {
                assert_eq!(runs, 1, "seed {seed}: {agent} has answered without running");
            }
            // What began before it was withdrawn, or late, counts; what did not begin is nobody's answer.
            let heard = !endpoint.spool.contains_key(hash);
            if runs == 1 && heard {
                assert!(matches!(state, State::Answered | State::Failed), "seed {seed}: {agent} ran and is {state:?}");
            }
            if endpoint.withdrawn.contains(hash) {
                assert!(
                    runs == 1 || matches!(state, State::Cancelled | State::Refused | State::Expired),
                    "seed {seed}: {agent} was withdrawn and is {state:?}"
                );
            }
        }
        assert!(world.scheduler.wake_at().is_none(), "seed {seed}: an action is left open");
    }
}

/// Nobody waits for an agent that was taken out of the fleet, and its own word counts all the same.
#[test]
fn an_agent_that_was_taken_out_is_not_waited_for() {
    let mut scheduler = Scheduler::default();
    let hash = ActionHash([1; 32]);
    let action = Posted { hash, targets: targets(&None), signatures: 1, until: at(300), answers_until: at(420) };
    let agents = || ["a", "b"].map(str::to_owned).to_vec();
    scheduler.on(Event::Present { agent: "a".into() });
    scheduler.on(Event::Posted { action, agents: agents() });
    for agent in agents() {
        let effects = scheduler.on(Event::Removed { agent: agent.clone() });
        assert_eq!(effects, [Effect::Settle { hash, agents: vec![agent.clone()], state: State::Cancelled }]);
        assert_eq!(scheduler.on(Event::Removed { agent }), []);
    }
    assert_eq!(scheduler.on(Event::Present { agent: "a".into() }), [], "it is brought nothing more");
    let progress = scheduler.progress(hash).unwrap();
    assert_eq!((progress.is_complete(), progress.ended), (true, 2));
    scheduler.on(Event::Concluded { hash, agent: "a".into(), state: State::Answered, judged: 1 });
    assert_eq!(scheduler.progress(hash).unwrap().ended, 1);
}
