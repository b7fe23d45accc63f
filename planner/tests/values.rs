//! What statements show: headings, results that fit and those that do not, times, settings; and what is said of slips.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use canvass_planner::error::Error;
use common::{desk, plan_error};
use futures::StreamExt as _;
use insta::assert_snapshot;

async fn headings(statement: &str) -> Vec<String> {
    let planned = desk().plan(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    planned.schema.fields().iter().map(|field| field.name().clone()).collect()
}

/// The rows of a statement that asks no endpoint, cells by `|`.
async fn rows(statement: &str) -> Result<Vec<String>, Error> {
    let mut desk = desk();
    let planned = desk.plan(statement).await?;
    assert!(planned.action.is_none(), "{statement} asks endpoints");
    let mut running = desk.run(planned, None).await?;
    let mut rows = Vec::new();
    while let Some(batch) = running.rows.next().await {
        let batch = batch?;
        let options = FormatOptions::new().with_null("NULL");
        let cells: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(cells.iter().map(|cell| cell.value(row).to_string()).collect::<Vec<_>>().join("|"));
        }
    }
    Ok(rows)
}

#[tokio::test]
async fn headings_are_what_was_typed() {
    let cases: &[(&str, &[&str])] = &[
        ("SELECT 1 + 1", &["1 + 1"]),
        ("SELECT 1+1,  'a' || 1 , -2", &["1+1", "'a' || 1", "-2"]),
        ("SELECT count(*) FROM users", &["count(*)"]),
        ("SELECT COUNT( DISTINCT\n  name ) FROM users", &["COUNT( DISTINCT name )"]),
        ("SELECT /* of what */ size /* bytes */ / 1024 FROM files WHERE path UNDER '/etc'", &["size / 1024"]),
        ("SELECT string_agg(name, ',') FROM users", &["string_agg(name, ',')"]),
        (
            "SELECT row_number() OVER (PARTITION BY host ORDER BY uid), name FROM users",
            &["row_number() OVER (PARTITION BY host ORDER BY uid)", "name"],
        ),
        (
            "SELECT mtime AT TIME ZONE 'Europe/Paris' FROM files WHERE path UNDER '/etc'",
            &["mtime AT TIME ZONE 'Europe/Paris'"],
        ),
        (
            "SELECT path ~ 'x', name NOT LIKE 'y%' FROM files WHERE path UNDER '/'",
            &["path ~ 'x'", "name NOT LIKE 'y%'"],
        ),
        ("SELECT DISTINCT lower(name) FROM users ORDER BY lower(name)", &["lower(name)"]),
        ("SELECT 1, 1, 1 AS \"1_2\"", &["1", "1_3", "1_2"]),
        ("SELECT uid IS DISTINCT FROM 0 FROM users", &["uid IS DISTINCT FROM 0"]),
        (
            "SELECT extract(year FROM now()), (SELECT max(uid) FROM users)",
            &["extract(year FROM now())", "(SELECT max(uid) FROM users)"],
        ),
        // Columns are called as they always were, and names that are given stay.
        (
            "SELECT u.name, agent.os, agent.tags['team'], uid + 1 AS next FROM users u",
            &["name", "agent.os", "agent.tags['team']", "next"],
        ),
        // What reads a column by its name finds it under what was typed.
        ("SELECT \"count(*)\" FROM (SELECT count(*) FROM users) x", &["count(*)"]),
        ("SELECT * FROM (SELECT max(uid), 1 + 1 FROM users) x", &["max(uid)", "1 + 1"]),
        ("WITH x AS (SELECT count(*) FROM users) SELECT * FROM x", &["count(*)"]),
        ("SELECT host, count(*) FROM users GROUP BY host ORDER BY count(*) DESC, host", &["host", "count(*)"]),
        ("SELECT host, count(*) FROM users GROUP BY 1 HAVING count(*) > 1 ORDER BY 2", &["host", "count(*)"]),
        ("SELECT uid % 2, count(*) FROM users GROUP BY uid % 2 ORDER BY uid % 2", &["uid % 2", "count(*)"]),
        ("SELECT lower(name) FROM users UNION SELECT upper(name) FROM groups ORDER BY lower(name)", &["lower(name)"]),
        ("SELECT count(*) FROM users WHERE uid IN (SELECT gid + 1 FROM groups)", &["count(*)"]),
        // Columns that are marked differently are of one type all the same.
        ("SELECT uid FROM users UNION SELECT 5 UNION SELECT size FROM files WHERE path = '/a'", &["uid"]),
        ("VALUES (1)", &["column1"]),
        ("EXPLAIN SELECT 1 + 1", &["plan"]),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT sum(n) FROM t",
            &["sum(n)"],
        ),
    ];
    for (statement, expected) in cases {
        assert_eq!(headings(statement).await, *expected, "{statement}");
    }
}

#[tokio::test]
async fn results_fit_or_are_errors() {
    let max = "(VALUES (9223372036854775807), (1)) t(x)";
    let fits: &[(&str, &[&str])] = &[
        (
            "SELECT 9223372036854775806 + 1, 2 - 3, 2 * 3, 7 / 2, 7 % 4, 1.5 + 1, - (3)",
            &["9223372036854775807|-1|6|3|3|2.5|-3"],
        ),
        ("SELECT x - 1 FROM (VALUES (1), (NULL)) t(x)", &["0", "NULL"]),
        // A sum may pass the limit on its way.
        ("SELECT sum(x) FROM (VALUES (9223372036854775807), (1), (-5)) t(x)", &["9223372036854775803"]),
        ("SELECT sum(DISTINCT x) FROM (VALUES (2), (2), (NULL)) t(x)", &["2"]),
        ("SELECT sum(x) FROM (VALUES (1)) t(x) WHERE x > 1", &["NULL"]),
        ("SELECT g, sum(x) FROM (VALUES (1, 2), (1, 3), (2, NULL)) t(g, x) GROUP BY g ORDER BY g", &["1|5", "2|NULL"]),
        (
            "SELECT x, sum(x) OVER (ORDER BY x ROWS 1 PRECEDING) FROM (VALUES (1), (2), (3)) t(x) ORDER BY x",
            &["1|1", "2|3", "3|5"],
        ),
        (
            "SELECT x, sum(DISTINCT x) OVER (ORDER BY x ROWS 1 PRECEDING) FROM (VALUES (2), (2), (3)) t(x) ORDER BY x",
            &["2|2", "2|2", "3|5"],
        ),
        ("SELECT sum(x) FROM (VALUES (1.5), (2.5)) t(x)", &["4.0"]),
        // What is guarded is not computed.
        ("SELECT CASE WHEN x = 0 THEN 0 ELSE 10 / x END FROM (VALUES (0), (5)) t(x)", &["0", "2"]),
        ("SELECT coalesce(x, 1 / 0) FROM (VALUES (1)) t(x)", &["1"]),
        ("SELECT try_cast('abc' AS bigint), 10 / nullif(0, 0)", &["NULL|NULL"]),
        ("SELECT a - b FROM (VALUES (timestamp '2026-01-02', timestamp '2026-01-01')) t(a, b)", &["PT86400S"]),
    ];
    for (statement, expected) in fits {
        match rows(statement).await {
            Ok(rows) => assert_eq!(rows, *expected, "{statement}"),
            Err(error) => panic!("{statement}: {error:?}"),
        }
    }
    let beyond = [
        format!("SELECT x + 1 FROM {max}"),
        format!("SELECT x * 2 FROM {max}"),
        format!("SELECT -2 - x FROM {max}"),
        format!("SELECT sum(x) FROM {max}"),
        format!("SELECT x % 2, sum(x) FROM {max} GROUP BY x % 2"),
        format!("SELECT sum(x) OVER () FROM {max}"),
        format!("SELECT sum(DISTINCT x) FROM {max}"),
        format!("SELECT x FROM {max} WHERE x + 1 > 0"),
        format!("SELECT x::int FROM {max}"),
        "SELECT -x FROM (VALUES (-9223372036854775807 - 1)) t(x)".to_owned(),
        "SELECT 1 / x FROM (VALUES (0)) t(x)".to_owned(),
        "SELECT 1 % x FROM (VALUES (0)) t(x)".to_owned(),
        "SELECT 1.5 / x FROM (VALUES (0.0)) t(x)".to_owned(),
        "SELECT x * 10 FROM (VALUES (1e308)) t(x)".to_owned(),
        "SELECT x::bigint FROM (VALUES ('abc')) t(x)".to_owned(),
        "SELECT a - b FROM (VALUES (timestamp '2262-01-01', timestamp '1678-01-01')) t(a, b)".to_owned(),
    ];
    let mut text = String::new();
    for statement in beyond {
        let error = rows(&statement).await.err().unwrap_or_else(|| panic!("{statement} has rows"));
        let hint = error.hint.unwrap_or_default();
        text += &format!("> {statement}\n{:?}: {}\nhint: {hint}\n\n", error.kind, error.message);
    }
    assert_snapshot!("beyond", text);
}

#[tokio::test]
async fn what_is_constant_is_computed_before_anybody_is_asked() {
    let cases = [
        "SELECT 9223372036854775807+1",
        "SELECT -9223372036854775807 - 2",
        "SELECT name FROM users WHERE uid > 9223372036854775807 * 2",
        "SELECT name, 1/0 FROM users",
        "SELECT name FROM users WHERE uid = 5 % 0",
        "SELECT 1.5 / 0.0",
        "SELECT name FROM users WHERE uid > 'abc'::bigint",
        "SELECT 300::tinyint",
        "SELECT name FROM users ORDER BY 1 / 0 + uid",
        "SELECT host, sum(9223372036854775807 + 1) FROM users GROUP BY host",
    ];
    let mut text = String::new();
    for statement in cases {
        text += &format!("> {statement}\n{}\n\n", plan_error(statement).await);
    }
    assert_snapshot!("constants", text);
}

#[tokio::test]
async fn zones_move_moments_to_walls_and_back() {
    let cases: &[(&str, &str)] = &[
        ("SELECT '2026-11-27T13:00:00Z' AT TIME ZONE 'Europe/Paris'", "2026-11-27T14:00:00"),
        ("SELECT timestamp '2026-11-27 14:00:00' AT TIME ZONE 'Europe/Paris'", "2026-11-27T13:00:00Z"),
        ("SELECT '2026-07-01T12:00:00Z' AT TIME ZONE 'europe/paris' AT TIME ZONE 'UTC'", "2026-07-01T14:00:00Z"),
        ("SELECT '2026-11-27T13:00:00Z' AT TIME ZONE '-05:00'", "2026-11-27T08:00:00"),
        ("SELECT x AT TIME ZONE z FROM (VALUES ('2026-11-27T13:00:00Z', 'Asia/Tokyo')) t(x, z)", "2026-11-27T22:00:00"),
        ("SELECT x AT TIME ZONE 'UTC' FROM (VALUES (NULL)) t(x)", "NULL"),
    ];
    for (statement, expected) in cases {
        assert_eq!(rows(statement).await.unwrap(), [*expected], "{statement}");
    }
}

#[tokio::test]
async fn settings_tables_and_columns_are_shown_in_our_words() {
    let cases: &[(&str, &[&str])] = &[
        ("SHOW canvass.expire", &["canvass.expire|300s"]),
        ("SHOW CANVASS.limit_time", &["canvass.limit_time|300s"]),
        ("SHOW timezone", &["canvass.timezone|UTC"]),
        ("SELECT version()", &[concat!("canvass ", env!("CARGO_PKG_VERSION"))]),
    ];
    for (statement, expected) in cases {
        assert_eq!(rows(statement).await.unwrap(), *expected, "{statement}");
    }
    let all = rows("SHOW ALL").await.unwrap();
    assert!(all.iter().all(|row| row.starts_with("canvass.")), "{all:?}");
    let tables = rows("SHOW TABLES").await.unwrap();
    for name in canvass_tables::TABLES.iter().map(|table| table.info().name).chain(["agents", "actions", "commands"]) {
        assert!(tables.iter().any(|row| row.starts_with(&format!("{name}|"))), "{name}");
    }
    assert!(tables.iter().all(|row| !row.contains("information_schema")), "{tables:?}");
    for statement in ["DESCRIBE users", "SHOW COLUMNS FROM users", "SHOW COLUMNS FROM public.users"] {
        let columns = rows(statement).await.unwrap();
        assert!(columns.iter().any(|row| row.starts_with("uid|integer|")), "{statement}: {columns:?}");
    }
    assert!(rows("DESCRIBE agents").await.unwrap().iter().any(|row| row.starts_with("tags|map|")));
}

#[tokio::test]
async fn a_comparison_with_null_is_remarked_on() {
    let cases = [
        ("SELECT name FROM users WHERE uid = NULL", Some("`uid = NULL` is never true; write uid IS NULL")),
        ("SELECT name FROM users WHERE NULL <> uid", Some("`NULL <> uid` is never true; write uid IS NOT NULL")),
        ("SELECT name FROM users WHERE uid IS NULL", None),
    ];
    for (statement, expected) in cases {
        let planned = desk().plan(statement).await.unwrap();
        assert_eq!(planned.remarks.first().map(String::as_str), expected, "{statement}");
    }
}

#[tokio::test]
async fn slips_are_explained() {
    let files = |condition: &str| format!("SELECT path FROM files WHERE path UNDER '/etc' AND {condition}");
    let mut cases: Vec<String> = [
        "SELCT path FROM files",
        "SELECT path FORM files WHERE path = '/etc'",
        "SELECT name FROM users WERE uid = 0",
        "SELECT path FROM files WHERE path UNDR '/etc'",
        "SELECT name FROM users ORDR BY name",
        "SELECT name FROM users ORDER name",
        "SELECT uid, count(*) FROM users GROUP uid",
        "SELECT name FROM users WHERE (uid = 0",
        "SELECT name FROM users WHERE",
        "SELECT name FROM users LIMIT -1",
        "SELECT host, FROM users",
        "SELECT 'open FROM users",
        "SELECT cout(*) FROM users",
        "SELECT lenght(name) FROM users",
        "SELECT nosuchthing(name) FROM users",
        "SELECT substr(name) FROM processes",
        "SELECT regexp_match(name, '(') FROM processes",
        "SELECT name FROM users WHERE regexp_like(name, '[')",
        "SELECT path FROM files WHERE path UNDER ('/etc', '/usr')",
        "SELECT pid FROM processes WHERE pid = '1k'",
        "SELECT local_port FROM netstat WHERE local_port IN ('1k')",
        "SELECT pid FROM processes WHERE memory_bytes > '10Q'",
        "SELECT pid FROM processes WHERE memory_bytes > '10M'",
        "SELECT pid FROM processes WHERE memory_bytes / 2 > '10M'",
        "SELECT pid FROM processes WHERE deleted = 1",
        "SELECT pid FROM processes WHERE deleted = 'yes'",
        "SELECT hostname FROM users",
        "SELECT host FROM agents",
        "SELECT agents.os FROM users",
        "SELECT ppid FROM processes",
        "SELECT path FROM files WHERE path = \"/etc/passwd\"",
        "SELECT name FROM users WHERE name = root",
        "SELECT path FROM files WHERE path = 'etc/passwd'",
        "SELECT path FROM files WHERE path IN ('/etc/passwd', 'shadow')",
        "SELECT name FROM users WHERE name = $1",
        "SELECT name FROM users WHERE uid = ?",
        "SELECT * FROM read_csv('x.csv')",
        "SELECT mtime AT TIME ZONE 'Europe/Pariss' FROM files WHERE path = '/etc'",
        "SET canvass.timezone = 'Paris'",
        "SHOW canvass.expires",
        "SELECT path FROM files",
        "SELECT path FROM files WHERE size > '1k' OR uid = 0 ORDER BY path",
        "SELECT f.path FROM users u JOIN files f ON u.home = f.directory AND u.host = f.host",
    ]
    .map(str::to_owned)
    .into();
    cases.extend(
        [
            "uid = 'root'",
            "name REGEXP 'conf'",
            "name NOT RLIKE 'conf'",
            "name GLOB '*.conf'",
            "mtime > 'yesterday'",
            "mtime > '27/11/2026'",
            "mtime > '2026-11-27 10:00'",
            "mtime BETWEEN '2026-11-27' AND 'now'",
            "mtime > '9999-12-31'",
            "mtime > 1700000000",
            "mtime > now() - 3600",
            "mtime > now() - '1 day'",
        ]
        .map(files),
    );
    let mut text = String::new();
    for statement in cases {
        text += &format!("> {statement}\n{}\n\n", plan_error(&statement).await);
    }
    assert_snapshot!("slips", text);
}
