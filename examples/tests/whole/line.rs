//! An agent's line over a broker that does not go along: it has no room, or sends faster than is taken.

use canvass_agent::relay::amqp::Queue;
use canvass_agent::relay::{Delivery, Line as _};
use canvass_protocol::api::QueueLine;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::relay::ToAgent;
use canvass_services::Rabbitmq;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};

const EXCHANGE: &str = "amq.direct";
const ANSWERS: &str = "answers";
const COMMANDS: &str = "commands";

/// The server's side: a queue of commands, and one of answers that has room for one message.
struct Server {
    _connection: Connection,
    channel: Channel,
}

impl Server {
    async fn open(rabbitmq: &Rabbitmq) -> Server {
        let runtime = lapin::runtime::default_runtime().unwrap();
        let properties = ConnectionProperties::default();
        let connection = Connection::connect_with_runtime(&rabbitmq.url(), properties, runtime).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let (durable, none) =
            (QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() }, FieldTable::default);
        let mut one = FieldTable::default();
        one.insert("x-max-length".into(), AMQPValue::LongInt(1));
        one.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
        channel.queue_declare(ANSWERS.into(), durable, one).await.unwrap();
        channel.queue_declare(COMMANDS.into(), durable, none()).await.unwrap();
        let bind = QueueBindOptions::default();
        channel.queue_bind(ANSWERS.into(), EXCHANGE.into(), ANSWERS.into(), bind, none()).await.unwrap();
        channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
        Server { _connection: connection, channel }
    }

    /// Whether the broker took it.
    async fn publish(&self, exchange: &str, key: &str, message: &[u8]) -> bool {
        let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
        let sent = self.channel.basic_publish(exchange.into(), key.into(), options, message, properties).await.unwrap();
        sent.await.unwrap().is_ack()
    }

    /// The oldest answer.
    async fn take(&self) -> Option<Vec<u8>> {
        let got = self.channel.basic_get(ANSWERS.into(), BasicGetOptions::default()).await.unwrap()?;
        got.delivery.acker.ack(BasicAckOptions::default()).await.unwrap();
        Some(got.delivery.data)
    }
}

async fn line(rabbitmq: &Rabbitmq) -> Queue {
    let (exchange, routing_key) = (EXCHANGE.to_owned(), ANSWERS.to_owned());
    let told =
        QueueLine { url: rabbitmq.url(), queue: COMMANDS.to_owned(), exchange, routing_key, line: "line".to_owned() };
    Queue::open(told).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_is_said_again_and_what_is_not_taken_waits_at_the_broker() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let server = Server::open(&rabbitmq).await;
    let mut agent = line(&rabbitmq).await;
    assert_eq!(agent.say(b"unconfirmed".to_vec(), Delivery::Unconfirmed).await.unwrap(), Delivery::Unconfirmed);
    while server.take().await.is_none() {}
    assert_eq!(agent.say(b"first".to_vec(), Delivery::Confirmed).await.unwrap(), Delivery::Confirmed);
    let says = tokio::spawn(async move {
        agent.say(b"second".to_vec(), Delivery::Confirmed).await.unwrap();
        agent
    });
    assert!(!server.publish(EXCHANGE, ANSWERS, b"another").await, "there is no room");
    assert!(!says.is_finished(), "what was refused is not said");
    assert_eq!(server.take().await.unwrap(), b"first");
    let mut agent = says.await.unwrap();
    assert_eq!(server.take().await.unwrap(), b"second");
    assert_eq!(server.take().await, None, "each came once");

    // More than an agent keeps of what it has not taken; what it keeps is looked at where that is counted.
    let command = |number: usize| {
        let payload = format!("{number}{}", "x".repeat(1 << 20));
        ToAgent::Command(Envelope { payload, signatures: vec!["s".to_owned()] })
    };
    for number in 0..40 {
        assert!(server.publish("", COMMANDS, command(number).to_text().as_bytes()).await);
    }
    for number in 0..40 {
        assert!(agent.hear().await.unwrap() == command(number), "the {number}th comes in its place");
    }
    let delivery = agent.say(b"third".to_vec(), Delivery::Unconfirmed).await.unwrap();
    assert_eq!(delivery, Delivery::Confirmed, "as all on a channel that has confirms");
    assert_eq!(server.take().await.unwrap(), b"third");
}
