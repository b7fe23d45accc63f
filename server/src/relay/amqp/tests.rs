//! The relay's contract over a real broker, with one user for all agents and with one for each.

use canvass_protocol::answer::{Part, agent_id};
use canvass_protocol::limits::MESSAGE_BYTES_MAX;
use canvass_services::{Broker as Program, Rabbitmq};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Confirmation, Consumer};
use tempfile::TempDir;

use super::*;
use crate::relay::contract::{self, FLEET, Place};
use crate::relay::inlet::{self, Outlet};
use crate::store;
use crate::store::sqlite::Sqlite;

pub(super) struct Broker {
    relay: Arc<Amqp>,
    store: Arc<dyn Store>,
    incoming: Outlet,
    _folder: TempDir,
}

impl Broker {
    pub(super) async fn open(rabbitmq: &Rabbitmq, own_users: bool) -> Broker {
        Broker::open_as("test", rabbitmq, own_users).await
    }

    /// Another server at the same broker.
    pub(super) async fn open_as(server: &str, rabbitmq: &Rabbitmq, own_users: bool) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
        let (sender, incoming) = inlet::channel(16, inlet::BYTES_MAX);
        let admin = own_users.then(|| Url::parse(&rabbitmq.admin_url()).unwrap());
        let address = Address { own: Url::parse(&rabbitmq.url()).unwrap(), public: None, admin };
        let relay = Amqp::open(address, FLEET.to_owned(), server, store.clone(), sender).await.unwrap();
        Broker { relay, store, incoming, _folder: folder }
    }

    pub(super) async fn line(&self, key: &SigningKey, fleet: &str) -> Result<QueueLine, String> {
        let Ok(RelayAddress::Amqp { nonce }) = self.relay.address() else { panic!("no challenge") };
        let proof = Proof::sign(key, fleet.to_owned(), "here".to_owned(), nonce.clone());
        self.relay.come(&nonce, &proof, "here", None).await.map_err(|error| error.to_string())
    }
}

/// An agent's end of a line.
struct Client {
    told: QueueLine,
    channel: Channel,
    consumer: Consumer,
    connection: Connection,
}

impl Client {
    async fn open(told: QueueLine) -> Client {
        let runtime = lapin::runtime::default_runtime().unwrap();
        let connection =
            Connection::connect_with_runtime(&told.url, ConnectionProperties::default(), runtime).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
        let queue = told.queue.as_str().into();
        let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await.unwrap();
        Client { told, channel, consumer, connection }
    }

    async fn publish(&self, message: &FromAgent, line: &str) {
        self.publish_bytes(&message.to_bytes(), line).await;
    }

    /// What the broker says of it, where it was asked to.
    async fn publish_bytes(&self, message: &[u8], line: &str) -> Confirmation {
        let user = Url::parse(&self.told.url).unwrap().username().to_owned();
        let properties = BasicProperties::default().with_correlation_id(line.into()).with_user_id(user.into());
        let options = BasicPublishOptions::default();
        let exchange = self.told.exchange.as_str().into();
        let key = self.told.routing_key.as_str().into();
        self.channel.basic_publish(exchange, key, options, message, properties).await.unwrap().await.unwrap()
    }
}

#[async_trait]
impl Place for Broker {
    fn relay(&self) -> &dyn Relay {
        self.relay.as_ref()
    }

    async fn enrol(&self, key: &SigningKey) -> String {
        let id = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
        let agent = store::Agent {
            id: id.clone(),
            name: "web-1".to_owned(),
            approval: None,
            heartbeat: Signed { statement: String::new(), signature: String::new() },
            heard_at: Timestamp::UNIX_EPOCH,
            public_ip: None,
        };
        self.store.admit(&[agent]).await.unwrap();
        id
    }

    async fn come(&self, key: &SigningKey, fleet: &str) -> Result<Box<dyn contract::Agent>, String> {
        Ok(Box::new(Client::open(self.line(key, fleet).await?).await))
    }

    async fn miss(&mut self, id: &str) {
        let link = self.relay.link().unwrap();
        self.relay.end(&link, vec![id.to_owned()]).await;
    }

    async fn incoming(&mut self) -> Incoming {
        self.incoming.recv().await.unwrap()
    }
}

#[async_trait]
impl contract::Agent for Client {
    async fn say(&mut self, message: FromAgent) {
        self.publish(&message, &self.told.line).await;
    }

    async fn hear(&mut self) -> Option<ToAgent> {
        let delivery = self.consumer.next().await?.ok()?;
        Some(ToAgent::parse(std::str::from_utf8(&delivery.data).unwrap()).unwrap())
    }
}

macro_rules! keeps {
    ($rabbitmq:ident, $own_users:ident, $($promise:ident),* $(,)?) => {
        $(
            eprintln!("{} with own_users={}", stringify!($promise), $own_users);
            contract::$promise(Box::new(Broker::open(&$rabbitmq, $own_users).await)).await;
        )*
    };
}

/// A broker takes seconds to start, so one serves all promises, one after the other.
async fn keeps_its_contract(program: Program) {
    let rabbitmq = Rabbitmq::start_of(program).unwrap();
    for own_users in [false, true] {
        keeps!(
            rabbitmq,
            own_users,
            messages_reach_those_they_are_for,
            what_agents_say_is_brought_in,
            who_comes_again_takes_its_own_place,
            strangers_stay_outside,
        );
    }
    an_agents_user_reaches_nothing_else(&rabbitmq).await;
    what_is_of_no_line_is_not_brought_in(&rabbitmq).await;
    what_is_too_long_costs_its_own_line(&rabbitmq).await;
    who_comes_twice_at_once_costs_nobody_else(&rabbitmq).await;
    answers_without_room_are_refused_and_none_is_lost(&rabbitmq).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept() {
    keeps_its_contract(Program::distribution()).await;
}

/// Series 4 refuses queues of which earlier brokers took the declaration, and makes queues of another kind where none is named.
#[tokio::test(flavor = "multi_thread")]
async fn the_contract_is_kept_over_series_4() {
    keeps_its_contract(Program::series_4().unwrap()).await;
}

/// With a user of its own an agent can neither read another's queue, nor make one, nor speak on another's line.
async fn an_agents_user_reaches_nothing_else(rabbitmq: &Rabbitmq) {
    let mut place = Broker::open(rabbitmq, true).await;
    let keys = [1, 2].map(|number| SigningKey::from_bytes(&[number; 32]));
    let mut ids = Vec::new();
    for key in &keys {
        ids.push(place.enrol(key).await);
    }
    let told = [place.line(&keys[0], FLEET).await.unwrap(), place.line(&keys[1], FLEET).await.unwrap()];
    let thief = Client::open(told[0].clone()).await;
    for _ in 0..2 {
        assert!(matches!(place.incoming().await, Incoming::Present { .. }));
    }
    let user = Url::parse(&told[0].url).unwrap().username().to_owned();
    let limits = rabbitmq.control(&["list_user_limits", "--user", &user]).unwrap();
    assert!(limits.contains("\"max-connections\":64") && limits.contains("\"max-channels\":64"), "{limits}");
    let refused = |error: lapin::Error| assert!(error.to_string().contains("ACCESS_REFUSED"), "{error}");
    let consume = BasicConsumeOptions::default();
    let channel = thief.connection.create_channel().await.unwrap();
    let queue = told[1].queue.as_str().into();
    refused(channel.basic_consume(queue, "".into(), consume, FieldTable::default()).await.err().unwrap());
    let channel = thief.connection.create_channel().await.unwrap();
    let declare = QueueDeclareOptions::default();
    refused(channel.queue_declare("mine".into(), declare, FieldTable::default()).await.err().unwrap());
    thief.publish(&FromAgent::Heartbeat(beat(1)), &told[1].line).await;
    thief.publish(&FromAgent::Heartbeat(beat(2)), &told[0].line).await;
    match place.incoming().await {
        Incoming::Heartbeat { heartbeat, .. } => {
            assert_eq!(heartbeat, beat(2), "what it said on another's line is dropped");
        }
        other => panic!("{other:?}"),
    }
    // Whoever is taken out of the fleet has no user any more, and no other loses its own by that.
    let users = || rabbitmq.control(&["list_users"]).unwrap();
    for _ in 0..2 {
        place.relay.remove_user(&ids[0]).await;
        assert!(!users().contains(&users::name(&ids[0])) && users().contains(&users::name(&ids[1])), "{}", users());
    }
}

/// Whoever can write to the exchange and has no line is not heard; a challenge answers for one line.
async fn what_is_of_no_line_is_not_brought_in(rabbitmq: &Rabbitmq) {
    let mut place = Broker::open(rabbitmq, false).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    let id = place.enrol(&key).await;
    let client = Client::open(place.line(&key, FLEET).await.unwrap()).await;
    assert!(matches!(place.incoming().await, Incoming::Present { agent } if agent == id));
    client.publish(&FromAgent::Heartbeat(beat(1)), "guess").await;
    client.publish(&FromAgent::Heartbeat(beat(2)), &client.told.line).await;
    assert!(matches!(place.incoming().await, Incoming::Heartbeat { heartbeat, .. } if heartbeat == beat(2)));
    all_is_acknowledged(rabbitmq);
    for _ in 0..2 * ACK_EACH {
        client.publish(&FromAgent::Heartbeat(beat(3)), &client.told.line).await;
    }
    for _ in 0..2 * ACK_EACH {
        assert!(matches!(place.incoming().await, Incoming::Heartbeat { heartbeat, .. } if heartbeat == beat(3)));
    }
    all_is_acknowledged(rabbitmq);
    let Ok(RelayAddress::Amqp { nonce }) = place.relay.address() else { panic!("no challenge") };
    let proof = Proof::sign(&key, FLEET.to_owned(), "here".to_owned(), nonce.clone());
    assert!(place.relay.come(&nonce, &proof, "here", None).await.is_ok());
    let again = place.relay.come(&nonce, &proof, "here", None).await.unwrap_err().to_string();
    assert!(again.contains("answers no challenge"), "{again}");
}

/// A message beyond every limit ends the line it came over, and others' are as they were.
async fn what_is_too_long_costs_its_own_line(rabbitmq: &Rabbitmq) {
    let mut place = Broker::open(rabbitmq, false).await;
    let [(one, first), (_, second)] = two_lines(&mut place).await;
    first.publish_bytes(&vec![b' '; MESSAGE_BYTES_MAX + 1], &first.told.line).await;
    assert!(matches!(place.incoming().await, Incoming::Gone { agent } if agent == one));
    second.publish(&FromAgent::Heartbeat(beat(1)), &second.told.line).await;
    assert!(matches!(place.incoming().await, Incoming::Heartbeat { heartbeat, .. } if heartbeat == beat(1)));
}

/// An agent that opens many lines at once has the last of them, and nobody else's line ends over it.
async fn who_comes_twice_at_once_costs_nobody_else(rabbitmq: &Rabbitmq) {
    let mut place = Broker::open(rabbitmq, false).await;
    let [(one, _), (_, other)] = two_lines(&mut place).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    let many: Vec<_> = (0..8)
        .map(|_| {
            let relay = place.relay.clone();
            let Ok(RelayAddress::Amqp { nonce }) = relay.address() else { panic!("no challenge") };
            let proof = Proof::sign(&key, FLEET.to_owned(), "here".to_owned(), nonce.clone());
            tokio::spawn(async move { relay.come(&nonce, &proof, "here", None).await.is_ok() })
        })
        .collect();
    for come in many {
        assert!(come.await.unwrap());
    }
    other.publish(&FromAgent::Heartbeat(beat(1)), &other.told.line).await;
    loop {
        match place.incoming().await {
            Incoming::Present { agent } => assert_eq!(agent, one),
            Incoming::Heartbeat { heartbeat, .. } => break assert_eq!(heartbeat, beat(1)),
            other => panic!("{other:?}"),
        }
    }
}

/// While nobody takes answers the broker keeps as many bytes of them as it was told to, and refuses the rest; whoever was
/// refused has to send again.
async fn answers_without_room_are_refused_and_none_is_lost(rabbitmq: &Rabbitmq) {
    let mut place = Broker::open(rabbitmq, false).await;
    let [(_, first), _] = two_lines(&mut place).await;
    first.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    let part = |number: usize| {
        let (statement, signature) = (format!("{{\"part\":{number}}}"), "0".repeat(128));
        let part = Part { statement, signature, body: vec![0; 1 << 20] };
        FromAgent::Part { action: canvass_protocol::action::ActionHash([7; 32]), judged: 1, part }.to_bytes()
    };
    let beyond = usize::try_from(queues::ANSWERS_BYTES_MAX).unwrap() / (1 << 20) + 200;
    let mut taken = 0;
    while first.publish_bytes(&part(taken), &first.told.line).await.is_ack() {
        taken += 1;
        assert!(taken < beyond, "the broker keeps {taken} MiB");
    }
    // What was refused is sent until there is room again, as agents do.
    for number in 0..=taken {
        let Incoming::Part { part: got, .. } = place.incoming().await else { panic!("no part") };
        assert_eq!(got.statement, format!("{{\"part\":{number}}}"), "in order, and each once");
        if number + 1 == taken {
            while !first.publish_bytes(&part(taken), &first.told.line).await.is_ack() {}
        }
    }
}

/// Two agents with lines, and their ids.
async fn two_lines(place: &mut Broker) -> [(String, Client); 2] {
    let mut lines = Vec::new();
    for number in [1, 2] {
        let key = SigningKey::from_bytes(&[number; 32]);
        let id = place.enrol(&key).await;
        let client = Client::open(place.line(&key, FLEET).await.unwrap()).await;
        assert!(matches!(place.incoming().await, Incoming::Present { agent } if agent == id));
        lines.push((id, client));
    }
    lines.try_into().ok().unwrap()
}

fn beat(number: u8) -> Signed {
    Signed { statement: format!("{{\"beat\":{number}}}"), signature: "00".to_owned() }
}

/// The broker has nothing more of what agents said: looking takes it longer than a message may wait for its acknowledgement.
fn all_is_acknowledged(rabbitmq: &Rabbitmq) {
    let left = || rabbitmq.control(&["list_queues", "messages", "name"]).unwrap();
    let is_done = |left: &str| left.lines().any(|line| line == format!("0\t{ANSWERS}.test"));
    let looks: Vec<String> = (0..10).map(|_| left()).take_while(|left| !is_done(left)).collect();
    assert!(looks.len() < 10, "{}", looks[9]);
}

/// A broker that is killed takes lines with it, and agents come again to the one that is started in its place.
async fn is_used_again(program: Program) {
    let mut rabbitmq = Rabbitmq::start_of(program).unwrap();
    let mut place = Broker::open(&rabbitmq, false).await;
    let key = SigningKey::from_bytes(&[1; 32]);
    let id = place.enrol(&key).await;
    let mut before = place.come(&key, FLEET).await.ok().unwrap();
    assert!(matches!(place.incoming().await, Incoming::Present { agent } if agent == id));
    rabbitmq.kill();
    assert_eq!(before.hear().await, None);
    rabbitmq.start_again().unwrap();
    assert!(matches!(place.incoming().await, Incoming::Gone { agent } if agent == id));
    let mut after = place.come(&key, FLEET).await.ok().unwrap();
    assert!(matches!(place.incoming().await, Incoming::Present { agent } if agent == id));
    let message = ToAgent::Taken(canvass_protocol::action::ActionHash([7; 32]));
    place.relay().send(&[id], &message).await;
    assert_eq!(after.hear().await, Some(message));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_back_is_used_again() {
    is_used_again(Program::distribution()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_series_4_that_comes_back_is_used_again() {
    is_used_again(Program::series_4().unwrap()).await;
}

/// Queues of an earlier version, which were transient and had no bounds, make room for those of this one.
#[tokio::test(flavor = "multi_thread")]
async fn queues_of_an_earlier_version_are_replaced() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let key = SigningKey::from_bytes(&[1; 32]);
    let id = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
    let runtime = lapin::runtime::default_runtime().unwrap();
    let (url, properties) = (rabbitmq.url(), ConnectionProperties::default());
    let earlier = Connection::connect_with_runtime(&url, properties, runtime).await.unwrap();
    let channel = earlier.create_channel().await.unwrap();
    for queue in [format!("{ANSWERS}.test"), queues::of(&id)] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-expires".into(), AMQPValue::LongInt(60_000));
        channel.queue_declare(queue.into(), QueueDeclareOptions::default(), arguments).await.unwrap();
    }
    let place: Box<dyn Place> = Box::new(Broker::open(&rabbitmq, false).await);
    contract::what_agents_say_is_brought_in(place).await;
    let listed = rabbitmq.control(&["list_queues", "name", "durable", "type"]).unwrap();
    let lines: Vec<&str> = listed.lines().filter(|line| line.starts_with("canvass.")).collect();
    assert!(lines.len() >= 3 && lines.iter().all(|line| line.ends_with("\ttrue\tclassic")), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_cannot_be_used_is_told_without_its_password() {
    let open = async |url: &str| {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
        let address = Address { own: Url::parse(url).unwrap(), public: None, admin: None };
        let opened = Amqp::open(address, FLEET.to_owned(), "test", store, inlet::channel(1, inlet::BYTES_MAX).0).await;
        opened.err().unwrap().to_string()
    };
    let rabbitmq = Rabbitmq::start().unwrap();
    let wrong = Url::parse(&rabbitmq.url()).unwrap();
    let port = wrong.port().unwrap();
    for url in [format!("amqp://canvass:guess@127.0.0.1:{port}"), "amqp://canvass:guess@127.0.0.1:9".to_owned()] {
        let error = open(&url).await;
        assert!(error.contains("cannot be used") && !error.contains("guess"), "{error}");
    }
}
