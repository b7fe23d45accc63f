//! Scheduling: feeds the scheduler, and carries out what it says. Of servers that share a store one does this at a time.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use canvass_protocol::action::{Action as Signed, ActionHash};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::relay::ToAgent;
use jiff::{SignedDuration, Timestamp};

use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::scheduler::{Effect, Event, Posted, Scheduler, State};
use crate::store::{self, Command, Store, StoreError};
use crate::watchers::Watchers;

/// Agents that an action is brought to before what came in meanwhile is taken, at first and at most, each time twice as many:
/// the first rows need not wait for the last command, nor the last for a transaction each.
const SENDING_FIRST: usize = 16;
const SENDING_MAX: usize = 256;
/// Where nothing is due.
pub const LONG: Duration = Duration::from_secs(3600);

/// What scheduling works with.
#[derive(Clone)]
pub struct Means {
    pub store: Arc<dyn Store>,
    pub relay: Arc<dyn Relay>,
    pub watchers: Arc<Watchers>,
    pub metrics: Arc<Metrics>,
}

/// The scheduler, and what it needs to be carried out.
pub struct Lead {
    means: Means,
    scheduler: Scheduler,
    /// Actions as they travel, while the scheduler may send them.
    envelopes: HashMap<ActionHash, store::Action>,
    /// What the relay is still to bring, in order, and to how many agents at once.
    outgoing: VecDeque<(Effect, usize)>,
}

impl Lead {
    /// Takes up what the store says is open. `present` can be reached; `lost` had their lines to a server that has ended, and
    /// have to come again.
    pub async fn begin(means: Means, present: Vec<String>, lost: &[String]) -> Result<Lead, StoreError> {
        let (scheduler, envelopes, outgoing) = (Scheduler::default(), HashMap::new(), VecDeque::new());
        let mut lead = Lead { means, scheduler, envelopes, outgoing };
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
        let Some(posted) = posted(&action) else {
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
        self.scheduler
            .wake_at()
            .map_or(LONG, |at| Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default().min(LONG))
    }

    /// Whether there is something to `bring`.
    pub fn brings(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// An action was posted here.
    pub async fn post(&mut self, action: store::Action, agents: Vec<String>) {
        let Some(posted) = posted(&action) else { return };
        let hash = action.hash;
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

    /// Another server did something about an action that is open: posted it, or added a signature or a withdrawal.
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
        for effect in self.scheduler.on(event) {
            if let Err(error) = self.carry_out(effect).await {
                tracing::error!(%error, "the store does not follow; its commands are put right at the next start");
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<(), StoreError> {
        let (now, store) = (Timestamp::now(), &self.means.store);
        let hash = match effect {
            Effect::Send { .. } | Effect::Stop { .. } => {
                self.outgoing.push_back((effect, SENDING_FIRST));
                return Ok(());
            }
            Effect::Ask { hash, agents } => store.ask(hash, &agents).await.map(|()| hash),
            Effect::Reopen { hash, agents } => store.reopen(hash, &agents).await.map(|()| hash),
            Effect::Settle { hash, agents, state } => store.settle(hash, &agents, state, now).await.map(|()| hash),
            Effect::Close { hash } => {
                self.envelopes.remove(&hash);
                store.close(hash).await.map(|()| hash)
            }
        }?;
        self.tell(hash);
        Ok(())
    }

    /// Has the relay bring the next of what is to be brought.
    pub async fn bring(&mut self) {
        match self.outgoing.pop_front() {
            Some((Effect::Send { hash, mut agents }, most)) => {
                if agents.len() > most {
                    let rest = agents.split_off(most);
                    self.outgoing.push_front((Effect::Send { hash, agents: rest }, (most * 2).min(SENDING_MAX)));
                }
                if let Some(action) = self.envelopes.get(&hash) {
                    self.means.relay.send(&agents, &ToAgent::Command(action.envelope.clone())).await;
                }
                if let Err(error) = self.means.store.sent(hash, &agents, Timestamp::now()).await {
                    tracing::error!(%error, "the store does not follow; its commands are put right at the next start");
                }
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
fn posted(action: &store::Action) -> Option<Posted> {
    let signed = Signed::parse(action.envelope.payload.as_bytes()).ok()?;
    let skew = SignedDuration::from_secs(limits::CLOCK_SKEW_S);
    Some(Posted {
        hash: action.hash,
        target: signed.target(),
        signatures: action.envelope.signatures.len(),
        until: action.expires_at,
        answers_until: action.expires_at.saturating_add(skew).unwrap_or(Timestamp::MAX),
    })
}
