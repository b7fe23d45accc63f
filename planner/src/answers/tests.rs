//! Tests of what is held until it is known whose it is.

use async_trait::async_trait;
use canvass_protocol::action::Window;
use canvass_protocol::answer::{Writer, agent_id};
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::scan;
use canvass_protocol::target::Status;
use canvass_protocol::value::Value;
use canvass_tables::frame;
use datafusion::arrow::array::{AsArray as _, Int64Array, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::utils::memory::RecordBatchMemoryCounter;
use ed25519_dalek::SigningKey;
use futures::FutureExt as _;
use jiff::Timestamp;
use uuid::Uuid;

use super::*;

struct Nobody;

#[async_trait]
impl Fleet for Nobody {
    fn name(&self) -> &'static str {
        "test"
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(Vec::new())
    }

    async fn ask(
        &self,
        _: canvass_protocol::envelope::Envelope,
        _: Vec<String>,
    ) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(Error::internal("nobody is here"))
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}

fn batch() -> RecordBatch {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(vec![1, 2, 3]))]).unwrap()
}

/// Hosts of the rows that came before any final record, and what was found wrong.
fn early(known: Known, target: Target, room: usize, frames: u64) -> (Vec<String>, Vec<String>) {
    let key = SigningKey::from_bytes(&[7; 32]);
    let id = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
    let mut endpoint = Endpoint::unknown(&id);
    if known != Known::Nothing {
        let facts = Arc::make_mut(&mut endpoint.facts);
        (facts.name, facts.os) = ("web-1".into(), "linux".into());
        endpoint.host = "web-1".into();
        endpoint.words.status = Status::Offline;
    }
    let now = Timestamp::UNIX_EPOCH;
    let asked = scan::Scan {
        table: "numbers".into(),
        target: target.clone(),
        columns: vec!["n".into()],
        ..scan::Scan::default()
    };
    let window = Window { from: now, until: now };
    let action = Action::new("test".into(), Uuid::nil(), "SELECT 1".into(), window, Limits::default(), vec![asked]);
    let hash = ActionHash::of(&action.to_bytes());
    let planned =
        Arc::new(Schema::new(vec![Field::new("host", DataType::Utf8, false), Field::new("n", DataType::Int64, true)]));
    let feeds = Feeds::new();
    let (feed, mut rows) = feeds.open();
    let scans = vec![Scan { answer: batch().schema(), target, leaves: vec![Leaf::new(planned, feed)] }];
    let account = Arc::new(Account::new(vec![endpoint.clone()], Vec::new()));
    let expected = vec![Expected { endpoint, known }];
    let mut follower =
        Follower::new(&action, hash, expected, account.clone(), (scans, feeds), Arc::new(Nobody)).unwrap();
    follower.held_bytes_max = room;
    let mut writer = Writer::new(&key, "test".into(), hash, "00".repeat(16));
    for _ in 0..frames {
        follower.part(&id, &writer.frame(0, 3, frame::encode(&batch())));
    }
    let mut hosts = Vec::new();
    while let Some(Some(batch)) = rows.recv().now_or_never() {
        let batch = batch.unwrap();
        hosts.extend(batch.column(0).as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    let held: usize = follower.agents.values().map(Agent::held_bytes).sum();
    assert_eq!(follower.held_bytes, held);
    assert!(held <= room);
    (hosts, account.entries().remove(0).troubles)
}

#[test]
fn no_more_is_held_than_there_is_room_for() {
    let text = |text: &str| Value::Text(text.into());
    let on = |column: &str, value: &str| Some(Filter::test(column, Is::Equal(text(value))));
    let frame = frame::encode(&batch()).len();
    let unknown = format!(
        "#{}",
        &agent_id(&hex::encode(SigningKey::from_bytes(&[7; 32]).verifying_key().as_bytes())).unwrap()[..8]
    );
    let cases = [
        ("known: nothing waits", Known::Then(vec![true]), None, frame, 1, vec!["web-1"; 3], false),
        ("there is room", Known::Now, None, 2 * frame, 2, vec![], false),
        ("there is none", Known::Now, None, 2 * frame, 3, vec!["web-1"; 9], false),
        ("of its status nobody knows", Known::Now, on("status", "online"), frame, 2, vec!["web-1"; 6], false),
        ("by what it says of itself", Known::Now, on("os", "darwin"), frame, 2, vec![], false),
        ("nothing is known of it", Known::Nothing, on("status", "online"), frame, 2, vec![unknown.as_str(); 6], false),
        ("nothing is known that decides", Known::Nothing, on("os", "linux"), frame, 2, vec![], true),
    ];
    for (about, known, target, room, frames, expected, trouble) in cases {
        let (hosts, troubles) = early(known, target, room, frames);
        assert_eq!(hosts, expected, "{about}");
        assert_eq!(!troubles.is_empty(), trouble, "{about}: {troubles:?}");
    }
}

/// An action over one scan, an endpoint that answers it, and the frames that it sends: none has a column of its own.
struct Boast {
    key: SigningKey,
    action: Action,
    endpoint: Endpoint,
    frame: Vec<u8>,
}

const FRAME_ROWS: usize = 8192;

impl Boast {
    /// Of an endpoint that says as much of itself as it may.
    fn new() -> Boast {
        let key = SigningKey::from_bytes(&[7; 32]);
        let mut endpoint = Endpoint::unknown(&agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap());
        let facts = Arc::make_mut(&mut endpoint.facts);
        facts.name = "x".repeat(limits::HOST_NAME_BYTES_MAX);
        facts.tags = [("k".to_owned(), "v".repeat(limits::TAGS_BYTES_MAX - 1))].into();
        facts.check().unwrap();
        endpoint.host.clone_from(&facts.name);
        let now = Timestamp::UNIX_EPOCH;
        let asked = scan::Scan { table: "numbers".into(), ..scan::Scan::default() };
        let window = Window { from: now, until: Timestamp::MAX };
        let action = Action::new("test".into(), Uuid::nil(), "SELECT 1".into(), window, Limits::default(), vec![asked]);
        let options = RecordBatchOptions::new().with_row_count(Some(FRAME_ROWS));
        let bare = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options).unwrap();
        Boast { key, action, endpoint, frame: frame::encode(&bare) }
    }

    fn parts(&self, count: usize) -> Vec<Part> {
        let hash = ActionHash::of(&self.action.to_bytes());
        let mut writer = Writer::new(&self.key, "test".into(), hash, "00".repeat(16));
        (0..count).map(|_| writer.frame(0, FRAME_ROWS as u64, self.frame.clone())).collect()
    }

    /// Whoever follows its answer into a plan that reads these columns.
    fn follower(&self, columns: &[&str], feeds: &Arc<Feeds>) -> (Follower, crate::feed::Receiver) {
        let whole = catalog::endpoint_schema(canvass_tables::TABLES[0]);
        let places: Vec<usize> = columns.iter().map(|name| whole.index_of(name).unwrap()).collect();
        let planned = Arc::new(whole.project(&places).unwrap());
        let (feed, rows) = feeds.open();
        let leaves = vec![Leaf::new(planned, feed)];
        let scans = vec![Scan { answer: Arc::new(Schema::empty()), target: None, leaves }];
        let account = Arc::new(Account::new(vec![self.endpoint.clone()], Vec::new()));
        let expected = vec![Expected { endpoint: self.endpoint.clone(), known: Known::Then(vec![true]) }];
        let hash = ActionHash::of(&self.action.to_bytes());
        let scans = (scans, feeds.clone());
        (Follower::new(&self.action, hash, expected, account, scans, Arc::new(Nobody)).unwrap(), rows)
    }
}

/// A million rows of an endpoint that cost it some 40 kB: 60 GB once, with a name of 60,000 bytes.
#[tokio::test]
async fn rows_that_cost_their_endpoint_nothing_cost_the_desk_little() {
    let boast = Boast::new();
    let parts = boast.parts(122);
    assert!(parts.iter().map(|part| part.body.len()).sum::<usize>() < 64 << 10);
    for (columns, bytes_max) in [(&["host"][..], 16 << 20), (&["host", "agent"], 16 << 20)] {
        let feeds = Feeds::within(usize::MAX);
        let (mut follower, mut rows) = boast.follower(columns, &feeds);
        parts.iter().for_each(|part| follower.part(&boast.endpoint.facts.id, part));
        drop(follower);
        let (mut counter, mut count) = (RecordBatchMemoryCounter::new(), 0);
        let mut fed = Vec::new();
        while let Some(batch) = rows.recv().await {
            let batch = batch.unwrap();
            assert!(batch.get_array_memory_size() <= 2 << 20, "a batch of {columns:?}");
            counter.count_batch(&batch);
            count += batch.num_rows();
            fed.push(batch);
        }
        assert_eq!(count, 122 * FRAME_ROWS);
        let bytes = counter.memory_usage();
        assert!(bytes <= bytes_max, "{bytes} bytes of {columns:?}, all batches held at once");
        let hosts = fed[fed.len() - 1].column(0).as_string::<i32>();
        assert!(hosts.iter().all(|host| host == Some(boast.endpoint.host.as_str())));
    }
}

#[tokio::test]
async fn an_endpoint_that_sends_faster_than_the_plan_reads_is_held_back() {
    let boast = Boast::new();
    let feeds = Feeds::within(8 << 20);
    let (follower, mut rows) = boast.follower(&["host"], &feeds);
    let (sender, deliveries) = mpsc::channel(1);
    let (_stopping, stop) = watch::channel(false);
    let following = tokio::spawn(follower.follow(Arc::new(Nobody), deliveries, None, stop));
    let (id, parts) = (boast.endpoint.facts.id.clone(), boast.parts(122));
    let sending = tokio::spawn(async move {
        for part in parts {
            let _ = sender.send(Delivery::Part { agent: id.clone(), part }).await;
        }
    });
    // All tasks share one thread: each has come to a stop when nothing has changed for many turns.
    let mut held = Vec::new();
    while held.len() < 1000 || held[held.len() - 1000] != feeds.held() {
        held.push(feeds.held());
        tokio::task::yield_now().await;
    }
    assert!(!sending.is_finished(), "it is not done, and waits");
    let most = held.iter().max().unwrap();
    assert!(*most > 0 && *most <= 8 << 20, "{most} bytes");
    let mut count = 0;
    while let Some(batch) = rows.recv().await {
        count += batch.unwrap().num_rows();
        assert!(feeds.held() <= 8 << 20);
    }
    assert_eq!(count, 122 * FRAME_ROWS, "nothing is lost");
    following.await.unwrap();
}
