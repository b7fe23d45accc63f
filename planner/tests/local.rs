//! Local files as tables, and what the desk tells endpoints of the values that it knows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::sync::Arc;

use async_trait::async_trait;
use canvass_planner::desk::Desk;
use canvass_planner::error::Error;
use canvass_planner::fleet::{Delivery, Endpoint, Fleet};
use canvass_planner::settings::Settings;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::target::Status;
use common::{Mute, desk, plan_error};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt as _;
use insta::assert_snapshot;
use tokio::sync::mpsc;

/// What a statement that asks nobody answers.
async fn answer(statement: &str) -> Result<String, Error> {
    let mut desk = desk();
    let planned = desk.plan(statement).await?;
    assert!(planned.action.is_none() && !planned.asks, "{statement} asks somebody");
    let batches: Vec<_> = desk.run(planned, None).await?.rows.try_collect().await?;
    Ok(pretty_format_batches(&batches).unwrap().to_string())
}

#[tokio::test]
async fn local_files_are_tables_that_ask_nobody() {
    let cases = [
        "SELECT * FROM 'tests/files/iocs.csv'",
        "SELECT p.path, i.n FROM \"tests/files/found.parquet\" p JOIN 'tests/files/paths.csv' i ON p.path = i.path ORDER BY n",
        "SELECT kind, sum(size) FROM 'tests/files/found.parquet' GROUP BY kind ORDER BY kind",
        "SELECT count(*) FROM 'tests/files/found.parquet'",
        "SELECT ip, tags[1], score FROM 'tests/files/addresses.jsonl' WHERE ip UNDER '10.0.0.0/8'",
        "SELECT * FROM 'tests/files/people.json' WHERE name ~ '^r'",
        "SELECT people.name FROM 'tests/files/people.json' JOIN 'tests/files/paths.csv' ON people.uid = paths.n",
        "SELECT people.name, x.uid FROM 'tests/files/people.json', 'tests/files/people.json' x WHERE x.uid > people.uid",
        "SELECT * FROM 'tests/files/with space.csv'",
        "WITH p AS (SELECT path FROM 'tests/files/paths.csv') SELECT path FROM p UNION SELECT name FROM 'tests/files/people.json' ORDER BY 1",
        "SELECT a.name FROM agents a WHERE name IN (SELECT host FROM 'tests/files/hosts.csv') ORDER BY 1",
        "SELECT n FROM 'tests/files/paths.csv' x WHERE EXISTS (SELECT 1 FROM 'tests/files/paths.csv' y WHERE y.path = x.path AND y.n > x.n)",
        "DESCRIBE 'tests/files/found.parquet'",
        "SELECT table_name FROM information_schema.tables WHERE table_name LIKE '%.csv'",
    ];
    let mut text = String::new();
    for statement in cases {
        let rows = answer(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        text += &format!("> {statement}\n{rows}\n\n");
    }
    assert_snapshot!("answers_of_files", text);
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_before_anything_is_signed() {
    let cases = [
        "SELECT * FROM 'tests/files/ioc.csv'",
        "SELECT * FROM 'tests/nowhere/iocs.csv'",
        "SELECT path\nFROM files f JOIN 'tests/files/nothing.csv' i ON f.path = i.path",
        "SELECT * FROM 'tests/files'",
        "SELECT * FROM 'tests/files/notes.txt'",
        "SELECT * FROM 'tests/files/*.csv'",
        "SELECT * FROM '~/iocs.csv'",
        "SELECT * FROM 'https://example.org/iocs.csv'",
        "SELECT * FROM 's3://bucket/iocs.parquet'",
        "SELECT * FROM 'file:///etc/iocs.csv'",
        "SELECT * FROM 'tests/files/empty.csv'",
        "SELECT * FROM 'tests/files/ragged.csv'",
        "SELECT * FROM 'tests/files/latin.csv'",
        "SELECT * FROM 'tests/files/cut.json'",
        "SELECT * FROM 'tests/files/none.json'",
        "SELECT * FROM 'tests/files/damaged.parquet'",
        "SELECT * FROM '/dev/null/x.csv'",
        "SELECT * FROM 'agnts'",
        "SELECT * FROM ''",
        "SELECT * FROM tests.files",
        "SELECT * FROM iocs.csv",
        "SELECT not FROM 'tests/files/iocs.csv'",
        "SELECT hash FROM 'tests/files/iocs.csv'",
        "SELECT SHA256 FROM 'tests/files/iocs.csv'",
        "SELECT name FROM users WHERE name IN (SELECT n FROM 'tests/files/paths.csv')",
        "SELECT path FROM files WHERE path IN (SELECT path FROM 'tests/files/paths.csv') AND content = 'x'",
        "SELECT path FROM files f LEFT JOIN 'tests/files/paths.csv' p ON f.path = p.path",
        "SELECT path FROM files f WHERE path NOT IN (SELECT path FROM 'tests/files/paths.csv')",
    ];
    let mut text = String::new();
    for statement in cases {
        text += &format!("> {statement}\n{}\n\n", plan_error(statement).await);
    }
    assert_snapshot!("mistakes_with_files", text);
}

#[tokio::test]
async fn endpoints_are_told_what_the_desk_knows() {
    let cases = [
        (
            "hashes match whatever their case",
            "SELECT host, path FROM files WHERE path UNDER '/usr/bin' AND sha256 IN (SELECT \"SHA256\" FROM 'tests/files/iocs.csv')",
        ),
        ("a join is a bound", "SELECT f.path, p.n FROM files f JOIN 'tests/files/paths.csv' p ON f.path = p.path"),
        (
            "so is one in the other order, or through another table",
            "SELECT f.path FROM 'tests/files/paths.csv' p JOIN users u ON u.uid = p.n JOIN files f ON f.path = p.path AND f.host = u.host",
        ),
        ("USING", "SELECT path, n FROM files JOIN 'tests/files/paths.csv' USING (path)"),
        (
            "the side that may be missing is narrowed",
            "SELECT p.path, f.size FROM 'tests/files/paths.csv' p LEFT JOIN files f ON f.path = p.path",
        ),
        (
            "NOT IN leaves out what is known, and NULL is judged at the desk",
            "SELECT path FROM files WHERE path UNDER '/bin' AND sha256 NOT IN (SELECT \"SHA256\" FROM 'tests/files/iocs.csv')",
        ),
        (
            "NOT EXISTS",
            "SELECT name FROM users u WHERE NOT EXISTS (SELECT 1 FROM 'tests/files/people.json' p WHERE p.name = u.name)",
        ),
        (
            "OR stays at the desk",
            "SELECT name FROM users WHERE uid = 0 OR name IN (SELECT name FROM 'tests/files/people.json')",
        ),
        ("hosts are a target", "SELECT name FROM users WHERE host IN (SELECT host FROM 'tests/files/hosts.csv')"),
        (
            "hosts that are none of those",
            "SELECT name FROM users WHERE host NOT IN (SELECT host FROM 'tests/files/hosts.csv' WHERE host IS NOT NULL)",
        ),
        (
            "the inventory is known too",
            "SELECT u.name FROM agents a JOIN users u ON u.host = a.name WHERE a.tags['team'] = 'web'",
        ),
        ("rows of the statement", "SELECT name FROM users JOIN (VALUES (0), (8)) AS v(uid) USING (uid)"),
        (
            "through WITH, unions and groups",
            "WITH all_of AS (SELECT path FROM files WHERE path UNDER '/bin' UNION ALL SELECT path FROM files WHERE path UNDER '/etc') \
             SELECT path, count(*) FROM all_of WHERE path IN (SELECT path FROM 'tests/files/paths.csv' WHERE n > 1) GROUP BY path",
        ),
        (
            "a limit is not",
            "SELECT path FROM (SELECT path FROM files WHERE path UNDER '/etc' LIMIT 5) f JOIN 'tests/files/paths.csv' USING (path)",
        ),
        (
            "an empty set",
            "SELECT path FROM files JOIN (SELECT path FROM 'tests/files/paths.csv' WHERE n > 9) p USING (path)",
        ),
    ];
    let mut text = String::new();
    for (about, statement) in cases {
        let explained = match desk().plan(statement).await {
            Ok(planned) => planned.explanation,
            Err(error) => format!("{error:?}"),
        };
        text += &format!("# {about}\n> {statement}\n{explained}\n\n");
    }
    assert_snapshot!("narrowed", text);
}

#[tokio::test]
async fn sets_that_are_too_long_stay_at_the_desk() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("many.csv");
    let lines: Vec<String> = (0..60_000).map(|n| format!("/etc/{n:064}")).collect();
    std::fs::write(&file, format!("path\n{}\n", lines.join("\n"))).unwrap();
    let file = file.display();
    let bounded = format!("SELECT f.path FROM files f JOIN '{file}' USING (path) WHERE f.path UNDER '/etc'");
    let planned = desk().plan(&bounded).await.unwrap();
    assert!(planned.explanation.contains("the 60000 values of path of"), "{}", planned.explanation);
    assert!(planned.action.unwrap().scans[0].sets.is_empty());
    let error = desk().plan(&format!("SELECT f.path FROM files f JOIN '{file}' USING (path)")).await.err().unwrap();
    assert!(error.message.contains("60000 values") && error.message.contains("has no bound"), "{error:?}");
}

/// Three agents that claim one name; the desk tells them apart.
struct Claimants;

#[async_trait]
impl Fleet for Claimants {
    fn name(&self) -> &str {
        "test"
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let named = |host: &str, id: &str| {
            let mut endpoint = common::endpoint("web-1", "linux", "web", Status::Online);
            endpoint.host = host.to_owned();
            Arc::make_mut(&mut endpoint.facts).id = id.repeat(64);
            endpoint
        };
        Ok(vec![named("web-1", "a"), named("web-1#bbbbbbbb", "b"), named("web-1#cccccccc", "c")])
    }

    async fn ask(&self, _: Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(Error::unreachable("this fleet is mute"))
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}

#[tokio::test]
async fn hosts_of_one_name_are_told_apart() {
    let mut desk = Desk::new(Arc::new(Claimants), Settings::default());
    for (condition, expected) in [
        ("IN (SELECT h FROM (VALUES ('web-1#bbbbbbbb')) AS v(h))", vec!["web-1#bbbbbbbb"]),
        ("IN (SELECT h FROM (VALUES ('web-1'), ('db-1')) AS v(h))", vec!["web-1"]),
        ("NOT IN (SELECT h FROM (VALUES ('web-1')) AS v(h))", vec!["web-1#bbbbbbbb", "web-1#cccccccc"]),
    ] {
        let planned = desk.plan(&format!("SELECT name FROM users WHERE host {condition}")).await.unwrap();
        let asked: Vec<&str> = planned.asked.iter().map(|endpoint| endpoint.host.as_str()).collect();
        assert_eq!(asked, expected, "{condition}\n{}", planned.explanation);
    }
}

#[tokio::test]
async fn options_ride_in_scans_of_tables_that_read_files() {
    let mut desk = Desk::new(Arc::new(Mute), Settings::default());
    desk.plan("SET canvass.decompress = true").await.unwrap();
    desk.plan("SET canvass.follow = 'on'").await.unwrap();
    let statement =
        "SELECT f.path FROM files f JOIN users u ON f.host = u.host WHERE f.path UNDER '/etc' AND f.content ~ 'x'";
    let planned = desk.plan(statement).await.unwrap();
    let scans = serde_json::to_string_pretty(&planned.action.unwrap().scans).unwrap();
    assert_snapshot!("options", format!("{}\n{scans}", planned.explanation));
    desk.plan("SET canvass.decompress = off").await.unwrap();
    desk.plan("SET canvass.follow = false").await.unwrap();
    assert!(!desk.plan(statement).await.unwrap().explanation.contains("reading"));
    assert!(desk.plan("SET canvass.follow = maybe").await.is_err());
}
