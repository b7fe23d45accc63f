//! What is stored of an answer: all of it, where a desk will believe it, also when the store fails in the midst of it. And whom
//! an open action comes to mean.

mod bounds;
mod orders;
mod revoking;

use canvass_protocol::action::{Action as Signed, Window};
use canvass_protocol::answer::{Outcome, Part, ScanRecord, Writer, agent_id};
use canvass_protocol::api::RelayAddress;
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::reason::Code;
use canvass_protocol::scan::Scan;
use canvass_protocol::target::Mode;
use canvass_protocol::value::Value;
use ed25519_dalek::SigningKey;
use jiff::SignedDuration;
use sqlx::{AssertSqlSafe, Connection as _, SqliteConnection};
use std::sync::Mutex;
use uuid::Uuid;

use super::*;
use crate::metrics::Metrics;
use crate::relay::Relay;
use crate::scheduler::State;
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

/// A pump over an empty store, and an agent of its fleet.
struct Setup {
    folder: tempfile::TempDir,
    store: Arc<Sqlite>,
    relay: Arc<Nobody>,
    pump: Pump,
    key: SigningKey,
    agent: String,
}

async fn setup() -> Setup {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
    let relay = Arc::new(Nobody::default());
    let key = SigningKey::from_bytes(&[1; 32]);
    let agent = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
    let means = Means {
        store: store.clone(),
        relay: relay.clone(),
        watchers: Arc::new(Watchers::default()),
        metrics: Arc::new(Metrics::new()),
        revocations: Arc::default(),
    };
    let inventory = Arc::new(Inventory::open(store.clone()).await.unwrap());
    let pump = Pump::start("acme".to_owned(), inventory, means, None).await.unwrap();
    Setup { folder, store, relay, pump, key, agent }
}

/// An action of one scan with this target.
fn action(number: u128, target: Option<Filter>, limits: Limits) -> store::Action {
    let now = Timestamp::now();
    let (id, until) = (Uuid::from_u128(number), now + SignedDuration::from_mins(5));
    let mut scan: Scan = serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap();
    scan.target = target;
    let window = Window { from: now, until };
    let signed = Signed::new("acme".to_owned(), id, "SELECT 1".to_owned(), window, limits, vec![scan]);
    let payload = String::from_utf8(signed.to_bytes()).unwrap();
    let envelope = Envelope { payload, signatures: vec!["s".to_owned()] };
    store::Action {
        hash: envelope.hash(),
        id,
        envelope,
        statement: "SELECT 1".to_owned(),
        investigator: "AB".to_owned(),
        signers: vec!["AB".to_owned()],
        created_at: now,
        expires_at: until,
        answers_until: until,
        withdrawal: None,
    }
}

/// What one scan amounts to.
fn record(rows: u64, bytes: u64) -> ScanRecord {
    ScanRecord { asked: true, rows, bytes, ..ScanRecord::default() }
}

#[tokio::test]
async fn an_answer_is_stored_whole_or_sent_again() {
    let Setup { folder, store, relay, mut pump, key, agent } = setup().await;
    let (action, now) = (action(1, None, Limits::default()), Timestamp::now());
    let hash = action.hash;
    store.post(&action, std::slice::from_ref(&agent)).await.unwrap();
    let mut writer = Writer::new(&key, "acme".to_owned(), hash, "0".repeat(32));
    let frame = writer.frame(0, 1, b"rows".to_vec());
    let last = writer.finish(Outcome::Answered, vec![record(1, 4)], Limits::default(), None, now);
    let part = |part: &Part| Incoming::Part { agent: agent.clone(), action: hash, judged: 1, part: part.clone() };
    let stored = async || store.parts(hash, 0, 9).await.unwrap().len();
    let state = async || store.commands(hash).await.unwrap()[0].state;

    let path = folder.path().join("server.sqlite");
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
    pump.take(vec![Incoming::Gone { agent: agent.clone() }]).await;
    let writer = Writer::new(&key, "acme".to_owned(), hash, "1".repeat(32));
    let refusal = writer.finish(Outcome::refused(Code::Weight, "no"), vec![], Limits::default(), None, now);
    pump.take(vec![part(&refusal)]).await;
    assert_eq!(*relay.1.lock().unwrap(), [ToAgent::Taken(hash)]);
}

/// Parts of one answer as an agent sends them.
#[derive(Clone)]
enum Sent {
    Frame,
    /// With so many rows and bytes in its record.
    Last(u64, u64),
    /// As it is after another was left out.
    Lost,
    Withdrawn,
}

#[tokio::test]
async fn what_no_desk_believes_is_neither_stored_nor_counted() {
    let limits = Limits { rows: 5, bytes: 12, ..Limits::default() };
    let forge = |part: &mut Part| part.signature = "00".repeat(64);
    let swap = |part: &mut Part| part.body = b"ROWS".to_vec();
    let garble = |part: &mut Part| part.statement.truncate(20);
    let keep = |_: &mut Part| {};
    let swell = |part: &mut Part| part.body = vec![0; limits::FRAME_BYTES_MAX + 1];
    type Change<'a> = &'a dyn Fn(&mut Part);
    let (open, done) = (State::Waiting, State::Answered);
    type Case<'a> = (&'a str, Vec<(Sent, Change<'a>)>, usize, State);
    let cases: Vec<Case<'_>> = vec![
        ("an answer", vec![(Sent::Frame, &keep), (Sent::Frame, &keep), (Sent::Last(2, 8), &keep)], 3, done),
        ("twice", vec![(Sent::Frame, &keep), (Sent::Last(1, 4), &keep)], 2, done),
        ("a bad signature", vec![(Sent::Frame, &keep), (Sent::Last(1, 4), &forge)], 1, open),
        ("a frame by nobody", vec![(Sent::Frame, &forge), (Sent::Last(1, 4), &keep)], 0, open),
        ("another body", vec![(Sent::Frame, &swap), (Sent::Last(1, 4), &keep)], 0, open),
        ("no JSON", vec![(Sent::Last(0, 0), &garble)], 0, open),
        ("a body without end", vec![(Sent::Frame, &swell), (Sent::Last(1, 4), &keep)], 0, open),
        ("a record of more than came", vec![(Sent::Frame, &keep), (Sent::Last(7, 4), &keep)], 1, open),
        ("a record of u64::MAX", vec![(Sent::Last(u64::MAX, u64::MAX), &keep)], 0, open),
        ("a part that is lost", vec![(Sent::Frame, &keep), (Sent::Lost, &keep), (Sent::Last(1, 4), &keep)], 1, open),
        (
            "more bytes than are allowed",
            vec![
                (Sent::Frame, &keep),
                (Sent::Frame, &keep),
                (Sent::Frame, &keep),
                (Sent::Frame, &keep),
                (Sent::Last(4, 16), &keep),
            ],
            3,
            open,
        ),
        ("what had not begun", vec![(Sent::Withdrawn, &keep)], 1, State::Cancelled),
    ];
    for (number, (what, sent, count, state)) in (1..).zip(cases) {
        let Setup { folder: _folder, store, mut pump, key, agent, .. } = setup().await;
        let action = action(number, None, limits);
        let hash = action.hash;
        store.post(&action, std::slice::from_ref(&agent)).await.unwrap();
        let mut writer = Some(Writer::new(&key, "acme".to_owned(), hash, "0".repeat(32)));
        let mut parts = vec![Incoming::Present { agent: agent.clone() }];
        for (part, change) in sent {
            let now = Timestamp::now();
            let mut last = |outcome, records| writer.take().unwrap().finish(outcome, records, limits, None, now);
            let mut part = match part {
                Sent::Last(rows, bytes) => last(Outcome::Answered, vec![record(rows, bytes)]),
                Sent::Withdrawn => last(Outcome::refused(Code::Withdrawn, "the action was withdrawn"), vec![]),
                Sent::Frame => writer.as_mut().unwrap().frame(0, 1, b"rows".to_vec()),
                Sent::Lost => {
                    writer.as_mut().unwrap().frame(0, 1, b"rows".to_vec());
                    continue;
                }
            };
            change(&mut part);
            parts.push(Incoming::Part { agent: agent.clone(), action: hash, judged: 1, part });
        }
        let again: Vec<Incoming> = parts.iter().skip(1).map(clone).collect();
        pump.take(parts).await;
        pump.take(again).await;
        let stored = store.parts(hash, 0, 99).await.unwrap().len();
        assert_eq!((stored, store.commands(hash).await.unwrap()[0].state), (count, state), "{what}");
    }
}

fn clone(incoming: &Incoming) -> Incoming {
    match incoming {
        Incoming::Part { agent, action, judged, part } => {
            Incoming::Part { agent: agent.clone(), action: *action, judged: *judged, part: part.clone() }
        }
        Incoming::Present { agent } => Incoming::Present { agent: agent.clone() },
        Incoming::Gone { agent } => Incoming::Gone { agent: agent.clone() },
        Incoming::Heartbeat { agent, heartbeat, public_ip } => {
            Incoming::Heartbeat { agent: agent.clone(), heartbeat: heartbeat.clone(), public_ip: *public_ip }
        }
    }
}

/// A part is lost on the way: the agent is made to send all again, once.
#[tokio::test]
async fn an_answer_that_lost_a_part_is_sent_again_and_believed() {
    let Setup { folder: _folder, store, relay, mut pump, key, agent } = setup().await;
    let action = action(1, None, Limits::default());
    let hash = action.hash;
    store.post(&action, std::slice::from_ref(&agent)).await.unwrap();
    let mut writer = Writer::new(&key, "acme".to_owned(), hash, "0".repeat(32));
    let frames = [b"1", b"2", b"3"].map(|body| writer.frame(0, 1, body.to_vec()));
    let last = writer.finish(Outcome::Answered, vec![record(3, 3)], Limits::default(), None, Timestamp::now());
    let part = |part: &Part| Incoming::Part { agent: agent.clone(), action: hash, judged: 1, part: part.clone() };
    let come = || Incoming::Present { agent: agent.clone() };
    pump.take(vec![come(), part(&frames[0]), part(&frames[2]), part(&last)]).await;
    assert_eq!(*relay.0.lock().unwrap(), std::slice::from_ref(&agent), "it has to come again, once");
    pump.take(vec![Incoming::Gone { agent: agent.clone() }, come()]).await;
    pump.take(frames.iter().chain([&last]).map(part).collect()).await;
    assert_eq!(store.commands(hash).await.unwrap()[0].state, State::Answered);
    assert_eq!(store.parts(hash, 0, 9).await.unwrap().len(), 4);
    // Whoever loses parts again and again is not made to come again and again.
    pump.take(vec![Incoming::Gone { agent: agent.clone() }, come(), part(&frames[1]), part(&last)]).await;
    assert_eq!(relay.0.lock().unwrap().len(), 1);
}

/// What the store refuses of one agent is lost, and nothing else: not what came in the same batch, nor their agents' lines.
#[tokio::test]
async fn one_bad_part_spoils_no_other() {
    let Setup { folder, store, relay, mut pump, key, agent } = setup().await;
    let other = SigningKey::from_bytes(&[2; 32]);
    let other_agent = agent_id(&hex::encode(other.verifying_key().as_bytes())).unwrap();
    let action = action(1, None, Limits::default());
    let hash = action.hash;
    store.post(&action, &[agent.clone(), other_agent.clone()]).await.unwrap();
    let mut database = SqliteConnection::connect(folder.path().join("server.sqlite").to_str().unwrap()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!(
        "CREATE TRIGGER refused BEFORE INSERT ON parts WHEN NEW.agent = '{other_agent}' AND length(NEW.body) = 3
         BEGIN SELECT RAISE(ABORT, 'refused'); END"
    )))
    .execute(&mut database)
    .await
    .unwrap();
    let part = |agent: &str, part: &Part| Incoming::Part {
        agent: agent.to_owned(),
        action: hash,
        judged: 1,
        part: part.clone(),
    };
    let mut batch: Vec<Incoming> =
        [&agent, &other_agent].map(|agent| Incoming::Present { agent: agent.clone() }).into();
    let (mut one, mut two) = (
        Writer::new(&key, "acme".to_owned(), hash, "0".repeat(32)),
        Writer::new(&other, "acme".to_owned(), hash, "0".repeat(32)),
    );
    for number in 0..20 {
        batch.push(part(&agent, &one.frame(0, 1, b"rows".to_vec())));
        let body = if number == 7 { b"bad".to_vec() } else { b"rows".to_vec() };
        batch.push(part(&other_agent, &two.frame(0, 1, body)));
    }
    let (now, limits) = (Timestamp::now(), Limits::default());
    let last = two.finish(Outcome::Answered, vec![record(20, 79)], limits, None, now);
    batch.push(part(&other_agent, &last));
    batch.push(part(&agent, &one.finish(Outcome::Answered, vec![record(20, 80)], limits, None, now)));
    pump.take(batch).await;
    let commands = store.commands(hash).await.unwrap();
    let state = |of: &str| commands.iter().find(|one| one.agent == of).unwrap().state;
    assert_eq!((state(&agent), state(&other_agent)), (State::Answered, State::Waiting));
    assert_eq!(*relay.0.lock().unwrap(), Vec::<String>::new(), "nobody has to come again");
    assert!(pump.shaken.is_empty());
    // What comes behind the part that is not there is not believed.
    pump.take(vec![part(&other_agent, &last)]).await;
    let parts = store.parts(hash, 0, 99).await.unwrap();
    let count = |of: &str| parts.iter().filter(|part| part.agent == of).count();
    assert_eq!((count(&agent), count(&other_agent)), (21, 7));
}

/// Over a new line an agent may begin anew, as after a crash; what is stored of it has an end all the same.
#[tokio::test]
async fn what_an_agent_sends_has_an_end_whatever_lines_it_comes_over() {
    let Setup { folder: _folder, store, relay, mut pump, key, agent } = setup().await;
    let limits = Limits { bytes: 4 << 20, ..Limits::default() };
    let (action, body) = (action(1, None, limits), vec![7; 4 << 20]);
    let hash = action.hash;
    store.post(&action, std::slice::from_ref(&agent)).await.unwrap();
    let part = |part: Part| Incoming::Part { agent: agent.clone(), action: hash, judged: 1, part };
    let line = |parts: Vec<Incoming>| {
        let mut said = vec![Incoming::Gone { agent: agent.clone() }, Incoming::Present { agent: agent.clone() }];
        said.extend(parts);
        said
    };
    for run in 0..8 {
        let mut writer = Writer::new(&key, "acme".to_owned(), hash, format!("{run:032x}"));
        pump.take(line(vec![part(writer.frame(0, 1, body.clone()))])).await;
    }
    // 4 MiB that the action allows, 1 for its scan and 16 for all else.
    let (mut after, mut stored) = (0, 0);
    while let Some(last) = { store.parts(hash, after, 99).await.unwrap() }.last() {
        (after, stored) = (last.position, stored + 1);
    }
    assert_eq!(stored, 5);
    assert_eq!(*relay.0.lock().unwrap(), Vec::<String>::new());
}

/// Nothing is stored behind a last word, over whatever line it comes; its agent is told that it need not keep it.
#[tokio::test]
async fn a_second_answer_is_none() {
    let Setup { folder: _folder, store, relay, mut pump, key, agent } = setup().await;
    let action = action(1, None, Limits::default());
    let hash = action.hash;
    store.post(&action, std::slice::from_ref(&agent)).await.unwrap();
    let (now, limits) = (Timestamp::now(), Limits::default());
    let answer = |nonce: &str, outcome: Outcome| {
        let mut writer = Writer::new(&key, "acme".to_owned(), hash, nonce.repeat(32));
        let frame = writer.frame(0, 1, b"rows".to_vec());
        let records = if outcome == Outcome::Answered { vec![record(1, 4)] } else { vec![] };
        [frame, writer.finish(outcome, records, limits, None, now)].map(|part| Incoming::Part {
            agent: agent.clone(),
            action: hash,
            judged: 1,
            part,
        })
    };
    let come = || [Incoming::Gone { agent: agent.clone() }, Incoming::Present { agent: agent.clone() }];
    pump.take(come().into_iter().chain(answer("0", Outcome::Answered)).collect()).await;
    assert_eq!(store.commands(hash).await.unwrap()[0].state, State::Answered);
    for (nonce, outcome) in
        [("1", Outcome::Answered), ("2", Outcome::Interrupted), ("3", Outcome::refused(Code::Ended, "it has run"))]
    {
        pump.take(come().into_iter().chain(answer(nonce, outcome)).collect()).await;
        let command = store.commands(hash).await.unwrap().remove(0);
        assert_eq!((command.state, store.parts(hash, 0, 9).await.unwrap().len()), (State::Answered, 2), "{nonce}");
    }
    assert_eq!(*relay.1.lock().unwrap(), [ToAgent::Taken(hash)], "of the refusal at once");
    assert!(pump.receipts.due().is_some(), "and of the others");
}

/// What is asked of agents that are online is not asked of those that only check in, whichever server hears them.
#[tokio::test]
async fn an_agent_that_checks_in_is_idle_while_it_is_here() {
    for (mode, status, asked) in [
        (Mode::Daemon, Some("online"), 1),
        (Mode::Checkin, Some("online"), 0),
        (Mode::Checkin, Some("idle"), 1),
        (Mode::Checkin, None, 1),
    ] {
        let Setup { folder: _folder, store, mut pump, key, agent, .. } = setup().await;
        let is = |status: &str| Filter::test("status", Is::Equal(Value::Text(status.into())));
        let action = action(1, status.map(is), Limits::default());
        let hash = action.hash;
        store.post(&action, &[]).await.unwrap();
        let (done, _) = oneshot::channel();
        let targets = Targets::of(&Signed::parse(action.envelope.payload.as_bytes()).unwrap()).unwrap();
        pump.order(Order::Post { action: Box::new(action), targets, agents: vec![], done }).await;
        let facts = Facts {
            mode,
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "0".into(),
            started_at: Timestamp::now(),
            ..Facts::of(agent.clone(), "web-1")
        };
        let heartbeat = Heartbeat::sign(&key, "acme".into(), facts, String::new(), Timestamp::now());
        pump.inventory
            .admit(store::Agent {
                id: agent.clone(),
                name: "web-1".into(),
                approval: None,
                heartbeat: heartbeat.clone(),
                heard_at: Timestamp::UNIX_EPOCH,
                public_ip: None,
            })
            .await
            .unwrap();
        let heard = Incoming::Heartbeat { agent: agent.clone(), heartbeat, public_ip: None };
        pump.take(vec![Incoming::Present { agent }, heard]).await;
        pump.hear().await;
        assert_eq!(store.commands(hash).await.unwrap().len(), asked, "{mode:?} {status:?}");
    }
}
