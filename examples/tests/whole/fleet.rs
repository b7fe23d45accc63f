//! A fleet of real programs: hunts, and everything that goes wrong in between.

use std::process::{Command, Output, Stdio};

use canvass_examples::yard::Yard;

use crate::desk::{stderr, stdout};

const COUNTS: &str = "SELECT host, count(*) AS n FROM users GROUP BY host ORDER BY host";
const ROWS: &str = "host,n\ndb-1,7\nlaptop-7,4\nweb-1,8\n";

fn yard() -> Yard {
    let mut yard = Yard::open(&[]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    yard
}

fn check(output: &Output, code: i32, rows: &str, words: &str) {
    let (out, err) = (stdout(output), stderr(output));
    assert_eq!((output.status.code(), out.as_str()), (Some(code), rows), "{err}");
    assert!(err.contains(words), "{err}");
}

#[test]
fn a_question_is_asked_of_everybody_and_answered() {
    let yard = yard();
    let output = yard.ask(&["--format", "csv", "-c", COUNTS]).unwrap();
    check(&output, 0, ROWS, "3 rows from 3 of 3 hosts · 3 answered");
    let again = yard.ask(&["--format", "csv", "-c", COUNTS]).unwrap();
    check(&again, 0, ROWS, "3 answered");
    let past = "SELECT state, asked, answered, waiting, rows FROM actions ORDER BY created_at LIMIT 1";
    let expected = "state,asked,answered,waiting,rows\ncomplete,3,3,0,19\n";
    check(&yard.ask(&["--format", "csv", "-c", past]).unwrap(), 0, expected, "1 row");
    let past = "SELECT c.host, c.state, c.rows FROM commands c JOIN actions a ON a.id = c.action
        WHERE a.created_at = (SELECT max(created_at) FROM actions) ORDER BY c.host";
    let expected = "host,state,rows\ndb-1,answered,7\nlaptop-7,answered,4\nweb-1,answered,8\n";
    check(&yard.ask(&["--format", "csv", "-c", past]).unwrap(), 0, expected, "3 rows");
    let some = "SELECT host FROM users WHERE agent.os = 'darwin' AND uid = 0";
    check(&yard.ask(&["--format", "csv", "-c", some]).unwrap(), 0, "host\nlaptop-7\n", "1 of 1 hosts · 1 answered");
    let none = "SELECT host FROM users WHERE agent.os = 'plan9'";
    check(&yard.ask(&["--format", "csv", "-c", none]).unwrap(), 4, "host\n", "no agent matches: agent.os = 'plan9'");
}

#[test]
fn a_server_that_ends_in_mid_hunt_loses_nothing() {
    let mut yard = yard();
    let sleeper = "db-1";
    yard.kill_agent(sleeper);
    let mut desk = yard.desk();
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", COUNTS]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Two have answered, and the third sleeps.
    yard.wait_for_action().unwrap();
    yard.kill_server();
    yard.start_server().unwrap();
    yard.start_agent(sleeper, sleeper, &[]).unwrap();
    let output = hunt.wait_with_output().unwrap();
    check(&output, 0, ROWS, "3 rows from 3 of 3 hosts · 3 answered");
}

#[test]
fn strangers_are_told_what_is_missing() {
    let yard = yard();
    let mallory = yard.desk().args(["key", "new", "mallory", "--no-passphrase"]).output().unwrap();
    assert!(mallory.status.success());
    let ambiguous = yard.ask(&["-c", COUNTS]).unwrap();
    check(&ambiguous, 2, "", "there are several keys");
    let stranger = yard.ask(&["--key", "mallory", "-c", COUNTS]).unwrap();
    check(&stranger, 3, "", "no signature counts");
    let gone = yard.desk().args(["--server", "http://127.0.0.1:9", "-c", COUNTS]).output().unwrap();
    check(&gone, 3, "", "cannot be reached");
    let clear = yard.desk().args(["--server", "http://canvass.example", "-c", COUNTS]).output().unwrap();
    check(&clear, 2, "", "would send everything in the clear");
}

#[test]
fn a_newcomer_is_asked_while_the_window_is_open_and_a_hunt_is_resumed() {
    let mut yard = yard();
    let statement =
        "SELECT host FROM users WHERE uid = 0 AND (agent.tags['late'] = 'yes' OR host = 'web-1') ORDER BY host";
    yard.kill_agent("web-1");
    let output = yard.ask(&["--wait", "1s", "--expire", "1m", "--format", "csv", "-c", statement]).unwrap();
    check(&output, 4, "host\n", "1 waiting");
    let said = stderr(&output);
    let line = said.lines().last().unwrap();
    let id = line.rsplit_once(".resume ").unwrap().1.trim_end_matches('\'');
    assert!(line.starts_with("resume: canvass --server http://127.0.0.1:"), "{said}");
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    let resume = format!(".resume {id}");
    let again = yard.ask(&["--wait", "20s", "--format", "csv", "-c", &resume]).unwrap();
    check(&again, 0, "host\nweb-1\n", "1 answered");
    yard.start_agent("late-1", "web-1", &["--tag", "late=yes"]).unwrap();
    yard.wait_for_commands(2).unwrap();
    let again = yard.ask(&["--wait", "20s", "--format", "csv", "-c", &resume]).unwrap();
    check(&again, 0, "host\nlate-1\nweb-1\n", "2 of 2 hosts · 2 answered");
}

#[test]
fn what_is_cancelled_begins_nowhere() {
    let mut yard = yard();
    yard.kill_agent("web-1");
    let statement = "SELECT host FROM users WHERE uid = 0 AND host = 'web-1'";
    let output = yard.ask(&["--wait", "1s", "--expire", "1m", "--format", "csv", "-c", statement]).unwrap();
    check(&output, 4, "host\n", "1 waiting");
    check(&yard.ask(&["-c", ".cancel last"]).unwrap(), 0, "", "withdrawn: ");
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(3).unwrap();
    let again = yard.ask(&["--wait", "20s", "--format", "csv", "-c", ".resume last"]).unwrap();
    assert_eq!(stdout(&again), "host\n");
    let said = stderr(&again);
    assert!(said.contains("1 cancelled") || said.contains("1 refused"), "{said}");
}

#[test]
fn a_key_of_gnupg_signs() {
    let mut yard = Yard::open(&[]).unwrap();
    let home = yard.path().join("gnupg");
    std::fs::create_dir(&home).unwrap();
    std::fs::set_permissions(&home, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = Command::new("gpg");
        command.arg("--homedir").arg(&home).args(["--batch", "--passphrase", ""]).args(arguments);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    gpg(&["--quick-generate-key", "Grace <grace@example.org>", "ed25519", "sign", "never"]);
    std::fs::write(yard.keyring().join("grace.asc"), gpg(&["--armor", "--export", "grace@example.org"])).unwrap();
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(1).unwrap();
    let mut desk = yard.desk();
    desk.env("GNUPGHOME", &home).args(["--server", &yard.url(), "--key", "grace@example.org", "--format", "csv"]);
    let output = desk.args(["-c", "SELECT host FROM users WHERE uid = 0"]).output().unwrap();
    check(&output, 0, "host\nweb-1\n", "1 answered");
    // It comes back to its own hunts, and nobody has taken its certificate in.
    let by_grace = |yard: &Yard, arguments: &[&str]| {
        let mut desk = yard.desk();
        desk.env("GNUPGHOME", &home).args(["--server", &yard.url(), "--key", "grace@example.org"]);
        desk.args(arguments).output().unwrap()
    };
    check(&by_grace(&yard, &["--format", "csv", "-c", ".resume last"]), 0, "host\nweb-1\n", "1 answered");
    check(&by_grace(&yard, &["--format", "csv", "-c", "SELECT * FROM results('last')"]), 0, "host\nweb-1\n", "1 row");
    let shown = by_grace(&yard, &["action", "show", "last"]);
    assert!(shown.status.success() && stderr(&shown).contains("signed by a key of this machine"), "{}", stderr(&shown));
    let folder = yard.path().join("exported");
    check(&by_grace(&yard, &["action", "export", "last", "-o", folder.to_str().unwrap()]), 0, "", "");
    // What it is told to type names the key, since this desk has another.
    yard.kill_agent("web-1");
    let waiting = by_grace(&yard, &["--wait", "1s", "--format", "csv", "-c", "SELECT host FROM users WHERE uid = 0"]);
    check(&waiting, 4, "host\n", "resume: canvass --server http://");
    assert!(stderr(&waiting).contains("--key grace@example.org -c '.resume "), "{}", stderr(&waiting));
    check(&by_grace(&yard, &["-c", ".cancel last"]), 0, "", "withdrawn: ");
    let _ = Command::new("gpgconf").arg("--homedir").arg(&home).args(["--kill", "all"]).status();
}

/// Who only checks in is idle, and what is asked of agents that are online is not asked of it while it is here.
pub fn a_check_in_agent_is_not_asked_by_default(arguments: &[&str]) {
    let mut yard = Yard::open(arguments).unwrap();
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(1).unwrap();
    yard.kill_agent("web-1");
    let statement = "SELECT host FROM users WHERE uid = 0";
    let output = yard.ask(&["--wait", "1s", "--expire", "10m", "--format", "csv", "-c", statement]).unwrap();
    check(&output, 4, "host\n", "1 waiting");
    assert!(
        yard.agent("cron-1", "web-1", &["--once", "--tag", "checks=in"]).unwrap().status().unwrap().success(),
        "{}",
        yard.log("cron-1")
    );
    // It stayed long enough to be heard over its line, and for the server to act on that.
    yard.wait_for_tag("checks", "in").unwrap();
    let both = "SELECT name, status FROM agents ORDER BY name";
    let expected = "name,status\ncron-1,idle\nweb-1,online\n";
    check(&yard.ask(&["--format", "csv", "-c", both]).unwrap(), 0, expected, "2 rows");
    let asked = "SELECT host, state IN ('waiting', 'sent') AS open FROM commands";
    check(&yard.ask(&["--format", "csv", "-c", asked]).unwrap(), 0, "host,open\nweb-1,true\n", "1 row");
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    check(
        &yard.ask(&["--wait", "20s", "--format", "csv", "-c", ".resume last"]).unwrap(),
        0,
        "host\nweb-1\n",
        "1 of 1 hosts",
    );
}

#[test]
fn who_checks_in_is_not_asked_by_default() {
    a_check_in_agent_is_not_asked_by_default(&[]);
}

#[test]
fn a_satisfied_limit_cancels_what_it_made_needless_at_the_server_too() {
    let mut yard = yard();
    yard.kill_agent("web-1");
    let output = yard
        .ask(&["--wait", "expire", "--format", "csv", "-c", "SELECT uid FROM users WHERE uid = 0 LIMIT 1"])
        .unwrap();
    // The other agent may have answered by then.
    check(&output, 0, "uid\n0\n", " cancelled · ");
    let past =
        "SELECT a.state AS action, c.state FROM actions a JOIN commands c ON c.action = a.id WHERE c.host = 'web-1'";
    check(&yard.ask(&["--format", "csv", "-c", past]).unwrap(), 0, "action,state\nwithdrawn,cancelled\n", "1 row");
    // It is not begun when its agent comes, and is not asked for again.
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(3).unwrap();
    check(&yard.ask(&["--format", "csv", "-c", past]).unwrap(), 0, "action,state\nwithdrawn,cancelled\n", "1 row");
}

#[test]
fn the_past_is_asked_for_by_what_bounds_it() {
    let yard = yard();
    for number in 0..3 {
        let statement = format!("SELECT host FROM users WHERE uid = {number}");
        assert!(yard.ask(&["-q", "-c", &statement]).unwrap().status.success());
    }
    let ask = |statement: &str| stdout(&yard.ask(&["--format", "csv", "-c", statement]).unwrap());
    let newest = ask("SELECT id FROM actions ORDER BY created_at DESC");
    let ids: Vec<&str> = newest.lines().skip(1).collect();
    assert_eq!(ids.len(), 3);
    for (statement, expected) in [
        (
            format!("SELECT statement FROM actions WHERE id = '{}'", ids[0]),
            "statement\nSELECT host FROM users WHERE uid = 2\n",
        ),
        (format!("SELECT count(*) AS n FROM commands WHERE action IN ('{}', '{}')", ids[1], ids[2]), "n\n6\n"),
        (format!("SELECT count(*) AS n FROM commands WHERE action = '{}' AND host = 'db-1'", ids[1]), "n\n1\n"),
        ("SELECT count(*) AS n FROM commands WHERE host = 'nobody'".to_owned(), "n\n0\n"),
        (
            "SELECT count(*) AS n FROM commands WHERE host IN ('db-1', 'web-1') AND state = 'answered'".to_owned(),
            "n\n6\n",
        ),
        ("SELECT count(*) AS n FROM actions WHERE state = 'open'".to_owned(), "n\n0\n"),
        ("SELECT count(*) AS n FROM actions WHERE state IN ('open', 'complete')".to_owned(), "n\n3\n"),
        ("SELECT count(*) AS n FROM actions WHERE created_at > now() - interval '1 hour'".to_owned(), "n\n3\n"),
        ("SELECT count(*) AS n FROM actions WHERE created_at > now()".to_owned(), "n\n0\n"),
        (format!("SELECT count(*) AS n FROM actions WHERE id LIKE '{}%'", ids[0]), "n\n1\n"),
    ] {
        assert_eq!(ask(&statement), expected, "{statement}");
    }
    // Another desk of the same person finds them by the beginning of their ids.
    std::fs::remove_dir_all(yard.path().join("home/.local/share/canvass/actions")).ok();
    let resumed = yard.ask(&["--format", "csv", "-c", &format!(".resume {}", &ids[2][..20])]).unwrap();
    let mut hosts: Vec<String> = stdout(&resumed).lines().skip(1).map(str::to_owned).collect();
    hosts.sort();
    assert_eq!(hosts, ["db-1", "db-1", "laptop-7", "web-1"], "{}", stderr(&resumed));
    assert!(resumed.status.success() && stderr(&resumed).contains("3 answered"), "{}", stderr(&resumed));
}

#[test]
fn once_takes_what_waits_and_leaves() {
    let yard = yard();
    let once = |name: &str| yard.agent(name, "web-1", &["--once"]).unwrap().status().unwrap();
    assert!(once("cron-1").success(), "{}", yard.log("cron-1"));
    let root = "SELECT count(*) AS n FROM users WHERE uid = 0 AND agent.os = 'linux'";
    let asked = yard.ask(&["--format", "csv", "-c", root, "-c", ".hosts"]).unwrap();
    let (said, away) = ("2 of 3 hosts · 2 answered · 1 not asked: cron-1 (idle) · ", "cron-1,not asked,,,,,,idle\n");
    assert!(asked.status.success() && stderr(&asked).contains(said), "{}", stderr(&asked));
    assert!(stdout(&asked).starts_with("n\n3\n") && stdout(&asked).ends_with(away), "{}", stdout(&asked));
    let alone = yard.ask(&["--format", "csv", "-c", "SELECT name FROM users WHERE host = 'cron-1'"]).unwrap();
    check(
        &alone,
        4,
        "name\n",
        "warning: nobody is asked: the only agent that matches is idle\nhint: to ask it all the same",
    );
    let mut desk = yard.desk();
    let statement =
        "SELECT host FROM users WHERE uid = 0 AND agent.mode = 'checkin' AND agent.status IN ('online', 'idle')";
    desk.args(["--server", &yard.url(), "--wait", "expire", "--format", "csv", "-c", statement]);
    let hunt = desk.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    yard.wait_for_action().unwrap();
    assert!(once("cron-1").success(), "{}", yard.log("cron-1"));
    check(&hunt.wait_with_output().unwrap(), 0, "host\ncron-1\n", "1 of 1 hosts · 1 answered");
}

#[test]
fn who_does_not_know_the_token_stays_outside() {
    let mut yard = Yard::open(&["--enrol", "token"]).unwrap();
    let wrong = yard.agent("web-1", "web-1", &["--once", "--enrol-token", "guess"]).unwrap().status().unwrap();
    assert!(!wrong.success() && yard.log("web-1").contains("the enrolment token is not this server's"));
    let token = std::fs::read_to_string(yard.path().join("server/enrol-token")).unwrap();
    yard.start_agent("web-1", "web-1", &["--enrol-token", token.trim()]).unwrap();
    yard.wait_for(1).unwrap();
}

#[test]
fn who_has_to_be_approved_waits() {
    let mut yard = Yard::open(&["--enrol", "approve"]).unwrap();
    let early = yard.agent("web-1", "web-1", &["--once"]).unwrap().status().unwrap();
    assert!(!early.success() && yard.log("web-1").contains("has to approve this agent"), "{}", yard.log("web-1"));
    check(&yard.ask(&["--format", "csv", "-c", "SELECT count(*) AS n FROM agents"]).unwrap(), 0, "n\n0\n", "");
    let pending = yard.ask(&["--format", "csv", "-c", ".approve"]).unwrap();
    let id = stdout(&pending).lines().nth(1).unwrap().strip_prefix("web-1,").unwrap().to_owned();
    check(&yard.ask(&["-c", ".approve ffff"]).unwrap(), 2, "", "no agent that waits");
    let approved = yard.ask(&["-c", &format!(".approve {}", &id[..12])]).unwrap();
    check(&approved, 0, &format!("approved: web-1 {id}\n"), "");
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    yard.wait_for(1).unwrap();
}

#[test]
fn two_agents_that_share_one_identity_say_so() {
    let mut yard = yard();
    yard.kill_agent("web-1");
    let copied = Command::new("cp").arg("-a").args(["agent-web-1", "agent-copy"]).current_dir(yard.path()).status();
    assert!(copied.unwrap().success());
    for name in ["web-1", "copy"] {
        yard.start_agent(name, "web-1", &[]).unwrap();
    }
    yard.wait_for_log("server", "two agents share one identity").unwrap();
    for name in ["web-1", "copy"] {
        yard.wait_for_log(name, "remove the data folder of the copy").unwrap();
    }
    // The copy makes an identity of its own, and nobody is in anybody's way.
    yard.kill_agent("copy");
    std::fs::remove_dir_all(yard.path().join("agent-copy")).unwrap();
    yard.start_agent("copy", "web-1", &[]).unwrap();
    yard.wait_for(4).unwrap();
    // Whose name `copy` is depends on which of the two a desk has seen first.
    let counts = format!("SELECT n FROM ({COUNTS}) ORDER BY n");
    check(&yard.ask(&["--format", "csv", "-c", &counts]).unwrap(), 0, "n\n4\n7\n8\n8\n", "4 answered");
}

#[test]
fn what_was_answered_is_read_again_and_narrows_what_is_asked() {
    let mut yard = yard();
    let ids = |yard: &Yard| {
        let newest = "SELECT id FROM actions ORDER BY created_at DESC LIMIT 1";
        stdout(&yard.ask(&["-q", "--format", "csv", "-c", newest]).unwrap()).lines().nth(1).unwrap().to_owned()
    };
    let asked = "SELECT host, name FROM users WHERE name = 'root' AND host <> 'laptop-7' ORDER BY host";
    check(&yard.ask(&["--format", "csv", "-c", asked]).unwrap(), 0, "host,name\ndb-1,root\nweb-1,root\n", "2 answered");
    let id = ids(&yard);
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.kill_agent(host);
    }
    let again = format!("SELECT * FROM results('{id}') ORDER BY host DESC");
    let again = yard.ask(&["--format", "csv", "-c", &again]).unwrap();
    check(&again, 0, "host,name\nweb-1,root\ndb-1,root\n", "2 rows");
    yard.start_agent("web-1", "web-1", &[]).unwrap();
    let narrow = format!(
        "SELECT u.host, count(*) AS n FROM users u
         WHERE u.host IN (SELECT host FROM results('{}') r WHERE r.host LIKE 'w%') GROUP BY u.host",
        &id[..13]
    );
    let explained = stdout(&yard.ask(&["-c", &format!("EXPLAIN {narrow}")]).unwrap());
    assert!(explained.contains("asks 1 of 3 agents"), "{explained}");
    assert!(explained.contains(&format!("reads results('{}'): 2 rows from 2 of 2 hosts", &id[..13])), "{explained}");
    check(&yard.ask(&["--format", "csv", "-c", &narrow]).unwrap(), 0, "host,n\nweb-1,8\n", "1 of 1 hosts · 1 answered");
    let nested = format!("SELECT count(*) AS n FROM results('{}')", ids(&yard));
    check(&yard.ask(&["--format", "csv", "-c", &nested]).unwrap(), 0, "n\n1\n", "");

    let waiting = "SELECT host FROM users WHERE name = 'root' AND host IN ('web-1', 'db-1')";
    let output = yard.ask(&["--wait", "2s", "--format", "csv", "-c", waiting]).unwrap();
    check(&output, 4, "host\nweb-1\n", "1 waiting");
    let part = format!("SELECT host FROM results('{}')", ids(&yard));
    let words = "is not whole: 1 of 2 hosts have answered";
    check(&yard.ask(&["--format", "csv", "-c", &part]).unwrap(), 0, "host\nweb-1\n", words);
    check(&yard.ask(&["-c", "SELECT * FROM results('zzzz')"]).unwrap(), 2, "", "knows an action `zzzz`");
    check(&yard.ask(&["-c", "SELECT * FROM results(7)"]).unwrap(), 2, "", "`results` takes the id of an action");
    let here = yard.desk().args(["--local", "-c", &format!("SELECT * FROM results('{id}')")]).output().unwrap();
    check(&here, 2, "", "those asked of a server need `--server URL`");
}
