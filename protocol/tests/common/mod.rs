//! What several tests speak of: one moment, one agent, one action that uses every word of the format.

#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::unwrap_used, reason = "a test may")]

use std::collections::BTreeMap;

use canvass_protocol::action::{Action, ActionHash, Stage, Window};
use canvass_protocol::aggregate::{Aggregate, Call, Function, OrderBy};
use canvass_protocol::answer::agent_id;
use canvass_protocol::dependency::{DependsOn, Pair};
use canvass_protocol::filter::{Filter, Is, Pattern, Place, VersionOrder, VersionTest};
use canvass_protocol::limits::Limits;
use canvass_protocol::members::Members;
use canvass_protocol::scan::{Options, Scan};
use canvass_protocol::sets::{Bloom, PatternSet};
use canvass_protocol::statement::{InputFile, Inputs, Statement};
use canvass_protocol::target::{Facts, Mode};
use canvass_protocol::value::Value;
use canvass_protocol::versions::Source;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;

/// The moment of all golden files.
pub const NOW: &str = "2026-11-21T12:00:00Z";

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn agent_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn id_of(key: &SigningKey) -> String {
    agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap()
}

pub fn facts() -> Facts {
    Facts {
        id: id_of(&agent_key()),
        name: "web-1".into(),
        mode: Mode::Daemon,
        os: "linux".into(),
        arch: "x86_64".into(),
        os_version: Some("Debian 12".into()),
        kernel: None,
        version: "0.1.0".into(),
        tags: BTreeMap::from([("role".into(), "web".into()), ("team".into(), "shop".into())]),
        addresses: vec!["10.1.2.3".parse().unwrap(), "fe80::1".parse().unwrap()],
        features: Vec::new(),
        revoked_keys: Vec::new(),
        started_at: at("2026-11-20T08:30:00Z"),
        more: Members::default(),
    }
}

pub fn scan(table: &str, filter: Option<Filter>) -> Scan {
    Scan { table: table.into(), filter, ..Scan::default() }
}

pub fn action(scans: Vec<Scan>) -> Action {
    let window = Window { from: at(NOW), until: at("2026-11-21T12:05:00Z") };
    let id = "019aa650-0000-7000-8000-000000000001".parse().unwrap();
    Action::new("acme".into(), id, "SELECT …".into(), window, Limits::default(), scans)
}

pub fn pattern(text: &str) -> Pattern {
    Pattern { pattern: text.into(), ignore_case: false }
}

pub fn version(is: VersionOrder, than: &str, source: Source) -> Is {
    Is::Version(VersionTest { is, than: than.into(), source })
}

/// One of every test that the format had from the first.
pub fn every_test() -> Vec<Is> {
    let text = |text: &str| Value::Text(text.into());
    vec![
        Is::Equal(text("/etc/pass\"wd\n")),
        Is::NotEqual(Value::Integer(-22)),
        Is::Less(Value::Float(0.1 + 0.2)),
        Is::LessOrEqual(Value::Boolean(true)),
        Is::Greater(Value::TimestampNs(1_763_726_400_000_000_001)),
        Is::GreaterOrEqual(Value::Integer(i64::MIN)),
        Is::In(vec![text("a"), text("ß")]),
        Is::InSet("iocs".into()),
        Is::Like(pattern("%.so_")),
        Is::Matches(Pattern { pattern: "^AKIA[0-9A-Z]{16}$".into(), ignore_case: true }),
        Is::EveryLine(pattern("^ssh-ed25519 ")),
        Is::Under(Place::Folder("/etc".into())),
        Is::Under(Place::Network("10.0.0.0/8".parse().unwrap())),
        Is::Null,
        Is::Private,
        Is::Loopback,
    ]
}

/// An action of what came later and this version's agents know.
pub fn later_action() -> Action {
    let sources = Source::ALL.into_iter().zip(VersionOrder::ALL);
    let tests = sources.map(|(source, (order, _))| Filter::test("version", version(order, "1:2.4.1-1", source)));
    action(vec![scan("packages", Some(Filter::Any(tests.collect())))])
}

/// An action of all that the format has a place for and this version's agents refuse.
pub fn reserved_action() -> Action {
    let set = PatternSet { patterns: vec!["AKIA[0-9A-Z]{16}".into(), "(?-u)\\xde\\xad".into()], ignore_case: true };
    let bloom = Bloom::of(["203.0.113.9", "198.51.100.7"], 8, 3, 42);
    let tests = vec![
        Filter::test("remote_ip", Is::InBloom("bad".into())),
        Filter::test("program", Is::MatchesAny("keys".into())),
        Filter::test("program", Is::Equal(Value::Bytes(vec![0xde, 0xad]))),
    ];
    let first = Scan {
        columns: vec!["program".into()],
        patterns: BTreeMap::from([("keys".into(), set)]),
        blooms: BTreeMap::from([("bad".into(), bloom)]),
        ..scan("netstat", Some(Filter::Any(tests)))
    };
    let pair = Pair { column: "path".into(), of: "program".into() };
    let second = Scan {
        columns: vec!["path".into(), "size".into()],
        depends_on: Some(DependsOn { scan: 0, on: vec![pair], required: true }),
        limit: Some(10),
        order: vec![
            OrderBy { column: "size".into(), descending: true, nulls_first: false },
            OrderBy { column: "path".into(), descending: false, nulls_first: true },
        ],
        ..scan("files", None)
    };
    let call = |function, column: Option<&str>| Call { function, column: column.map(str::to_owned) };
    let functions = vec![
        call(Function::Count, None),
        call(Function::Count, Some("pid")),
        call(Function::CountDistinct, Some("uid")),
        call(Function::Sum, Some("memory_bytes")),
        call(Function::Min, Some("started_at")),
        call(Function::Max, Some("started_at")),
        call(Function::Avg, Some("memory_bytes")),
    ];
    let aggregate = Some(Aggregate { group_by: vec!["name".into()], functions });
    let third = Scan { aggregate, ..scan("processes", None) };
    let mut action = action(vec![first, second, third]);
    action.every_s = Some(3600);
    action.stage = Some(Stage { first: ActionHash::of(b"the first stage"), number: 2 });
    action
}

/// The action of the golden file: every word of the format, once at least.
pub fn golden_action() -> Action {
    let tests = every_test().into_iter().map(|is| Filter::test("path", is)).collect();
    let target = Filter::All(vec![
        Filter::test("os", Is::Equal(Value::Text("linux".into()))),
        Filter::Not(Box::new(Filter::test("tags.team", Is::Equal(Value::Text("lab".into()))))),
    ]);
    let full = Scan {
        table: "files".into(),
        target: Some(target),
        columns: vec!["path".into(), "size".into()],
        filter: Some(Filter::Any(vec![Filter::All(tests), Filter::Not(Box::new(Filter::All(Vec::new())))])),
        limit: Some(10),
        sets: BTreeMap::from([("iocs".into(), vec![Value::Text("d41d8cd9".into()), Value::Integer(1)])]),
        options: Options { decompress: true, follow: false },
        ..Scan::default()
    };
    let other = Scan { statement: 1, ..scan("system", None) };
    let named = |name: &str, sql: &str| Statement { name: Some(name.into()), sql: sql.into() };
    let file = InputFile { name: "iocs.csv".into(), bytes: 1024, sha256: "ab".repeat(32) };
    let settings = BTreeMap::from([("decompress".into(), "true".into())]);
    let mut action = action(vec![full, other]);
    action.statements = vec![named("iocs", "SELECT …"), named("systems", "SELECT os FROM system")];
    action.inputs = Inputs { settings, files: vec![file] };
    action
}
