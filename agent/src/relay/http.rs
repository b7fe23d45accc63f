//! The server's HTTP interface and its embedded relay: enrolment, and a WebSocket that both sides speak on.

use std::sync::Arc;
use std::time::Duration;

use canvass_protocol::api::{About, Enrol, Enrolled, OpenLine, Problem, QueueLine};
use canvass_protocol::limits;
use canvass_protocol::proof::Proof;
use canvass_protocol::relay::{FromAgent, ToAgent};
use ed25519_dalek::SigningKey;
use futures::{SinkExt as _, StreamExt as _};
use reqwest::header::{CONNECTION, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use reqwest::{Client, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{Delivery, Line, RelayError};
use crate::config::Server;

/// How long the server may take to be reached, and to say something it is asked for.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const REPLY_WITHIN: Duration = Duration::from_secs(30);
/// The server pings every thirty seconds; who hears nothing for longer than this is not connected any more.
const SILENT_MAX: Duration = Duration::from_secs(90);
/// What the server says of itself is short.
const REPLY_BYTES_MAX: usize = 1 << 20;

/// Speaks to one server.
#[derive(Clone)]
pub struct Http {
    client: Client,
    server: Server,
}

impl Http {
    /// A client that goes through the proxy that the environment names, unless that could read what is said, and trusts the
    /// system's certificate authorities.
    pub fn new(server: Server) -> Result<Http, RelayError> {
        // Where another part of the program has chosen already, that is the same choice.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client =
            Client::builder().connect_timeout(CONNECT_WITHIN).http1_only().redirect(reqwest::redirect::Policy::none());
        let client = if server.is_plain() { client.no_proxy() } else { client };
        let client = client.build().map_err(|error| RelayError::Refused(words(&error)))?;
        Ok(Http { client, server })
    }

    /// Which fleet the server is for.
    pub async fn about(&self) -> Result<About, RelayError> {
        self.reply(self.client.get(self.server.at("/v1"))).await
    }

    /// Asks to be let in.
    pub async fn enrol(&self, request: &Enrol) -> Result<Enrolled, RelayError> {
        self.post("/v1/enrolments", request).await
    }

    /// Proves the agent's key over a challenge, and is told where its line is.
    pub async fn open_line(&self, nonce: String, fleet: &str, key: &SigningKey) -> Result<QueueLine, RelayError> {
        let proof = Proof::sign(key, fleet.to_owned(), self.server.name(), nonce.clone());
        self.post("/v1/lines", &OpenLine { nonce, proof }).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, RelayError> {
        let body = serde_json::to_vec(body).expect("requests have text keys");
        let request = self.client.post(self.server.at(path));
        self.reply(request.header("content-type", "application/json").body(body)).await
    }

    async fn reply<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, RelayError> {
        let exchange = async {
            let response = request.send().await.map_err(|error| self.away(&error))?;
            let response = self.check(response).await?;
            let bytes = self.read(response).await?;
            serde_json::from_slice(&bytes).map_err(|error| {
                RelayError::Refused(format!("`{}` says what this agent does not know: {error}", self.server))
            })
        };
        timeout(REPLY_WITHIN, exchange).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn check(&self, response: Response) -> Result<Response, RelayError> {
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let bytes = self.read(response).await.unwrap_or_default();
        let said = match serde_json::from_slice::<Problem>(&bytes) {
            Ok(Problem { error, hint: Some(hint) }) => format!("{error} ({hint})"),
            Ok(Problem { error, hint: None }) => error,
            Err(_) => format!("it answers {status}"),
        };
        let words = format!("`{}`: {said}", self.server);
        // A proxy in between, or the server itself, may do better later.
        let later = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if later { RelayError::Away(words) } else { RelayError::Refused(words) })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, RelayError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.away(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > REPLY_BYTES_MAX {
                return Err(RelayError::Refused(format!("`{}` says more than expected", self.server)));
            }
        }
        Ok(bytes)
    }

    fn away(&self, error: &reqwest::Error) -> RelayError {
        RelayError::Away(format!("`{}` cannot be reached: {}", self.server, words(error)))
    }

    fn silent(&self) -> RelayError {
        RelayError::Away(format!("`{}` does not answer", self.server))
    }

    /// Opens the embedded relay's line and proves the agent's key.
    pub async fn connect(&self, path: &str, fleet: &str, key: &SigningKey) -> Result<Socket, RelayError> {
        timeout(REPLY_WITHIN, self.open(path, fleet, key)).await.unwrap_or_else(|_| Err(self.silent()))
    }

    async fn open(&self, path: &str, fleet: &str, key: &SigningKey) -> Result<Socket, RelayError> {
        let address = self.server.below(path).ok_or_else(|| {
            RelayError::Refused(format!(
                "`{}` names an address for connections that is not its own: {path:?}",
                self.server
            ))
        })?;
        let request = self
            .client
            .get(address)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, generate_key());
        let response = request.send().await.map_err(|error| self.away(&error))?;
        let response = self.check(response).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(RelayError::Away(format!("`{}` does not let a WebSocket through", self.server)));
        }
        let upgraded = response.upgrade().await.map_err(|error| self.away(&error))?;
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(limits::MESSAGE_BYTES_MAX);
        config.max_frame_size = Some(limits::MESSAGE_BYTES_MAX);
        let stream = WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await;
        let mut socket = Socket { stream, server: Arc::new(self.server.to_string()) };
        let ToAgent::Challenge { nonce } = socket.hear().await? else {
            return Err(RelayError::Refused(format!("`{}` begins with something else than a challenge", self.server)));
        };
        let proof = Proof::sign(key, fleet.to_owned(), self.server.name(), nonce);
        socket.say(FromAgent::Proof(proof).to_bytes(), Delivery::Confirmed).await?;
        match socket.hear().await? {
            ToAgent::Welcome => Ok(socket),
            _ => Err(RelayError::Refused(format!("`{}` does not say welcome", self.server))),
        }
    }
}

/// An open line to the embedded relay.
pub struct Socket {
    stream: WebSocketStream<reqwest::Upgraded>,
    server: Arc<String>,
}

impl Line for Socket {
    async fn say(&mut self, message: Vec<u8>, _: Delivery) -> Result<Delivery, RelayError> {
        let sent = timeout(SILENT_MAX, self.stream.send(Message::Binary(message.into()))).await;
        match sent {
            Ok(Ok(())) => Ok(Delivery::Confirmed),
            Ok(Err(error)) => Err(RelayError::Away(format!("`{}` is lost: {error}", self.server))),
            Err(_) => Err(RelayError::Away(format!("`{}` takes nothing any more", self.server))),
        }
    }

    async fn hear(&mut self) -> Result<ToAgent, RelayError> {
        loop {
            let Ok(next) = timeout(SILENT_MAX, self.stream.next()).await else {
                return Err(RelayError::Away(format!("`{}` is silent", self.server)));
            };
            match next {
                Some(Ok(Message::Text(text))) => {
                    if let Some(message) = super::read(&text) {
                        return message;
                    }
                }
                Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == POLICY => {
                    return Err(RelayError::Refused(format!("`{}`: {}", self.server, frame.reason)));
                }
                Some(Ok(Message::Close(_))) | None => {
                    return Err(RelayError::Away(format!("`{}` has closed the connection", self.server)));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(RelayError::Away(format!("`{}` is lost: {error}", self.server))),
            }
        }
    }
}

/// The code with which a server closes a line that it does not want.
const POLICY: u16 = 1008;

/// An error with its causes, which hold what matters.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}
