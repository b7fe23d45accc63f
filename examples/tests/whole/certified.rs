//! Who belongs to the fleet by an administrator's signature, and who is taken out of it.

use canvass_examples::yard::Yard;

use crate::cosign::check;
use crate::desk::{stderr, stdout};

/// Rows of a statement, as csv without its head.
fn rows(yard: &Yard, statement: &str) -> Vec<String> {
    let asked = yard.ask(&["--format", "csv", "-q", "-c", statement]).unwrap();
    assert_eq!(asked.status.code(), Some(0), "{}", stderr(&asked));
    stdout(&asked).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn only_certified_agents_are_asked_where_that_is_wanted() {
    let mut yard = Yard::open(&[]).unwrap();
    for host in ["web-1", "db-1", "laptop-7"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(3).unwrap();
    let standing = "SELECT name, certified_by, length(policy_sha256) FROM agents ORDER BY name";
    assert_eq!(rows(&yard, standing), ["db-1,,64", "laptop-7,,64", "web-1,,64"]);

    let statement = "SELECT host FROM users WHERE name = 'root' ORDER BY host";
    let only = format!("SET canvass.certified = 'only'; {statement}");
    let words = "nobody is asked: all that match are not certified";
    check(&yard.ask(&["--format", "csv", "-c", &only]).unwrap(), 4, "host\n", &[words, "`.approve NAME` certifies"]);
    let certified = yard.ask(&["-c", ".approve web-1 db-1"]).unwrap();
    assert_eq!(certified.status.code(), Some(0), "{}", stderr(&certified));
    assert!(stdout(&certified).starts_with("certified: web-1 "), "{}", stdout(&certified));
    assert_eq!(rows(&yard, standing), ["db-1,alice,64", "laptop-7,,64", "web-1,alice,64"]);
    let words = "2 rows from 2 of 3 hosts · 2 answered · 1 not asked: laptop-7 (not certified)";
    check(&yard.ask(&["--format", "csv", "-c", &only]).unwrap(), 0, "host\ndb-1\nweb-1\n", &[words]);
    check(
        &yard.ask(&["--format", "csv", "-c", statement]).unwrap(),
        0,
        "host\ndb-1\nlaptop-7\nweb-1\n",
        &["3 answered"],
    );

    // As it is configured for good.
    let config = yard.path().join("home/.config/canvass/config.toml");
    std::fs::write(&config, "certified = \"only\"\n").unwrap();
    check(&yard.ask(&["--format", "csv", "-c", statement]).unwrap(), 0, "host\ndb-1\nweb-1\n", &["1 not asked"]);
    std::fs::write(&config, "certified = \"some\"\n").unwrap();
    check(&yard.ask(&["-c", statement]).unwrap(), 2, "", &["canvass.certified cannot be `some`"]);
}

#[test]
fn an_agent_is_taken_out_of_the_fleet_and_the_desk_misses_it() {
    let mut yard = Yard::open(&["--enrol", "approve"]).unwrap();
    for host in ["web-1", "db-1"] {
        let refused = yard.agent(host, host, &["--once"]).unwrap().status().unwrap();
        assert!(!refused.success(), "{}", yard.log(host));
    }
    let pending = rows(&yard, ".approve");
    let ids: Vec<&str> = pending.iter().map(|line| line.rsplit_once(',').unwrap().1).collect();
    assert_eq!(ids.len(), 2);
    let approved = yard.ask(&["-c", &format!(".approve {} {}", ids[0], ids[1])]).unwrap();
    assert_eq!(stdout(&approved).matches("approved: ").count(), 2, "{}", stderr(&approved));
    for host in ["web-1", "db-1"] {
        yard.start_agent(host, host, &[]).unwrap();
    }
    yard.wait_for(2).unwrap();
    assert_eq!(rows(&yard, "SELECT name, certified_by FROM agents ORDER BY name"), ["db-1,alice", "web-1,alice"]);

    let removed = yard.ask(&["-c", ".remove db-1"]).unwrap();
    assert!(stdout(&removed).starts_with("removed: db-1 "), "{}", stderr(&removed));
    // It comes again by itself, and waits.
    yard.wait_for_log("db-1", "has to approve this agent").unwrap();
    assert_eq!(rows(&yard, "SELECT name FROM agents"), ["web-1"]);
    assert_eq!(rows(&yard, ".approve").len(), 1);
    let statement = "SELECT host FROM users WHERE uid = 0";
    check(&yard.ask(&["--format", "csv", "-c", statement]).unwrap(), 0, "host\nweb-1\n", &["1 answered"]);

    // Another desk, which had seen it, is told nothing by the server.
    let home = yard.path().join("home/.local/share/canvass/pins.json");
    let seen = std::fs::read_to_string(&home).unwrap();
    let gone = ids.iter().find(|id| !seen.contains(*id)).unwrap();
    let pins = seen.replacen("\"web-1\":", &format!("\"db-1\": \"{gone}\",\n      \"web-1\":"), 1);
    std::fs::write(&home, pins).unwrap();
    let words = "the server does not list 1 agent that this desk has seen: db-1";
    check(&yard.ask(&["--format", "csv", "-c", statement]).unwrap(), 0, "host\nweb-1\n", &[words, ".remove NAME"]);
    let removed = yard.ask(&["-c", &format!(".remove {gone}")]).unwrap();
    assert_eq!(removed.status.code(), Some(0), "{}", stderr(&removed));
    let asked = yard.ask(&["--format", "csv", "-c", statement]).unwrap();
    assert!(!stderr(&asked).contains("does not list"), "{}", stderr(&asked));
}
