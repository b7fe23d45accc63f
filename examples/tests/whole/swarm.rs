//! Swarms: many agents, and what the desk says of those that misbehave.

use canvass_examples::swarm::behaviour::{Behaviour, Shares};
use canvass_examples::yard::Yard;
use canvass_services::{Postgres, Rabbitmq};

use crate::desk::{stderr, stdout};

/// One connection of the fixture host goes there.
const STATEMENT: &str =
    "SELECT host, remote_ip, remote_port FROM netstat WHERE remote_ip = '203.0.113.99' ORDER BY host";

#[test]
fn a_swarm_answers_like_agents_and_each_by_its_own_name() {
    let yard = Yard::open(&[]).unwrap();
    let swarm = yard.start_swarm(10, &[]).unwrap();
    let asked = yard.ask(&["--format", "csv", "-c", STATEMENT]).unwrap();
    let rows: String = (0..10).map(|number| format!("swarm-{number:05},203.0.113.99,6667\n")).collect();
    assert_eq!((asked.status.code(), stdout(&asked)), (Some(0), format!("host,remote_ip,remote_port\n{rows}")));
    assert!(stderr(&asked).contains("10 rows from 10 of 10 hosts · 10 answered"), "{}", stderr(&asked));
    let named = "SELECT count(*) AS n FROM system WHERE host = hostname";
    let asked = yard.ask(&["--format", "csv", "-c", named]).unwrap();
    assert_eq!((asked.status.code(), stdout(&asked).as_str()), (Some(0), "n\n10\n"), "{}", stderr(&asked));
    let totals = swarm.end().unwrap();
    assert_eq!((totals.commands, totals.parts), (20, 20), "a final record of each, which carries its frame");
}

/// Asks a swarm of which many misbehave; every sum that the desk states must be the one that the seed foretells.
fn misbehaving(server: &[&str]) {
    const AGENTS: u32 = 60;
    const SEED: u64 = 7;
    let shares =
        Shares { failing: 0.12, empty: 0.12, slow: 0.1, offline: 0.1, duplicate: 0.12, oversize: 0.06, skewed: 0.1 };
    let counts = shares.foretell(SEED, AGENTS);
    assert!(counts.values().all(|count| *count > 0), "this seed leaves one out: {counts:?}");
    let count = |behaviours: &[Behaviour]| -> u32 { behaviours.iter().map(|behaviour| counts[behaviour]).sum() };

    let yard = Yard::open(server).unwrap();
    let flags = format!(
        "--seed {SEED} --failing {} --empty {} --slow {} --offline {} --duplicate {} --oversize {} --skewed {}",
        shares.failing, shares.empty, shares.slow, shares.offline, shares.duplicate, shares.oversize, shares.skewed
    );
    let _swarm = yard.start_swarm(AGENTS, &flags.split(' ').collect::<Vec<_>>()).unwrap();
    // An answer that is not believed is waited for like one that never came: for as long as a late clock may take.
    let asked = yard.ask(&["--wait", "20s", "--expire", "5s", "--format", "csv", "-c", STATEMENT]).unwrap();
    let rows = count(&[Behaviour::Good, Behaviour::Slow, Behaviour::Duplicate]);
    let said = stderr(&asked);
    // An answer that is not believed is none, whatever its agent says at its end.
    let footer = format!(
        "{rows} rows from {rows} of {AGENTS} hosts · {} answered, {} failed, {} refused, {} expired, {} waiting",
        rows + count(&[Behaviour::Empty]),
        count(&[Behaviour::Failing]),
        count(&[Behaviour::Skewed]),
        count(&[Behaviour::Offline]),
        count(&[Behaviour::Oversize]),
    );
    assert!(said.contains(&footer), "expected: {footer}\n{said}");
    assert_eq!(asked.status.code(), Some(4), "{said}");
    assert_eq!(stdout(&asked).lines().count(), rows as usize + 1, "nobody's row is doubled");
    assert!(yard.log("server").contains("a part of an answer is dropped"), "{}", yard.log("server"));
    // The server's account is the desk's.
    let columns = "asked, answered, failed, refused, expired, waiting, rows";
    let past = yard.ask(&["--format", "csv", "-c", &format!("SELECT {columns} FROM actions")]).unwrap();
    let numbers = [
        AGENTS,
        rows + count(&[Behaviour::Empty]),
        count(&[Behaviour::Failing]),
        count(&[Behaviour::Skewed]),
        count(&[Behaviour::Offline]),
        count(&[Behaviour::Oversize]),
        rows,
    ];
    let numbers = numbers.map(|number| number.to_string()).join(",");
    assert_eq!(stdout(&past), format!("{}\n{numbers}\n", columns.replace(' ', "")), "{}", stderr(&past));
    let commands =
        "SELECT state, count(*) AS n, sum(rows) AS rows FROM commands WHERE state = 'answered' GROUP BY state";
    let past = yard.ask(&["--format", "csv", "-c", commands]).unwrap();
    let answered = rows + count(&[Behaviour::Empty]);
    assert_eq!(stdout(&past), format!("state,n,rows\nanswered,{answered},{rows}\n"), "{}", stderr(&past));
}

#[test]
fn every_agent_that_misbehaves_is_accounted_for() {
    misbehaving(&[]);
}

#[test]
fn every_agent_that_misbehaves_is_accounted_for_on_postgres_and_rabbitmq() {
    let (postgres, rabbitmq) = (Postgres::start(false).unwrap(), Rabbitmq::start().unwrap());
    misbehaving(&["--store", &postgres.url(), "--relay", &rabbitmq.url()]);
}
