//! The relay over RabbitMQ: a queue for each agent that proved its key, and one that all answer to.
//!
//! Messages are neither persistent nor confirmed. The store carries the promise: an agent keeps an answer until it is told
//! that the store has it, and whoever comes, again or for the first time, is brought all that is open. So whatever a broker or
//! a connection loses is made good by making agents come again, which deleting their queues does.

#[cfg(test)]
mod hard_days;
mod lines;
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
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions,
    QueueBindOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{
    Acker, BasicProperties, Channel, Connection, ConnectionProperties, ConnectionStatus, Consumer, Event, ExchangeKind,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use url::Url;

use self::lines::Lines;
use self::users::Users;
use super::{Incoming, NotAdmitted, Relay, check_admitted};
use crate::store::Store;

/// The exchange that agents write to; each server binds a queue of its own to it, whose name begins like this.
const ANSWERS: &str = "canvass.answers";
/// The exchange that gets what no longer fits into an agent's queue; agents may not write to it. What it gets is put among the
/// answers, by its line.
const OVERFLOW: &str = "canvass.overflow";
/// What the names of agents' queues begin with; the agent's id follows.
const AGENT_QUEUE: &str = "canvass.agent.";
/// Answers that the broker hands over before they are taken.
const PREFETCH: u16 = 1000;
/// Messages taken before the broker is told of them at once, and how long none has to come before it is told of fewer.
const ACK_EACH: usize = 64;
const ACK_AFTER: Duration = Duration::from_millis(50);
/// Messages that wait for one agent, as with the embedded relay.
const QUEUE_MAX: i32 = 1024;
/// An agent's queue that nobody reads for this long, in milliseconds, is deleted by the broker itself.
const UNUSED_MS_MAX: i32 = 10 * 60 * 1000;
/// A server's queue of answers that it does not read for this long, in milliseconds, is deleted by the broker itself.
const UNREAD_MS_MAX: i32 = 60 * 1000;
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
    incoming: mpsc::Sender<Incoming>,
    address: Address,
    users: Option<Users>,
    lines: Arc<Mutex<Lines>>,
    /// `None` while the broker is away; what is to be sent then is sent when agents come again.
    channel: RwLock<Option<(Channel, ConnectionStatus)>>,
    /// Agents that were not brought something, since the broker took nothing: they come again once it does.
    missed: Mutex<HashSet<String>>,
    /// Agents with their lines to other servers that were sent something over this connection: what it had not brought them is
    /// lost with it.
    elsewhere: Mutex<HashSet<String>>,
}

/// A connection to the broker, with all that the relay needs declared on it.
struct Open {
    /// Ends with the value.
    connection: Connection,
    channel: Channel,
    answers: Consumer,
    events: BoxStream<'static, Event>,
}

impl Amqp {
    /// Connects, and goes on until `incoming` is closed. `server` is this server's name among those that share the broker.
    pub async fn open(
        address: Address,
        fleet: String,
        server: &str,
        store: Arc<dyn Store>,
        incoming: mpsc::Sender<Incoming>,
    ) -> Result<Arc<Amqp>, AmqpError> {
        let users = address.admin.as_ref().map(|admin| Users::new(admin, &address.own)).transpose()?;
        if users.is_none() {
            tracing::warn!(
                "agents share this server's credentials at the broker, so each can read and disturb what others are sent: \
                 give `--relay-admin`"
            );
        }
        let (lines, channel) = (Arc::default(), RwLock::default());
        let answers = format!("{ANSWERS}.{server}");
        let relay = Arc::new(Amqp {
            fleet,
            answers,
            store,
            incoming,
            address,
            users,
            lines,
            channel,
            missed: Mutex::default(),
            elsewhere: Mutex::default(),
        });
        let open = relay.connect().await.map_err(|error| AmqpError::Broker(relay.broker(), error))?;
        relay.set_channel(Some(&open));
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
        if !self.lines().take_challenge(nonce, Instant::now()) {
            return Err(NotAdmitted::Proof("it answers no challenge of this server, or one of long ago".into()));
        }
        let agent = Proof::open(proof, &self.fleet, server, nonce)
            .map_err(|error| NotAdmitted::Proof(format!("the proof: {error}")))?;
        check_admitted(self.store.as_ref(), &agent).await?;
        let failed = |reason: String| {
            tracing::error!(agent, reason, "a line could not be opened");
            NotAdmitted::Failed("the broker does not do what this server asks of it now".into())
        };
        let line = crate::random::hex().map_err(|error| failed(error.to_string()))?;
        let channel = self.channel().ok_or_else(|| failed("the broker is away".into()))?;
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
        if before {
            // Mostly nobody reads this. Who does is not alone.
            let _ = publish(&channel, &agent, &ToAgent::Replaced.to_text()).await;
        }
        self.delete_queue(&channel, &agent).await;
        let queue = queue_of(&agent);
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(UNUSED_MS_MAX));
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_MAX));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(OVERFLOW.into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(line.as_str().into()));
        let declared = channel.queue_declare(queue.as_str().into(), QueueDeclareOptions::default(), arguments).await;
        declared.map_err(|error| failed(error.to_string()))?;
        self.lines().open(&agent, &line, public_ip, Instant::now());
        tracing::debug!(agent, again = before, "an agent is here");
        // Where nobody takes what comes in, the server is ending.
        let _ = self.incoming.send(Incoming::Present { agent }).await;
        Ok(QueueLine { url, queue, exchange: ANSWERS.to_owned(), routing_key: self.answers.clone(), line })
    }

    /// Takes what agents say, and connects again when the broker was lost.
    async fn run(self: Arc<Self>, mut open: Open) {
        loop {
            self.listen(&mut open).await;
            self.set_channel(None);
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
            self.set_channel(Some(&open));
            // What was given to the broker before may be lost with it: everybody has to come again.
            let mut agents: HashSet<String> = self.lines().agents().into_iter().collect();
            agents.extend(self.missed().drain());
            agents.extend(self.elsewhere().drain());
            self.call_again(&open.channel, agents).await;
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
                delivery = open.answers.next() => {
                    let Some(Ok(delivery)) = delivery else { return };
                    let incoming = self.read(&open.channel, &delivery).await;
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
                    Event::ConnectionUnblocked => self.make_good(&open.channel).await,
                    _ => {}
                },
                _ = sweep.tick() => self.sweep(Instant::now()).await,
                () = self.incoming.closed() => return,
            }
        }
    }

    /// What a message brings in; nothing where it is of no line of ours.
    async fn read(&self, channel: &Channel, delivery: &Delivery) -> Option<Incoming> {
        if delivery.exchange.as_str() == OVERFLOW {
            let dropped = self.lines().heard(delivery.routing_key.as_str(), Instant::now());
            if let Some((agent, _)) = dropped {
                tracing::warn!(agent, "an agent is sent more than fits into its queue, and has to come again");
                self.end(channel, vec![agent]).await;
            }
            return None;
        }
        let properties = &delivery.properties;
        let line = properties.correlation_id().as_ref()?.as_str().to_owned();
        let (agent, public_ip) = self.lines().heard(&line, Instant::now())?;
        // The broker vouches for the user where each agent has one.
        let user = properties.user_id().as_ref().map(ShortString::as_str);
        if self.users.is_some() && user != Some(users::name(&agent).as_str()) {
            tracing::warn!(agent, "a message on an agent's line is not that agent's");
            return None;
        }
        match FromAgent::parse(&delivery.data) {
            Ok(FromAgent::Heartbeat(heartbeat)) => Some(Incoming::Heartbeat { agent, heartbeat, public_ip }),
            Ok(FromAgent::Part { action, judged, part }) => Some(Incoming::Part { agent, action, judged, part }),
            Ok(FromAgent::Proof(_)) => None,
            Err(error) => {
                tracing::warn!(agent, %error, "an agent sent what cannot be read");
                self.end(channel, vec![agent]).await;
                None
            }
        }
    }

    /// Lets go of those who were silent for too long.
    async fn sweep(&self, now: Instant) {
        let silent = self.lines().silent(now, SILENT_MAX);
        if let Some(channel) = self.channel() {
            self.end(&channel, silent).await;
            self.make_good(&channel).await;
        }
    }

    /// Has those come again who were not brought something, once the broker takes messages.
    async fn make_good(&self, channel: &Channel) {
        if !self.is_blocked() {
            let missed = std::mem::take(&mut *self.missed());
            self.call_again(channel, missed).await;
        }
    }

    /// Makes agents come again, wherever their lines are.
    async fn call_again(&self, channel: &Channel, agents: HashSet<String>) {
        let (here, elsewhere): (Vec<String>, Vec<String>) =
            agents.into_iter().partition(|agent| self.lines().is_open(agent));
        self.end(channel, here).await;
        for agent in elsewhere {
            self.delete_queue(channel, &agent).await;
        }
    }

    /// Ends lines: their agents, if they are there, come again.
    async fn end(&self, channel: &Channel, agents: Vec<String>) {
        let mut gone = Vec::new();
        for agent in agents {
            if self.lines().close(&agent) {
                self.delete_queue(channel, &agent).await;
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
        let channel = connection.create_channel().await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        channel.exchange_declare(ANSWERS.into(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
        let mut expires = FieldTable::default();
        expires.insert("x-expires".into(), AMQPValue::LongInt(UNREAD_MS_MAX));
        let answers = ShortString::from(self.answers.as_str());
        channel.queue_declare(answers.clone(), QueueDeclareOptions::default(), expires).await?;
        let bind = QueueBindOptions::default();
        channel.queue_bind(answers.clone(), ANSWERS.into(), answers.clone(), bind, FieldTable::default()).await?;
        channel.exchange_declare(OVERFLOW.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
        channel.queue_bind(answers.clone(), OVERFLOW.into(), "".into(), bind, FieldTable::default()).await?;
        channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
        let consume = BasicConsumeOptions::default();
        let answers = channel.basic_consume(answers, "server".into(), consume, FieldTable::default()).await?;
        let events = connection.events_listener().boxed();
        Ok(Open { connection, channel, answers, events })
    }

    /// Deleting a queue that is not there is no error, and nobody waits for it.
    async fn delete_queue(&self, channel: &Channel, agent: &str) {
        let options = QueueDeleteOptions { nowait: true, ..QueueDeleteOptions::default() };
        if let Err(error) = channel.queue_delete(queue_of(agent).into(), options).await {
            tracing::warn!(agent, %error, "an agent's queue cannot be deleted");
        }
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

    fn channel(&self) -> Option<Channel> {
        let open = self.channel.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().map(|(channel, _)| channel.clone())
    }

    /// Whether the broker has said that it takes nothing for now.
    fn is_blocked(&self) -> bool {
        let open = self.channel.read().unwrap_or_else(PoisonError::into_inner);
        open.as_ref().is_some_and(|(_, status)| status.blocked())
    }

    fn set_channel(&self, open: Option<&Open>) {
        let open = open.map(|open| (open.channel.clone(), open.connection.status().clone()));
        *self.channel.write().unwrap_or_else(PoisonError::into_inner) = open;
    }

    fn missed(&self) -> MutexGuard<'_, HashSet<String>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn elsewhere(&self) -> MutexGuard<'_, HashSet<String>> {
        self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Puts a message into an agent's queue, where there is one.
async fn publish(channel: &Channel, agent: &str, text: &str) -> lapin::Result<()> {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), queue_of(agent).into(), options, text.as_bytes(), properties).await.map(drop)
}

#[async_trait]
impl Relay for Amqp {
    fn address(&self) -> Result<RelayAddress, String> {
        let nonce = crate::random::hex().map_err(|error| error.to_string())?;
        self.lines().challenge(&nonce, Instant::now());
        Ok(RelayAddress::Amqp { nonce })
    }

    async fn send(&self, agents: &[String], message: &ToAgent) {
        let elsewhere: Vec<String> = agents.iter().filter(|agent| !self.lines().is_open(agent)).cloned().collect();
        self.elsewhere().extend(elsewhere);
        let Some(channel) = self.channel() else { return };
        let text = message.to_text();
        for (place, agent) in agents.iter().enumerate() {
            let taken = async { timeout(TAKEN_WITHIN, publish(&channel, agent, &text)).await.ok() };
            match if self.is_blocked() { None } else { taken.await } {
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
        match self.channel() {
            Some(channel) => self.call_again(&channel, agents.iter().cloned().collect()).await,
            // As soon as the broker is back.
            None => self.missed().extend(agents.iter().cloned()),
        }
    }
}

fn queue_of(agent: &str) -> String {
    format!("{AGENT_QUEUE}{agent}")
}
