//! Statements whose rows were wrong, or that were refused, and what is right: over the fixture hosts, where db-1, laptop-7 and
//! web-1 have seven, four and eight users and as many groups.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::sync::Arc;

use common::answers::{Answer, ask};
use common::direct::Direct;

async fn answer(statement: &str) -> Answer {
    let tables = canvass_tables::TABLES;
    let fleet = Arc::new(Direct::fixtures(tables));
    ask(fleet, tables, statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"))
}

/// Rows are separated by ` | ` and come in the order of the statement.
async fn check(cases: &[(&str, &str)]) {
    let mut wrong = String::new();
    for (statement, expected) in cases {
        let rows = answer(statement).await.rows.join(" | ");
        if rows != *expected {
            wrong += &format!("{statement}\n  expected {expected}\n  but      {rows}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// Statements that give as many rows as others.
async fn check_same(cases: &[(&str, &str)]) {
    for (statement, other) in cases {
        let (mut one, mut two) = (answer(statement).await.rows, answer(other).await.rows);
        one.sort();
        two.sort();
        assert!(!one.is_empty(), "{statement} has no rows, which shows nothing");
        assert_eq!(one, two, "{statement}\n{other}");
    }
}

#[tokio::test]
async fn a_pushed_filter_that_becomes_a_constant_is_minded() {
    check(&[
        ("SELECT count(*) FROM (SELECT host FROM users UNION ALL SELECT NULL) s WHERE host IS NULL", "1"),
        (
            "SELECT count(*) FROM (SELECT host, name FROM users UNION ALL SELECT name, id FROM agents) s WHERE s.host IS NULL",
            "0",
        ),
        ("SELECT count(*) FROM groups a LEFT JOIN users b ON b.host = a.host WHERE b.gid <> 27 AND b.host IS NULL", "0"),
        ("SELECT count(*) FROM groups a FULL JOIN users b ON b.host = a.host WHERE b.name ~ 'r' AND b.host IS NULL", "0"),
        ("SELECT count(*) FROM (SELECT host, uid FROM users UNION ALL SELECT NULL, 1) s WHERE host IS NOT NULL", "19"),
        ("SELECT count(*) FROM (SELECT host, uid FROM users UNION ALL SELECT NULL, 0) s WHERE host IS NULL OR uid = 0", "5"),
        (
            "SELECT count(*) FROM (SELECT host, uid FROM users UNION ALL SELECT NULL, 0) s WHERE NOT (host IS NULL AND uid = 0)",
            "19",
        ),
    ])
    .await;
    let nobody = answer("SELECT host FROM (SELECT host FROM users UNION ALL SELECT 'x') s WHERE host IS NULL").await;
    assert_eq!((nobody.rows.len(), nobody.asked), (0, 0), "{}", nobody.explanation);
}

#[tokio::test]
async fn a_scan_is_read_as_often_as_the_plan_pleases() {
    check(&[
        (
            "WITH RECURSIVE t AS (SELECT host, pid, 0 AS depth FROM processes WHERE pid = 1 \
             UNION ALL SELECT p.host, p.pid, t.depth + 1 FROM processes p JOIN t ON p.parent_pid = t.pid AND p.host = t.host) \
             SELECT depth, count(*) FROM t WHERE host = 'web-1' GROUP BY depth ORDER BY depth",
            "0,1 | 1,5 | 2,5 | 3,1",
        ),
        (
            "WITH RECURSIVE ps AS (SELECT * FROM processes), t AS (SELECT pid, parent_pid, name FROM ps WHERE pid = 1 \
             UNION SELECT p.pid, p.parent_pid, p.name FROM ps p JOIN t ON p.parent_pid = t.pid) SELECT count(*) > 3 FROM t",
            "true",
        ),
        (
            "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t, users u WHERE n < 3 AND u.name = 'toor') \
             SELECT n FROM t ORDER BY n",
            "1 | 2 | 3",
        ),
        ("SELECT count(*) FROM users a JOIN users b ON a.host < b.host WHERE a.uid = 0 AND b.uid = 0", "5"),
        ("SELECT count(*) FROM users a, users b WHERE a.host = 'db-1' AND b.host = 'db-1'", "49"),
    ])
    .await;
}

#[tokio::test]
async fn a_column_that_using_merges_is_tested() {
    check(&[
        (
            "SELECT count(*) FROM users u JOIN groups g USING (host) WHERE host = 'db-1' AND u.uid = 0 AND g.gid = 0",
            "2",
        ),
        ("SELECT count(*) FROM users u LEFT JOIN groups g USING (host, gid) WHERE gid = 0 AND host LIKE '%-1'", "3"),
        ("SELECT count(*) FROM users NATURAL JOIN groups WHERE name = 'root'", "2"),
        ("SELECT host, count(*) FROM users u JOIN groups g USING (host) GROUP BY host HAVING host < 'e'", "db-1,49"),
        (
            "SELECT u.name FROM users u JOIN groups g USING (host, gid) WHERE gid = 0 ORDER BY host, u.name",
            "root | toor | root | root",
        ),
    ])
    .await;
}

#[tokio::test]
async fn fields_of_agent_are_had_in_joins() {
    let joined = "FROM users a JOIN groups b ON a.host = b.host AND a.gid = b.gid";
    check(&[
        (&format!("SELECT count(*) {joined} WHERE agent.tags['team'] = 'data' AND a.uid = 0"), "2"),
        (&format!("SELECT count(*) {joined} WHERE agent['os'] = 'linux' AND a.uid = 0"), "3"),
        (&format!("SELECT a.agent.tags['team'], b.agent['name'] {joined} WHERE a.name = 'toor'"), "data,db-1"),
        (&format!("SELECT agent.tags['team'] AS team, count(*) {joined} WHERE a.uid = 0 GROUP BY agent.tags['team'] ORDER BY 1"),
            "data,2 | web,2"),
        (
            "SELECT count(*) FROM users a JOIN groups b ON a.host = b.host AND agent.tags['team'] = 'web' WHERE a.uid = 0 AND b.gid = 0",
            "2",
        ),
        (&format!("SELECT a.agent.os, b.agent.os {joined} WHERE a.name = 'toor'"), "linux,linux"),
        ("SELECT max(a.agent.os) FROM users a FULL JOIN groups b ON a.host = b.host WHERE a.agent.arch = 'x86_64'", "linux"),
        (
            "SELECT count(*) FROM users a LEFT JOIN groups b ON a.host = b.host AND a.gid = b.gid \
             WHERE (a.agent.os = 'linux' OR b.agent.arch = 'x86_64') AND a.uid = 0",
            "3",
        ),
    ])
    .await;
}

#[tokio::test]
async fn the_far_side_of_a_semi_join_is_not_shown() {
    check(&[
        ("SELECT u.name FROM users u LEFT SEMI JOIN groups g ON u.host = g.host WHERE agent.os = 'darwin' AND u.uid = 0", "root"),
        ("SELECT count(*) FROM (SELECT * FROM users u LEFT SEMI JOIN groups g ON u.host = g.host AND u.name = g.name) s", "14"),
        ("SELECT count(*) FROM users u LEFT ANTI JOIN groups g ON u.host = g.host AND u.gid = g.gid WHERE host = 'db-1'", "0"),
        ("SELECT g.name FROM users u RIGHT SEMI JOIN groups g ON u.host = g.host AND u.gid = g.gid AND u.uid = 0 \
          WHERE host = 'db-1' AND agent.os = 'linux'", "root"),
        ("SELECT agent.os FROM users u LEFT SEMI JOIN groups g USING (host, gid) WHERE host = 'db-1' AND u.name = 'toor'", "linux"),
    ])
    .await;
}

#[tokio::test]
async fn what_stands_beside_a_column_is_read_wherever_it_stands() {
    check(&[
        ("SELECT count(*) FILTER (WHERE memory_bytes > '1G') FROM system", "2"),
        ("SELECT sum(CASE WHEN memory_bytes > '1G' THEN 1 ELSE 0 END) FROM system", "2"),
        ("SELECT memory_bytes > '1k' AS big, count(*) FROM system GROUP BY big ORDER BY 1", "true,2 | NULL,1"),
        ("SELECT big FROM (SELECT DISTINCT memory_bytes > '1k' AS big FROM system WHERE host <> 'laptop-7') s", "true"),
        ("SELECT * FROM (SELECT memory_bytes > '1k' FROM system WHERE host = 'db-1') s", "true"),
        ("SELECT count(*) OVER (PARTITION BY memory_bytes > '1k') FROM system ORDER BY 1", "1 | 2 | 2"),
        ("SELECT memory_bytes > '1k', count(*) FROM system GROUP BY ROLLUP (memory_bytes > '1k') ORDER BY 2, 1", "NULL,1 | true,2 | NULL,3"),
        ("SELECT DISTINCT host, (uid = 0) IS TRUE AS is_root FROM users WHERE host = 'db-1' AND uid = 0", "db-1,true"),
        ("SELECT count(*) FROM (SELECT coalesce(host, 'x') FROM users UNION SELECT name FROM groups WHERE gid = 0) s", "5"),
        ("SELECT count(*) FROM users WHERE name LIKE 'ro!ot' ESCAPE '!' IS TRUE", "3"),
        ("SELECT name LIKE '%!%%' ESCAPE '!' FROM users WHERE name = 'toor'", "false"),
        ("SELECT count(*) FROM (SELECT * FROM users LIMIT 100) s WHERE name LIKE 'r!oo_' ESCAPE '!'", "3"),
        ("SELECT name FROM users WHERE host = 'db-1' ORDER BY name FETCH FIRST ROW ONLY", "backup"),
        ("SELECT name FROM users WHERE host = 'db-1' ORDER BY uid OFFSET 2 ROWS FETCH NEXT 1 ROWS ONLY", "bin"),
        ("SELECT count(*) FROM (FROM users) s", "19"),
        ("FROM system LIMIT 0", ""),
        ("SELECT count(*) FROM users WHERE uid IS DISTINCT FROM 0 AND host = 'db-1'", "5"),
        ("SELECT count(*) FROM users WHERE uid IS NOT DISTINCT FROM 0 OR name = 'sshd'", "6"),
        ("SELECT count(*) FROM users WHERE (lower(name), uid) IN (('root', 0), ('toor', 1))", "3"),
        ("SELECT count(*) FROM users WHERE (lower(name), uid) <> ('root', 0)", "16"),
        ("SELECT count(*) FROM users WHERE (name, full_name) NOT IN (('root', 'root'), ('sshd', NULL))", "15"),
        ("SELECT count(*) FROM files WHERE path UNDER '/etc' AND content ~ 'ro' || 'ot' AND name = 'passwd'", "3"),
        ("SELECT count(*) FROM files WHERE path UNDER '/etc' AND content ~ '(?-u:\\xff)' AND name = 'passwd'", "0"),
    ])
    .await;
    let star = answer("SELECT * FROM users WHERE host = 'db-1'").await.rows;
    assert_eq!(answer("FROM users WHERE host = 'db-1'").await.rows, star);
}

/// The hash of the dropper on web-1 and laptop-7, and its digits in large letters.
const HASH: (&str, &str) = (
    "8de09ef4ae6f791898e80b5780d18b458093b45d6a9295e0f8c6fe36a78146ba",
    "8DE09EF4AE6F791898E80B5780D18B458093B45D6A9295E0F8C6FE36A78146BA",
);

#[tokio::test]
async fn digits_of_hashes_have_no_case() {
    let (small, large) = HASH;
    let other = "0".repeat(64);
    let tests = [
        format!("sha256 = '{large}'"),
        format!("'{large}' = sha256"),
        format!("sha256 IN ('{other}', '{large}')"),
        format!("sha256 IN (upper('{small}'), '{other}')"),
        format!("sha256 = upper('{small}')"),
        format!("sha256 = ANY (SELECT '{large}')"),
        format!("sha256 IN (SELECT '{large}')"),
        format!("sha256 IS NOT DISTINCT FROM '{large}'"),
        format!("CASE sha256 WHEN '{large}' THEN true END"),
        format!("CASE '{large}' WHEN sha256 THEN true END"),
        format!("(sha256, type) IN (('{large}', 'file'), ('{other}', 'link'))"),
        format!("(sha256, type) = ('{large}', 'file')"),
        format!("sha256 LIKE '{}%'", &large[..40]),
        format!("sha256 LIKE '{large}'"),
        format!("sha256 ~ '^{}'", &large[..40]),
        format!("sha256 BETWEEN '{large}' AND '{large}'"),
        format!("nullif(sha256, '{large}') IS NULL AND sha256 IS NOT NULL"),
        format!("EXISTS (SELECT 1 FROM (VALUES ('{large}')) v (h) WHERE h = sha256)"),
    ];
    let columns = "host, path, type, sha256";
    for test in tests {
        let pushed = format!("SELECT host FROM files WHERE path UNDER '/' AND {test}");
        let at_desk =
            format!("SELECT host FROM (SELECT {columns} FROM files WHERE path UNDER '/' LIMIT 100000) s WHERE {test}");
        for statement in [pushed, at_desk] {
            let mut hosts = answer(&statement).await.rows;
            hosts.sort();
            assert_eq!(hosts, ["laptop-7", "web-1"], "{statement}");
        }
    }
}

#[tokio::test]
async fn grouping_behind_with_is_grouping() {
    check_same(&[
        (
            "SELECT host, count(*) FROM users GROUP BY host WITH ROLLUP",
            "SELECT host, count(*) FROM users GROUP BY ROLLUP (host)",
        ),
        (
            "SELECT host, uid = 0, count(*) FROM users GROUP BY 1, 2 WITH CUBE",
            "SELECT host, uid = 0, count(*) FROM users GROUP BY CUBE (host, uid = 0)",
        ),
        (
            "SELECT gid AS g, count(*) FROM users GROUP BY g WITH ROLLUP",
            "SELECT gid, count(*) FROM users GROUP BY ROLLUP (gid)",
        ),
    ])
    .await;
}

#[tokio::test]
async fn answers_are_right_where_datafusion_is_wrong() {
    check(&[
        (
            "SELECT u.host, w.c FROM (SELECT host, 7 AS c FROM system WHERE host = 'web-1') w RIGHT JOIN system u \
             ON w.host = u.host ORDER BY w.c NULLS LAST, u.host",
            "web-1,7 | db-1,NULL | laptop-7,NULL",
        ),
        (
            "SELECT u.host, w.c FROM system u LEFT JOIN (SELECT host, 7 AS c FROM system WHERE host = 'web-1' LIMIT 1) w \
             ON w.host = u.host ORDER BY w.c NULLS LAST, u.host LIMIT 1",
            "web-1,7",
        ),
        (
            "SELECT u.host, w.c FROM system u FULL JOIN (SELECT host, 7 AS c FROM system WHERE host = 'web-1') w \
             ON w.host = u.host ORDER BY w.c DESC NULLS LAST, u.host DESC",
            "web-1,7 | laptop-7,NULL | db-1,NULL",
        ),
        (
            "SELECT c, host, count(*) FROM (SELECT 7 AS c, host FROM system) s GROUP BY CUBE (c, host) ORDER BY c NULLS FIRST, host LIMIT 2",
            "NULL,db-1,1 | NULL,laptop-7,1",
        ),
        (
            "WITH w AS (SELECT host, 'x' AS c, pid FROM processes WHERE pid < 3) SELECT y.pid, y.c FROM w x JOIN w y \
             ON x.host = y.host AND x.pid = y.pid WHERE y.host = 'web-1' ORDER BY 1 DESC, 2",
            "2,x | 1,x",
        ),
        (
            "SELECT * FROM (SELECT uid, 27 AS c, gid % 3 AS m FROM users WHERE uid = 0 UNION ALL SELECT 80, 27, memory_bytes % 1 \
             FROM system) x ORDER BY 1, 2 DESC, 3",
            "0,27,0 | 0,27,0 | 0,27,0 | 0,27,0 | 80,27,0 | 80,27,0 | 80,27,NULL",
        ),
        ("SELECT count(*) FROM users WHERE name IN ('root', 'toor') AND name NOT IN ('root', NULL)", "0"),
        ("SELECT count(*) FROM users WHERE name IN ('root', NULL)", "3"),
        ("SELECT count(*) FROM users WHERE (name IN ('root', NULL)) IS NULL", "16"),
        ("SELECT max(uid) FROM users HAVING (SELECT count(*) FROM groups) > 100", ""),
        ("SELECT max(uid) FROM users HAVING (SELECT count(*) FROM groups) > 1", "6353"),
        ("SELECT count(*) FROM users HAVING max(name) NOT IN ('a', NULL)", ""),
        ("SELECT count(*) FROM (SELECT max(full_name) AS a FROM users WHERE uid = -5) s WHERE NOT (a = a)", "0"),
        (
            "SELECT uid, count(*) FROM users WHERE uid = -5 GROUP BY ROLLUP (uid) HAVING (SELECT count(*) FROM groups) > 100",
            "",
        ),
        ("SELECT count(*) FROM users WHERE full_name NOT IN (SELECT name FROM groups)", "11"),
        ("SELECT count(*) FROM users WHERE full_name NOT IN (SELECT name FROM groups) OR uid = -1", "11"),
        ("SELECT count(*) FROM users WHERE NOT (full_name IN (SELECT name FROM groups) AND uid >= 0)", "11"),
        ("SELECT count(*) FROM users WHERE NOT (full_name IN (SELECT name FROM groups) OR uid = -1)", "11"),
        ("SELECT count(*) FROM users WHERE (full_name IN (SELECT name FROM groups)) IS NULL", "3"),
        ("SELECT count(*) FROM users WHERE name IN (SELECT name FROM groups) OR uid = -1", "17"),
        ("SELECT host, count(gid ORDER BY gid DESC), min(gid ORDER BY gid) FROM groups WHERE host = 'db-1' GROUP BY host", "db-1,7,0"),
        ("SELECT string_agg(name, ',' ORDER BY name) FROM users WHERE host = 'db-1' AND uid < 2", "bin,root,toor"),
    ])
    .await;
}

#[tokio::test]
async fn keys_that_are_equal_below_are_not_so_above() {
    let one = "FROM system WHERE host = 'web-1'";
    check(&[
        (
            &format!("SELECT coalesce(host, 'x'), host, count(*) {one} GROUP BY CUBE (coalesce(host, 'x'), host) ORDER BY 1, 2"),
            "web-1,web-1,1 | web-1,NULL,1 | NULL,web-1,1 | NULL,NULL,1",
        ),
        (
            &format!("SELECT host || '', host, grouping(host || ''), grouping(host), count(*) AS c {one} \
                      GROUP BY ROLLUP (host || '', host) HAVING count(*) = 1 ORDER BY 1 DESC, 2 DESC"),
            "NULL,NULL,1,1,1 | web-1,NULL,0,1,1 | web-1,web-1,0,0,1",
        ),
        (
            &format!("SELECT a, b, max(c) FROM (SELECT host AS a, host AS b, 1 AS c {one}) s \
                      GROUP BY GROUPING SETS ((a), (b), ()) ORDER BY a, b"),
            "web-1,NULL,1 | NULL,web-1,1 | NULL,NULL,1",
        ),
        (
            &format!("SELECT length(host) AS n, sum(length(host)) AS s, count(*) {one} GROUP BY CUBE (length(host), host) \
                      ORDER BY n, s, 3"),
            "5,5,1 | 5,5,1 | NULL,5,1 | NULL,5,1",
        ),
    ])
    .await;
}
