//! Old results: a week later they are what they were, whatever has become of the agents.

use std::process::{Command, Output};
use std::time::Duration;

use canvass_examples::yard::Yard;

use crate::cosign::bob;
use crate::desk::{stderr, stdout};

fn check(output: &Output, code: i32, rows: &str, words: &str) {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!((output.status.code(), out.as_str()), (Some(code), rows), "{err}");
    assert!(err.contains(words), "{err}");
}

/// A fleet of three, and another investigator who knows the first one's key.
fn yard() -> Yard {
    let mut yard = Yard::open(&[]).unwrap();
    pair(&yard);
    yard.restart_server(&[]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    // A desk knows agents by the names that they had when it saw them first.
    let seen =
        bob(&yard).args(["--server", &yard.url(), "-q", "-c", "SELECT count(*) AS n FROM agents"]).output().unwrap();
    assert!(seen.status.success(), "{}", stderr(&seen));
    yard
}

/// Asks, and returns the rows and the action's id.
fn hunt(yard: &Yard, statement: &str) -> (String, String) {
    let output = yard.ask(&["--format", "csv", "-c", statement]).unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let newest = "SELECT id FROM actions ORDER BY created_at DESC LIMIT 1";
    let id = stdout(&yard.ask(&["-q", "--format", "csv", "-c", newest]).unwrap()).lines().nth(1).unwrap().to_owned();
    (stdout(&output), id)
}

const STATEMENTS: &[&str] = &[
    "SELECT host, name FROM users WHERE uid = 0 ORDER BY host",
    "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host",
    "SELECT u.host, u.name, g.name AS \"group\" FROM users u JOIN groups g ON u.host = g.host AND u.gid = g.gid ORDER BY 1, 2, 3",
    "SELECT host, agent.os, agent.tags['team'] AS team FROM users WHERE uid = 0 AND agent.os = 'linux' ORDER BY host",
];
/// Of which only the desk that asked can know how the inventory was.
const OF_THE_INVENTORY: &str = "SELECT a.name, a.status, u.name AS \"user\" FROM agents a JOIN users u ON u.host = a.name AND u.uid = 0 ORDER BY 1";

/// Without the ids that tell agents of one name apart: a desk that did not ask then has kept no names, and an agent that calls
/// itself something else now has given its name up to the one that bears it.
fn unmarked(rows: &str) -> String {
    let mut parts = rows.split('#');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |rows, part| rows + &part[8..])
}

/// Reads each result again, both ways, from this desk and from another.
fn check_results(yard: &Yard, hunts: &[(String, String)]) {
    let bob = |arguments: &[&str]| bob(yard).args(["--server", &yard.url()]).args(arguments).output().unwrap();
    for (index, (rows, id)) in hunts.iter().enumerate() {
        let results = format!("SELECT * FROM results('{id}')");
        let resume = format!(".resume {id}");
        let arguments = |statement| ["--format", "csv", "-c", statement];
        check(&yard.ask(&arguments(&results)).unwrap(), 0, rows, "");
        check(&yard.ask(&arguments(&resume)).unwrap(), 0, rows, "3 answered");
        if index < STATEMENTS.len() {
            for (statement, words) in [(&results, ""), (&resume, "answered")] {
                let output = bob(&arguments(statement));
                check(&Output { stdout: unmarked(&stdout(&output)).into_bytes(), ..output }, 0, rows, words);
            }
        }
    }
}

/// Bob, who knows Alice's key, and whom the server knows once it is started again.
fn pair(yard: &Yard) {
    let run = |arguments: &[&str]| {
        let output = bob(yard).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        stdout(&output)
    };
    run(&["key", "new", "bob", "--no-passphrase"]);
    std::fs::write(yard.keyring().join("bob.asc"), run(&["key", "export", "bob"])).unwrap();
    run(&["key", "import", yard.keyring().join("alice.asc").to_str().unwrap()]);
}

/// Waits for real: an agent is idle once it was silent for three minutes.
#[test]
fn agents_that_fell_silent_keep_their_rows() {
    let mut yard = yard();
    let mut hunts: Vec<(String, String)> =
        STATEMENTS.iter().chain([&OF_THE_INVENTORY]).map(|statement| hunt(&yard, statement)).collect();
    // Only those who were linux then answered the last of them.
    let linux = hunts.remove(3);
    for host in ["web-1", "db-1"] {
        yard.kill_agent(host);
    }
    yard.wait_for_within(1, Duration::from_secs(240)).unwrap();
    check_results(&yard, &hunts[..3]);
    let (rows, id) = &linux;
    check(
        &yard.ask(&["--format", "csv", "-c", &format!(".resume {id}")]).unwrap(),
        0,
        rows,
        "2 of 2 hosts · 2 answered",
    );
    let (rows, id) = &hunts[3];
    check(&yard.ask(&["--format", "csv", "-c", &format!("SELECT * FROM results('{id}')")]).unwrap(), 0, rows, "4 rows");
    let elsewhere = bob(&yard).args(["--server", &yard.url(), "-c", &format!(".resume {id}")]).output().unwrap();
    assert!(stderr(&elsewhere).contains("`agents` is read as it is now"), "{}", stderr(&elsewhere));

    let narrowed = format!(
        "EXPLAIN SELECT host FROM users WHERE agent.status IN ('online', 'idle') AND host IN (SELECT host FROM results('{}'))",
        hunts[0].1
    );
    let explained = stdout(&yard.ask(&["-c", &narrowed]).unwrap());
    assert!(explained.contains("asks 3 of 3 agents"), "{explained}");
}

#[test]
fn agents_that_changed_their_words_keep_their_rows() {
    let mut yard = yard();
    let mut hunts: Vec<(String, String)> =
        STATEMENTS.iter().chain([&OF_THE_INVENTORY]).map(|statement| hunt(&yard, statement)).collect();
    hunts.remove(3);
    // As long as they are open they are put to whoever comes, and their results grow.
    for (_, id) in &hunts {
        check(&yard.ask(&["action", "cancel", id]).unwrap(), 0, "", "withdrawn");
    }
    // The same agent under another name and with another tag, and another one under its name.
    yard.kill_agent("web-1");
    let moved = Command::new("mv").args(["agent-web-1", "agent-gate"]).current_dir(yard.path()).status();
    assert!(moved.unwrap().success());
    yard.start_agent("gate", "web-1", &["--tag", "team=gates"]).unwrap();
    yard.wait_for_tag("team", "gates").unwrap();
    yard.start_agent("web-1", "laptop-7", &[]).unwrap();
    yard.wait_for(4).unwrap();
    check_results(&yard, &hunts[..3]);
    let (rows, id) = &hunts[3];
    check(&yard.ask(&["--format", "csv", "-c", &format!("SELECT * FROM results('{id}')")]).unwrap(), 0, rows, "4 rows");
}
