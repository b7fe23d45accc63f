//! What is said where an empty table would look like a clean fleet: nobody asked, agents not asked, hosts that meet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use canvass_planner::whom;
use common::desk;
use insta::assert_snapshot;

/// Whom a statement asks and what is said of it.
async fn said(statement: &str) -> String {
    let planned = match desk().plan(statement).await {
        Ok(planned) => planned,
        Err(error) => return format!("{error:?}"),
    };
    let hosts: Vec<&str> = planned.asked.iter().map(|endpoint| endpoint.host.as_str()).collect();
    let mut text = format!("asks {}", if hosts.is_empty() { "nobody".to_owned() } else { hosts.join(", ") });
    text += &whom::in_words(&planned.not_asked).map(|words| format!(" · {words}")).unwrap_or_default();
    text += if planned.nobody { " · exit 4" } else { "" };
    for warning in planned.warnings {
        text += &format!("\nwarning: {}", warning.message);
        text += &warning.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    }
    text
}

async fn said_of(statements: &[&str]) -> String {
    let mut text = String::new();
    for statement in statements {
        text += &format!("> {statement}\n{}\n\n", said(statement).await);
    }
    text
}

#[tokio::test]
async fn nobody_asked_is_said() {
    let text = said_of(&[
        "SELECT name FROM users",
        "SELECT name FROM users WHERE host = 'web1'",
        "SELECT name FROM users WHERE host = 'WEB-1'",
        "SELECT name FROM users WHERE host = 'web-1.example.com'",
        "SELECT name FROM users WHERE host = 'gateway'",
        "SELECT name FROM users WHERE host LIKE 'web1%'",
        "SELECT name FROM users WHERE agent.os = 'Linux'",
        "SELECT name FROM users WHERE agent.os = 'windows'",
        "SELECT name FROM users WHERE agent.arch = 'amd64'",
        "SELECT name FROM users WHERE agent.tags['tem'] = 'web'",
        "SELECT name FROM users WHERE agent.tags['team'] = 'wbe'",
        "SELECT name FROM users WHERE agent.tags['owner'] = 'me'",
        "SELECT name FROM users WHERE agent.status = 'offline'",
        "SELECT name FROM users WHERE agent.mode = 'checkin'",
        "SELECT name FROM users WHERE host = 'web-1' AND agent.os = 'macos'",
        "SELECT u.name FROM users u JOIN groups g ON u.host = g.host AND u.gid = g.gid WHERE u.host = 'web1'",
        "SELECT count(*) FROM users WHERE host = 'web1'",
        "WITH w AS (SELECT * FROM users WHERE host = 'web1') SELECT name FROM w",
        "SELECT 1 WHERE EXISTS (SELECT 1 FROM users WHERE host = 'web1')",
        "EXPLAIN SELECT name FROM users WHERE host = 'web1'",
    ]);
    assert_snapshot!("nobody", text.await);
}

#[tokio::test]
async fn values_that_no_agent_has_are_said_beside_those_that_some_have() {
    let text = said_of(&[
        "SELECT name FROM users WHERE agent.os IN ('linux', 'darwin')",
        "SELECT name FROM users WHERE agent.os IN ('linux', 'Macos')",
        "SELECT name FROM users WHERE host IN ('web-1', 'db1')",
        "SELECT name FROM users WHERE host IN ('web-1', 'a', 'b', 'c', 'db1', 'e')",
        "SELECT name FROM users WHERE host <> 'web1'",
        "SELECT name FROM users WHERE host NOT IN ('web1', 'db-1')",
        "SELECT name FROM users WHERE NOT (agent.tags['team'] = 'www')",
        "SELECT name FROM users WHERE agent.status IN ('online', 'offline')",
        "SELECT name FROM users WHERE host = 'web-1' OR host = 'db1'",
        "SELECT name FROM users WHERE host = 'web-1' UNION ALL SELECT name FROM groups WHERE host = 'web1'",
        "SELECT name FROM users WHERE host = 'web-1' UNION ALL SELECT name FROM groups WHERE host LIKE 'web1%'",
        "SELECT host = 'web1' FROM users",
        "SELECT name FROM users WHERE agent.kernel = '6.2'",
    ]);
    assert_snapshot!("unknown_values", text.await);
}

#[tokio::test]
async fn who_is_not_asked_is_said() {
    let text = said_of(&[
        "SELECT name FROM users WHERE agent.os = 'linux'",
        "SELECT name FROM users WHERE agent.tags['team'] = 'office'",
        "SELECT name FROM users WHERE host = 'laptop-7'",
        "SELECT name FROM users WHERE host = 'laptop-7' AND agent.status = 'idle'",
        "SELECT name FROM users WHERE agent.status = 'online'",
        "SELECT name FROM users WHERE host IN (SELECT name FROM agents WHERE os = 'macos')",
        "SELECT name FROM users WHERE host IN (SELECT name FROM agents WHERE os = 'linux')",
        "SELECT name FROM users WHERE host IN (SELECT name FROM agents WHERE os = 'windows')",
        "SELECT name FROM users WHERE agent.public_ip = '203.0.113.7'",
        "SELECT status FROM agents",
        "SELECT name FROM users WHERE 1 = 2",
        "SELECT name FROM users WHERE host = 'web-1' AND host = 'db-1'",
    ]);
    assert_snapshot!("not_asked", text.await);
}

#[tokio::test]
async fn hosts_that_meet_by_accident_are_said() {
    let accidents = [
        "SELECT p.name FROM processes p JOIN netstat n ON p.pid = n.pid",
        "SELECT processes.name FROM processes JOIN netstat ON processes.pid = netstat.pid",
        "SELECT p.name FROM processes p, netstat n WHERE p.pid = n.pid",
        "SELECT p.name FROM processes p, netstat n",
        "SELECT p.name FROM processes p LEFT JOIN netstat n USING (pid)",
        "SELECT name FROM users WHERE uid IN (SELECT uid FROM processes)",
        "SELECT u.name FROM users u WHERE u.uid NOT IN (SELECT p.uid FROM processes p)",
        "SELECT u.name FROM users u WHERE EXISTS (SELECT 1 FROM processes p WHERE p.uid = u.uid)",
        "SELECT u.name, (SELECT count(*) FROM processes p WHERE p.uid = u.uid) FROM users u",
        "SELECT u.name FROM users u JOIN groups g ON u.gid = g.gid AND g.host = u.host JOIN processes p ON p.uid = u.uid",
        "WITH p AS (SELECT host, pid FROM processes) SELECT n.pid FROM p JOIN netstat n ON n.pid = p.pid",
        "SELECT u.name FROM users u JOIN (SELECT uid, count(*) AS n FROM processes GROUP BY uid) p ON p.uid = u.uid",
        "SELECT u.name FROM users u JOIN (SELECT host, uid, count(*) AS n FROM processes GROUP BY 1, 2) p ON p.uid = u.uid",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid AND (a.host = b.host OR a.gid = 0)",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid AND a.host IN ('web-1', 'db-1')",
        "SELECT u.name FROM users u, LATERAL (SELECT p.name FROM processes p WHERE p.uid = u.uid) t",
        "SELECT count(DISTINCT u.host) FROM users u JOIN processes p ON u.uid = p.uid",
        "EXPLAIN SELECT p.name FROM processes p JOIN netstat n ON p.pid = n.pid",
        "SELECT u.name FROM users u WHERE u.uid NOT IN (SELECT p.uid FROM processes p) OR u.gid = 7",
        "SELECT u.name FROM users u WHERE NOT (u.uid IN (SELECT p.uid FROM processes p) AND u.gid = 7)",
        "SELECT u.name FROM users u WHERE u.gid = 7 OR EXISTS (SELECT 1 FROM processes p WHERE p.uid = u.uid)",
        "SELECT u.name FROM users u WHERE u.host IN (SELECT g.host FROM groups g WHERE g.gid NOT IN \
         (SELECT p.gid FROM processes p) OR g.gid = 7)",
        "SELECT x.name FROM (SELECT u.name, u.gid FROM users u WHERE u.uid NOT IN (SELECT p.uid FROM processes p) OR u.gid = 7) x",
    ];
    assert_snapshot!("meetings", said_of(&accidents).await);
    let meant = [
        "SELECT p.name FROM processes p JOIN netstat n ON p.pid = n.pid AND p.host = n.host",
        "SELECT p.name FROM processes p, netstat n WHERE p.pid = n.pid AND n.host = p.host",
        "SELECT p.name FROM processes p JOIN netstat n USING (host, pid)",
        "SELECT * FROM users NATURAL JOIN groups",
        "SELECT p.name FROM processes p CROSS JOIN netstat n WHERE p.pid = n.pid",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid AND a.host <> b.host",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid AND a.host < b.host",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid WHERE b.host = 'web-1'",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid AND b.host IN ('web-1')",
        "SELECT a.name FROM users a JOIN users b ON a.uid = b.uid AND a.agent.id = b.agent.id",
        "SELECT u.name FROM users u WHERE host IN (SELECT host FROM netstat WHERE remote_port = 22)",
        "SELECT u.name FROM users u WHERE EXISTS (SELECT 1 FROM processes p WHERE p.uid = u.uid AND p.host = u.host)",
        "SELECT u.name FROM users u WHERE uid IN (SELECT uid FROM processes p WHERE p.host = u.host)",
        "SELECT a.name FROM agents a LEFT JOIN users u ON u.host = a.name LEFT JOIN groups g ON g.host = a.name",
        "WITH p AS (SELECT host AS h, pid FROM processes) SELECT n.pid FROM p JOIN netstat n ON n.pid = p.pid AND n.host = h",
        "SELECT f.path FROM files f JOIN (SELECT sha256 FROM files WHERE path UNDER '/bin' GROUP BY sha256 \
         HAVING count(DISTINCT host) < 3) rare ON f.sha256 = rare.sha256 WHERE f.path UNDER '/bin'",
        "SELECT name FROM users WHERE uid > (SELECT avg(uid) FROM users)",
        "SELECT name FROM users UNION ALL SELECT name FROM groups",
        "SELECT name FROM users EXCEPT SELECT name FROM groups",
        "SELECT name FROM users INTERSECT ALL SELECT name FROM groups",
        "SELECT u.name FROM users u JOIN (SELECT host, uid FROM processes UNION ALL SELECT host, uid FROM netstat) x \
         ON x.host = u.host AND x.uid = u.uid",
        "SELECT u.name FROM users u JOIN groups g ON lower(u.host) = lower(g.host)",
        "SELECT u.name FROM users u JOIN agents a ON a.name = u.host",
        "SELECT u.name FROM users u, LATERAL (SELECT p.name FROM processes p WHERE p.uid = u.uid AND p.host = u.host) t",
    ];
    for statement in meant {
        let said = said(statement).await;
        assert!(!said.contains("hosts may meet"), "{statement}\n{said}");
    }
}

#[tokio::test]
async fn paths_that_look_like_patterns_are_said() {
    let text = said_of(&[
        "SELECT path FROM files WHERE path = '/etc/*'",
        "SELECT path FROM files WHERE path IN ('/etc/passwd', '/home/*/.ssh/id_*')",
        "SELECT pid FROM processes WHERE path = '/tmp/*' AND name = '*'",
        "SELECT path FROM files WHERE path = '/home/*/.ssh'",
    ]);
    assert_snapshot!("globs", text.await);
}

#[tokio::test]
async fn recursive_queries_meet_their_own_rows() {
    let tree = |on: &str| {
        format!(
            "WITH RECURSIVE t AS (SELECT host, pid FROM processes WHERE pid = 1 UNION ALL \
             SELECT p.host, p.pid FROM processes p JOIN t ON p.parent_pid = t.pid{on}) SELECT count(*) FROM t"
        )
    };
    assert!(said(&tree("")).await.contains("hint: add AND p.host = t.host"), "{}", said(&tree("")).await);
    assert!(!said(&tree(" AND p.host = t.host")).await.contains("hosts may meet"));
}

#[tokio::test]
async fn what_resumes_says_nothing_of_the_inventory_of_now() {
    let mut desk = desk();
    let planned = desk.plan("SELECT u.name FROM users u WHERE host IN ('web-1', 'gone')").await.unwrap();
    assert_eq!((planned.warnings.len(), planned.not_asked.len()), (1, 0));
    let again = desk.plan_again(&planned.action.unwrap()).await.unwrap();
    assert_eq!((again.warnings, again.not_asked, again.nobody), (vec![], vec![], false));
}
