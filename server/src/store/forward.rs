//! A database as version 1 left it, and what every later version finds in it. Nothing here changes with the schema: these
//! rows were written once and are there for ever.

use std::borrow::Cow;

use canvass_protocol::action::ActionHash;
use canvass_protocol::api::StoredPart;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::signed::Signed;
use jiff::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AssertSqlSafe, SqlSafeStr as _};
use uuid::Uuid;

use super::page::Wanted;
use super::{Action, Agent, Audit, Command, Store, Totals};
use crate::scheduler::State;

/// SHA-256 of `{"number":1}` and of `{"number":2}`.
const OPEN: &str = "3d6a916e86efba9105154ea95dda8d8da47df173d931c23e7a346c7babd81a3e";
const CLOSED: &str = "d65dc375f554b634c774bcc6f8a2ce6e23f41d2641c9b19453755d3dc8546f01";

/// What version 1 wrote: statements that both databases understand, but for how `bytes` are written.
pub fn rows(bytes: &str) -> Vec<String> {
    let s = "1800000000";
    vec![
        format!(
            "INSERT INTO agents VALUES ('a1', 'web-1', TRUE, '{{\"second\":1}}', '00', {s}000000001, '2001:db8::7')"
        ),
        format!("INSERT INTO agents VALUES ('a2', 'db-1', FALSE, '{{}}', '01', {s}000000002, NULL)"),
        format!(
            "INSERT INTO actions VALUES ('{OPEN}', '00000000-0000-0000-0000-000000000001',
                '{{\"payload\":\"{{\\\"number\\\":1}}\",\"signatures\":[\"one\",\"two\"]}}', 'SELECT ''it''', 'ABCD',
                {s}000000000, 1800000300000000000, 1800000600000000000, NULL, FALSE)"
        ),
        format!(
            "INSERT INTO actions VALUES ('{CLOSED}', '00000000-0000-0000-0000-000000000002',
                '{{\"payload\":\"{{\\\"number\\\":2}}\",\"signatures\":[\"one\"]}}', 'SELECT 2', 'EF01',
                {s}000000001, 1800000300000000000, 1800000600000000000,
                '{{\"payload\":\"{{}}\",\"signatures\":[\"s\"]}}', TRUE)"
        ),
        format!(
            "INSERT INTO commands VALUES ('{OPEN}', 'a1', 'answered', {s}000000003, {s}000000004, 3, 1000, 1, NULL)"
        ),
        format!("INSERT INTO commands VALUES ('{OPEN}', 'a2', 'waiting', NULL, NULL, 0, 0, 0, NULL)"),
        format!(
            "INSERT INTO commands VALUES ('{CLOSED}', 'a1', 'refused', {s}000000003, {s}000000004, 0, 0, 0, 'why')"
        ),
        format!(
            "INSERT INTO parts (action, agent, signature, statement, body)
                VALUES ('{OPEN}', 'a1', '00', '{{\"sequence\":0}}', {bytes})"
        ),
        format!(
            "INSERT INTO audit (at, who, what, action, detail) VALUES ({s}000000000, 'ABCD', 'post', '{OPEN}', '2 agents')"
        ),
        format!("INSERT INTO audit (at, who, what, action, detail) VALUES ({s}000000001, 'a2', 'enrol', NULL, 'db-1')"),
    ]
}

/// What brings a database through these changes, as the stores do.
pub fn migrator(changes: &[(i64, &'static str, &'static str)]) -> Migrator {
    let migration = |(version, name, sql): &(i64, &'static str, &'static str)| {
        let sql = AssertSqlSafe(*sql).into_sql_str();
        Migration::new(*version, Cow::Borrowed(*name), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(changes.iter().map(migration).collect())
}

fn at(ns: i128) -> Timestamp {
    Timestamp::from_nanosecond(1_800_000_000_000_000_000 + ns).unwrap()
}

fn hash(text: &str) -> ActionHash {
    ActionHash(hex::decode(text).unwrap().try_into().unwrap())
}

fn envelope(payload: &str, signatures: &[&str]) -> Envelope {
    let signatures = signatures.iter().map(|signature| (*signature).to_owned()).collect();
    Envelope { payload: payload.to_owned(), signatures }
}

/// Everything that version 1 wrote is there, and goes on.
pub async fn everything_is_there(store: &dyn Store) {
    // Who waited to be let in comes again by itself.
    let agent = Agent {
        id: "a1".to_owned(),
        name: "web-1".to_owned(),
        approval: None,
        heartbeat: Signed { statement: "{\"second\":1}".to_owned(), signature: "00".to_owned() },
        heard_at: at(1),
        public_ip: Some("2001:db8::7".parse().unwrap()),
    };
    assert_eq!(store.agents().await.unwrap(), [agent]);

    let open = Action {
        hash: hash(OPEN),
        id: Uuid::from_u128(1),
        envelope: envelope("{\"number\":1}", &["one", "two"]),
        statement: "SELECT 'it'".to_owned(),
        investigator: "ABCD".to_owned(),
        // Version 1 knew the poster's alone.
        signers: vec!["ABCD".to_owned()],
        created_at: at(0),
        expires_at: at(300_000_000_000),
        answers_until: at(600_000_000_000),
        withdrawal: None,
    };
    let closed = Action {
        hash: hash(CLOSED),
        id: Uuid::from_u128(2),
        envelope: envelope("{\"number\":2}", &["one"]),
        statement: "SELECT 2".to_owned(),
        investigator: "EF01".to_owned(),
        signers: vec!["EF01".to_owned()],
        created_at: at(1),
        withdrawal: Some(envelope("{}", &["s"])),
        ..open.clone()
    };
    assert_eq!(open.envelope.hash(), open.hash);
    let listed = store.list_actions(&Wanted::default(), None, 9).await.unwrap();
    assert_eq!(listed.iter().map(|listed| listed.id).collect::<Vec<Uuid>>(), [closed.id, open.id]);
    assert_eq!(store.action(closed.id).await.unwrap(), Some(closed.clone()));
    assert_eq!(store.open_actions().await.unwrap(), std::slice::from_ref(&open));
    assert_eq!(store.action(open.id).await.unwrap(), Some(open.clone()));

    let command = |agent: &str, state, times: [Option<Timestamp>; 2], totals, reason: Option<&str>| Command {
        run: 0,
        agent: agent.to_owned(),
        state,
        sent_at: times[0],
        finished_at: times[1],
        totals,
        reason: reason.map(str::to_owned),
        code: None,
        cut: None,
        judged: 0,
    };
    let (done, none) = ([Some(at(3)), Some(at(4))], Totals::default());
    let answered = command("a1", State::Answered, done, Totals { rows: 3, bytes: 1000, troubles: 1 }, None);
    let waiting = command("a2", State::Waiting, [None, None], none, None);
    assert_eq!(store.commands(open.hash).await.unwrap(), [answered, waiting]);
    let refused = command("a1", State::Refused, done, none, Some("why"));
    assert_eq!(store.commands(closed.hash).await.unwrap(), std::slice::from_ref(&refused));
    let of_signer = Wanted { signer: Some("EF01".to_owned()), ..Wanted::default() };
    let listed = store.list_commands(&of_signer, None, 9).await.unwrap();
    assert_eq!((listed.len(), listed[0].action, &listed[0].command), (1, closed.id, &refused));

    let parts = store.parts(open.hash, 0, 9).await.unwrap();
    let part = StoredPart {
        position: parts[0].position,
        run: 0,
        agent: "a1".to_owned(),
        statement: "{\"sequence\":0}".to_owned(),
        signature: "00".to_owned(),
        body: vec![0, 255],
    };
    assert_eq!(parts, [part]);

    let line = |ns, who: &str, what: &str, action, detail: &str| Audit {
        at: at(ns),
        who: who.to_owned(),
        what: what.to_owned(),
        action,
        detail: detail.to_owned(),
    };
    let lines = [line(1, "a2", "enrol", None, "db-1"), line(0, "ABCD", "post", Some(open.hash), "2 agents")];
    let audit = store.audit(i64::MAX, 9).await.unwrap();
    assert_eq!(audit.into_iter().map(|(_, line)| line).collect::<Vec<Audit>>(), lines);

    assert_eq!(store.revocations(9).await.unwrap(), []);

    // It is no museum: what is written now goes on from there.
    store.note(&lines[0]).await.unwrap();
    assert_eq!(store.audit(i64::MAX, 9).await.unwrap().len(), 3);
    store.settle(open.hash, &["a2".to_owned()], State::Expired, at(5)).await.unwrap();
    assert_eq!(store.commands(open.hash).await.unwrap()[1].state, State::Expired);
    store.close(open.hash).await.unwrap();
    assert_eq!(store.purge(at(600_000_000_001)).await.unwrap(), 2);
}
