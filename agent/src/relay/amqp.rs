//! A line over RabbitMQ: commands come from a queue of the agent's own, answers go to the server's exchange.
//!
//! Nothing is acknowledged: an answer stays in the spool until the server says that it has it, and whoever comes again is
//! brought all that is open. Where the server's queue is full, the broker drops what is sent. A channel begins without publisher
//! confirms and is switched to them by the first message for which one is wanted: then the broker says what it dropped, and that
//! is sent again after a while. They cost broker and agent about a fifth of a millisecond each a message.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use canvass_protocol::api::QueueLine;
use canvass_protocol::relay::ToAgent;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, Consumer};
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::broker::{self, FRAME_BYTES_MAX, Waiting};
use super::{Delivery, Line, RelayError};

/// How long the broker may take to be reached.
const CONNECT_WITHIN: Duration = Duration::from_secs(30);
/// How long it may take nothing.
const SILENT_MAX: Duration = Duration::from_secs(90);
/// Pauses before something is said again that found no room: long enough that a fleet that waits costs the broker little.
const FULL_PAUSE_MIN: Duration = Duration::from_millis(500);
const FULL_PAUSE_MAX: Duration = Duration::from_secs(16);
/// Ports below 1024 that a broker may have: AMQP's are above, and a proxy of TLS often has this one. A server that was taken
/// over cannot have every endpoint knock at others.
const PORT_LOW: u16 = 443;
/// Half of this apart, in seconds, are AMQP's own heartbeats, or nearer where the broker wants them so. What we say each minute
/// finds a broker that was lost ([`broker`]); each of these would wake us, and a process of the broker's.
const HEARTBEAT_S: &str = "600";

/// An open line over a broker.
pub struct Queue {
    told: QueueLine,
    user: String,
    channel: Channel,
    /// Whether the channel has publisher confirms, which cannot be switched off again.
    confirms: bool,
    consumer: Consumer,
    /// What the consumer has and nobody has taken.
    waiting: Arc<Waiting>,
    /// Ends with the line.
    _connection: Connection,
}

impl Queue {
    /// Connects to the broker as the server told.
    pub async fn open(told: QueueLine) -> Result<Queue, RelayError> {
        let address = address(&told.url)?;
        let name = host(&address);
        let waiting = Arc::new(Waiting::default());
        let opened = timeout(CONNECT_WITHIN, connect(&address, &told.queue, waiting.clone())).await;
        let (connection, channel, consumer) = opened
            .map_err(|_| RelayError::Away(format!("the broker `{name}` does not answer")))?
            .map_err(|error| RelayError::Away(format!("the broker `{name}` cannot be used: {error}")))?;
        Ok(Queue { user: user(&address), told, channel, confirms: false, consumer, waiting, _connection: connection })
    }

    /// Sends a message; whether there was room for it, as far as that is known.
    async fn publish(&mut self, message: &[u8], wanted: Delivery) -> lapin::Result<bool> {
        if wanted == Delivery::Confirmed && !self.confirms {
            self.channel.confirm_select(ConfirmSelectOptions::default()).await?;
            self.confirms = true;
        }
        let properties = BasicProperties::default().with_correlation_id(self.told.line.as_str().into());
        // The broker refuses a message that names another user than its connection's.
        let properties = properties.with_user_id(self.user.as_str().into());
        let (exchange, key) = (self.told.exchange.as_str().into(), self.told.routing_key.as_str().into());
        let options = BasicPublishOptions::default();
        let sent = self.channel.basic_publish(exchange, key, options, message, properties).await?;
        Ok(!sent.await?.is_nack())
    }
}

/// The broker's address with what we need of a connection.
fn address(url: &str) -> Result<Url, RelayError> {
    let mut url =
        Url::parse(url).map_err(|_| RelayError::Refused("the server names a broker without an address".into()))?;
    if !matches!(url.scheme(), "amqp" | "amqps") {
        return Err(RelayError::Refused(format!("the server names a broker that speaks `{}`", url.scheme())));
    }
    if url.scheme() == "amqp" && !is_loopback(&url) {
        return Err(RelayError::Refused("the server names a broker elsewhere that is not spoken to by `amqps`".into()));
    }
    if let Some(port) = url.port().filter(|port| *port < 1024 && *port != PORT_LOW) {
        return Err(RelayError::Refused(format!("the server names a broker at port {port}, where none may be")));
    }
    let frame_max = FRAME_BYTES_MAX.to_string();
    url.query_pairs_mut().clear().append_pair("frame_max", &frame_max).append_pair("heartbeat", HEARTBEAT_S);
    Ok(url)
}

/// Whether it is on this machine, by its name; what the name is resolved to is looked at again.
fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The user's name.
fn user(url: &Url) -> String {
    url::form_urlencoded::parse(format!("user={}", url.username().replace('+', "%2B")).as_bytes())
        .next()
        .map_or_else(String::new, |(_, name)| name.into_owned())
}

/// Host and port, without credentials, for messages.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

async fn connect(address: &Url, queue: &str, waiting: Arc<Waiting>) -> lapin::Result<(Connection, Channel, Consumer)> {
    let connection = broker::connect(address, waiting).await?;
    let channel = connection.create_channel().await?;
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(queue.into(), "agent".into(), options, FieldTable::default()).await?;
    Ok((connection, channel, consumer))
}

impl Line for Queue {
    async fn say(&mut self, message: Vec<u8>, wanted: Delivery) -> Result<Delivery, RelayError> {
        let (until, mut pause) = (Instant::now() + SILENT_MAX, FULL_PAUSE_MIN);
        loop {
            match timeout_at(until, self.publish(&message, wanted)).await {
                Ok(Ok(true)) if self.confirms => return Ok(Delivery::Confirmed),
                Ok(Ok(true)) => return Ok(Delivery::Unconfirmed),
                Ok(Ok(false)) if Instant::now() + pause < until => {
                    tracing::debug!("the server's queue is full");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(FULL_PAUSE_MAX);
                }
                Ok(Ok(false)) => return Err(RelayError::Away("the server takes no more than it has now".into())),
                Ok(Err(error)) => return Err(RelayError::Away(format!("the broker is lost: {error}"))),
                Err(_) => return Err(RelayError::Away("the broker takes nothing any more".into())),
            }
        }
    }

    async fn hear(&mut self) -> Result<ToAgent, RelayError> {
        loop {
            let delivery = match self.consumer.next().await {
                Some(Ok(delivery)) => delivery,
                Some(Err(error)) => return Err(RelayError::Away(format!("the broker is lost: {error}"))),
                None => return Err(RelayError::Away("the server has closed the connection".into())),
            };
            self.waiting.take();
            // What is no text is no message either.
            if let Some(message) = super::read(&String::from_utf8_lossy(&delivery.data)) {
                return message;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_brokers_are_checked_and_their_secrets_kept() {
        let good = address("amqp://agent:secret@127.0.0.1:5672/%2f?x=1").unwrap();
        assert_eq!(good.as_str(), "amqp://agent:secret@127.0.0.1:5672/%2f?frame_max=8192&heartbeat=600");
        assert_eq!((host(&good).as_str(), user(&good).as_str()), ("127.0.0.1:5672", "agent"));
        assert_eq!(user(&Url::parse("amqp://a%40b+c:x@h").unwrap()), "a@b+c");
        for url in [
            "amqps://broker.example",
            "amqps://10.0.0.1:5671",
            "amqps://h:443",
            "amqp://localhost",
            "amqp://[::1]:1024",
        ] {
            assert!(address(url).is_ok(), "{url}");
        }
        for (url, words) in [
            ("http://x:secret@h", "speaks `http`"),
            ("secret", "without an address"),
            ("amqp://x:secret@broker.example", "by `amqps`"),
            ("amqp://x:secret@10.0.0.1:5672", "by `amqps`"),
            ("amqp://x:secret@[2001:db8::1]", "by `amqps`"),
            ("amqp://x:secret@localhost.example", "by `amqps`"),
            ("amqps://x:secret@h:22", "at port 22"),
            ("amqp://x:secret@127.0.0.1:80", "at port 80"),
        ] {
            let error = address(url).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }
}
