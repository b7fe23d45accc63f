//! What the format has a place for and nobody runs yet: it is read, carried, shown, and known for what it is.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeSet;

use canvass_protocol::action::Action;
use canvass_protocol::features::{self, WIRE, Wire};
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::limits;
use canvass_protocol::scan::Scan;
use canvass_protocol::sets::{Bloom, PatternSet};
use canvass_protocol::value::Value;
use common::{action, golden_action, later_action, reserved_action, scan};

const RESERVED: &str = include_str!("golden/action-1-reserved.json");

#[test]
fn golden_reserved_action_opens_and_is_written_as_it_was() {
    let action = Action::parse(RESERVED.as_bytes()).unwrap();
    assert_eq!(action, reserved_action());
    assert_eq!(String::from_utf8(action.to_bytes()).unwrap(), RESERVED);
}

/// Why altered bytes of the golden action are refused.
fn refusal(old: &str, new: &str) -> String {
    assert!(RESERVED.contains(old), "`{old}` is not in the golden action");
    Action::parse(RESERVED.replacen(old, new, 1).as_bytes()).map_or_else(|error| error.to_string(), |_| "opens".into())
}

#[test]
fn what_is_reserved_is_as_strict_as_the_rest() {
    for (old, new, expected) in [
        ("\"every_s\":3600", "\"every_s\":60", "opens"),
        ("\"every_s\":3600", "\"every_s\":59", "every 59 s; it may be every 60 s"),
        ("\"number\":2", "\"number\":1", "stage 1; only stages 2 to 8"),
        ("\"number\":2", "\"number\":2,\"of\":3", "unknown field"),
        ("\"depends_on\":{\"scan\":0", "\"depends_on\":{\"scan\":1", "on a scan that does not stand before it"),
        (
            "\"depends_on\":{\"scan\":0",
            "\"depends_on\":{\"scan\":4294967295",
            "on a scan that does not stand before it",
        ),
        ("\"depends_on\":{\"scan\":0", "\"depends_on\":{\"scan\":0,\"scan\":0", "duplicate field"),
        ("\"on\":[{\"column\":\"path\",\"of\":\"program\"}]", "\"on\":[]", "requires keys and says no column"),
        ("\"limit\":10,", "", "an order without a limit"),
        ("\"nulls_first\":true", "\"nulls_last\":true", "unknown field"),
        ("\"columns\":[],\"aggregate\"", "\"columns\":[\"pid\"],\"aggregate\"", "an aggregate says itself"),
        ("\"columns\":[],\"aggregate\"", "\"columns\":[],\"limit\":1,\"aggregate\"", "none may be left out"),
        ("\"function\":\"avg\"", "\"function\":\"median\"", "unknown variant `median`"),
        ("{\"function\":\"avg\",\"column\":\"memory_bytes\"}", "{\"function\":\"avg\"}", "lacks its column"),
        ("\"group_by\":[\"name\"]", "\"group_by\":[\"name\"],\"having\":1", "unknown field"),
        ("\"patterns\":{\"keys\"", "\"patterns\":{\"other\"", "names the set `keys`, which the scan does not carry"),
        ("\"blooms\":{\"bad\"", "\"blooms\":{\"good\"", "names the set `bad`, which the scan does not carry"),
        (
            "\"blooms\":{\"bad\":",
            "\"blooms\":{\"bad\":{\"bits\":\"AA==\",\"hashes\":1,\"seed\":0},\"bad\":",
            "duplicate member",
        ),
        ("\"hashes\":3", "\"hashes\":0", "`blooms.bad` of the scan of `netstat`"),
        ("\"hashes\":3", "\"hashes\":33", "more than is allowed"),
        ("{\"bytes\":\"dead\"}", "{\"bytes\":\"dea\"}", "malformed"),
        ("{\"bytes\":\"dead\"}", "{\"bytes\":\"xxxx\"}", "malformed"),
    ] {
        let found = refusal(old, new);
        assert!(found.contains(expected), "{old} → {new}: {found}");
    }
    let patterns = |count: usize| {
        let set = PatternSet { patterns: vec!["x".into(); count], ignore_case: false };
        let scan = Scan { patterns: [("p".to_owned(), set)].into(), ..scan("files", None) };
        action(vec![scan]).check().map_err(|error| error.to_string())
    };
    assert_eq!(patterns(limits::PATTERNS_MAX), Ok(()));
    assert!(patterns(limits::PATTERNS_MAX + 1).unwrap_err().contains("more patterns than are allowed"));
    assert!(patterns(0).unwrap_err().contains("it is empty"));
}

#[test]
fn what_an_action_uses_is_known_before_it_is_signed() {
    for (wire, word, about) in WIRE {
        assert!(wire.as_str() == *word && about.ends_with('.'), "{word}");
    }
    let of_all = |action: &Action| -> BTreeSet<Wire> {
        action.scans.iter().flat_map(features::of_scan).chain(features::of_action(action)).collect()
    };
    assert_eq!(of_all(&golden_action()), BTreeSet::new(), "what this version runs");
    let known: BTreeSet<Wire> = features::KNOWN.iter().copied().collect();
    assert_eq!(of_all(&later_action()), known);
    let unknown = WIRE.iter().map(|(wire, ..)| *wire).filter(|wire| !known.contains(wire));
    assert_eq!(of_all(&reserved_action()), unknown.collect());
    let bytes = || Value::Bytes(vec![0]);
    for is in [Is::In(vec![bytes()]), Is::Less(bytes())] {
        let within = Filter::Not(Box::new(Filter::All(vec![Filter::test("x", is)])));
        let target = Scan { target: Some(within.clone()), ..scan("files", None) };
        for scan in [scan("files", Some(within)), target] {
            assert_eq!(features::of_scan(&scan), BTreeSet::from([Wire::Bytes]));
        }
    }

    let lacking = |features: &[&str], asked: &[&str]| {
        let features: Vec<String> = features.iter().map(|word| (*word).to_owned()).collect();
        features::lacking(&reserved_action(), &features, |_, scan| asked.contains(&scan.table.as_str())).join(", ")
    };
    assert_eq!(lacking(&["table:files"], &[]), "`every_s`, `stage`");
    assert_eq!(lacking(&["table:files", "wire:every_s", "wire:stage"], &["files"]), "`order`, `depends_on`");
    let known = ["wire:every_s", "wire:stage", "wire:patterns", "wire:blooms", "wire:bytes"];
    assert_eq!(lacking(&known, &["netstat"]), "the table `netstat`");
    assert_eq!(lacking(&known, &["processes"]), "the table `processes`, `aggregate`");
}

#[test]
fn what_is_reserved_is_shown_to_whoever_signs() {
    let action = reserved_action();
    let [netstat, files, processes] = action.scans.as_slice() else { panic!("{action:?}") };
    assert_eq!(
        netstat.filter.as_ref().unwrap().to_string(),
        "remote_ip IN Bloom filter bad OR program MATCHES ANY OF patterns keys OR program = x'dead'"
    );
    assert_eq!(
        files.depends_on.as_ref().unwrap().to_string(),
        "where scan 1 finds rows, for path = its program, which bound it"
    );
    let order: Vec<String> = files.order.iter().map(ToString::to_string).collect();
    assert_eq!(order, ["size DESC NULLS LAST", "path NULLS FIRST"]);
    assert_eq!(
        processes.aggregate.as_ref().unwrap().to_string(),
        "count(*), count(pid), count(DISTINCT uid), sum(memory_bytes), min(started_at), max(started_at), \
         avg(memory_bytes) GROUP BY name"
    );
}

/// Desks and agents of all versions have to agree on every bit.
#[test]
fn a_bloom_filter_is_the_same_everywhere() {
    let bloom = Bloom::of(["203.0.113.9", "198.51.100.7"], 8, 3, 42);
    assert_eq!(hex::encode(&bloom.bits), "1000101110100000");
    assert!(bloom.may_hold("203.0.113.9") && bloom.may_hold("198.51.100.7"));
    let texts: Vec<String> = (0..1000).map(|number| format!("host-{number}")).collect();
    let bloom = Bloom::of(texts.iter().map(String::as_str), 1200, 7, 1);
    assert!(texts.iter().all(|text| bloom.may_hold(text)), "none is missed");
    let others = (0..1000).filter(|number| bloom.may_hold(&format!("other-{number}"))).count();
    assert!(others < 30, "few others pass: {others}");
    let reseeded = Bloom { seed: 2, ..bloom };
    assert!(texts.iter().filter(|text| reseeded.may_hold(text)).count() < 60);
}
