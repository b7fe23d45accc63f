//! The relay's contract over a real listener and real WebSockets.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::WebSocketUpgrade;
use axum::routing::get;
use canvass_protocol::answer::agent_id;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::signed::Signed;
use ed25519_dalek::SigningKey;
use futures::{SinkExt as _, StreamExt as _};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::Message as Frame;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::*;
use crate::relay::contract::{self, FLEET, Place};
use crate::relay::inlet::{self, Outlet};
use crate::store;
use crate::store::sqlite::Sqlite;

struct Listening {
    relay: Arc<Embedded>,
    store: Arc<dyn Store>,
    incoming: Outlet,
    address: SocketAddr,
    _folder: TempDir,
}

impl Listening {
    async fn open() -> Box<dyn Place> {
        let folder = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
        let (sender, incoming) = inlet::channel(16, inlet::BYTES_MAX);
        let relay = Arc::new(Embedded::new(FLEET.to_owned(), store.clone(), sender));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = relay.clone();
        let connect = get(async move |upgrade: WebSocketUpgrade| {
            let upgrade = upgrade.max_message_size(limits::MESSAGE_BYTES_MAX).max_frame_size(limits::MESSAGE_BYTES_MAX);
            upgrade.on_upgrade(async move |socket| serving.serve(socket, "here", None, || {}).await)
        });
        tokio::spawn(axum::serve(listener, Router::new().route(PATH, connect)).into_future());
        Box::new(Listening { relay, store, incoming, address, _folder: folder })
    }
}

struct Client(WebSocketStream<TcpStream>);

#[async_trait]
impl Place for Listening {
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
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (socket, _) = client_async(format!("ws://{}{PATH}", self.address), stream).await.unwrap();
        let mut client = Client(socket);
        let Some(ToAgent::Challenge { nonce }) = contract::Agent::hear(&mut client).await else {
            return Err("no challenge".to_owned());
        };
        let proof = Proof::sign(key, fleet.to_owned(), "here".to_owned(), nonce);
        contract::Agent::say(&mut client, FromAgent::Proof(proof)).await;
        match client.0.next().await {
            Some(Ok(Frame::Text(_))) => Ok(Box::new(client)),
            Some(Ok(Frame::Close(Some(frame)))) => Err(frame.reason.to_string()),
            other => Err(format!("{other:?}")),
        }
    }

    async fn miss(&mut self, _: &str) {}

    async fn incoming(&mut self) -> Incoming {
        self.incoming.recv().await.unwrap()
    }
}

#[async_trait]
impl contract::Agent for Client {
    async fn say(&mut self, message: FromAgent) {
        self.0.send(Frame::Binary(message.to_bytes().into())).await.unwrap();
    }

    async fn hear(&mut self) -> Option<ToAgent> {
        loop {
            match self.0.next().await? {
                Ok(Frame::Text(text)) => return Some(ToAgent::parse(&text).unwrap()),
                Ok(Frame::Ping(_) | Frame::Pong(_)) => {}
                Ok(_) | Err(_) => return None,
            }
        }
    }
}

macro_rules! keeps {
    ($($promise:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $promise() {
                contract::$promise(Listening::open().await).await;
            }
        )*
    };
}

keeps!(
    messages_reach_those_they_are_for,
    what_agents_say_is_brought_in,
    who_comes_again_takes_its_own_place,
    strangers_stay_outside,
);

/// A proof for another server, or over another challenge, is worth nothing here.
#[tokio::test]
async fn a_proof_is_for_one_server_and_one_challenge() {
    let key = SigningKey::from_bytes(&[1; 32]);
    let sign = |server: &str, nonce: &str| Proof::sign(&key, FLEET.to_owned(), server.to_owned(), nonce.to_owned());
    assert!(Proof::open(&sign("here", "1"), FLEET, "here", "1").is_ok());
    assert!(Proof::open(&sign("there", "1"), FLEET, "here", "1").is_err());
    assert!(Proof::open(&sign("here", "2"), FLEET, "here", "1").is_err());
    let mut altered = sign("there", "1");
    altered.statement = altered.statement.replace("there", "here!");
    assert!(Proof::open(&altered, FLEET, "here!", "1").is_err());
}

/// What waits for an agent that does not read is bounded in bytes too. Nothing else is done here between two messages.
#[tokio::test]
async fn who_does_not_read_has_to_come_again() {
    let (mut place, key) = (Listening::open().await, SigningKey::from_bytes(&[1; 32]));
    let id = place.enrol(&key).await;
    let _agent = place.come(&key, FLEET).await.ok().unwrap();
    assert!(matches!(place.incoming().await, Incoming::Present { .. }));
    let long = ToAgent::Command(Envelope { payload: "x".repeat(8 << 20), signatures: vec![] });
    for connected in [1, 1, 1, 0] {
        place.relay().send(std::slice::from_ref(&id), &long).await;
        assert_eq!(place.relay().connected(), connected);
    }
}
