//! Drives the scheduler: feeds it what the relay brings and what investigators post, and carries out what it says.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use canvass_protocol::action::{Action as Signed, ActionHash};
use canvass_protocol::answer::{Final, Outcome, Says, Statement, agent_id};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits;
use canvass_protocol::relay::ToAgent;
use canvass_protocol::signed;
use canvass_protocol::target::{Facts, ServerWords, Status};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clash::Clashes;
use crate::inventory::Inventory;
use crate::metrics::{Metrics, Refused};
use crate::relay::{Incoming, Relay};
use crate::scheduler::{Effect, Event, Posted, Progress, Scheduler, State};
use crate::store::{self, Conclusion, NewPart, Store, StoreError, Totals};

/// What is stored in one transaction, at most.
const BATCH_MAX: usize = 1024;
/// Bodies of parts in one transaction, in bytes, above which it is not made longer.
const BATCH_BYTES_MAX: usize = 32 << 20;
/// Agents that an action is brought to before what came in meanwhile is taken: the first rows need not wait for the last
/// command.
const SENDING_MAX: usize = 256;
/// Where nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// What investigators want of the pump.
pub enum Order {
    /// An action that the store has, for these agents.
    Post { action: Box<store::Action>, agents: Vec<String>, done: oneshot::Sender<()> },
    /// An action to which the store has another signature, as it travels from now on.
    Cosign { envelope: Envelope, done: oneshot::Sender<()> },
    /// An action whose withdrawal the store has.
    Withdraw { hash: ActionHash, withdrawal: Envelope, done: oneshot::Sender<()> },
}

/// How far actions are, for those who follow them.
#[derive(Default)]
pub struct Watchers {
    actions: Mutex<HashMap<ActionHash, watch::Sender<Seen>>>,
}

/// What there is to be seen of an action; the count of changes grows with each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    pub progress: Progress,
    pub changes: u64,
}

impl Watchers {
    /// Follows an action that is open; `None` where it is not.
    pub fn follow(&self, hash: ActionHash) -> Option<watch::Receiver<Seen>> {
        self.lock().get(&hash).map(watch::Sender::subscribe)
    }

    /// How far each open action is.
    pub fn open(&self) -> Vec<Progress> {
        self.lock().values().map(|seen| seen.borrow().progress).collect()
    }

    fn tell(&self, hash: ActionHash, progress: Option<Progress>) {
        let mut actions = self.lock();
        match progress {
            Some(progress) => actions.entry(hash).or_default().send_modify(|seen| {
                seen.progress = progress;
                seen.changes += 1;
            }),
            // Whoever follows sees the end of it.
            None => drop(actions.remove(&hash)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ActionHash, watch::Sender<Seen>>> {
        self.actions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pump's parts.
pub struct Pump {
    fleet: String,
    store: Arc<dyn Store>,
    inventory: Arc<Inventory>,
    relay: Arc<dyn Relay>,
    watchers: Arc<Watchers>,
    scheduler: Scheduler,
    /// Actions as they travel, while the scheduler may send them.
    envelopes: HashMap<ActionHash, store::Action>,
    clashes: Clashes,
    metrics: Arc<Metrics>,
    /// What the relay is still to bring, in order.
    outgoing: VecDeque<Effect>,
}

impl Pump {
    /// A pump whose scheduler knows what the store says is open.
    pub async fn start(
        fleet: String,
        store: Arc<dyn Store>,
        inventory: Arc<Inventory>,
        relay: Arc<dyn Relay>,
        watchers: Arc<Watchers>,
        metrics: Arc<Metrics>,
    ) -> Result<Pump, StoreError> {
        let (scheduler, envelopes, outgoing) = (Scheduler::default(), HashMap::new(), VecDeque::new());
        let mut pump = Pump {
            fleet,
            store,
            inventory,
            relay,
            watchers,
            scheduler,
            envelopes,
            outgoing,
            metrics,
            clashes: Clashes::default(),
        };
        for action in pump.store.open_actions().await? {
            let commands = pump.store.commands(action.hash).await?;
            let commands = commands.into_iter().map(|command| (command.agent, command.state)).collect();
            let Some(posted) = posted(&action) else {
                tracing::error!(action = %action.hash, "an action in the store cannot be read");
                continue;
            };
            let (hash, withdrawn) = (action.hash, action.withdrawal.is_some());
            pump.envelopes.insert(hash, action);
            pump.feed(Event::Restored { action: posted, withdrawn, commands }).await;
            pump.tell(&HashSet::from([hash]));
        }
        Ok(pump)
    }

    /// Works until both channels have ended.
    pub async fn run(mut self, mut incoming: mpsc::Receiver<Incoming>, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let due = self.scheduler.wake_at().map_or(LONG, |at| {
                Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default().min(LONG)
            });
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.order(order).await,
                    None => return,
                },
                count = incoming.recv_many(&mut batch, BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                    self.take(std::mem::take(&mut batch)).await;
                }
                () = std::future::ready(()), if !self.outgoing.is_empty() => self.bring().await,
                () = tokio::time::sleep(due) => {
                    self.feed(Event::Now(Timestamp::now())).await;
                }
            }
        }
    }

    async fn order(&mut self, order: Order) {
        match order {
            Order::Post { action, agents, done } => {
                let hash = action.hash;
                if let Some(posted) = posted(&action) {
                    self.envelopes.insert(hash, *action);
                    self.feed(Event::Posted { action: posted, agents }).await;
                    self.tell(&HashSet::from([hash]));
                }
                let _ = done.send(());
            }
            Order::Cosign { envelope, done } => {
                let (hash, signatures) = (envelope.hash(), envelope.signatures.len());
                // Of two who sign at once the orders may come in the other order than the store's.
                if let Some(known) =
                    self.envelopes.get_mut(&hash).filter(|known| known.envelope.signatures.len() < signatures)
                {
                    known.envelope = envelope;
                }
                self.change(hash, Event::Cosigned { hash, signatures }).await;
                let _ = done.send(());
            }
            Order::Withdraw { hash, withdrawal, done } => {
                if let Some(known) = self.envelopes.get_mut(&hash) {
                    known.withdrawal = Some(withdrawal);
                }
                self.change(hash, Event::Withdrawn { hash }).await;
                let _ = done.send(());
            }
        }
    }

    /// Acts on what became of an action that is open.
    async fn change(&mut self, hash: ActionHash, event: Event) {
        self.feed(event).await;
        self.tell(&HashSet::from([hash]));
    }

    /// Stores what agents said, and then acts on it.
    async fn take(&mut self, batch: Vec<Incoming>) {
        let now = Timestamp::now();
        let mut heard = BTreeMap::new();
        let mut parts = Vec::new();
        let mut bytes = 0;
        for incoming in batch {
            match incoming {
                Incoming::Present { agent } => self.feed(Event::Present { agent }).await,
                Incoming::Gone { agent } => self.feed(Event::Gone { agent }).await,
                Incoming::Heartbeat { agent, heartbeat, public_ip } => {
                    heard.insert(agent, (heartbeat, public_ip));
                }
                Incoming::Part { agent, action, judged, part } => {
                    bytes += part.body.len();
                    match conclusion(&self.fleet, &agent, action, &part.statement) {
                        Ok(conclusion) => {
                            let (statement, signature, body) = (part.statement, part.signature, part.body);
                            parts.push((NewPart { action, agent, statement, signature, body, conclusion }, judged));
                        }
                        Err(reason) => {
                            self.metrics.refused(Refused::Part);
                            tracing::warn!(agent, %action, reason, "a part of an answer is dropped");
                        }
                    }
                    if bytes > BATCH_BYTES_MAX {
                        self.take_parts(std::mem::take(&mut parts), now).await;
                        bytes = 0;
                    }
                }
            }
        }
        self.take_parts(parts, now).await;
        self.hear(heard, now).await;
    }

    async fn take_parts(&mut self, parts: Vec<(NewPart, usize)>, now: Timestamp) {
        if parts.is_empty() {
            return;
        }
        let (parts, judged): (Vec<NewPart>, Vec<usize>) = parts.into_iter().unzip();
        let began = Instant::now();
        if let Err(error) = self.store.take(&parts, now).await {
            tracing::error!(%error, "answers cannot be stored; their agents will send them again");
            let mut agents: Vec<String> = parts.into_iter().map(|part| part.agent).collect();
            agents.dedup();
            self.relay.shake(&agents).await;
            return;
        }
        self.metrics.stored(parts.len(), parts.iter().map(|part| part.body.len()).sum(), began.elapsed());
        let mut changed = HashSet::new();
        for (NewPart { action: hash, agent, conclusion, .. }, judged) in parts.into_iter().zip(judged) {
            changed.insert(hash);
            if let Some(Conclusion { state, .. }) = conclusion {
                self.relay.send(std::slice::from_ref(&agent), &ToAgent::Taken(hash)).await;
                let before = self.scheduler.progress(hash);
                self.feed(Event::Concluded { hash, agent, state, judged }).await;
                let posted_at = self.envelopes.get(&hash).map(|action| action.created_at);
                if let (Some(before), Some(after), Some(at)) = (before, self.scheduler.progress(hash), posted_at) {
                    self.metrics.concluded(state, at, Timestamp::now(), before, after);
                }
            }
        }
        self.tell(&changed);
    }

    async fn hear(&mut self, heard: BTreeMap<String, (signed::Signed, Option<IpAddr>)>, now: Timestamp) {
        let mut agents = Vec::new();
        let mut events = Vec::new();
        for (id, (signed, public_ip)) in heard {
            match Heartbeat::open(&signed, &self.fleet) {
                Ok(heartbeat) if heartbeat.facts.id == id => {
                    let name = heartbeat.facts.name.clone();
                    self.note_clash(&heartbeat.facts, now).await;
                    agents.push(store::Agent { id, name, admitted: true, heartbeat: signed, heard_at: now, public_ip });
                    self.metrics.heard(heartbeat.at, now);
                    let words = ServerWords { status: Status::Online, heartbeat_at: now, public_ip };
                    events.push(Event::Heard { facts: Box::new(heartbeat.facts), words });
                }
                Ok(_) => {
                    self.metrics.refused(Refused::Heartbeat);
                    tracing::warn!(agent = id, "an agent sent another's heartbeat");
                }
                Err(error) => {
                    self.metrics.refused(Refused::Heartbeat);
                    tracing::warn!(agent = id, %error, "a heartbeat is dropped");
                }
            }
        }
        if agents.is_empty() {
            return;
        }
        if let Err(error) = self.inventory.hear(agents).await {
            // The next one comes within a minute.
            tracing::error!(%error, "heartbeats cannot be stored");
        }
        for event in events {
            self.feed(event).await;
        }
    }

    /// Writes down that two agents share an identity, where they do.
    async fn note_clash(&mut self, facts: &Facts, now: Timestamp) {
        let Some((one, other)) = self.clashes.heard(&facts.id, facts.started_at, now) else { return };
        tracing::warn!(agent = facts.id, name = facts.name, %one, %other, "two agents share one identity");
        let detail = format!("two agents share the identity of `{}`, started at {one} and at {other}", facts.name);
        let line = store::Audit { at: now, who: facts.id.clone(), what: "clash".into(), action: None, detail };
        if let Err(error) = self.store.note(&line).await {
            tracing::error!(%error, "the audit cannot be written");
        }
    }

    /// Feeds the scheduler and carries out what it says.
    async fn feed(&mut self, event: Event) {
        for effect in self.scheduler.on(event) {
            if let Err(error) = self.carry_out(effect).await {
                tracing::error!(%error, "the store does not follow; its commands are put right at the next start");
            }
        }
    }

    async fn carry_out(&mut self, effect: Effect) -> Result<(), StoreError> {
        let now = Timestamp::now();
        match effect {
            Effect::Ask { hash, agents } => {
                self.store.ask(hash, &agents).await?;
                self.tell(&HashSet::from([hash]));
            }
            Effect::Reopen { hash, agents } => {
                self.store.reopen(hash, &agents).await?;
                self.tell(&HashSet::from([hash]));
            }
            Effect::Send { .. } | Effect::Stop { .. } => self.outgoing.push_back(effect),
            Effect::Settle { hash, agents, state } => {
                self.store.settle(hash, &agents, state, now).await?;
                self.tell(&HashSet::from([hash]));
            }
            Effect::Close { hash } => {
                self.envelopes.remove(&hash);
                self.store.close(hash).await?;
                self.tell(&HashSet::from([hash]));
            }
        }
        Ok(())
    }

    /// Has the relay bring the next of what is to be brought.
    async fn bring(&mut self) {
        match self.outgoing.pop_front() {
            Some(Effect::Send { hash, mut agents }) => {
                if agents.len() > SENDING_MAX {
                    let rest = agents.split_off(SENDING_MAX);
                    self.outgoing.push_front(Effect::Send { hash, agents: rest });
                }
                if let Some(action) = self.envelopes.get(&hash) {
                    self.relay.send(&agents, &ToAgent::Command(action.envelope.clone())).await;
                }
                if let Err(error) = self.store.sent(hash, &agents, Timestamp::now()).await {
                    tracing::error!(%error, "the store does not follow; its commands are put right at the next start");
                }
            }
            Some(Effect::Stop { hash, agents }) => {
                if let Some(withdrawal) = self.envelopes.get(&hash).and_then(|action| action.withdrawal.clone()) {
                    self.relay.send(&agents, &ToAgent::Withdraw(withdrawal)).await;
                }
            }
            // No other effect is the relay's.
            _ => {}
        }
    }

    fn tell(&self, changed: &HashSet<ActionHash>) {
        changed.iter().for_each(|hash| self.watchers.tell(*hash, self.scheduler.progress(*hash)));
    }
}

/// What the scheduler has to know of a stored action; `None` where its payload is none.
fn posted(action: &store::Action) -> Option<Posted> {
    let signed = Signed::parse(action.envelope.payload.as_bytes()).ok()?;
    Some(Posted {
        hash: action.hash,
        target: signed.target(),
        signatures: action.envelope.signatures.len(),
        until: action.expires_at,
        answers_until: action.answers_until,
    })
}

/// When all who began an action in its window have answered: its scans run side by side and are limited in time.
pub fn answers_until(action: &Signed) -> Timestamp {
    let scans = SignedDuration::from_millis(i64::try_from(action.limits.time_ms).unwrap_or(i64::MAX / 2));
    let skew = SignedDuration::from_secs(2 * limits::CLOCK_SKEW_S);
    action.window.until.saturating_add(scans.saturating_add(skew)).unwrap_or(Timestamp::MAX)
}

/// What a part concludes, if it is the last of an answer. Whether its signature is good is for the desk to see: here it
/// only has to be of the agent that proved its key, and about the action that it names.
fn conclusion(
    fleet: &str,
    agent: &str,
    action: ActionHash,
    statement: &str,
) -> Result<Option<Conclusion>, &'static str> {
    let statement = Statement::parse(statement.as_bytes()).map_err(|_| "it cannot be read")?;
    if statement.fleet != fleet || statement.action != action {
        return Err("it is about something else");
    }
    if agent_id(&statement.key).as_deref() != Some(agent) {
        return Err("it is another agent's");
    }
    let Says::Final(last) = statement.says else { return Ok(None) };
    let Final { outcome, scans, .. } = *last;
    let mut totals = Totals::default();
    for scan in scans {
        totals.rows = totals.rows.saturating_add(scan.rows);
        totals.bytes = totals.bytes.saturating_add(scan.bytes);
        totals.troubles = totals.troubles.saturating_add(scan.troubles_count);
    }
    let (state, reason) = match outcome {
        Outcome::Answered => (State::Answered, None),
        Outcome::Failed(reason) => (State::Failed, Some(reason)),
        Outcome::Refused(reason) => (State::Refused, Some(reason)),
        Outcome::Interrupted => (State::Interrupted, None),
    };
    Ok(Some(Conclusion { state, totals, reason }))
}
