//! What is stored of an answer when the store fails in the midst of it.

use canvass_protocol::answer::{Outcome, Part, Writer, agent_id};
use canvass_protocol::api::RelayAddress;
use canvass_protocol::limits::Limits;
use canvass_protocol::reason::Code;
use ed25519_dalek::SigningKey;
use sqlx::{Connection as _, SqliteConnection};
use std::sync::Mutex;
use uuid::Uuid;

use super::*;
use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::store::Store as _;
use crate::store::sqlite::Sqlite;
use crate::watchers::Watchers;

/// Brings nothing, and remembers who was to come again and what was to be said.
#[derive(Default)]
struct Nobody(Mutex<Vec<String>>, Mutex<Vec<ToAgent>>);

#[async_trait::async_trait]
impl Relay for Nobody {
    fn address(&self) -> Result<RelayAddress, String> {
        Err("nobody is here".to_owned())
    }

    async fn send(&self, _: &[String], message: &ToAgent) {
        self.1.lock().unwrap().push(message.clone());
    }

    fn connected(&self) -> usize {
        0
    }

    fn forget(&self, _: &[String]) {}

    async fn shake(&self, agents: &[String]) {
        self.0.lock().unwrap().extend_from_slice(agents);
    }
}

#[tokio::test]
async fn an_answer_is_stored_whole_or_sent_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sqlite");
    let (store, relay) = (Arc::new(Sqlite::open(&path).await.unwrap()), Arc::new(Nobody::default()));
    let (key, now) = (SigningKey::from_bytes(&[1; 32]), Timestamp::now());
    let agent = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
    let envelope = Envelope { payload: "{}".to_owned(), signatures: vec!["s".to_owned()] };
    let hash = envelope.hash();
    let action = store::Action {
        hash,
        id: Uuid::from_u128(1),
        envelope,
        statement: "SELECT 1".to_owned(),
        investigator: "AB".to_owned(),
        signers: vec!["AB".to_owned()],
        created_at: now,
        expires_at: now,
        answers_until: now,
        withdrawal: None,
    };
    store.post(&action, std::slice::from_ref(&agent)).await.unwrap();
    let means = Means {
        store: store.clone(),
        relay: relay.clone(),
        watchers: Arc::new(Watchers::default()),
        metrics: Arc::new(Metrics::new()),
    };
    let inventory = Arc::new(Inventory::open(store.clone()).await.unwrap());
    let mut pump = Pump::start("acme".to_owned(), inventory, means, None).await.unwrap();
    let mut writer = Writer::new(&key, "acme".to_owned(), hash, "0".repeat(32));
    let frame = writer.frame(0, 1, b"rows".to_vec());
    let last = writer.finish(Outcome::Answered, vec![], Limits::default(), None, now);
    let part = |part: &Part| Incoming::Part { agent: agent.clone(), action: hash, judged: 1, part: part.clone() };
    let stored = async || store.parts(hash, 0, 9).await.unwrap().len();
    let state = async || store.commands(hash).await.unwrap()[0].state;

    let mut other = SqliteConnection::connect(path.to_str().unwrap()).await.unwrap();
    sqlx::query("ALTER TABLE parts RENAME TO away").execute(&mut other).await.unwrap();
    pump.take(vec![Incoming::Present { agent: agent.clone() }, part(&frame)]).await;
    assert_eq!(*relay.0.lock().unwrap(), std::slice::from_ref(&agent), "it has to come again");
    sqlx::query("ALTER TABLE away RENAME TO parts").execute(&mut other).await.unwrap();
    pump.take(vec![part(&last)]).await;
    assert_eq!((stored().await, state().await), (0, State::Waiting), "the end alone is no answer");
    pump.take(vec![part(&last), Incoming::Present { agent: agent.clone() }, part(&frame), part(&last)]).await;
    assert_eq!((stored().await, state().await), (2, State::Answered));

    // That it is stored is said when it is quiet; of a refusal at once, since the action may be brought again.
    assert_eq!(*relay.1.lock().unwrap(), []);
    assert!(pump.receipts.due().is_some());
    let writer = Writer::new(&key, "acme".to_owned(), hash, "1".repeat(32));
    let refusal = writer.finish(Outcome::refused(Code::Weight, "no"), vec![], Limits::default(), None, now);
    pump.take(vec![part(&refusal)]).await;
    assert_eq!(*relay.1.lock().unwrap(), [ToAgent::Taken(hash)]);
}
