//! What is declared at the broker, and what bounds it.
//!
//! Queues are classic and durable, of which any RabbitMQ from 3.10 on takes the declaration, whatever its administrator made the
//! default; what is in them is not written to a disk on purpose and does not outlive the broker.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use lapin::message::Delivery;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
    QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Connection, ErrorKind, ExchangeKind};
use tokio::sync::Mutex;

/// The exchange that agents write to; each server binds a queue of its own to it, whose name begins like this.
pub const ANSWERS: &str = "canvass.answers";
/// The exchange that gets what no longer fits into an agent's queue; agents may not write to it. Each server has a queue of
/// what it gets, by its line, whose name begins like this: where agents fill the queue of answers, this one has room.
pub const OVERFLOW: &str = "canvass.overflow";
/// What the names of agents' queues begin with; the agent's id follows.
pub const AGENT_QUEUE: &str = "canvass.agent.";

/// Answers that the broker hands over before they are taken. Each is at most [`limits::MESSAGE_BYTES_MAX`] long, so all are at
/// most 806 MB.
///
/// [`limits::MESSAGE_BYTES_MAX`]: canvass_protocol::limits::MESSAGE_BYTES_MAX
pub const PREFETCH: u16 = 64;
/// Of what found no room in agents' queues, which is no longer than an action: at most 138 MB.
const PREFETCH_OVERFLOW: u16 = 16;
/// Messages that wait for one agent, as with the embedded relay, and their bytes: some actions of the largest kind.
pub const QUEUE_MAX: i32 = 1024;
pub const QUEUE_BYTES_MAX: i32 = 64 << 20;
/// Bytes that wait for one server. The broker takes no more; agents keep what they have and send it again.
pub const ANSWERS_BYTES_MAX: i32 = if cfg!(test) { 32 << 20 } else { 256 << 20 };
/// Bytes of what no longer fitted into agents' queues.
const OVERFLOW_BYTES_MAX: i32 = 64 << 20;
/// An agent's queue that nobody reads for this long, in milliseconds, is deleted by the broker itself.
const UNUSED_MS_MAX: i32 = 10 * 60 * 1000;
/// A server's queues that it does not read for this long, in milliseconds, are deleted by the broker itself.
const UNREAD_MS_MAX: i32 = 60 * 1000;

/// What a server is brought; ends as soon as one of its queues does.
pub type Deliveries = BoxStream<'static, Option<lapin::Result<Delivery>>>;

/// Declares what a server needs, and reads its queues.
pub async fn open(connection: &Connection, answers: &str) -> lapin::Result<(Channel, Deliveries)> {
    let overflow = answers.replacen(ANSWERS, OVERFLOW, 1);
    let channel = match declare(connection, answers, &overflow).await {
        // They are there, as somebody else would have them: a Canvass of another version, which called its queues the same.
        Err(error) if is_otherwise(&error) => {
            let channel = connection.create_channel().await?;
            for queue in [answers, &overflow] {
                channel.queue_delete(queue.into(), QueueDeleteOptions::default()).await?;
            }
            declare(connection, answers, &overflow).await?
        }
        declared => declared?,
    };
    let mut read = Vec::new();
    for (queue, prefetch) in [(answers, PREFETCH), (&overflow, PREFETCH_OVERFLOW)] {
        channel.basic_qos(prefetch, BasicQosOptions::default()).await?;
        let (tag, options) = (queue.into(), BasicConsumeOptions::default());
        let consumer = channel.basic_consume(queue.into(), tag, options, FieldTable::default()).await?;
        read.push(consumer.map(Some).chain(stream::once(async { None })).boxed());
    }
    Ok((channel, stream::select_all(read).boxed()))
}

async fn declare(connection: &Connection, answers: &str, overflow: &str) -> lapin::Result<Channel> {
    let channel = connection.create_channel().await?;
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    channel.exchange_declare(ANSWERS.into(), ExchangeKind::Direct, durable, FieldTable::default()).await?;
    channel.exchange_declare(OVERFLOW.into(), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
    let mut arguments = classic(UNREAD_MS_MAX, ANSWERS_BYTES_MAX);
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    declare_queue(&channel, answers, arguments).await?;
    declare_queue(&channel, overflow, classic(UNREAD_MS_MAX, OVERFLOW_BYTES_MAX)).await?;
    let bind = QueueBindOptions::default();
    channel.queue_bind(answers.into(), ANSWERS.into(), answers.into(), bind, FieldTable::default()).await?;
    channel.queue_bind(overflow.into(), OVERFLOW.into(), "".into(), bind, FieldTable::default()).await?;
    Ok(channel)
}

/// Where agents' queues are made and deleted, one after the other: on a channel of its own, since a broker closes the whole
/// channel over a declaration that it does not take.
pub struct Maker {
    connection: Arc<Connection>,
    channel: Mutex<Channel>,
}

impl Maker {
    pub async fn open(connection: Arc<Connection>) -> lapin::Result<Maker> {
        let channel = Mutex::new(connection.create_channel().await?);
        Ok(Maker { connection, channel })
    }

    /// Makes an agent's queue, for the line of that secret, in place of its former one. Whoever still reads that finds
    /// `farewell` in it, where there is one.
    pub async fn make(&self, agent: &str, line: &str, farewell: Option<String>) -> lapin::Result<()> {
        let channel = self.channel().await?;
        if let Some(farewell) = farewell {
            publish(&channel, agent, &farewell).await?;
        }
        delete(&channel, agent).await?;
        let mut arguments = classic(UNUSED_MS_MAX, QUEUE_BYTES_MAX);
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(QUEUE_MAX));
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(OVERFLOW.into()));
        arguments.insert("x-dead-letter-routing-key".into(), AMQPValue::LongString(line.into()));
        declare_queue(&channel, &of(agent), arguments).await
    }

    /// Deletes an agent's queue, whether it is there or not.
    pub async fn delete(&self, agent: &str) {
        let deleted = async { delete(&self.channel().await?, agent).await };
        if let Err(error) = deleted.await {
            tracing::warn!(agent, %error, "an agent's queue cannot be deleted");
        }
    }

    /// The channel, or another one where the broker has closed it.
    async fn channel(&self) -> lapin::Result<Channel> {
        let mut channel = self.channel.lock().await;
        if !channel.status().connected() {
            *channel = self.connection.create_channel().await?;
        }
        Ok(channel.clone())
    }
}

/// Nobody waits for it.
async fn delete(channel: &Channel, agent: &str) -> lapin::Result<()> {
    let options = QueueDeleteOptions { nowait: true, ..QueueDeleteOptions::default() };
    channel.queue_delete(of(agent).into(), options).await.map(drop)
}

/// Puts a message into an agent's queue, where there is one.
pub async fn publish(channel: &Channel, agent: &str, text: &str) -> lapin::Result<()> {
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    channel.basic_publish("".into(), of(agent).into(), options, text.as_bytes(), properties).await.map(drop)
}

/// An agent's queue.
pub fn of(agent: &str) -> String {
    format!("{AGENT_QUEUE}{agent}")
}

/// Transient queues that several connections use are refused by RabbitMQ from 4.3 on, and one that is not told its kind makes
/// it of the default one of its virtual host, which may be replicated and written to disks.
fn classic(expires_ms: i32, bytes_max: i32) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-expires".into(), AMQPValue::LongInt(expires_ms));
    arguments.insert("x-max-length-bytes".into(), AMQPValue::LongInt(bytes_max));
    arguments
}

async fn declare_queue(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(name.into(), durable, arguments).await.map(drop)
}

/// Whether a queue of that name is there with other properties.
fn is_otherwise(error: &lapin::Error) -> bool {
    let ErrorKind::ProtocolError(error) = error.kind() else { return false };
    matches!(error.kind(), AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED))
}
