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
        (
            "hashes are read, roots are named",
            "SELECT path, md5 FROM files WHERE path IN ('/etc/passwd', '/bin/su') OR path UNDER '/var/log'",
        ),
        ("a pattern without a start walks the whole disk", "SELECT path FROM files WHERE path ILIKE '/var/log/%'"),
        (
            "what the desk does is said in words",
            "SELECT u.shell, count(*) AS n FROM users u LEFT JOIN processes p ON u.host = p.host AND u.uid = p.uid \
     WHERE length(u.name) > 3 GROUP BY u.shell HAVING count(*) > 1 ORDER BY n DESC LIMIT 5",
        ),
        (
            "sets, windows and sub-queries",
            "SELECT DISTINCT name, row_number() OVER (PARTITION BY host ORDER BY uid DESC) AS nth FROM users u \
     WHERE NOT EXISTS (SELECT 1 FROM processes p WHERE p.host = u.host AND p.uid = u.uid) \
     EXCEPT SELECT name, 1 FROM groups OFFSET 2",
        ),
        ("a negated function", "SELECT sum(uid + 1) FROM users WHERE NOT name ~ '^a' AND NOT (lower(name) LIKE 'b%')"),
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
async fn verbose_adds_the_raw_plan_and_the_action() {
    let statement = "SELECT name FROM users WHERE length(name) > 3";
    let (short, long) = (explain(statement).await, explain(&format!("EXPLAIN VERBOSE {statement}")).await);
    assert!(long.starts_with(&short), "{long}");
    let more = &long[short.len()..];
    assert!(more.contains("FilterExec") && more.contains("\"canvass\": \"action/1\""), "{more}");
    assert!(!short.contains("Exec"), "{short}");
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
        "SELECT host, count(*) FROM users GROUP BY host WITH TOTALS",
        "SELECT host, count(*) FROM users GROUP BY ALL WITH ROLLUP",
        "SELECT name FROM users WITH ORDINALITY",
        "SELECT name FROM users FINAL",
        "SELECT users.name FROM users GLOBAL JOIN groups ON users.gid = groups.gid",
        "SELECT host FROM users EXCEPT ALL SELECT host FROM system",
        "SELECT host FROM users INTERSECT ALL SELECT host FROM system",
        "SELECT name FROM users WHERE name SIMILAR TO '%oo%'",
        "SELECT name FROM users FETCH FIRST 3 ROWS WITH TIES",
        "SELECT name FROM users WHERE name LIKE name ESCAPE '!'",
        "SELECT name FROM users WHERE name LIKE 'a!' ESCAPE '!'",
        "SELECT path FROM files WHERE path = '/a' AND (content ~ 'x' OR host = 'y')",
        "SELECT u.uid FROM users u JOIN (SELECT gid AS name FROM groups) g USING (name)",
        "SELECT nullif(name, uid) FROM users",
        "SELECT greatest(name, uid) FROM users",
        "SELECT path FROM files WHERE path = '/a' AND mtime BETWEEN 1 AND 5",
        "SELECT name FROM users WHERE uid BETWEEN true AND false",
        "SELECT path FROM files WHERE path = '/a' AND mtime IN (1)",
        "SELECT path FROM files WHERE path = '/a' AND mtime > now() - interval '1000 years'",
        "SELECT path FROM files WHERE path = '/a' AND (mtime > now() - interval '1000 years' OR depth = 1)",
        "SELECT name FROM users WHERE (name, uid) IN (('a', 1, 2))",
        "SELECT name FROM users WHERE (name, uid) IN (SELECT name, gid FROM groups)",
        "SELECT name FROM users u WHERE uid < (SELECT max(gid) FROM groups g WHERE g.gid < u.uid)",
        "SELECT name FROM users u WHERE uid = (SELECT gid FROM groups g WHERE g.host = u.host LIMIT 1)",
        "SELECT name FROM users u, LATERAL (SELECT gid FROM groups g WHERE g.host = u.host LIMIT 1) t",
        "SELECT max(uid), max(uid::text) FROM users",
        "SELECT array_agg(name ORDER BY uid), array_agg(name ORDER BY gid) FROM users",
        "SELECT count(*) FROM users GROUP BY ROLLUP ((uid)::text, gid)",
        "SELECT name, row_number() OVER (ORDER BY length(name) > 4, name) FROM users",
    ];
    let mut text = String::new();
    for statement in cases {
        text += &format!("> {statement}\n{}\n\n", plan_error(statement).await);
    }
    assert_snapshot!("mistakes", text);
}

#[tokio::test]
async fn constants_that_no_row_has_are_refused() {
    let of_files = |predicate: &str| format!("SELECT path FROM files WHERE path UNDER '/etc' AND {predicate}");
    let of_sockets = |predicate: &str| format!("SELECT pid FROM netstat WHERE {predicate}");
    let refused = [
        of_files("type = 'dir'"),
        of_files("type IN ('file', 'regular')"),
        of_files("type NOT IN ('symlink')"),
        of_files("type <> 'FILE'"),
        of_files("'folder' = type"),
        of_files("type = 'zzz'"),
        of_files("type = ''"),
        of_files("CASE type WHEN 'dir' THEN true ELSE false END"),
        of_files("type IS DISTINCT FROM 'pipe'"),
        of_files("sha256 = 'abc'"),
        of_files("md5 = 'd41d8cd98f00b204e9800998ecf8427'"),
        of_files("md5 = ' d41d8cd98f00b204e9800998ecf8427e'"),
        of_files("md5 IN ('D41D8CD98F00B204E9800998ECF8427E', 'g41d8cd98f00b204e9800998ecf8427e')"),
        of_files("sha256 = 'd41d8cd98f00b204e9800998ecf8427e'"),
        of_files("sha256 <> ''"),
        of_files("path_hex = '2f746'"),
        of_files("permissions = '644'"),
        of_files("permissions = '0o644'"),
        of_files("permissions = 'rw-r--r--'"),
        of_files("permissions = '888'"),
        of_files("mode = 'rw-r--r--'"),
        of_files("mode = '644'"),
        of_files("mode = 'all'"),
        of_files("name LIKE 'pass*'"),
        of_files("name NOT ILIKE '*.ba?'"),
        of_files("name LIKE 'what?'"),
        of_files("content LIKE '*AKIA*'"),
        "SELECT path FROM files WHERE path UNDER '/home/*/.ssh'".into(),
        "SELECT path FROM files WHERE path UNDER '/etc/*'".into(),
        "SELECT path FROM files WHERE path UNDER ANY ('/tmp', '/var/log/*.g_z')".into(),
        "SELECT path FROM files WHERE path UNDER '10.0.0.0/8'".into(),
        of_sockets("remote_ip UNDER '/etc'"),
        of_sockets("state = 'LISTENING'"),
        of_sockets("state = 'listen'"),
        of_sockets("protocol = 'TCP'"),
        of_sockets("protocol = 'icmp'"),
        of_sockets("remote_ip = 'not-an-ip'"),
        of_sockets("remote_ip = '10.0.0.0/8'"),
        of_sockets("remote_ip = '10.*'"),
        of_sockets("remote_ip = '10.0.0.1:443'"),
        of_sockets("remote_ip = '[fe80::1]:443'"),
        of_sockets("remote_ip IN ('10.0.0.1 ', '10.0.0.2')"),
        of_sockets("local_ip = 'localhost'"),
        of_sockets("local_port = 70000"),
        of_sockets("local_port IN (22, -1)"),
        of_sockets("local_port BETWEEN 1024 AND 70000"),
        of_sockets("local_port >= 65536"),
        of_sockets("local_port < 0"),
        of_sockets("local_port = '70000'"),
        "SELECT n.pid FROM netstat n WHERE n.pid = 1 AND n.protocol = 'TCP'".into(),
        "WITH s AS (SELECT state AS st FROM netstat) SELECT * FROM s WHERE st = 'open'".into(),
        "SELECT u.name FROM users u LEFT JOIN netstat n ON u.uid = n.uid AND n.host = u.host AND n.state = 'ESTAB'"
            .into(),
        "SELECT name FROM users WHERE uid IN (SELECT uid FROM processes WHERE state = 'sleeping')".into(),
        "SELECT name FROM users WHERE agent.status = 'onlin'".into(),
        "SELECT name FROM agents WHERE mode = 'server'".into(),
        "SELECT name FROM agents WHERE public_ip = '203.0.113'".into(),
        "SELECT id FROM actions WHERE state = 'done'".into(),
        "SELECT host FROM commands WHERE state IN ('answred')".into(),
        "SELECT count(*) FILTER (WHERE state = 'open') FROM netstat".into(),
        "SELECT state = 'open' FROM netstat".into(),
    ];
    let mut text = String::new();
    for statement in refused {
        text += &format!("> {statement}\n{}\n\n", plan_error(&statement).await);
    }
    assert_snapshot!("impossible", text);
    let planned = [
        of_files("type LIKE 'dir'"),
        of_files("type ~ 'dir'"),
        of_files("type < 'dir'"),
        of_files("type = NULL"),
        of_files("type = lower('FILE')"),
        of_files("upper(type) = 'FILE'"),
        of_files("name = 'pass*'"),
        of_files("name LIKE 'a*%'"),
        of_files("name LIKE 'a\\*'"),
        of_files("name LIKE '100!*' ESCAPE '!'"),
        of_files("md5 = 'D41D8CD98F00B204E9800998ECF8427E'"),
        of_files("permissions = '4755'"),
        of_files("mode = 'drwxr-xr-t'"),
        of_sockets("remote_ip = 'FE80::0:1'"),
        of_sockets("local_port < 65536 AND local_port >= 0 AND local_port <> 22 AND local_port = '443'"),
        of_sockets("local_port BETWEEN 0 AND 65535"),
        of_sockets("state = 'UNCONN'"),
        "SELECT 1 WHERE 'dir' = 'directory'".into(),
    ];
    for statement in planned {
        assert_eq!(plan_error(&statement).await, "planned without error", "{statement}");
    }
}

#[tokio::test]
async fn addresses_are_written_as_columns_write_them() {
    for (typed, expected) in [
        ("remote_ip = 'FE80::0:1'", "remote_ip = 'fe80::1'"),
        ("remote_ip IN ('::ffff:10.0.0.1', '::1')", "remote_ip = '10.0.0.1' OR remote_ip = '::1'"),
        ("'::FFFF:A00:1' <> local_ip", "local_ip <> '10.0.0.1'"),
    ] {
        let text = explain(&format!("SELECT pid FROM netstat WHERE {typed}")).await;
        assert!(text.contains(&format!("rows where {expected}\n")), "{text}");
    }
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
