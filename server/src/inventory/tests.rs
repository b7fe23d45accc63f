//! Who is known, what is new of them, and whose word changes nothing.

use canvass_protocol::envelope::Envelope;
use ed25519_dalek::SigningKey;

use super::*;
use crate::store::sqlite::Sqlite;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn agent(name: &str, second: i64) -> Agent {
    let facts = Facts {
        os: "linux".into(),
        arch: "x86_64".into(),
        version: "0".into(),
        started_at: at(0),
        ..Facts::of("a", name)
    };
    let heartbeat = Heartbeat::sign(&SigningKey::from_bytes(&[1; 32]), "f".into(), facts, String::new(), at(second));
    Agent { id: "a".into(), name: name.into(), approval: None, heartbeat, heard_at: at(second), public_ip: None }
}

fn ids(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test]
async fn what_is_new_since_a_mark_is_what_was_heard_or_fell_silent() {
    let folder = tempfile::tempdir().unwrap();
    let open = async || {
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
        Inventory::open(store).await.unwrap()
    };
    let inventory = open().await;
    let agent = |id: &str, second| Agent { id: id.into(), ..agent(id, second) };
    inventory.admit(agent("a", 10)).await.unwrap();
    inventory.admit(agent("b", 100)).await.unwrap();
    let (all, mark) = inventory.whole(at(110));
    assert_eq!(all.len(), 2);
    let new = |mark: &str, second| {
        let (new, mark) = inventory.since(mark, at(second)).unwrap();
        (new.iter().map(|known| known.agent.id.clone()).collect::<Vec<_>>(), mark)
    };
    let (none, same) = new(&mark, 111);
    assert!(none.is_empty() && same != mark);
    // One of them has been silent for three heartbeats by then.
    assert_eq!(new(&mark, 191).0, ["a"]);
    inventory.hear(vec![agent("b", 120)], at(120)).await.unwrap();
    let (heard, later) = new(&mark, 121);
    assert_eq!(heard, ["b"]);
    let approval = Envelope { payload: "{}".into(), signatures: vec![] };
    inventory.admit(Agent { approval: Some(approval.clone()), ..agent("a", 10) }).await.unwrap();
    assert_eq!((new(&later, 121).0, new(&mark, 121).0), (vec!["a".into()], vec!["a".into(), "b".into()]));
    assert_eq!(new(&new(&mark, 121).1, 122).0, Vec::<String>::new());
    for strange in ["", "1.2", "1.2.3", "1.2.3.4", "a.b.c", &format!("{mark}.1")] {
        assert!(inventory.since(strange, at(121)).is_none(), "{strange}");
    }
    assert!(open().await.since(&mark, at(121)).is_none());
    // Who was taken out is missed by whoever lists all, and that is what a mark of before leads to.
    assert!(inventory.remove("a").await.unwrap() && !inventory.remove("a").await.unwrap());
    assert!(inventory.since(&later, at(121)).is_none());
    assert_eq!(inventory.whole(at(121)).0.len(), 1);
    assert_eq!(inventory.hear(vec![agent("a", 130)], at(130)).await.unwrap(), ids(&["a"]), "it has to enrol anew");
    assert_eq!(open().await.all().len(), 1);
}

#[tokio::test]
async fn memory_is_as_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
    let inventory = Inventory::open(store.clone()).await.unwrap();
    let same = async |inventory: &Inventory| {
        let stored = store.agents().await.unwrap();
        let held: Vec<Agent> = inventory.all().iter().map(|known| known.agent.clone()).collect();
        assert_eq!(held, stored);
        stored.first().map(|agent| (agent.name.clone(), agent.approval.is_some()))
    };
    let hear = async |agent: Agent, now| inventory.hear(vec![agent], at(now)).await.unwrap().is_empty();
    assert!(!hear(agent("nobody", 5), 5).await, "whoever did not enrol is not heard");
    assert_eq!(same(&inventory).await, None);
    inventory.admit(agent("first", 10)).await.unwrap();
    assert_eq!(same(&inventory).await, Some(("first".into(), false)));
    let approval = Some(Envelope { payload: "{}".into(), signatures: vec!["s".into()] });
    inventory.admit(Agent { approval: approval.clone(), ..agent("again", 11) }).await.unwrap();
    assert_eq!(same(&inventory).await, Some(("first".into(), true)), "only its approval is new");
    assert!(!hear(agent("late", 5), 12).await);
    assert_eq!(same(&inventory).await, Some(("first".into(), true)));
    assert!(hear(agent("renamed", 20), 20).await);
    assert_eq!(same(&inventory).await, Some(("renamed".into(), true)));
    assert_eq!(same(&Inventory::open(store.clone()).await.unwrap()).await, Some(("renamed".into(), true)));
    let known = inventory.get("a").unwrap();
    assert_eq!(known.facts.name, "renamed");
    for (second, status) in
        [(20, Status::Online), (200, Status::Online), (201, Status::Idle), (100_000, Status::Offline)]
    {
        assert_eq!(known.words(at(second)).status, status, "{second}");
    }
}

/// A heartbeat of before says nothing, whoever brings it; but a clock that ran ahead may be set right.
#[tokio::test]
async fn nobody_goes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap());
    let inventory = Inventory::open(store.clone()).await.unwrap();
    inventory.admit(agent("first", 10)).await.unwrap();
    // When it says that it made its heartbeat, when that comes, and what is known of it then.
    for (name, made, comes, known) in [
        ("newer", 60, 61, "newer"),
        ("replayed", 10, 120, "newer"),
        ("ahead", 9000, 130, "ahead"),
        ("right again", 190, 190, "right again"),
        ("a little ahead", 310, 200, "a little ahead"),
        ("not yet", 260, 260, "a little ahead"),
        ("now", 320, 320, "now"),
    ] {
        let said = Agent { heard_at: at(comes), ..agent(name, made) };
        inventory.hear(vec![said], at(comes)).await.unwrap();
        assert_eq!(inventory.get("a").unwrap().facts.name, known, "{name}");
        assert_eq!(store.agent("a").await.unwrap().unwrap().name, known, "{name}");
    }
}
