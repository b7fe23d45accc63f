//! The embedded relay: agents connect out to the server by WebSocket and prove their key.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use canvass_protocol::api::RelayAddress;
use canvass_protocol::limits;
use canvass_protocol::proof::Proof;
use canvass_protocol::relay::{FromAgent, ToAgent};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::inlet::Inlet;
use super::{Incoming, Relay, check_admitted};
use crate::store::Store;

/// Where agents connect.
pub const PATH: &str = "/v1/relay";

/// How long an agent may take to prove its key.
const PROOF_WITHIN: Duration = Duration::from_secs(10);
/// How often a silent agent is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(30);
/// How long one may say nothing at all.
const SILENT_MAX: Duration = Duration::from_secs(90);
/// How long one may take to take a message.
const WRITE_WITHIN: Duration = Duration::from_secs(60);
/// Messages that wait for one agent, and their bytes: those of the longest fit. One that is slower than that comes again and
/// starts with what is still open.
const QUEUE_MAX: usize = 1024;
const QUEUE_BYTES_MAX: usize = 2 * limits::MESSAGE_BYTES_MAX;

/// The relay that needs nothing but the server.
pub struct Embedded {
    fleet: String,
    store: Arc<dyn Store>,
    incoming: Inlet,
    connections: Mutex<HashMap<String, Connection>>,
    numbers: AtomicU64,
}

/// An agent's way in; dropping it ends the connection.
struct Connection {
    number: u64,
    queue: mpsc::Sender<Utf8Bytes>,
    /// Bytes in the queue.
    bytes: Arc<AtomicUsize>,
}

impl Connection {
    /// Whether a message finds room.
    fn put(&self, text: &Utf8Bytes) -> bool {
        let fits = self.bytes.load(Ordering::Relaxed) + text.len() <= QUEUE_BYTES_MAX;
        if fits {
            self.bytes.fetch_add(text.len(), Ordering::Relaxed);
        }
        fits && self.queue.try_send(text.clone()).is_ok()
    }
}

impl Embedded {
    pub fn new(fleet: String, store: Arc<dyn Store>, incoming: Inlet) -> Embedded {
        Embedded { fleet, store, incoming, connections: Mutex::default(), numbers: AtomicU64::new(0) }
    }

    /// Serves one agent until it leaves. `server` is what the agent calls this server; `proved` is told once it has proved its
    /// key.
    pub async fn serve(
        &self,
        mut socket: WebSocket,
        server: &str,
        public_ip: Option<IpAddr>,
        proved: impl FnOnce() + Send,
    ) {
        let agent = match timeout(PROOF_WITHIN, self.admit(&mut socket, server)).await {
            Ok(Ok(agent)) => agent,
            Ok(Err(reason)) => {
                tracing::info!(%reason, "an agent was not let in");
                let frame = CloseFrame { code: close_code::POLICY, reason: reason.into() };
                let _ = timeout(WRITE_WITHIN, socket.send(Message::Close(Some(frame)))).await;
                return;
            }
            Err(_) => return,
        };
        proved();
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (queue, messages) = mpsc::channel(QUEUE_MAX);
        // An agent that comes again has lost its former connection, whether we know it yet or not.
        let bytes = Arc::new(AtomicUsize::new(0));
        self.connections().insert(agent.clone(), Connection { number, queue, bytes: bytes.clone() });
        tracing::debug!(agent, "an agent is here");
        if self.incoming.send(Incoming::Present { agent: agent.clone() }).await.is_ok() {
            self.talk(&mut socket, &agent, public_ip, messages, &bytes).await;
        }
        if self.leave(&agent, number) {
            tracing::debug!(agent, "an agent left");
            let _ = self.incoming.send(Incoming::Gone { agent }).await;
        } else {
            // Mostly nobody hears this: the agent lost its former line. Who hears it is not alone.
            let _ = send(&mut socket, &ToAgent::Replaced).await;
        }
    }

    /// Has the agent prove its key, and looks whether it belongs to the fleet.
    async fn admit(&self, socket: &mut WebSocket, server: &str) -> Result<String, String> {
        let nonce = crate::random::hex().map_err(|error| error.to_string())?;
        let gone = || "it left".to_owned();
        send(socket, &ToAgent::Challenge { nonce: nonce.clone() }).await.ok_or_else(gone)?;
        let said = loop {
            match socket.recv().await {
                Some(Ok(Message::Binary(bytes))) => break bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(_)) => return Err("it began with something else than a proof".into()),
                Some(Err(_)) | None => return Err(gone()),
            }
        };
        let Ok(FromAgent::Proof(proof)) = FromAgent::parse(&said) else {
            return Err("it began with something else than a proof".into());
        };
        let agent = Proof::open(&proof, &self.fleet, server, &nonce).map_err(|error| format!("the proof: {error}"))?;
        check_admitted(self.store.as_ref(), &agent).await.map_err(|error| error.to_string())?;
        send(socket, &ToAgent::Welcome).await.ok_or_else(gone)?;
        Ok(agent)
    }

    async fn talk(
        &self,
        socket: &mut WebSocket,
        agent: &str,
        public_ip: Option<IpAddr>,
        mut messages: mpsc::Receiver<Utf8Bytes>,
        waiting: &AtomicUsize,
    ) {
        let mut ping = tokio::time::interval(PING_EVERY);
        let silence = tokio::time::sleep(SILENT_MAX);
        tokio::pin!(silence);
        let mut flows = self.incoming.flows();
        loop {
            tokio::select! {
                said = read(socket, &mut flows) => {
                    let Some(Ok(said)) = said else { return };
                    silence.as_mut().reset(tokio::time::Instant::now() + SILENT_MAX);
                    let bytes = match said {
                        Message::Binary(bytes) => bytes,
                        Message::Close(_) => return,
                        Message::Text(_) | Message::Ping(_) | Message::Pong(_) => continue,
                    };
                    let agent = agent.to_owned();
                    let incoming = match FromAgent::parse(&bytes) {
                        Ok(FromAgent::Heartbeat(heartbeat)) => Incoming::Heartbeat { agent, heartbeat, public_ip },
                        Ok(FromAgent::Part { action, judged, part }) => Incoming::Part { agent, action, judged, part },
                        Ok(FromAgent::Proof(_)) => continue,
                        Err(error) => {
                            tracing::warn!(agent, %error, "an agent sent what cannot be read");
                            return;
                        }
                    };
                    // Who sends faster than we can store waits here.
                    if self.incoming.send(incoming).await.is_err() {
                        return;
                    }
                }
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    waiting.fetch_sub(message.len(), Ordering::Relaxed);
                    if write(socket, Message::Text(message)).await.is_none() {
                        return;
                    }
                }
                _ = ping.tick() => {
                    if write(socket, Message::Ping(Default::default())).await.is_none() {
                        return;
                    }
                }
                () = &mut silence => {
                    if *self.incoming.flows().borrow() {
                        return;
                    }
                    // Whom nobody hears is not silent.
                    silence.as_mut().reset(tokio::time::Instant::now() + SILENT_MAX);
                }
            }
        }
    }

    /// Forgets a connection; false where a newer one has taken its place.
    fn leave(&self, agent: &str, number: u64) -> bool {
        let mut connections = self.connections();
        let current = connections.get(agent).is_none_or(|connection| connection.number == number);
        if current {
            connections.remove(agent);
        }
        current
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<String, Connection>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Relay for Embedded {
    fn address(&self) -> Result<RelayAddress, String> {
        Ok(RelayAddress::Embedded { path: PATH.to_owned() })
    }

    async fn send(&self, agents: &[String], message: &ToAgent) {
        let text = Utf8Bytes::from(message.to_text());
        let mut connections = self.connections();
        for agent in agents {
            if connections.get(agent).is_some_and(|connection| !connection.put(&text)) {
                connections.remove(agent);
            }
        }
    }

    fn connected(&self) -> usize {
        self.connections().len()
    }

    /// Lines are connections here, and those of an agent that is elsewhere end by themselves.
    fn forget(&self, _: &[String]) {}

    async fn shake(&self, agents: &[String]) {
        let mut connections = self.connections();
        agents.iter().for_each(|agent| drop(connections.remove(agent)));
    }
}

/// Reads the next message while there is room for what agents say: of one that cannot be handed on no more is read.
async fn read(socket: &mut WebSocket, flows: &mut watch::Receiver<bool>) -> Option<Result<Message, axum::Error>> {
    loop {
        let _ = flows.wait_for(|flows| *flows).await;
        tokio::select! {
            said = socket.recv() => return said,
            // Who is gone will not say that there is no room.
            Ok(_) = flows.wait_for(|flows| !*flows) => {}
        }
    }
}

async fn send(socket: &mut WebSocket, message: &ToAgent) -> Option<()> {
    write(socket, Message::Text(message.to_text().into())).await
}

async fn write(socket: &mut WebSocket, message: Message) -> Option<()> {
    timeout(WRITE_WITHIN, socket.send(message)).await.ok()?.ok()
}
