//! Takes what agents say and what investigators want, stores it, and has it acted on: by the scheduler here, or by the server
//! that leads where several share a store.

mod parts;
mod readers;
mod revoking;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::relay::ToAgent;
use canvass_protocol::signed;
use canvass_protocol::target::{Facts, Targets};
use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};

use self::parts::Said;
use self::readers::Readers;
use crate::clash::Clashes;
use crate::inventory::{self, Inventory};
use crate::lead::{LONG, Lead, Means};
use crate::metrics::Refused;
use crate::peers::{Changes, News, Peers};
use crate::receipts::Receipts;
use crate::relay::Incoming;
use crate::relay::inlet::{Held, Outlet, Taken};
use crate::scheduler::Event;
use crate::store::{self, StoreError};

/// What is stored in one transaction, at most.
const BATCH_MAX: usize = 1024;
/// Bodies of parts in one transaction, in bytes, above which it is not made longer.
const BATCH_BYTES_MAX: usize = 32 << 20;
/// How long heartbeats gather behind those that were stored, to be stored together: one that comes alone does not wait.
const HEAR_AFTER: Duration = Duration::from_millis(200);
/// How long the store is left alone before what was open is read from it once more.
const PAUSE: Duration = Duration::from_millis(500);

/// What investigators want of the pump.
pub enum Order {
    /// A new action that the store has, for these agents.
    Post { action: Box<store::Action>, targets: Targets, agents: Vec<String>, done: oneshot::Sender<()> },
    /// One that was there already, as the store has it.
    Again { action: Box<store::Action>, done: oneshot::Sender<()> },
    /// An action to which the store has another signature, as it travels from now on.
    Cosign { envelope: Envelope, done: oneshot::Sender<()> },
    /// An action whose withdrawal the store has.
    Withdraw { hash: ActionHash, withdrawal: Envelope, done: oneshot::Sender<()> },
    /// A revocation that the store has, and had not before.
    Revoke { armor: Arc<str>, done: oneshot::Sender<()> },
    /// An agent that the store has no more.
    Remove { agent: String, done: oneshot::Sender<()> },
}

/// Heartbeats by agent, each with the address that it came from.
type Heard = BTreeMap<String, (signed::Signed, Option<IpAddr>)>;

/// The pump's parts.
pub struct Pump {
    fleet: String,
    inventory: Arc<Inventory>,
    means: Means,
    /// Servers that share the store, and what they did; `None` where no other can.
    others: Option<(Arc<Peers>, mpsc::Receiver<News>)>,
    /// Set where this server schedules.
    lead: Option<Lead>,
    clashes: Clashes,
    receipts: Receipts,
    readers: Readers,
    /// Heartbeats that are not stored yet, the latest of each agent, and when the next are to be.
    heard: Heard,
    hears_at: Instant,
    /// Until then what comes in gathers.
    gathers_until: Instant,
    /// Agents of which something could not be stored. What else comes over that line is not stored either, for an answer
    /// without one of its parts is none: they send all of it again when they have come again.
    shaken: HashSet<String>,
}

impl Pump {
    /// A pump that schedules at once, with what the store says is open, where no other server does.
    pub async fn start(
        fleet: String,
        inventory: Arc<Inventory>,
        means: Means,
        others: Option<(Arc<Peers>, mpsc::Receiver<News>)>,
    ) -> Result<Pump, StoreError> {
        let mut pump = Pump {
            readers: Readers::new(fleet.clone()),
            fleet,
            inventory,
            means,
            others,
            lead: None,
            clashes: Clashes::default(),
            receipts: Receipts::default(),
            heard: Heard::new(),
            hears_at: Instant::now(),
            gathers_until: Instant::now(),
            shaken: HashSet::new(),
        };
        if pump.others.as_ref().is_none_or(|(peers, _)| peers.leads_at_first()) {
            pump.lead = Some(pump.take_up().await?);
        }
        Ok(pump)
    }

    /// Works until both channels have ended.
    pub async fn run(mut self, mut incoming: Outlet, mut orders: mpsc::Receiver<Order>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            let (rest, brings) = self.lead.as_ref().map_or((LONG, false), |lead| (lead.rest(), lead.brings()));
            let (gathers_until, tells_at) = (self.gathers_until, self.receipts.due());
            let (hears_at, hears) = (self.hears_at, !self.heard.is_empty());
            let gathers = gathers_until > Instant::now();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.order(order).await,
                    None => return,
                },
                () = sleep_until(gathers_until), if gathers => {}
                count = incoming.recv_many(&mut batch, BATCH_MAX), if !gathers => {
                    if count == 0 {
                        return;
                    }
                    // What is being stored is held until it is.
                    let (said, room): (Vec<Incoming>, Vec<Taken>) =
                        batch.drain(..).map(|held: Held| (held.incoming, held.room)).unzip();
                    self.take(said).await;
                    drop(room);
                }
                news = next(&mut self.others) => self.learn(news).await,
                () = std::future::ready(()), if brings => {
                    if let Some(lead) = &mut self.lead {
                        lead.bring().await;
                    }
                }
                () = sleep_until(tells_at.unwrap_or(gathers_until)), if tells_at.is_some() => {
                    for (hash, agents) in self.receipts.take(Instant::now()) {
                        self.means.relay.send(&agents, &ToAgent::Taken(hash)).await;
                    }
                }
                () = sleep_until(hears_at), if hears => self.hear().await,
                () = sleep(rest) => self.feed(Event::Now(Timestamp::now())).await,
            }
        }
    }

    /// What the scheduler has to know; where another server schedules, that one learns it from the store.
    async fn feed(&mut self, event: Event) {
        if let Some(lead) = &mut self.lead {
            lead.feed(event).await;
        }
    }

    async fn order(&mut self, order: Order) {
        let done = match order {
            Order::Post { action, targets, agents, done } => {
                if let Some(lead) = &mut self.lead {
                    lead.post(*action, targets, agents).await;
                }
                done
            }
            Order::Again { action, done } => {
                if let Some(lead) = &mut self.lead
                    && let Err(error) = lead.learn(*action).await
                {
                    tracing::error!(%error, "an action cannot be read");
                }
                done
            }
            Order::Cosign { envelope, done } => {
                if let Some(lead) = &mut self.lead {
                    lead.cosign(envelope).await;
                }
                done
            }
            Order::Withdraw { hash, withdrawal, done } => {
                if let Some(lead) = &mut self.lead {
                    lead.withdraw(hash, withdrawal).await;
                }
                done
            }
            Order::Revoke { armor, done } => {
                self.revoke(armor).await;
                done
            }
            Order::Remove { agent, done } => {
                self.feed(Event::Removed { agent }).await;
                done
            }
        };
        let _ = done.send(());
    }

    /// Stores what agents said, and then acts on it.
    async fn take(&mut self, batch: Vec<Incoming>) {
        let now = Timestamp::now();
        let mut lines = BTreeMap::new();
        let (mut said, mut parts) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for incoming in batch {
            match incoming {
                Incoming::Present { agent } => {
                    self.shaken.remove(&agent);
                    lines.insert(agent, true);
                }
                Incoming::Gone { agent } => {
                    // What it sent before is judged by what came before it.
                    self.take_parts(std::mem::take(&mut said), std::mem::take(&mut parts), now).await;
                    self.readers.leave(&agent);
                    lines.insert(agent, false);
                }
                Incoming::Heartbeat { agent, heartbeat, public_ip } => {
                    self.heard.insert(agent, (heartbeat, public_ip));
                }
                Incoming::Part { agent, .. } if self.shaken.contains(&agent) => {}
                Incoming::Part { agent, action, judged, part } => {
                    bytes += part.body.len();
                    said.push(Said { agent, action, judged });
                    parts.push(part);
                    if bytes > BATCH_BYTES_MAX {
                        self.take_parts(std::mem::take(&mut said), std::mem::take(&mut parts), now).await;
                        bytes = 0;
                    }
                }
            }
        }
        self.note_lines(lines).await;
        self.take_parts(said, parts, now).await;
        let bytes: usize = self.heard.values().map(|(heartbeat, _)| heartbeat.statement.len()).sum();
        if self.heard.len() >= BATCH_MAX || bytes > BATCH_BYTES_MAX {
            self.hear().await;
        }
    }

    /// Agents that came (true) or left since; whoever did both, the last counts.
    async fn note_lines(&mut self, lines: BTreeMap<String, bool>) {
        if lines.is_empty() {
            return;
        }
        let of = |wanted| lines.iter().filter(move |line| *line.1 == wanted).map(|line| line.0.clone());
        let (come, mut left): (Vec<String>, BTreeSet<String>) = (of(true).collect(), of(false).collect());
        self.greet(&come).await;
        if let Some((peers, _)) = &self.others {
            match note(peers, &come, &left).await {
                // Whoever has come to another server meanwhile has not gone.
                Ok(elsewhere) => left.retain(|agent| !elsewhere.contains_key(agent)),
                Err(error) => {
                    tracing::error!(%error, "agents' connections cannot be stored; these agents have to connect again");
                    self.means.relay.shake(&come).await;
                    return;
                }
            }
        }
        for agent in left {
            self.feed(Event::Gone { agent }).await;
        }
        for agent in come {
            self.feed(Event::Present { agent }).await;
        }
    }

    /// Stores the heartbeats that have gathered, and acts on them.
    async fn hear(&mut self) {
        self.hears_at = Instant::now() + HEAR_AFTER;
        let now = Timestamp::now();
        let (mut agents, mut events) = (Vec::new(), Vec::new());
        for (id, (signed, public_ip)) in std::mem::take(&mut self.heard) {
            match Heartbeat::open(&signed, &self.fleet) {
                Ok(heartbeat) if heartbeat.facts.id == id => {
                    let name = heartbeat.facts.name.clone();
                    self.note_clash(&heartbeat.facts, now).await;
                    agents.push(store::Agent { id, name, approval: None, heartbeat: signed, heard_at: now, public_ip });
                    self.means.metrics.heard(heartbeat.at, now);
                    // In the words in which the inventory lists it.
                    let words = inventory::words(heartbeat.facts.mode, now, public_ip, now);
                    let agent = heartbeat.facts.id.clone();
                    events.push((agent, Event::Heard { facts: Box::new(heartbeat.facts), words }));
                }
                Ok(_) => {
                    self.means.metrics.refused(Refused::Heartbeat);
                    tracing::warn!(agent = id, "an agent sent another's heartbeat");
                }
                Err(error) => {
                    self.means.metrics.refused(Refused::Heartbeat);
                    tracing::warn!(agent = id, %error, "a heartbeat is dropped");
                }
            }
        }
        if agents.is_empty() {
            return;
        }
        let passed = self.inventory.hear(agents, now).await.unwrap_or_else(|error| {
            // The next one comes within a minute.
            tracing::error!(%error, "heartbeats cannot be stored");
            BTreeSet::new()
        });
        for (agent, event) in events {
            if !passed.contains(&agent) {
                self.feed(event).await;
            }
        }
    }

    /// Writes down that two agents share an identity, where they do.
    async fn note_clash(&mut self, facts: &Facts, now: Timestamp) {
        let Some((one, other)) = self.clashes.heard(&facts.id, facts.started_at, now) else { return };
        tracing::warn!(agent = facts.id, name = facts.name, %one, %other, "two agents share one identity");
        let detail = format!("two agents share the identity of `{}`, started at {one} and at {other}", facts.name);
        let line = store::Audit { at: now, who: facts.id.clone(), what: "clash".into(), action: None, detail };
        if let Err(error) = self.means.store.note(&line).await {
            tracing::error!(%error, "the audit cannot be written");
        }
    }

    /// What other servers did, or became.
    async fn learn(&mut self, news: News) {
        match news {
            News::Leads => {
                tracing::info!("this server schedules now");
                self.lead = Some(self.take_up_at_last().await);
            }
            News::Follows => self.lead = None,
            News::Ended => self.call_again().await,
            News::Missed => {
                self.read_again().await;
            }
            News::Changed(changes) => {
                if let Err(error) = self.catch_up(*changes).await {
                    tracing::error!(%error, "what another server did cannot be read; all is read again");
                    self.read_again().await;
                }
            }
        }
    }

    /// Takes over all that is stored, where it is not known what of it changed.
    async fn read_again(&mut self) {
        if let Err(error) = self.inventory.read_again().await {
            tracing::error!(%error, "the inventory cannot be read");
        }
        if self.lead.is_some() {
            self.lead = Some(self.take_up_at_last().await);
        }
        if let Err(error) = self.learn_revocations().await {
            tracing::error!(%error, "the revocations cannot be read");
        }
        let followed = self.means.watchers.followed();
        self.tell(followed.into_iter().collect()).await;
    }

    /// Acts on what other servers wrote.
    async fn catch_up(&mut self, changes: Changes) -> Result<(), StoreError> {
        let Some((peers, _)) = &self.others else { return Ok(()) };
        let peers = peers.clone();
        if changes.revocations {
            self.learn_revocations().await?;
        }
        let now = Timestamp::now();
        let stored = peers.agents(&changes.agents).await?;
        let there: BTreeSet<&String> = stored.iter().map(|agent| &agent.id).collect();
        let removed: Vec<String> = changes.agents.iter().filter(|id| !there.contains(id)).cloned().collect();
        self.inventory.forget(&removed);
        self.means.relay.shake(&removed).await;
        let heard = self.inventory.learn(stored);
        let lines = peers.lines_of(&changes.lines).await?;
        // Whoever has come to another server has no line here any more.
        let elsewhere: Vec<String> =
            lines.iter().filter(|line| *line.1 != peers.id()).map(|line| line.0.clone()).collect();
        self.means.relay.forget(&elsewhere);
        if let Some(lead) = &mut self.lead {
            lines.values().for_each(|server| peers.watch(*server));
            for agent in changes.lines {
                let is_here = lines.contains_key(&agent);
                lead.feed(if is_here { Event::Present { agent } } else { Event::Gone { agent } }).await;
            }
            for agent in removed {
                lead.feed(Event::Removed { agent }).await;
            }
            for known in &heard {
                let (facts, words) = (Box::new(known.facts.clone()), known.words(now));
                lead.feed(Event::Heard { facts, words }).await;
            }
            for hash in &changes.actions {
                if let Some((action, false)) = peers.action(*hash).await? {
                    lead.learn(action).await?;
                }
            }
            for (hash, agents) in &changes.answers {
                for command in peers.commands(*hash, agents).await? {
                    if !command.state.is_open() {
                        lead.conclude(*hash, command.agent, command.state, command.judged).await;
                    }
                }
            }
        }
        let changed = changes.actions.into_iter().chain(changes.answers.into_keys());
        self.tell(changed.collect()).await;
        Ok(())
    }

    /// What is open and who is there, as the store says.
    async fn take_up(&self) -> Result<Lead, StoreError> {
        let (present, lost) = match &self.others {
            Some((peers, _)) => {
                let lost = peers.abandoned().await?;
                let lines = peers.lines().await?;
                lines.iter().for_each(|line| peers.watch(line.1));
                (lines.into_iter().map(|line| line.0).collect(), lost)
            }
            // Whoever is there had its line to the server that ran here before.
            None => (Vec::new(), self.inventory.all().iter().map(|known| known.agent.id.clone()).collect()),
        };
        Lead::begin(self.means.clone(), present, &lost).await
    }

    /// The same, whatever time the store needs to be there.
    async fn take_up_at_last(&self) -> Lead {
        loop {
            match self.take_up().await {
                Ok(lead) => return lead,
                Err(error) => tracing::error!(%error, "what is open cannot be read; it is tried again"),
            }
            sleep(PAUSE).await;
        }
    }

    /// A server has ended: whoever leads has its agents come again, to another one.
    async fn call_again(&mut self) {
        let (Some((peers, _)), Some(lead)) = (&self.others, &mut self.lead) else { return };
        match peers.abandoned().await {
            Ok(lost) => {
                self.means.relay.shake(&lost).await;
                for agent in lost {
                    lead.feed(Event::Gone { agent }).await;
                }
            }
            Err(error) => tracing::error!(%error, "the connections of a server that ended cannot be read"),
        }
    }

    /// Says how far actions are to those who follow them here.
    async fn tell(&self, changed: BTreeSet<ActionHash>) {
        if let Some(lead) = &self.lead {
            return changed.into_iter().for_each(|hash| lead.tell(hash));
        }
        let Some((peers, _)) = &self.others else { return };
        for hash in self.means.watchers.followed().into_iter().filter(|hash| changed.contains(hash)) {
            match peers.progress(hash).await {
                Ok(progress) => self.means.watchers.tell(hash, progress),
                Err(error) => tracing::error!(%error, action = %hash, "how far it is cannot be read"),
            }
        }
    }
}

/// Stores who has come here and who has left; returns those of the latter whose line is to another server.
async fn note(peers: &Peers, come: &[String], left: &BTreeSet<String>) -> Result<BTreeMap<String, i32>, StoreError> {
    if !come.is_empty() {
        peers.arrived(come).await?;
    }
    if !left.is_empty() {
        peers.left(left).await?;
    }
    peers.lines_of(left).await
}

/// What other servers say next; nothing, for ever, where there are none.
async fn next(others: &mut Option<(Arc<Peers>, mpsc::Receiver<News>)>) -> News {
    if let Some((_, news)) = others
        && let Some(news) = news.recv().await
    {
        return news;
    }
    std::future::pending().await
}
