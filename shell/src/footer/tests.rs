//! Footers of hand-made accounts.

use canvass_planner::fleet::{Endpoint, Standing};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::target::{Facts, ServerWords, Status};
use insta::assert_snapshot;
use proptest::prelude::*;

use super::*;

fn entry(host: &str, state: State, rows: u64) -> Entry {
    let facts = Facts {
        os: "linux".into(),
        arch: "x86_64".into(),
        version: "0".into(),
        ..Facts::of(format!("id of {host}"), host)
    };
    let words = ServerWords { status: Status::Online, heartbeat_at: Timestamp::UNIX_EPOCH, public_ip: None };
    Entry {
        endpoint: Endpoint { host: host.to_owned(), facts: facts.into(), words, standing: Standing::default() },
        state,
        scans: Vec::new(),
        rows,
        troubles: Vec::new(),
    }
}

fn failed(reason: &str) -> State {
    State::Failed(Reason::new(Code::Scan, reason))
}

fn refused(reason: &str) -> State {
    State::Refused(Reason::new(Code::Weight, reason))
}

fn scanned(host: &str, rows: u64, cut: Option<Cut>, troubles: &[(&str, &str)]) -> Entry {
    let mut scan = ScanRecord { asked: true, rows, cut, ..ScanRecord::default() };
    for (subject, reason) in troubles {
        scan.trouble(Some(subject), *reason);
    }
    Entry { scans: vec![scan], ..entry(host, State::Answered, rows) }
}

fn footer(entries: &[Entry], rows: usize) -> String {
    let until = "2026-11-21T21:40:59Z".parse().unwrap();
    line(rows, Some((&Tally::of(entries), Some(until))), &[], Duration::from_millis(2_940))
}

#[test]
fn the_line_of_the_manual() {
    let mut entries: Vec<Entry> = (0..3).map(|i| entry(&format!("a{i}"), State::Answered, 1)).collect();
    entries.extend((0..12077).map(|i| entry(&format!("b{i}"), State::Answered, 0)));
    entries.extend((0..2).map(|i| entry(&format!("f{i}"), failed("disk"), 0)));
    entries.push(entry("r", refused("weight"), 0));
    entries.push(entry("w", State::Waiting, 0));
    assert_eq!(
        footer(&entries, 3),
        "3 rows from 3 of 12084 hosts · 12080 answered, 2 failed, 1 refused, 1 waiting (expires 21:40) · 2.9 s"
    );
}

#[test]
fn few_and_none() {
    assert_eq!(footer(&[], 0), "0 rows from 0 of 0 hosts · 0 answered · 2.9 s");
    assert_eq!(footer(&[entry("a", State::Answered, 1)], 1), "1 row from 1 of 1 hosts · 1 answered · 2.9 s");
    assert_eq!(line(2, None, &[], Duration::from_millis(40)), "2 rows · 0.0 s");
}

fn not_asked(host: &str, reason: &str) -> NotAsked {
    NotAsked { endpoint: entry(host, State::Waiting, 0).endpoint, reason: reason.to_owned() }
}

#[test]
fn who_was_not_asked_is_told_beside_the_parts() {
    let entries: Vec<Entry> = (0..5).map(|i| entry(&format!("a{i}"), State::Answered, 1)).collect();
    let check = |away: &[NotAsked], expected: &str| {
        assert_eq!(line(5, Some((&Tally::of(&entries), None)), away, Duration::from_millis(40)), expected);
    };
    let several = |count: usize, reason: &str| -> Vec<NotAsked> {
        (0..count).map(|i| not_asked(&format!("b{i}"), reason)).collect()
    };
    check(&[], "5 rows from 5 of 5 hosts · 5 answered · 0.0 s");
    check(&several(1, "idle"), "5 rows from 5 of 6 hosts · 5 answered · 1 not asked: b0 (idle) · 0.0 s");
    check(
        &[several(2, "offline"), vec![not_asked("w\x1b", "idle")]].concat(),
        "5 rows from 5 of 8 hosts · 5 answered · 3 not asked: b0, b1 (offline), w\\x1b (idle) · 0.0 s",
    );
    check(
        &[several(2, "idle"), several(310, "offline")].concat(),
        "5 rows from 5 of 317 hosts · 5 answered · 312 not asked: 310 offline, 2 idle · 0.0 s",
    );
}

fn state() -> impl Strategy<Value = State> {
    prop_oneof![
        Just(State::Waiting),
        Just(State::Answered),
        Just(failed("f")),
        Just(refused("r")),
        Just(State::Interrupted),
        Just(State::Expired),
        Just(State::Cancelled),
    ]
}

proptest! {
    #[test]
    fn the_parts_add_up_to_the_hosts_asked(states in prop::collection::vec((state(), 0u64..3), 0..40)) {
        let entries: Vec<Entry> = states.into_iter().map(|(state, rows)| entry("h", state, rows)).collect();
        let line = footer(&entries, 7);
        let parts = line.split(" · ").nth(1).unwrap();
        let sum: usize = parts.split(", ").map(|part| part.split(' ').next().unwrap().parse::<usize>().unwrap()).sum();
        prop_assert_eq!(sum, entries.len(), "{}", line);
    }
}

#[test]
fn states_mean_exit_codes() {
    let check = |entries: &[Entry], code| assert_eq!(exit(entries).code(), code, "{entries:?}");
    let answered = || entry("a", State::Answered, 1);
    check(&[], 0);
    check(&[answered()], 0);
    check(&[answered(), entry("b", State::Cancelled, 0)], 0);
    check(&[answered(), scanned("b", 1, Some(Cut::Rows), &[])], 5);
    check(&[scanned("a", 1, None, &[("/root", "permission denied")])], 0);
    for state in [failed("f"), refused("r"), State::Interrupted, State::Expired, State::Waiting] {
        check(&[scanned("a", 1, Some(Cut::Time), &[]), entry("b", state, 0)], 4);
    }
}

#[test]
fn a_cut_names_limit_and_hosts() {
    assert_eq!(cut(&[scanned("a", 1, None, &[])]), None);
    let hosts: Vec<Entry> = ["a", "b", "c", "d", "e\x1b"].map(|host| scanned(host, 1, Some(Cut::Rows), &[])).into();
    assert_snapshot!(cut(&hosts).unwrap(), @"cut short by limit_rows on a, b, c and 2 more: rows may be missing");
    let half = [entry("a", failed("gone"), 5), scanned("b", 1, Some(Cut::Stopped), &[])];
    assert_snapshot!(cut(&half).unwrap(), @"cut short by a stop on b, an answer without its end on a: rows may be missing");
}

#[test]
fn warnings_are_grouped_over_hosts() {
    let mut entries: Vec<Entry> = ["a", "b", "c", "d"].map(|host| entry(host, refused("needs weight 2"), 0)).into();
    entries.push(entry("e", failed("disk\nfull\u{202e}"), 0));
    entries[4].troubles.push("the signature does not verify".into());
    assert_snapshot!(warnings(&entries).join("\n"), @r"
    refused: needs weight 2 (a, b, c and 1 more)
    failed: disk\nfull\u{202e} (e)
    the signature does not verify (e)
    ");
}

#[test]
fn troubles_are_counted_and_the_first_few_shown() {
    assert!(troubles(&[scanned("a", 1, None, &[])]).is_empty());
    let many: Vec<(String, &str)> = (0..7).map(|i| (format!("/p{i}"), "permission denied")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(path, reason)| (path.as_str(), *reason)).collect();
    let entries = [scanned("a", 0, None, &many), scanned("b", 0, None, &many[6..]), scanned("c", 0, None, &[])];
    assert_snapshot!(troubles(&entries).join("\n"), @r"
    8 troubles on 2 of 3 hosts:
      /p6: permission denied (a, b)
      /p0: permission denied (a)
      /p1: permission denied (a)
      /p2: permission denied (a)
      /p3: permission denied (a)
      … and 2 more kinds; `.hosts` lists them by host
    ");
}

#[test]
fn the_completeness_record_is_json() {
    let away = [not_asked("b", "idle"), not_asked("c", "offline"), not_asked("d", "offline")];
    let record = completeness(&[scanned("a", 1, Some(Cut::Bytes), &[])], &away, Some("0199"));
    let record: serde_json::Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record["not_asked"], 3);
    assert_eq!(record["not_asked_because"], serde_json::json!({"idle": 1, "offline": 2}));
    assert_eq!((record["asked"].as_u64(), record["action"].as_str()), (Some(1), Some("0199")));
    assert!(record["cut"].as_str().unwrap().contains("limit_bytes"));
}
