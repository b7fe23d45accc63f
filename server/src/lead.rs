//! Scheduling: feeds the scheduler, and carries out what it says. Of servers that share a store one does this at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use canvass_protocol::action::{Action as Signed, ActionHash};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::relay::ToAgent;
use canvass_protocol::target::Targets;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::revocations::Revocations;
use crate::scheduler::{Effect, Event, Posted, Scheduler, State};
use crate::store::{self, Command, Store, StoreError};
use crate::watchers::Watchers;

/// Agents that an action is brought to before what came in meanwhile is taken, at first and at most, each time twice as many:
/// the first rows need not wait for the last command, nor the last for a transaction each.
const SENDING_FIRST: usize = 16;
const SENDING_MAX: usize = 256;
/// How long a store that failed is left alone before what it has not written is given to it again.
const PAUSE: Duration = Duration::from_secs(1);
/// What waits for a store that fails, at most; what is more is put right when a server starts.
const UNWRITTEN_MAX: usize = 10_000;
/// Where nothing is due.
pub const LONG: Duration = Duration::from_secs(3600);

/// What scheduling works with.
#[derive(Clone)]
pub struct Means {
    pub store: Arc<dyn Store>,
    pub relay: Arc<dyn Relay>,
    pub watchers: Arc<Watchers>,
    pub metrics: Arc<Metrics>,
    pub revocations: Arc<Revocations>,
}

/// The scheduler, and what it needs to be carried out.
pub struct Lead {
    means: Means,
    scheduler: Scheduler,
    /// Actions as they travel, while the scheduler may send them.
    envelopes: HashMap<ActionHash, store::Action>,
    /// What the relay is still to bring, in order, and to how many agents at once.
    outgoing: VecDeque<(Effect, usize)>,
    /// What the store did not take, in order: a disk may be full, a database away. `Send` stands for that it was sent.
    unwritten: VecDeque<(Effect, Timestamp)>,
    /// When the store is given it again.
    writes_at: Instant,
}

impl Lead {
    /// Takes up what the store says is open. `present` can be reached; `lost` had their lines to a server that has ended, and
    /// have to come again.
    pub async fn begin(means: Means, present: Vec<String>, lost: &[String]) -> Result<Lead, StoreError> {
        let mut lead = Lead {
            means,
            scheduler: Scheduler::default(),
            envelopes: HashMap::new(),
            outgoing: VecDeque::new(),
            unwritten: VecDeque::new(),
            writes_at: Instant::now(),
        };
        lead.means.relay.shake(lost).await;
        // What expired while no server was there is brought to nobody.
        lead.feed(Event::Now(Timestamp::now())).await;
        for agent in present {
            lead.feed(Event::Present { agent }).await;
        }
        for action in lead.means.store.open_actions().await? {
            lead.restore(action).await?;
        }
        Ok(lead)
    }

    async fn restore(&mut self, action: store::Action) -> Result<(), StoreError> {
        let hash = action.hash;
        let Some(posted) = read(&action) else {
            tracing::error!(action = %hash, "an action in the store cannot be read");
            return Ok(());
        };
        let commands = self.means.store.commands(hash).await?;
        let states = commands.iter().map(|command| (command.agent.clone(), command.state)).collect();
        let withdrawn = action.withdrawal.is_some();
        self.envelopes.insert(hash, action);
        self.feed(Event::Restored { action: posted, withdrawn, commands: states }).await;
        // Some were refused before the action had all its signatures.
        for Command { agent, state, judged, .. } in commands.into_iter().filter(|one| one.state == State::Refused) {
            self.feed(Event::Concluded { hash, agent, state, judged }).await;
        }
        self.tell(hash);
        Ok(())
    }

    /// How long nothing is due.
    pub fn rest(&self) -> Duration {
        let until = |at: Timestamp| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        let most = if self.unwritten.is_empty() { LONG } else { PAUSE };
        self.scheduler.wake_at().map_or(most, |at| until(at).min(most))
    }

    /// Whether there is something to `bring`.
    pub fn brings(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// An action was posted here, for these agents, and has these targets.
    pub async fn post(&mut self, action: store::Action, targets: Targets, agents: Vec<String>) {
        let hash = action.hash;
        // Of one that is known, what travels has signatures and perhaps a withdrawal that whoever posts it again need not have.
        if self.envelopes.contains_key(&hash) {
            return;
        }
        let posted = posted(&action, targets);
        self.envelopes.insert(hash, action);
        self.feed(Event::Posted { action: posted, agents }).await;
        self.tell(hash);
    }

    /// An action has another signature.
    pub async fn cosign(&mut self, envelope: Envelope) {
        let (hash, signatures) = (envelope.hash(), envelope.signatures.len());
        // Of two who sign at once the word may come in the other order than the store's.
        if let Some(known) = self.envelopes.get_mut(&hash).filter(|known| known.envelope.signatures.len() < signatures)
        {
            known.envelope = envelope;
        }
        self.feed(Event::Cosigned { hash, signatures }).await;
        self.tell(hash);
    }

    /// An action was withdrawn.
    pub async fn withdraw(&mut self, hash: ActionHash, withdrawal: Envelope) {
        if let Some(known) = self.envelopes.get_mut(&hash) {
            known.withdrawal = Some(withdrawal);
        }
        self.feed(Event::Withdrawn { hash }).await;
        self.tell(hash);
    }

    /// An action that is open is in the store, perhaps with another signature or a withdrawal: another server posted or changed
    /// it, or it was posted once more.
    pub async fn learn(&mut self, action: store::Action) -> Result<(), StoreError> {
        let Some(known) = self.envelopes.get(&action.hash) else { return self.restore(action).await };
        let signed = known.envelope.signatures.len() < action.envelope.signatures.len();
        // One that lets go on what runs may be followed by one that ends it.
        let withdrawal = action.withdrawal.filter(|withdrawal| known.withdrawal.as_ref() != Some(withdrawal));
        if signed {
            self.cosign(action.envelope).await;
        }
        if let Some(withdrawal) = withdrawal {
            self.withdraw(action.hash, withdrawal).await;
        }
        Ok(())
    }

    /// An agent's last word on an action is stored.
    pub async fn conclude(&mut self, hash: ActionHash, agent: String, state: State, judged: usize) {
        let before = self.scheduler.progress(hash);
        self.feed(Event::Concluded { hash, agent, state, judged }).await;
        let posted_at = self.envelopes.get(&hash).map(|action| action.created_at);
        if let (Some(before), Some(after), Some(at)) = (before, self.scheduler.progress(hash), posted_at) {
            self.means.metrics.concluded(state, at, Timestamp::now(), before, after);
        }
    }

    /// Feeds the scheduler and carries out what it says.
    pub async fn feed(&mut self, event: Event) {
        self.catch_up().await;
        for effect in self.scheduler.on(event) {
            match effect {
                Effect::Send { .. } | Effect::Stop { .. } => self.outgoing.push_back((effect, SENDING_FIRST)),
                effect => {
                    let hash = effect.hash();
                    self.write(effect).await;
                    self.tell(hash);
                }
            }
        }
    }

    /// Has the store write what it did not take before, as far as it does now.
    pub async fn catch_up(&mut self) {
        if self.unwritten.is_empty() || self.writes_at > Instant::now() {
            return;
        }
        let count = self.unwritten.len();
        while let Some((effect, at)) = self.unwritten.front() {
            if let Err(StoreError::Full(_) | StoreError::Failed(_)) = self.write_now(effect, *at).await {
                self.writes_at = Instant::now() + PAUSE;
                return;
            }
            self.unwritten.pop_front();
        }
        tracing::info!(count, "the store has what it did not take before");
    }

    /// Writes what the scheduler decided, behind what is still to be written.
    async fn write(&mut self, effect: Effect) {
        let now = Timestamp::now();
        if let Effect::Close { hash } = &effect {
            self.envelopes.remove(hash);
        }
        if self.unwritten.is_empty() {
            match self.write_now(&effect, now).await {
                Ok(()) => return,
                Err(error @ (StoreError::Full(_) | StoreError::Failed(_))) => {
                    tracing::error!(%error, "the store does not follow, and is given this again");
                    self.writes_at = Instant::now() + PAUSE;
                }
                Err(error) => return tracing::error!(%error, "the store does not take what the scheduler decided"),
            }
        }
        if self.unwritten.len() < UNWRITTEN_MAX {
            self.unwritten.push_back((effect, now));
        }
    }

    async fn write_now(&self, effect: &Effect, at: Timestamp) -> Result<(), StoreError> {
        let store = &self.means.store;
        match effect {
            Effect::Ask { hash, agents } => store.ask(*hash, agents).await,
            Effect::Send { hash, agents } => store.sent(*hash, agents, at).await,
            Effect::Reopen { hash, agents } => store.reopen(*hash, agents).await,
            Effect::Settle { hash, agents, state } => store.settle(*hash, agents, *state, at).await,
            Effect::Close { hash } => store.close(*hash).await,
            Effect::Stop { .. } => Ok(()),
        }
    }

    /// Has the relay bring the next of what is to be brought.
    pub async fn bring(&mut self) {
        match self.outgoing.pop_front() {
            Some((Effect::Send { hash, mut agents }, most)) => {
                let Some(action) = self.envelopes.get(&hash) else { return };
                // It may have waited here, and nobody is brought an action after its window.
                if action.expires_at <= Timestamp::now() {
                    return;
                }
                if agents.len() > most {
                    let rest = agents.split_off(most);
                    self.outgoing.push_front((Effect::Send { hash, agents: rest }, (most * 2).min(SENDING_MAX)));
                }
                self.means.relay.send(&agents, &ToAgent::Command(action.envelope.clone())).await;
                self.write(Effect::Send { hash, agents }).await;
            }
            Some((Effect::Stop { hash, agents }, _)) => {
                if let Some(withdrawal) = self.envelopes.get(&hash).and_then(|action| action.withdrawal.clone()) {
                    self.means.relay.send(&agents, &ToAgent::Withdraw(withdrawal)).await;
                }
            }
            // No other effect is the relay's.
            _ => {}
        }
    }

    /// Says how far an action is to those who follow it here.
    pub fn tell(&self, hash: ActionHash) {
        self.means.watchers.tell(hash, self.scheduler.progress(hash));
    }
}

/// What the scheduler has to know of a stored action; `None` where its payload is none.
fn read(action: &store::Action) -> Option<Posted> {
    let signed = Signed::parse(action.envelope.payload.as_bytes()).ok()?;
    Some(posted(action, Targets::of(&signed).ok()?))
}

fn posted(action: &store::Action, targets: Targets) -> Posted {
    let skew = SignedDuration::from_secs(limits::CLOCK_SKEW_S);
    Posted {
        hash: action.hash,
        targets,
        signatures: action.envelope.signatures.len(),
        until: action.expires_at,
        answers_until: action.expires_at.saturating_add(skew).unwrap_or(Timestamp::MAX),
    }
}
