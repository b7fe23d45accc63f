//! What the desk makes of answers, honest and tampered with: rows, and the state of every endpoint asked.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::ops::ControlFlow;
use std::sync::Arc;

use canvass_planner::desk::{Desk, Entry, State};
use canvass_planner::error::ErrorKind;
use canvass_planner::settings::Settings;
use canvass_protocol::answer::{Part, Says, ScanRecord, Statement, Writer};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits::Limits;
use canvass_protocol::members::Members;
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::seal::Seal;
use canvass_tables::Table;
use canvass_tables::column::{Column, Kind};
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, TableInfo};
use common::direct::{Direct, Tamper};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::pretty::pretty_format_batches;
use ed25519_dalek::{Signer as _, SigningKey};
use futures::TryStreamExt as _;

static NUMBERS: Declared<i64> = Declared {
    info: TableInfo {
        name: "numbers",
        module: Module::reading("numbers"),
        about: "",
        bound: None,
        live: false,
        follows: false,
        example: "",
    },
    columns: &[
        Column::field("n", Kind::Integer, "", |n: &i64| (*n).into()),
        Column::field("word", Kind::Text, "", |n: &i64| {
            ["zero", "one", "two"].get(usize::try_from(*n).unwrap()).copied().into()
        }),
    ],
    collect: |collector| {
        for n in 0..4 {
            collector.row(n)?;
        }
        ControlFlow::Continue(())
    },
};

static TABLES: &[&dyn Table] = &[&NUMBERS];

const HONEST: Tamper = |parts| parts;

async fn ask(statement: &str, tamper: Tamper) -> (String, Vec<Entry>) {
    ask_within(statement, tamper, Settings::default()).await
}

async fn ask_within(statement: &str, tamper: Tamper, settings: Settings) -> (String, Vec<Entry>) {
    let fleet = Arc::new(Direct::new(TABLES, &["alpha", "beta"], tamper));
    let mut desk = Desk::with_tables(fleet, settings, TABLES);
    let planned = desk.plan(statement).await.unwrap();
    let envelope = planned
        .action
        .as_ref()
        .map(|action| Envelope { payload: String::from_utf8(action.to_bytes()).unwrap(), signatures: vec![] });
    let running = desk.run(planned, envelope).await.unwrap();
    let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
    (pretty_format_batches(&batches).unwrap().to_string(), running.account.entries())
}

#[tokio::test]
async fn rows_of_all_hosts_are_one_table() {
    let (rows, entries) =
        ask("SELECT host, n, word, agent.tags['team'] AS team FROM numbers WHERE n > 1 ORDER BY host, n", HONEST).await;
    insta::assert_snapshot!(rows, @r"
    +-------+---+------+------+
    | host  | n | word | team |
    +-------+---+------+------+
    | alpha | 2 | two  | test |
    | alpha | 3 |      | test |
    | beta  | 2 | two  | test |
    | beta  | 3 |      | test |
    +-------+---+------+------+
    ");
    assert!(entries.iter().all(|entry| entry.state == State::Answered && entry.rows == 2));
}

#[tokio::test]
async fn hosts_can_be_joined_grouped_and_counted() {
    let cases = [
        ("SELECT count(*) AS c FROM numbers", "| 8 |"),
        ("SELECT count(*) AS c FROM numbers a JOIN numbers b ON a.host = b.host AND a.n = b.n", "| 8 |"),
        ("SELECT count(*) AS c FROM numbers a JOIN numbers b ON a.n = b.n WHERE a.host <> b.host", "| 8 |"),
        ("SELECT max(n) AS c FROM numbers WHERE host = 'beta'", "| 3 |"),
        ("SELECT count(DISTINCT host) AS c FROM numbers WHERE agent.name LIKE '%a'", "| 2 |"),
        (
            "SELECT count(*) AS c FROM agents a LEFT JOIN numbers n ON n.host = a.name AND n.n = 7 WHERE n.n IS NULL",
            "| 2 |",
        ),
        ("SELECT count(*) AS c FROM (SELECT DISTINCT word FROM numbers)", "| 4 |"),
        (
            "WITH big AS (SELECT * FROM numbers WHERE n >= 2) SELECT count(*) AS c FROM big WHERE host IN (SELECT host FROM numbers WHERE word = 'two')",
            "| 4 |",
        ),
        (
            "SELECT count(*) AS c FROM numbers a LEFT JOIN numbers b ON a.host = b.host AND b.n = a.n + 2 WHERE agent.os = 'linux'",
            "| 8 |",
        ),
        (
            "SELECT count(*) AS c FROM numbers a LEFT JOIN numbers b ON a.host = b.host AND b.n = a.n + 2 WHERE agent.name = 'beta' AND b.n IS NULL",
            "| 2 |",
        ),
        (
            "SELECT count(*) AS c FROM numbers a LEFT JOIN numbers b USING (host, word) WHERE agent.name = 'beta'",
            "| 4 |",
        ),
        (
            "SELECT count(*) AS c FROM numbers a RIGHT JOIN numbers b ON a.host = b.host AND a.n = b.n + 2 WHERE agent.name = 'beta'",
            "| 4 |",
        ),
        (
            "SELECT count(*) AS c FROM numbers a FULL JOIN numbers b ON a.host = b.host AND a.n = b.n + 2 WHERE agent.name = 'beta'",
            "| 6 |",
        ),
        ("SELECT count(host) AS c FROM numbers a RIGHT JOIN numbers b ON a.host = b.host AND a.n = b.n + 2", "| 8 |"),
        (
            "SELECT count(*) AS c FROM numbers a LEFT JOIN numbers b ON a.host = b.host AND a.n = b.n AND agent.name = 'beta' WHERE b.n IS NULL",
            "| 4 |",
        ),
        ("SELECT count(host) AS c FROM numbers a RIGHT JOIN numbers b USING (host, word)", "| 8 |"),
        ("SELECT count(host) AS c FROM numbers a FULL JOIN numbers b ON a.host = b.host AND a.n = b.n + 2", "| 12 |"),
        (
            "SELECT count(*) AS c FROM (SELECT * FROM numbers a FULL JOIN (SELECT host, n + 2 AS n FROM numbers) b USING (host, n)) WHERE host IS NULL OR n IS NULL",
            "| 0 |",
        ),
        (
            "SELECT max(c) AS c FROM (SELECT host, count(*) AS c FROM numbers a FULL JOIN numbers b ON a.host = b.host AND a.n = b.n + 2 GROUP BY host)",
            "| 6 |",
        ),
        ("SELECT DISTINCT agent.name AS c FROM numbers ORDER BY agent.name LIMIT 1", "| alpha |"),
        ("SELECT DISTINCT upper(word) AS c FROM numbers ORDER BY upper(word) LIMIT 1", "| ONE |"),
        (
            "SELECT a.n AS c FROM numbers a JOIN numbers b USING (host) ORDER BY agent.name DESC, a.n DESC LIMIT 1",
            "| 3 |",
        ),
        ("SELECT AGENT.Name FROM numbers WHERE host = 'beta'", "| agent.name |"),
        ("SELECT \"agent\".\"name\" FROM numbers WHERE host = 'beta'", "| agent.name |"),
        ("SELECT count(*) AS c FROM canvass.public.numbers", "| 8 |"),
    ];
    for (statement, expected) in cases {
        let (rows, _) = ask(statement, HONEST).await;
        assert!(rows.contains(expected), "{statement}\n{rows}");
    }
}

#[tokio::test]
async fn a_satisfied_limit_is_no_failure() {
    let (rows, entries) = ask("SELECT n FROM numbers LIMIT 1", HONEST).await;
    assert_eq!(rows.lines().count(), 5, "{rows}");
    assert!(entries.iter().all(|entry| matches!(entry.state, State::Answered | State::Cancelled)), "{entries:?}");
}

#[tokio::test]
async fn what_was_tampered_with_is_not_believed() {
    let cases: &[(&str, Tamper, &str)] = &[
        (
            "altered rows",
            |mut parts| {
                parts[0].body[200] ^= 1;
                parts
            },
            "not the ones that were signed",
        ),
        (
            "altered statement",
            |mut parts| {
                parts[0].statement = parts[0].statement.replace("\"rows\":4", "\"rows\":5");
                parts
            },
            "does not verify",
        ),
        (
            "altered final",
            |mut parts| {
                let last = parts.len() - 1;
                parts[last].statement = parts[last].statement.replace("\"troubles_count\":0", "\"troubles_count\":9");
                parts
            },
            "does not verify",
        ),
        (
            "doubled frame",
            |mut parts| {
                parts.insert(1, parts[0].clone());
                parts
            },
            "missing, doubled or out of order",
        ),
        (
            "dropped frame",
            |mut parts| {
                parts.remove(0);
                parts
            },
            "missing, doubled or out of order",
        ),
        ("garbage", |_| vec![Part { statement: "{}".into(), signature: "00".into(), body: vec![] }], "not a canvass"),
    ];
    for (name, tamper, reason) in cases {
        let (_, entries) = ask("SELECT host, n, word FROM numbers", *tamper).await;
        for entry in entries {
            assert_eq!(entry.state, State::Waiting, "{name}: without a believed final record there is only silence");
            assert!(entry.troubles.iter().any(|trouble| trouble.contains(reason)), "{name}: {:?}", entry.troubles);
        }
    }
}

/// What an agent that lies signs instead: its parts, its frames sent again and again (0: within the final record), and its
/// records as `change` has it.
fn lie(parts: &[Part], times: usize, change: impl Fn(&mut Vec<ScanRecord>)) -> Vec<Part> {
    let said: Vec<Statement> = parts.iter().map(|part| serde_json::from_str(&part.statement).unwrap()).collect();
    let keys = (1..=2_u8).map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let key = keys.into_iter().find(|key| hex::encode(key.verifying_key().as_bytes()) == said[0].key).unwrap();
    let mut writer = Writer::new(&key, said[0].fleet.clone(), said[0].action, said[0].nonce.clone());
    let (mut lies, mut carried) = (Vec::new(), None);
    for (statement, part) in said.iter().zip(parts) {
        if let Says::Frame(frame) = &statement.says {
            lies.extend((0..times).map(|_| writer.frame(frame.scan, frame.rows, part.body.clone())));
            carried = Some((frame.scan, frame.rows, part.body.clone()));
        }
    }
    // Without a frame of its own an answer is one part, whose final record carries one.
    if let Some((scan, rows, body)) = carried.filter(|_| times == 0) {
        writer.last_frame(scan, rows, body);
    }
    let Says::Final(last) = &said[said.len() - 1].says else { panic!("no final record") };
    let mut last = last.clone();
    change(&mut last.scans);
    lies.push(writer.finish(last.outcome, last.scans, last.limits, last.facts, last.at));
    lies
}

/// The part as its agent would have signed it, had it said something else.
fn say(part: &Part, change: impl Fn(&mut Says)) -> Part {
    let mut said: Statement = serde_json::from_str(&part.statement).unwrap();
    change(&mut said.says);
    let key = (1..=2_u8).map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let key = key.into_iter().find(|key| hex::encode(key.verifying_key().as_bytes()) == said.key).unwrap();
    let statement = serde_json::to_string(&said).unwrap();
    let signature = hex::encode(key.sign(statement.as_bytes()).to_bytes());
    Part { statement, signature, body: part.body.clone() }
}

#[tokio::test]
async fn a_sealed_answer_counts_as_one_that_failed() {
    let sealed: Tamper = |parts| {
        let seal = |says: &mut Says| {
            if let Says::Frame(frame) = says {
                frame.seal = Some(Seal { algorithm: "later".into(), keys: Vec::new(), more: Members::default() });
            }
        };
        parts.iter().map(|part| say(part, seal)).collect()
    };
    let (rows, entries) = ask("SELECT n FROM numbers", sealed).await;
    assert_eq!(rows.lines().count(), 2, "not even a heading: {rows}");
    for entry in entries {
        let reason = Reason::new(Code::Sealed, "the answer is sealed, and this version cannot open it");
        assert_eq!((entry.state, entry.rows, entry.troubles.len()), (State::Failed(reason), 0, 0));
    }
}

/// Before anything is signed: by the features that agents list.
#[tokio::test]
async fn who_lacks_what_a_statement_needs_counts_as_refused() {
    let silent: Tamper = |_| Vec::new();
    let fleet = Direct::new(TABLES, &["alpha", "beta", "gamma"], silent);
    // The last one lists nothing, which says nothing.
    let fleet = Arc::new(fleet.listing(&[&["table:others"], &["table:numbers", "table:others"], &[]]));
    let mut desk = Desk::with_tables(fleet, Settings::default(), TABLES);
    let planned = desk.plan("SELECT n FROM numbers").await.unwrap();
    assert_eq!(planned.remarks, ["alpha cannot answer: the agent does not know the table `numbers`"]);
    let payload = String::from_utf8(planned.action.as_ref().unwrap().to_bytes()).unwrap();
    let running = desk.run(planned, Some(Envelope { payload, signatures: vec![] })).await.unwrap();
    running.rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
    let states: Vec<State> = running.account.entries().into_iter().map(|entry| entry.state).collect();
    let refused = Reason::new(Code::Unsupported, "the agent does not know the table `numbers`");
    assert_eq!(states, [State::Refused(refused), State::Waiting, State::Waiting]);
    let planned = desk.plan("SELECT n FROM numbers WHERE host <> 'alpha'").await.unwrap();
    assert_eq!(planned.remarks, Vec::<String>::new(), "who is not asked refuses nothing");
}

#[tokio::test]
async fn an_agent_that_contradicts_itself_or_the_action_is_not_believed() {
    let cases: &[(&str, Tamper, &str)] = &[
        ("more frames than counted", |parts| lie(&parts, 2, |_| {}), "counts 4 rows of scan 0, and 8 came"),
        ("no records", |parts| lie(&parts, 1, Vec::clear), "is of 0 scans, and 1 were asked"),
        (
            "more records",
            |parts| lie(&parts, 1, |scans| scans.push(scans[0].clone())),
            "is of 2 scans, and 1 were asked",
        ),
        (
            "fewer rows at once",
            |parts| lie(&parts, 0, |scans| scans[0].rows = 3),
            "counts 3 rows of scan 0, and 4 came",
        ),
        ("fewer rows", |parts| lie(&parts, 1, |scans| scans[0].rows = 3), "counts 3 rows of scan 0, and 4 came"),
    ];
    for (name, tamper, reason) in cases {
        let (_, entries) = ask("SELECT n FROM numbers", *tamper).await;
        for entry in entries {
            assert_eq!(entry.state, State::Waiting, "{name}");
            assert!(entry.troubles.iter().any(|trouble| trouble.contains(reason)), "{name}: {:?}", entry.troubles);
        }
    }
}

#[tokio::test]
async fn no_more_is_taken_than_the_action_allows() {
    let limits = Limits { rows: 4, ..Limits::default() };
    let settings = Settings { limits, ..Settings::default() };
    let (rows, entries) = ask_within("SELECT n FROM numbers", |parts| lie(&parts, 100, |_| {}), settings).await;
    assert_eq!(rows.lines().count(), 12, "{rows}");
    for entry in entries {
        assert_eq!((entry.state, entry.rows), (State::Waiting, 4));
        assert_eq!(entry.troubles, ["the answer is not believed: scan 0 gives more than the action allows"]);
    }
}

#[tokio::test]
async fn counts_past_all_belief_do_not_spoil_the_sums() {
    let boast: Tamper = |parts| {
        let mut parts = lie(&parts, 1, |_| {});
        let last = parts.pop().unwrap();
        parts.push(say(&last, |says| {
            let Says::Final(says) = says else { panic!("no final record") };
            (says.scans[0].troubles_count, says.scans[0].examined) = (u64::MAX, u64::MAX);
        }));
        parts
    };
    let (_, entries) = ask("SELECT n FROM numbers", boast).await;
    let records: Vec<&ScanRecord> = entries.iter().flat_map(|entry| &entry.scans).collect();
    assert_eq!(records.len(), 2);
    let sum =
        |count: fn(&ScanRecord) -> u64| records.iter().try_fold(0_u64, |sum, record| sum.checked_add(count(record)));
    assert!(sum(|record| record.troubles_count).is_some() && sum(|record| record.examined).is_some());
}

#[tokio::test]
async fn rows_without_a_final_record_are_kept_and_waited_for() {
    let (rows, entries) = ask("SELECT n FROM numbers", |mut parts| {
        parts.pop();
        parts
    })
    .await;
    assert_eq!(rows.lines().count(), 12, "{rows}");
    assert!(entries.iter().all(|entry| entry.state == State::Waiting && entry.rows == 4));
}

#[tokio::test]
async fn rows_that_cannot_be_put_together_are_no_usage_error() {
    let fleet = Arc::new(Direct::new(TABLES, &["alpha"], HONEST));
    let mut desk = Desk::with_tables(fleet, Settings::default(), TABLES);
    let planned = desk.plan("SELECT 1 / (n - n) FROM numbers").await.unwrap();
    let action = planned.action.as_ref().unwrap();
    let payload = String::from_utf8(action.to_bytes()).unwrap();
    let running = desk.run(planned, Some(Envelope { payload, signatures: vec![] })).await.unwrap();
    let error = running.rows.try_collect::<Vec<RecordBatch>>().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal, "something was sent: {error:?}");
}

#[tokio::test]
async fn an_unsigned_or_other_action_is_not_run() {
    let fleet = Arc::new(Direct::new(TABLES, &["alpha"], HONEST));
    let mut desk = Desk::with_tables(fleet, Settings::default(), TABLES);
    let planned = desk.plan("SELECT n FROM numbers").await.unwrap();
    assert!(desk.run(planned, None).await.is_err());
    let planned = desk.plan("SELECT n FROM numbers").await.unwrap();
    let other = Envelope { payload: "{}".into(), signatures: vec![] };
    assert!(desk.run(planned, Some(other)).await.is_err());
}

/// A fleet of which `beta` never answers.
async fn half_answered(statement: &str, direct: Direct) -> (Arc<Direct>, canvass_planner::desk::Running) {
    let fleet = Arc::new(direct);
    let mut desk = Desk::with_tables(fleet.clone(), Settings { wait_s: None, ..Settings::default() }, TABLES);
    let planned = desk.plan(statement).await.unwrap();
    let payload = String::from_utf8(planned.action.as_ref().unwrap().to_bytes()).unwrap();
    let running = desk.run(planned, Some(Envelope { payload, signatures: vec![] })).await.unwrap();
    while running.account.waiting() > 1 {
        tokio::task::yield_now().await;
    }
    (fleet, running)
}

#[tokio::test]
async fn whoever_stops_gets_the_plan_over_what_came() {
    let cases = [
        ("SELECT host, count(*) AS c FROM numbers GROUP BY host ORDER BY host", "alpha | 4"),
        ("SELECT max(n) AS c FROM numbers", " 3 "),
        ("SELECT a.host, sum(b.n) AS c FROM numbers a JOIN numbers b ON a.host = b.host GROUP BY 1", "alpha | 24"),
    ];
    for (statement, expected) in cases {
        let (fleet, running) =
            half_answered(statement, Direct::new(TABLES, &["alpha", "beta"], HONEST).with_silent("beta")).await;
        running.stop();
        let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
        let rows = pretty_format_batches(&batches).unwrap().to_string();
        assert!(rows.contains(expected) && !rows.contains("beta"), "{statement}: {rows}");
        let states: Vec<_> = running.account.entries().into_iter().map(|entry| entry.state).collect();
        assert_eq!(states, [State::Answered, State::Waiting], "{statement}");
        assert_eq!(fleet.stops(), 1, "{statement}");
    }
}

#[tokio::test]
async fn a_fleet_that_does_not_hear_of_the_stop_is_not_waited_for() {
    let direct = Direct::new(TABLES, &["alpha", "beta"], HONEST).with_silent("beta").deaf();
    let (_, running) = half_answered("SELECT count(*) AS c FROM numbers", direct).await;
    running.stop();
    let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains("| 4 |"));
    assert_eq!(running.account.remarks(), ["the server has not said yet that the action is withdrawn"]);
}

#[tokio::test]
async fn agents_of_this_program_hand_over_what_they_found() {
    let direct = Direct::new(TABLES, &["alpha", "beta"], HONEST).with_silent("beta").of_this_program();
    let (fleet, running) = half_answered("SELECT count(*) AS c FROM numbers", direct).await;
    running.stop();
    let batches: Vec<RecordBatch> = running.rows.try_collect().await.unwrap();
    // What was kept back until the stop is part of the result.
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains("| 8 |"));
    assert!(running.account.entries().iter().all(|entry| entry.state == State::Answered));
    assert_eq!(fleet.stops(), 1);
}

#[tokio::test]
async fn a_plan_that_never_yields_holds_nobody_up() {
    let mut desk = Desk::with_tables(Arc::new(Direct::new(TABLES, &[], HONEST)), Settings::default(), TABLES);
    let endless =
        "SELECT count(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value * b.value = 7";
    let planned = desk.plan(endless).await.unwrap();
    let mut running = desk.run(planned, None).await.unwrap();
    tokio::select! {
        biased;
        row = futures::StreamExt::next(&mut running.rows) => panic!("{row:?}"),
        () = std::future::ready(()) => {}
    }
    drop(running);
    let planned = desk.plan("SELECT 42 AS c").await.unwrap();
    let batches: Vec<RecordBatch> = desk.run(planned, None).await.unwrap().rows.try_collect().await.unwrap();
    assert!(pretty_format_batches(&batches).unwrap().to_string().contains("| 42 |"));
}

/// Threads on which plans run.
fn plan_threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    names
        .filter(|task| std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "plan"))
        .count()
}

#[tokio::test]
async fn what_is_abandoned_ends_by_itself() {
    let mut desk = Desk::with_tables(Arc::new(Direct::new(TABLES, &[], HONEST)), Settings::default(), TABLES);
    for endless in [
        "SELECT count(*) FROM generate_series(1, 100000000000)",
        "SELECT count(*) FROM generate_series(1, 1000) a, generate_series(1, 100000000000) b WHERE a.value * b.value = 7",
    ] {
        let planned = desk.plan(endless).await.unwrap();
        let mut running = desk.run(planned, None).await.unwrap();
        assert!(futures::FutureExt::now_or_never(futures::StreamExt::next(&mut running.rows)).is_none());
        // A thread has its name a moment after it was started.
        while plan_threads() == 0 {
            tokio::task::yield_now().await;
        }
        drop(running);
        while plan_threads() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_recursive_query_reads_its_own_rows() {
    let (rows, _) = ask(
        "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 5)
         SELECT count(*) AS c, sum(t.n) AS s FROM t JOIN (SELECT max(n) AS most FROM numbers) ON t.n <= most",
        HONEST,
    )
    .await;
    assert!(rows.contains("| 3 | 6 |"), "{rows}");
}
