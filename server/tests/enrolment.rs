//! Who asks to be let in: what strangers can do, and what an administrator does about it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::collections::BTreeMap;

use canvass_protocol::answer::agent_id;
use canvass_protocol::api::{Admit, AuditLine, Enrol, Inventory, Listed, PendingPage};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::login::Approval;
use canvass_protocol::openpgp::{KeyFile, Signer};
use canvass_protocol::signed::Signed;
use canvass_protocol::target::Facts;
use common::{JSON, Server, envelope, start};
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};

fn key(number: u16) -> SigningKey {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&number.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

fn id(key: &SigningKey) -> String {
    agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap()
}

/// What an agent says of itself at a moment; its tag has so many bytes.
fn heartbeat(key: &SigningKey, name: &str, tag: usize, at: Timestamp) -> Signed {
    let facts = Facts {
        os: "linux".into(),
        arch: "x86_64".into(),
        version: "0".into(),
        tags: BTreeMap::from([("tag".to_owned(), "x".repeat(tag))]),
        started_at: at,
        ..Facts::of(id(key), name)
    };
    Heartbeat::sign(key, "acme".into(), facts, String::new(), at)
}

fn enrol(server: &Server, heartbeat: Signed) -> (u16, String) {
    let body = serde_json::to_string(&Enrol { heartbeat, token: None }).unwrap();
    server.request("POST", "/v1/enrolments", JSON, &body)
}

fn pending(server: &Server, headers: &str, query: &str) -> PendingPage {
    let (status, said) = server.request("GET", &format!("/v1/agents/pending{query}"), headers, "");
    assert_eq!(status, 200, "{said}");
    serde_json::from_str(&said).unwrap()
}

fn inventory(server: &Server, headers: &str) -> Vec<Listed> {
    let (status, said) = server.request("GET", "/v1/agents", headers, "");
    assert_eq!(status, 200, "{said}");
    serde_json::from_str::<Inventory>(&said).unwrap().agents
}

/// What the audit says was done, the oldest first.
fn audit(server: &Server, headers: &str) -> Vec<AuditLine> {
    let (status, said) = server.request("GET", "/v1/audit?count=10000", headers, "");
    assert_eq!(status, 200, "{said}");
    let mut lines: Vec<AuditLine> = serde_json::from_str(&said).unwrap();
    lines.reverse();
    lines
}

fn approval(signer: &KeyFile, id: &str, name: &str) -> Envelope {
    let payload = Approval::new("acme".into(), id.to_owned(), name.to_owned(), Timestamp::now()).to_bytes();
    Envelope::parse(envelope(signer, String::from_utf8(payload).unwrap()).as_bytes()).unwrap()
}

fn admit(server: &Server, headers: &str, id: &str, heartbeat: Signed, approval: Envelope) -> (u16, String) {
    let body = serde_json::to_string(&Admit { heartbeat, approval }).unwrap();
    server.request("POST", &format!("/v1/agents/{id}/admission"), headers, &body)
}

#[test]
fn strangers_wait_few_and_small_and_write_nothing_down() {
    let server = start(&["--enrol", "approve"]);
    let alice = server.session(&server.investigator("alice"), "1");
    let lines = audit(&server, &alice).len();
    let now = Timestamp::now();
    let (status, said) = enrol(&server, heartbeat(&key(0), "large", 8000, now));
    assert!(status == 403 && said.contains("at most 8192 bytes"), "{status} {said}");
    for number in 1..=1050 {
        let (status, said) = enrol(&server, heartbeat(&key(number), "flood", 1000, now));
        assert!(status == 200 && said.contains("pending"), "{number}: {status} {said}");
    }
    let mut found = Vec::new();
    let mut query = String::new();
    loop {
        let page = pending(&server, &alice, &query);
        assert!(page.agents.len() <= 500, "a page is small: {}", page.agents.len());
        found.extend(page.agents.into_iter().map(|listed| listed.heartbeat.statement));
        let Some(next) = page.next else { break };
        query = format!("?after={next}");
    }
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 1000, "the oldest made room");
    assert_eq!(pending(&server, &alice, "?count=7").agents.len(), 7);
    assert_eq!(audit(&server, &alice).len(), lines, "nothing of it is written down");
    assert!(inventory(&server, &alice).is_empty());
    // They are held in memory alone.
    let file = std::fs::metadata(server.data.path().join("data/server.sqlite-wal")).unwrap().len();
    assert!(file < 1 << 20, "{file}");
}

/// Whoever once read an agent's heartbeat cannot say it again.
#[test]
fn a_replayed_heartbeat_changes_nothing() {
    let server = start(&[]);
    let alice = server.session(&server.investigator("alice"), "1");
    let now = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    let first = heartbeat(&key(1), "web-1", 1, now - hour);
    assert_eq!(enrol(&server, first.clone()).0, 200);
    let before = inventory(&server, &alice);
    assert_eq!((before.len(), &before[0].heartbeat), (1, &first));
    // It was heard when it made that, and nobody has proved where it is.
    assert_eq!((before[0].words.heartbeat_at, before[0].words.public_ip), (now - hour, None));
    for again in [heartbeat(&key(1), "older", 2, now - hour - hour), heartbeat(&key(1), "newer", 3, now), first] {
        let (status, said) = enrol(&server, again);
        assert!(status == 200 && said.contains("admitted"), "{status} {said}");
        assert_eq!(inventory(&server, &alice), before);
    }
    assert_eq!(audit(&server, &alice).iter().filter(|line| line.what == "enrol").count(), 1);
}

#[test]
fn an_administrator_lets_in_and_takes_out() {
    let folder = tempfile::tempdir().unwrap();
    let long_ago = Timestamp::now() - SignedDuration::from_hours(1);
    let [alices, bobs] = ["alice", "bob"].map(|name| KeyFile::generate(name, None, long_ago).unwrap());
    for (key, file) in [(&alices, "alice.asc"), (&bobs, "bob.asc")] {
        std::fs::write(folder.path().join(file), key.public_armor().unwrap()).unwrap();
    }
    let roles = folder.path().join("server.toml");
    std::fs::write(&roles, format!("enrol = \"approve\"\n[roles]\n{} = \"hunt\"\n", bobs.fingerprint())).unwrap();
    let keyring = folder.path().to_str().unwrap();
    let governed = start(&["--config", roles.to_str().unwrap(), "--keyring", keyring]);
    let (alice, bob) = (governed.session(&alices, "1"), governed.session(&bobs, "2"));
    let (agent, now) = (key(1), Timestamp::now());
    let (id, said) = (id(&agent), heartbeat(&agent, "web-1", 1, now));
    assert!(enrol(&governed, said.clone()).1.contains("pending"));
    assert_eq!(pending(&governed, &alice, "").agents[0].heartbeat, said);

    let good = approval(&alices, &id, "web-1");
    let mut unsigned = good.clone();
    unsigned.signatures.clear();
    let mut altered = good.clone();
    altered.payload = altered.payload.replace("web-1", "web-2");
    let other = heartbeat(&key(2), "web-1", 1, now);
    for (headers, heartbeat, approval, status, words) in [
        (&bob, &said, good.clone(), 403, "needs the role `admin`"),
        (&alice, &said, approval(&bobs, &id, "web-1"), 403, "needs the role `admin`"),
        (&alice, &said, approval(&alices, &id, "web-2"), 409, "calls itself `web-1`"),
        (&alice, &said, approval(&alices, &"0".repeat(64), "web-1"), 400, "of another agent"),
        (&alice, &other, good.clone(), 400, "of another agent"),
        (&alice, &said, unsigned, 401, "no signature counts"),
        (&alice, &said, altered, 401, "no signature counts"),
    ] {
        let (got, text) = admit(&governed, headers, &id, heartbeat.clone(), approval);
        assert!(got == status && text.contains(words), "{words}: {got} {text}");
    }
    assert!(inventory(&governed, &alice).is_empty());
    assert_eq!(admit(&governed, &alice, &id, said.clone(), good.clone()), (204, String::new()));
    let listed = inventory(&governed, &alice);
    assert_eq!((&listed[0].heartbeat, listed[0].approval.as_ref()), (&said, Some(&good)));
    assert!(pending(&governed, &alice, "").agents.is_empty());
    assert!(enrol(&governed, said.clone()).1.contains("admitted"));

    let removal = format!("/v1/agents/{id}/removal");
    assert_eq!(governed.request("POST", &removal, &bob, "").0, 403);
    assert_eq!(governed.request("POST", &removal, &alice, ""), (204, String::new()));
    assert_eq!(governed.request("POST", &removal, &alice, "").0, 404);
    assert!(inventory(&governed, &alice).is_empty());
    assert!(enrol(&governed, said).1.contains("pending"), "it has to enrol anew");
    assert_eq!(governed.request("POST", &removal, &alice, ""), (204, String::new()), "who waits is refused");
    assert!(pending(&governed, &alice, "").agents.is_empty());

    let did: Vec<(String, String)> = audit(&governed, &alice).into_iter().map(|line| (line.who, line.what)).collect();
    let (alice, bob) = (alices.fingerprint().0, bobs.fingerprint().0);
    // Refusals of one role are written down once a minute.
    let expected = [
        (&alice, "login"),
        (&bob, "login"),
        (&bob, "refused"),
        (&alice, "admit"),
        (&alice, "remove"),
        (&alice, "remove"),
    ];
    let expected: Vec<_> = expected.into_iter().map(|(who, what)| (who.clone(), what.to_owned())).collect();
    assert_eq!(did, expected);
}

/// Failed logins are written down, and strangers cannot fill the audit with them.
#[test]
fn failed_logins_are_written_down_seldom() {
    let server = start(&[]);
    let alice = server.session(&server.investigator("alice"), "1");
    let mallory = KeyFile::generate("mallory", None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
    for digit in 0..20 {
        let login = envelope(&mallory, server.login(&format!("{digit:x}")[..1]));
        assert_eq!(server.request("POST", "/v1/sessions", JSON, &login).0, 401);
    }
    let lines = audit(&server, &alice);
    let failed: Vec<&AuditLine> = lines.iter().filter(|line| line.what == "login failed").collect();
    assert_eq!(failed.len(), 1, "{lines:?}");
    assert_eq!(failed[0].who, "127.0.0.1");
    assert!(failed[0].detail.contains("not in the keyring"), "{:?}", failed[0]);
}
