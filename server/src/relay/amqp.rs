//! The relay over RabbitMQ: a queue for each agent that proved its key, and one that all answer to.
//!
//! No message is persistent, and the server's are not confirmed. The store carries the promise: an agent keeps an answer until it
//! is told that the store has it, and whoever comes, again or for the first time, is brought all that is open. So whatever a
//! broker or a connection loses is made good by making agents come again, which deleting their queues does. What an agent sends
//! while a server's queue is full, it sends again: told by a publisher confirm, or for want of a receipt.

mod challenges;
#[cfg(test)]
mod hard_days;
mod lines;
mod queues;
#[cfg(test)]
mod tests;
mod users;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use canvass_protocol::api::{QueueLine, RelayAddress};
use canvass_protocol::proof::Proof;
use canvass_protocol::relay::{FromAgent, ToAgent};
use canvass_protocol::signed::Signed;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use lapin::message::Delivery;
use lapin::options::BasicAckOptions;
use lapin::types::ShortString;
use lapin::{Acker, Channel, Connection, ConnectionProperties, ConnectionStatus, Event};
use tokio::time::{Instant, timeout};
use url::Url;

use self::challenges::Challenges;
use self::lines::Lines;
use self::queues::{ANSWERS, Deliveries, Maker, OVERFLOW};
use self::users::Users;
use super::inlet::Inlet;
use super::{Incoming, NotAdmitted, Relay, check_admitted};
use crate::store::Store;

/// Messages taken before the broker is told of them at once, a part of what it hands over beforehand, and how long none has to
/// come before it is told of fewer.
const ACK_EACH: usize = 16;
const ACK_AFTER: Duration = Duration::from_millis(50);
/// Agents say something every minute; one that was silent for longer than two of them is not there.
const SILENT_MAX: Duration = Duration::from_secs(150);
/// How long the broker may take to take a message before its agent is to come again instead.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
/// How often the silent are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Seconds between AMQP's heartbeats, at most: a lost broker is found after two. The broker may have agents' far rarer.
const HEARTBEAT_S: &str = "60";
/// Pauses between tries to reach a broker that was lost.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Why the relay cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AmqpError {
    #[error("the broker `{0}` cannot be used: {1}")]
    Broker(String, lapin::Error),
    #[error("no random bytes: {0}")]
    Random(#[from] getrandom::Error),
    #[error(transparent)]
    Users(#[from] users::UsersError),
}

/// How the broker is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// By this server, with its credentials.
    pub own: Url,
    /// By agents, where that differs; without credentials it takes the server's.
    pub public: Option<Url>,
    /// The broker's management, where each agent is to have a user of its own.
    pub admin: Option<Url>,
}

/// The relay over a broker.
pub struct Amqp {
    fleet: String,
    /// The queue of answers to this server, and the routing key that brings them there.
    answers: String,
    store: Arc<dyn Store>,
    incoming: Inlet,
    address: Address,
    users: Option<Users>,
    challenges: Mutex<Challenges>,
    lines: Arc<Mutex<Lines>>,
    /// `None` while the broker is away; what is to be sent then is sent when agents come again.
    link: RwLock<Option<Link>>,
    /// One agent's lines are opened one after the other; agents that share a lock wait for each other.
    opening: [tokio::sync::Mutex<()>; 64],
    /// Agents that were not brought something, since the broker took nothing: they come again once it does.
    missed: Mutex<HashSet<String>>,
    /// Agents with their lines to other servers that were sent something over this connection: what it had not brought them is
    /// lost with it.
    elsewhere: Mutex<HashSet<String>>,
}

/// What sends over a connection to the broker.
#[derive(Clone)]
struct Link {
    channel: Channel,
    queues: Arc<Maker>,
    status: ConnectionStatus,
}

/// A connection to the broker, with all that the relay needs declared on it.
struct Open {
    link: Link,
    deliveries: Deliveries,
    events: BoxStream<'static, Event>,
}

impl Link {
    /// Whether the broker has said that it takes nothing for now.
    fn is_blocked(&self) -> bool {
        self.status.blocked()
    }
}

impl Amqp {
    /// Connects, and goes on until `incoming` is closed. `server` is this server's name among those that share the broker.
    pub async fn open(
        address: Address,
        fleet: String,
        server: &str,
        store: Arc<dyn Store>,
        incoming: Inlet,
    ) -> Result<Arc<Amqp>, AmqpError> {
        let users = address.admin.as_ref().map(|admin| Users::new(admin, &address.own)).transpose()?;
        if users.is_none() {
            tracing::warn!(
                "agents share this server's credentials at the broker, so each can read and disturb what others are sent: \
                 give `--relay-admin`"
            );
        }
        let (lines, link) = (Arc::default(), RwLock::default());
        let answers = format!("{ANSWERS}.{server}");
        let relay = Arc::new(Amqp {
            fleet,
            answers,
            store,
            incoming,
            address,
            users,
            challenges: Mutex::new(Challenges::new(Instant::now())?),
            lines,
            link,
            opening: std::array::from_fn(|_| tokio::sync::Mutex::default()),
            missed: Mutex::default(),
            elsewhere: Mutex::default(),
        });
        let open = relay.connect().await.map_err(|error| AmqpError::Broker(relay.broker(), error))?;
        relay.set_link(Some(&open.link));
        tokio::spawn(relay.clone().run(open));
        Ok(relay)
    }

    /// Opens a line for an agent that proves its key over a challenge of ours; the reason where it is not let in.
    pub async fn come(
        &self,
        nonce: &str,
        proof: &Signed,
        server: &str,
        public_ip: Option<IpAddr>,
    ) -> Result<QueueLine, NotAdmitted> {
        let unknown = || NotAdmitted::Proof("it answers no challenge of this server, or one of long ago".into());
        if !self.challenges().is_open(nonce, Instant::now()) {
            return Err(unknown());
        }
        let agent = Proof::open(proof, &self.fleet, server, nonce)
            .map_err(|error| NotAdmitted::Proof(format!("the proof: {error}")))?;
        check_admitted(self.store.as_ref(), &agent).await?;
        // Only an agent of the fleet uses it up, so what is kept of challenges is as little as they come often.
        if !self.challenges().take(nonce, Instant::now()) {
            return Err(unknown());
        }
        let failed = |reason: String| {
            tracing::error!(agent, reason, "an agent's connection could not be opened");
            NotAdmitted::Failed("the broker does not do what this server asks of it now".into())
        };
        let line = crate::random::hex().map_err(|error| failed(error.to_string()))?;
        let link = self.link().ok_or_else(|| failed("the broker is away".into()))?;
        let _one_at_a_time = self.opening[self.place_of(&agent)].lock().await;
        let url = match &self.users {
            Some(users) => users
                .make(&agent)
                .await
                .map(|user| self.agents_url(Some(&user)))
                .map_err(|error| failed(error.to_string()))?,
            None => self.agents_url(None),
        };
        // An agent that comes again has lost its former line, whether we know it yet or not.
        let before = self.lines().close(&agent);
        // Mostly nobody reads it. Who does is not alone.
        let farewell = before.then(|| ToAgent::Replaced.to_text());
        link.queues.make(&agent, &line, farewell).await.map_err(|error| failed(error.to_string()))?;
        self.lines().open(&agent, &line, public_ip, Instant::now());
        tracing::debug!(agent, again = before, "an agent is here");
        // Where nobody takes what comes in, the server is ending.
        let _ = self.incoming.send(Incoming::Present { agent: agent.clone() }).await;
        let (queue, exchange, routing_key) = (queues::of(&agent), ANSWERS.to_owned(), self.answers.clone());
        Ok(QueueLine { url, queue, exchange, routing_key, line })
    }

    /// Takes what agents say, and connects again when the broker was lost.
    async fn run(self: Arc<Self>, mut open: Open) {
        loop {
            self.listen(&mut open).await;
            self.set_link(None);
            if self.incoming.is_closed() {
                return;
            }
            tracing::warn!(broker = self.broker(), "the broker is lost");
            let mut pause = PAUSE_MIN;
            open = loop {
                match self.connect().await {
                    Ok(open) => break open,
                    Err(error) => tracing::warn!(%error, broker = self.broker(), "the broker cannot be used"),
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            };
            tracing::info!(broker = self.broker(), "the broker is back");
            self.set_link(Some(&open.link));
            // What was given to the broker before may be lost with it: everybody has to come again.
            let mut agents: HashSet<String> = self.lines().agents().into_iter().collect();
            agents.extend(self.missed().drain());
            agents.extend(self.elsewhere().drain());
            self.call_again(&open.link, agents).await;
        }
    }

    async fn listen(&self, open: &mut Open) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        let mut taken: Vec<Acker> = Vec::new();
        loop {
            // An answer that is lost behind this point is still in its agent's spool.
            if taken.len() >= ACK_EACH && ack(&mut taken).await.is_err() {
                return;
            }
            tokio::select! {
                delivery = open.deliveries.next() => {
                    let Some(Some(Ok(delivery))) = delivery else { return };
                    let incoming = self.read(&open.link, &delivery).await;
                    if let Some(incoming) = incoming && self.incoming.send(incoming).await.is_err() {
                        return;
                    }
                    taken.push(delivery.acker);
                }
                () = tokio::time::sleep(ACK_AFTER), if !taken.is_empty() => {
                    if ack(&mut taken).await.is_err() {
                        return;
                    }
                }
                Some(event) = open.events.next() => match event {
                    Event::ConnectionBlocked(reason) => {
                        tracing::warn!(broker = self.broker(), reason, "the broker takes nothing for now");
                    }
                    Event::ConnectionUnblocked => self.make_good(&open.link).await,
                    _ => {}
                },
                _ = sweep.tick() => self.sweep(Instant::now()).await,
                () = self.incoming.closed() => return,
            }
        }
    }

    /// What a message brings in; nothing where it is of no line of ours.
    async fn read(&self, link: &Link, delivery: &Delivery) -> Option<Incoming> {
        if delivery.exchange.as_str() == OVERFLOW {
            let dropped = self.lines().heard(delivery.routing_key.as_str(), Instant::now());
            if let Some((agent, _)) = dropped {
                tracing::warn!(agent, "an agent is sent more than fits into its queue, and has to come again");
                self.end(link, vec![agent]).await;
            }
            return None;
        }
        let properties = &delivery.properties;
        let line = properties.correlation_id().as_ref()?.as_str().to_owned();
        let (agent, public_ip) = self.lines().heard(&line, Instant::now())?;
        // The broker vouches for the user where each agent has one.
        let user = properties.user_id().as_ref().map(ShortString::as_str);
        if self.users.is_some() && user != Some(users::name(&agent).as_str()) {
            tracing::warn!(agent, "a message over an agent's connection is not that agent's");
            return None;
        }
        match FromAgent::parse(&delivery.data) {
            Ok(FromAgent::Heartbeat(heartbeat)) => Some(Incoming::Heartbeat { agent, heartbeat, public_ip }),
            Ok(FromAgent::Part { action, judged, part }) => Some(Incoming::Part { agent, action, judged, part }),
            Ok(FromAgent::Proof(_)) => None,
            Err(error) => {
                tracing::warn!(agent, %error, "an agent sent what cannot be read");
                self.end(link, vec![agent]).await;
                None
            }
        }
    }

    /// Lets go of those who were silent for too long.
    async fn sweep(&self, now: Instant) {
        let silent = self.lines().silent(now, SILENT_MAX);
        if let Some(link) = self.link() {
            self.end(&link, silent).await;
            self.make_good(&link).await;
        }
    }

    /// Has those come again who were not brought something, once the broker takes messages.
    async fn make_good(&self, link: &Link) {
        if !link.is_blocked() {
            let missed = std::mem::take(&mut *self.missed());
            self.call_again(link, missed).await;
        }
    }

    /// Makes agents come again, wherever their lines are.
    async fn call_again(&self, link: &Link, agents: HashSet<String>) {
        let (here, elsewhere): (Vec<String>, Vec<String>) =
            agents.into_iter().partition(|agent| self.lines().is_open(agent));
        self.end(link, here).await;
        for agent in elsewhere {
            link.queues.delete(&agent).await;
        }
    }

    /// Ends lines: their agents, if they are there, come again.
    async fn end(&self, link: &Link, agents: Vec<String>) {
        let mut gone = Vec::new();
        for agent in agents {
            if self.lines().close(&agent) {
                link.queues.delete(&agent).await;
                gone.push(agent);
            }
        }
        // Whoever asked for this may be who takes what comes in, so it is not waited for.
        let (incoming, lines) = (self.incoming.clone(), self.lines.clone());
        tokio::spawn(async move {
            for agent in gone {
                let _ = incoming.send(Incoming::Gone { agent: agent.clone() }).await;
                // It may have come again before we could say that it had gone.
                let is_open = lines.lock().unwrap_or_else(PoisonError::into_inner).is_open(&agent);
                if is_open {
                    let _ = incoming.send(Incoming::Present { agent }).await;
                }
            }
        });
    }

    async fn connect(&self) -> lapin::Result<Open> {
        let runtime = lapin::runtime::default_runtime()?;
        let properties = ConnectionProperties::default().with_connection_name(self.answers.as_str().into());
        let mut own = self.address.own.clone();
        if !own.query_pairs().any(|(name, _)| name == "heartbeat") {
            own.query_pairs_mut().append_pair("heartbeat", HEARTBEAT_S);
        }
        let connection = Connection::connect_with_runtime(own.as_str(), properties, runtime).await?;
        let (channel, deliveries) = queues::open(&connection, &self.answers).await?;
        let status = connection.status().clone();
        let events = connection.events_listener().boxed();
        let queues = Arc::new(Maker::open(Arc::new(connection)).await?);
        Ok(Open { link: Link { channel, queues, status }, deliveries, events })
    }

    /// The broker's address for an agent.
    fn agents_url(&self, user: Option<&users::User>) -> String {
        let own = &self.address.own;
        let mut url = self.address.public.clone().unwrap_or_else(|| own.clone());
        let (name, password) = match user {
            Some(user) => (user.name.as_str(), Some(user.password.as_str())),
            None if url.username().is_empty() => (own.username(), own.password()),
            None => return url.into(),
        };
        // Both only fail for addresses without a host, which the configuration refuses.
        let _ = url.set_username(name);
        let _ = url.set_password(password);
        url.into()
    }

    /// Host and port of the broker, without credentials, for messages.
    fn broker(&self) -> String {
        let host = self.address.own.host_str().unwrap_or_default();
        self.address.own.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    fn link(&self) -> Option<Link> {
        self.link.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_link(&self, link: Option<&Link>) {
        *self.link.write().unwrap_or_else(PoisonError::into_inner) = link.cloned();
    }

    /// Which lock is an agent's.
    fn place_of(&self, agent: &str) -> usize {
        agent.bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)))
            % self.opening.len()
    }

    fn missed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self) -> MutexGuard<'_, HashSet<String>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn challenges(&self) -> MutexGuard<'_, Challenges> {
        self.challenges.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the broker that these messages, and all before them, are taken.
async fn ack(taken: &mut Vec<Acker>) -> lapin::Result<()> {
    match std::mem::take(taken).pop() {
        Some(last) => last.ack(BasicAckOptions { multiple: true }).await.map(drop),
        None => Ok(()),
    }
}

#[async_trait]
impl Relay for Amqp {
    fn address(&self) -> Result<RelayAddress, String> {
        let nonce = self.challenges().make(Instant::now()).map_err(|error| error.to_string())?;
        Ok(RelayAddress::Amqp { nonce })
    }

    async fn send(&self, agents: &[String], message: &ToAgent) {
        let elsewhere: Vec<String> = agents.iter().filter(|agent| !self.lines().is_open(agent)).cloned().collect();
        self.elsewhere().extend(elsewhere);
        let Some(link) = self.link() else { return };
        let text = message.to_text();
        for (place, agent) in agents.iter().enumerate() {
            let taken = async { timeout(TAKEN_WITHIN, queues::publish(&link.channel, agent, &text)).await.ok() };
            match if link.is_blocked() { None } else { taken.await } {
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::warn!(%error, "the broker takes nothing; agents are brought it when they come again");
                    return;
                }
                // Whoever sends has others to look after.
                None => return self.missed().extend(agents[place..].iter().cloned()),
            }
        }
    }

    fn connected(&self) -> usize {
        self.lines().agents().len()
    }

    fn forget(&self, agents: &[String]) {
        let mut lines = self.lines();
        for agent in agents {
            lines.close(agent);
        }
    }

    async fn shake(&self, agents: &[String]) {
        match self.link() {
            Some(link) => self.call_again(&link, agents.iter().cloned().collect()).await,
            // As soon as the broker is back.
            None => self.missed().extend(agents.iter().cloned()),
        }
    }
}
