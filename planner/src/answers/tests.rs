//! Tests of what is held until it is known whose it is.

use async_trait::async_trait;
use canvass_protocol::action::Window;
use canvass_protocol::answer::{Writer, agent_id};
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::scan;
use canvass_protocol::target::Status;
use canvass_protocol::value::Value;
use canvass_tables::frame;
use datafusion::arrow::array::{AsArray as _, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field};
use ed25519_dalek::SigningKey;
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
    let (feed, mut rows) = mpsc::unbounded_channel();
    let scans = vec![Scan { answer: batch().schema(), target, leaves: vec![Leaf { planned, feed }] }];
    let account = Arc::new(Account::new(vec![endpoint.clone()], Vec::new()));
    let expected = vec![Expected { endpoint, known }];
    let mut follower = Follower::new(&action, hash, expected, account.clone(), scans, Arc::new(Nobody)).unwrap();
    follower.held_bytes_max = room;
    let mut writer = Writer::new(&key, "test".into(), hash, "00".repeat(16));
    for _ in 0..frames {
        follower.part(&id, &writer.frame(0, 3, frame::encode(&batch())));
    }
    let mut hosts = Vec::new();
    while let Ok(batch) = rows.try_recv() {
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
