//! What statements are planned as, and what is wrong with those that are not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use common::{desk, plan_error};
use insta::assert_snapshot;

async fn explain(statement: &str) -> String {
    match desk().plan(statement).await {
        Ok(planned) => planned.explanation,
        Err(error) => format!("{error:?}"),
    }
}

#[tokio::test]
async fn statements_are_explained() {
    let cases = [
        (
            "article leaked key",
            "SELECT host, path, mtime, mode, size FROM files WHERE (path UNDER '/home' OR path UNDER '/root') AND depth <= 5 \
     AND size < '1k' AND content ~ '28zs0p1Ix00iCVtWVk5hCIeBwl|AKIAIAU26YJPLZX2JROA' AND agent.status IN ('online','idle')",
        ),
        (
            "join on host",
            "SELECT f.host, f.path, n.remote_ip FROM files f JOIN netstat n ON n.host = f.host WHERE f.path UNDER '/var/log' \
     AND f.name ~ '^(secure|auth.log)$' AND f.content ~ 'c5:35' AND n.remote_ip = '18.42.21.65' AND agent.os = 'linux'",
        ),
        ("star leaves out probes", "SELECT * FROM files WHERE path = '/etc/passwd'"),
        ("limit reaches the endpoint", "SELECT path FROM files WHERE path UNDER '/etc' AND content ~* 'x' LIMIT 3"),
        ("or of agent and row stays at the desk", "SELECT pid FROM processes WHERE uid = 0 OR agent.os = 'linux'"),
        ("tags and host", "SELECT pid FROM processes WHERE agent.tags['team'] = 'web' AND host LIKE 'web%'"),
        ("content like is per line", "SELECT path FROM files WHERE path UNDER '/etc' AND content NOT LIKE 'root%'"),
        ("agents asks nobody", "SELECT status, count(*) FROM agents GROUP BY status"),
        ("constant false asks nobody", "SELECT path FROM files WHERE path UNDER '/etc' AND 1 = 2"),
        (
            "the side that may be missing is narrowed where it is joined",
            "SELECT u.name FROM users u LEFT JOIN processes p ON u.host = p.host AND u.uid = p.uid WHERE agent.os = 'linux' AND p.pid IS NULL",
        ),
        (
            "a function of ours makes a left join an inner one",
            "SELECT u.name, f.path FROM users u LEFT JOIN files f ON f.host = u.host AND f.directory = u.home \
     WHERE f.path UNDER '/home' AND f.content ~ 'a'",
        ),
        ("agent in ON", "SELECT u.name FROM users u JOIN groups g ON u.gid = g.gid AND agent.status = 'idle'"),
        (
            "a name of WITH is not known within itself",
            "WITH files AS (SELECT * FROM files WHERE path = '/etc/passwd') SELECT path FROM files",
        ),
        ("escape", "SELECT path FROM files WHERE path LIKE '/tmp/50!%\\_%' ESCAPE '!'"),
        ("schema", "SELECT * FROM public.users"),
        ("natural", "SELECT * FROM users NATURAL JOIN groups"),
        ("group by agent", "SELECT agent.os, count(*) FROM processes GROUP BY agent.os"),
        (
            "union is one action",
            "SELECT host, path AS what FROM files WHERE path UNDER ANY ('/tmp', '/var/tmp') UNION ALL SELECT host, remote_ip FROM netstat WHERE remote_ip UNDER '10.0.0.0/8'",
        ),
    ];
    let mut text = String::new();
    for (about, statement) in cases {
        text += &format!("# {about}\n> {statement}\n{}\n\n", explain(statement).await);
    }
    assert_snapshot!("explanations", text);
}

#[tokio::test]
async fn every_tables_example_can_be_asked() {
    for table in canvass_tables::TABLES {
        let example = table.info().example;
        let planned = desk().plan(example).await.unwrap_or_else(|error| panic!("{example}: {error:?}"));
        assert!(planned.action.is_some(), "{example} asks nobody");
    }
}

#[tokio::test]
async fn mistakes_are_explained() {
    let cases = [
        "SELEC path FROM files",
        "SELECT path FROM file WHERE path = '/'",
        "SELECT pth FROM files WHERE path = '/'",
        "SELECT path\nFROM files\nWHERE path UNDER '/' AND nme = 'x'",
        "SELECT path FROM files",
        "SELECT path FROM files WHERE size > 5",
        "SELECT path FROM files WHERE path UNDER 'etc'",
        "SELECT remote_ip FROM netstat WHERE remote_ip UNDER '10.0.0.1/8'",
        "SELECT path FROM files WHERE path UNDER '/' AND name ~ '('",
        "SELECT path FROM files WHERE path UNDER '/' AND size < '1q'",
        "SELECT content FROM files WHERE path = '/etc/passwd'",
        "SELECT length(content) FROM files WHERE path = '/etc/passwd'",
        "SELECT path FROM files WHERE path = '/etc/passwd' AND content = 'x'",
        "SELECT path FROM files WHERE path = '/etc/passwd' AND content IS NULL",
        "SELECT path FROM files WHERE path = '/etc/passwd' AND content ~ name",
        "SELECT path FROM files WHERE path = '/etc/passwd' ORDER BY content",
        "SELECT count(content) FROM files WHERE path = '/etc/passwd'",
        "SELECT max(path) FROM files WHERE path = '/etc/passwd' GROUP BY content",
        "SELECT content ~ 'x' FROM files WHERE path = '/etc/passwd'",
        "SELECT f.path FROM files f JOIN files g ON f.content = g.content WHERE f.path = '/a' AND g.path = '/b'",
        "SELECT f.path FROM files f JOIN netstat n ON f.host = n.host WHERE f.path = '/a' AND (f.content ~ 'x' OR n.pid = 1)",
        "SELECT host FROM files f JOIN netstat n ON f.path = n.remote_ip WHERE f.path = '/a'",
        "SELECT foo(path) FROM files WHERE path = '/a'",
        "INSERT INTO files VALUES (1)",
        "CREATE TABLE t AS SELECT 1",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "SET canvass.expires = '6h'",
        "SET canvass.expire = 'soon'",
        "SELECT 1; SELECT 2",
        "",
        "SELECT path FROM files WHERE path = '/a' AND every_line(name, 'x')",
        "SELECT path, lag(content) OVER (ORDER BY path) FROM files WHERE path = '/a'",
        "SELECT path FROM files f, LATERAL (SELECT f.content AS c) t WHERE path = '/a'",
        "SELECT path FROM files f, LATERAL (SELECT f.name AS c LIMIT 1) t WHERE path = '/a'",
        "SELECT sum(name) FROM users",
        "SELECT max(agent) FROM users",
        "SELECT agent.statu FROM users",
        "SELECT name FROM users WHERE uid",
        "SELECT name FROM users WHERE name = 5",
        "SELECT uid FROM users WHERE uid IN (SELECT name FROM groups)",
        "SELECT name FROM users u JOIN groups g ON u.name = g.gid",
        "SELECT name, count(*) FROM users",
        "SELECT bytes('x')",
        "SELECT name FROM other.users",
        "SELECT * FROM 'x.csv'",
        "SELECT name FROM users TABLESAMPLE SYSTEM (10)",
        "SELECT name FROM users CONNECT BY uid = 0",
        "SELECT TOP 1 name FROM users",
        "SELECT name INTO x FROM users",
        "SELECT name FROM users FOR UPDATE",
        "SELECT * FROM users SEMI JOIN groups ON users.gid = groups.gid",
        "SELECT path FROM files WHERE path = '/a' AND mtime > 'yesterday'",
    ];
    let mut text = String::new();
    for statement in cases {
        text += &format!("> {statement}\n{}\n\n", plan_error(statement).await);
    }
    assert_snapshot!("mistakes", text);
}

#[tokio::test]
async fn deep_statements_are_planned_or_refused() {
    let within = |depth: usize| format!("SELECT name FROM users WHERE {} name = 'x'", "NOT ".repeat(depth));
    let names: Vec<String> = (0..3000).map(|n| format!("lower(name) = 'n{n}'")).collect();
    let sum = |terms: usize| format!("SELECT {}", vec!["1"; terms].join(" + "));
    for statement in [within(30), format!("SELECT name FROM users WHERE {}", names.join(" OR ")), sum(200)] {
        assert_eq!(plan_error(&statement).await, "planned without error", "{statement:.60}");
    }
    for statement in [within(5000), sum(5000), vec!["SELECT 1"; 3000].join(" UNION ALL ")] {
        assert!(plan_error(&statement).await.starts_with("Usage: "), "{statement:.60}");
    }
}
