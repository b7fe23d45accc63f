//! The engine: what passes is what a naive reading of the filter lets pass, and a scan's account is true.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::cell::{Cell as Count, RefCell};
use std::cmp::Ordering;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;

use canvass_protocol::aggregate::{Aggregate, OrderBy};
use canvass_protocol::dependency::DependsOn;
use canvass_protocol::filter::{Filter, Is, Place, Test};
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::scan::{Options, Scan};
use canvass_protocol::sets::{Bloom, PatternSet};
use canvass_protocol::value::{Truth, Value};
use canvass_tables::column::{Cell, Column, Kind};
use canvass_tables::engine::{Collector, Request, ScanError};
use canvass_tables::host::Host;
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, Table as _, TableInfo};
use common::{all, ask, ask_with, machine, matches, not, pattern, request, scan, text, under};
use proptest::prelude::*;

#[derive(Debug, Clone, Default)]
struct Row {
    text: Option<String>,
    integer: Option<i64>,
    float: Option<f64>,
    truth: Option<bool>,
    at: Option<i64>,
}

thread_local! {
    static ROWS: RefCell<Vec<Row>> = const { RefCell::new(Vec::new()) };
    static PROBES: Count<usize> = const { Count::new(0) };
}

static SAMPLE: Declared<Row> = Declared {
    info: TableInfo {
        name: "sample",
        module: Module::reading("sample"),
        about: "",
        bound: None,
        live: false,
        follows: false,
        example: "",
    },
    columns: &[
        Column::field("text", Kind::Text, "", |row| row.text.as_deref().into()),
        Column::probe("integer", Kind::Integer, "", |row: &Row, _| {
            PROBES.set(PROBES.get() + 1);
            Ok(row.integer.into())
        })
        .sensitive(),
        Column::field("float", Kind::Float, "", |row| row.float.map_or(Cell::Null, Cell::Float)),
        Column::field("truth", Kind::Boolean, "", |row| row.truth.into()),
        Column::field("at", Kind::Timestamp, "", |row| row.at.map_or(Cell::Null, Cell::Timestamp)),
    ],
    collect: |collector| {
        for row in ROWS.take() {
            collector.row(row)?;
        }
        ControlFlow::Continue(())
    },
};

static LIVE: Declared<Row> = Declared {
    info: TableInfo {
        name: "live",
        module: Module::reading("sample"),
        about: "",
        bound: None,
        live: true,
        follows: false,
        example: "",
    },
    columns: &[],
    collect: |collector: &mut Collector<'_, Row>| collector.row(Row::default()),
};

fn run(
    rows: &[Row],
    question: &Scan,
    withheld: &[String],
    stop: bool,
) -> Result<canvass_protocol::answer::ScanRecord, ScanError> {
    thread_local!(static HOST: Host = machine());
    ROWS.set(rows.to_vec());
    PROBES.set(0);
    let stop = AtomicBool::new(stop);
    HOST.with(|host| {
        let request = Request { withheld, ..request(host, question, 1, &stop) };
        SAMPLE.scan(&request, &mut |_, _| Ok(()))
    })
}

/// What a test says of a row, by the letter.
fn oracle(test: &Test, row: &Row) -> Truth {
    let own = match test.column.as_str() {
        "text" => row.text.clone().map(Value::Text),
        "integer" => row.integer.map(Value::Integer),
        "truth" => row.truth.map(Value::Boolean),
        "at" => row.at.map(Value::TimestampNs),
        other => panic!("{other}"),
    };
    let Some(own) = own else {
        return if test.is == Is::Null { Truth::True } else { Truth::Unknown };
    };
    match &test.is {
        Is::Equal(value) => order(&own, value).is_eq().into(),
        Is::NotEqual(value) => order(&own, value).is_ne().into(),
        Is::Less(value) => order(&own, value).is_lt().into(),
        Is::LessOrEqual(value) => order(&own, value).is_le().into(),
        Is::Greater(value) => order(&own, value).is_gt().into(),
        Is::GreaterOrEqual(value) => order(&own, value).is_ge().into(),
        Is::In(values) => values.iter().any(|value| order(&own, value).is_eq()).into(),
        Is::Null => Truth::False,
        Is::Matches(pattern) => matches!(&own, Value::Text(text) if text.contains(&pattern.pattern)).into(),
        other => panic!("{other:?}"),
    }
}

fn order(own: &Value, value: &Value) -> Ordering {
    match (own, value) {
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Integer(a), Value::Integer(b)) | (Value::TimestampNs(a), Value::TimestampNs(b)) => a.cmp(b),
        // Small numbers only: exact in both types.
        (Value::Integer(a), Value::Float(b)) => (*a as f64).partial_cmp(b).unwrap(),
        (Value::Boolean(a), Value::Boolean(b)) => a.cmp(b),
        other => panic!("{other:?}"),
    }
}

fn a_row() -> impl Strategy<Value = Row> {
    let text = proptest::option::of("[ab]{0,2}");
    let number = || proptest::option::of(-2i64..3);
    (text, number(), proptest::option::of(any::<bool>()), number()).prop_map(|(text, integer, truth, at)| Row {
        text,
        integer,
        truth,
        at,
        float: None,
    })
}

fn a_test() -> impl Strategy<Value = Filter> {
    let value = prop_oneof![
        "[ab]{0,2}".prop_map(|text| ("text", Value::Text(text))),
        (-2i64..3).prop_map(|number| ("integer", Value::Integer(number))),
        (-5i64..6).prop_map(|number| ("integer", Value::Float(number as f64 / 2.0))),
        any::<bool>().prop_map(|truth| ("truth", Value::Boolean(truth))),
        (-2i64..3).prop_map(|at| ("at", Value::TimestampNs(at))),
    ];
    (value, 0..9).prop_map(|((column, value), operator)| {
        let is = match operator {
            0 => Is::Equal(value),
            1 => Is::NotEqual(value),
            2 => Is::Less(value),
            3 => Is::LessOrEqual(value),
            4 => Is::Greater(value),
            5 => Is::GreaterOrEqual(value),
            6 => Is::In(vec![value]),
            7 => Is::Null,
            _ if column == "text" => Is::Matches(pattern("a")),
            _ => Is::In(vec![]),
        };
        Filter::test(column, is)
    })
}

fn a_filter() -> impl Strategy<Value = Filter> {
    a_test().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::All),
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Filter::Any),
            inner.prop_map(not),
        ]
    })
}

proptest! {
    /// Order of evaluation, short cuts and compiled tests change nothing of what three-valued logic says.
    #[test]
    fn what_passes_is_what_a_naive_reading_lets_pass(
        rows in proptest::collection::vec(a_row(), 0..12),
        filter in a_filter(),
    ) {
        let kept = |row: &&Row| filter.evaluate(&mut |test| oracle(test, row)) == Truth::True;
        let expected = rows.iter().filter(kept).count() as u64;
        let record = run(&rows, &scan("sample", &["integer"], filter.clone()), &[], false).unwrap();
        prop_assert_eq!(record.rows, expected, "{:?} over {:?}", filter, rows);
        prop_assert_eq!(record.examined, rows.len() as u64);
        prop_assert!(PROBES.get() <= rows.len(), "a probe is read once a row");
    }
}

fn numbers(count: i64) -> Vec<Row> {
    (0..count).map(|number| Row { integer: Some(number), text: Some("x".into()), ..Row::default() }).collect()
}

fn is(column: &str, is: Is) -> Filter {
    Filter::test(column, is)
}

#[test]
fn probes_run_for_survivors_only() {
    let costly_first = all(vec![is("integer", Is::GreaterOrEqual(Value::Integer(0))), is("text", Is::Null)]);
    let record = run(&numbers(10), &scan("sample", &["integer"], costly_first), &[], false).unwrap();
    assert_eq!((record.rows, record.examined, PROBES.get()), (0, 10, 0));
    let both = is("integer", Is::Less(Value::Integer(3)));
    let record = run(&numbers(10), &scan("sample", &["integer"], both), &[], false).unwrap();
    assert_eq!((record.rows, PROBES.get()), (3, 10));
}

#[test]
fn large_integers_are_not_rounded() {
    let edge = 1i64 << 53;
    for (constant, expected) in [
        (Is::Equal(Value::Float(edge as f64)), 1),
        (Is::Greater(Value::Float(edge as f64)), 1),
        (Is::Less(Value::Float(f64::INFINITY)), 2),
        (Is::Less(Value::Float(f64::NEG_INFINITY)), 0),
        (Is::In(vec![Value::Float(edge as f64), Value::Float(0.5)]), 1),
    ] {
        let rows = [edge, edge + 1].map(|number| Row { integer: Some(number), ..Row::default() });
        let record = run(&rows, &scan("sample", &[], is("integer", constant.clone())), &[], false).unwrap();
        assert_eq!(record.rows, expected, "{constant:?}");
    }
}

#[test]
fn withheld_is_null_before_any_filter() {
    let withheld = ["integer".to_owned()];
    for (filter, rows) in [
        (is("integer", Is::GreaterOrEqual(Value::Integer(0))), 0),
        (not(is("integer", Is::GreaterOrEqual(Value::Integer(0)))), 0),
        (is("integer", Is::Null), 10),
    ] {
        let record = run(&numbers(10), &scan("sample", &["integer"], filter), &withheld, false).unwrap();
        assert_eq!((record.rows, record.troubles_count, PROBES.get()), (rows, 1, 0));
        assert!(record.troubles[0].reason.contains("withheld"));
    }
    let elsewhere = run(&numbers(1), &scan("sample", &["text"], all(vec![])), &withheld, false).unwrap();
    assert_eq!(elsewhere.troubles_count, 0);
}

#[test]
fn sets_are_looked_up() {
    let mut question = scan("sample", &["integer"], is("integer", Is::InSet("keys".into())));
    let error = run(&numbers(3), &question, &[], false).unwrap_err();
    assert!(matches!(error, ScanError::BadTest { .. }), "{error}");
    question.sets.insert("keys".into(), vec![Value::Integer(1), Value::Integer(7)]);
    assert_eq!(run(&numbers(3), &question, &[], false).unwrap().rows, 1);
}

#[test]
fn a_stop_from_outside_keeps_what_was_found() {
    let record = run(&numbers(3), &scan("sample", &["integer"], all(vec![])), &[], true).unwrap();
    assert_eq!((record.asked, record.rows, record.cut), (true, 0, Some(Cut::Stopped)));
}

#[test]
fn long_answers_come_in_bounded_frames() {
    let rows: Vec<Row> = (0..3).map(|_| Row { text: Some("x".repeat(900_000)), ..Row::default() }).collect();
    let too_long = Row { text: Some("x".repeat(3 << 20)), ..Row::default() };
    ROWS.set(rows.into_iter().chain([too_long]).chain(numbers(20_000)).collect());
    let host = machine();
    let question = scan("sample", &["text"], all(vec![]));
    let stop = AtomicBool::new(false);
    let request = request(&host, &question, 1, &stop);
    let mut frames = Vec::new();
    let record = SAMPLE
        .scan(&request, &mut |rows, bytes| {
            frames.push((rows, bytes.len()));
            Ok(())
        })
        .unwrap();
    assert_eq!(record.rows, 20_004);
    assert_eq!(record.bytes, frames.iter().map(|(_, bytes)| *bytes as u64).sum::<u64>());
    assert!(frames.len() >= 4 && frames.iter().all(|(rows, bytes)| *rows <= 8192 && *bytes < 4 << 20), "{frames:?}");
    assert_eq!(record.troubles_count, 1, "{:?}", record.troubles);
}

#[test]
fn a_sink_that_fails_ends_the_scan() {
    ROWS.set(numbers(3));
    let host = machine();
    let question = scan("sample", &["text"], all(vec![]));
    let stop = AtomicBool::new(false);
    let request = request(&host, &question, 1, &stop);
    let error = SAMPLE.scan(&request, &mut |_, _| Err(std::io::Error::other("gone"))).unwrap_err();
    assert!(matches!(error, ScanError::Sink(_)));
}

#[test]
fn live_tables_have_no_answer_in_a_fixture() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("host.toml"), "").unwrap();
    let host = Host::open(&canvass_tables::host::HostSpec::Fixture(folder.path().to_owned())).unwrap();
    let question = scan("live", &[], all(vec![]));
    let stop = AtomicBool::new(false);
    let request = request(&host, &question, 1, &stop);
    let record = LIVE.scan(&request, &mut |_, _| Ok(())).unwrap();
    assert_eq!((record.rows, record.troubles_count), (0, 1));
}

#[test]
fn what_cannot_be_asked_is_refused_before_scanning() {
    let root = under(std::path::Path::new("/etc"));
    let with = |filter: Filter| all(vec![root.clone(), filter]);
    let content = |is: Is| with(Filter::test("content", is));
    let network = Is::Under(Place::parse("10.0.0.0/8").unwrap());
    let aggregate = Some(Aggregate { group_by: vec!["path".into()], functions: vec![] });
    let aggregate = Scan { aggregate, ..scan("files", &[], root.clone()) };
    let order = vec![OrderBy { column: "size".into(), descending: true, nulls_first: false }];
    let order = Scan { order, limit: Some(1), ..scan("files", &[], root.clone()) };
    let depends_on = Some(DependsOn { scan: 0, on: vec![], required: false });
    let dependent = Scan { depends_on, ..scan("files", &[], root.clone()) };
    let set = PatternSet { patterns: vec!["x".into()], ignore_case: false };
    let patterns = Scan { patterns: [("p".into(), set)].into(), ..scan("files", &[], root.clone()) };
    let blooms = Scan { blooms: [("b".into(), Bloom::of(["x"], 8, 2, 0))].into(), ..scan("files", &[], root.clone()) };
    let optional = |options: Options| Scan { options, ..scan("users", &[], Filter::All(Vec::new())) };
    let mut deep = root.clone();
    for _ in 0..70 {
        deep = not(deep);
    }
    for (question, part) in [
        (scan("nothing", &[], root.clone()), "unknown table `nothing`"),
        (scan("files", &["colour"], root.clone()), "no column `colour`"),
        (scan("files", &["path"], with(matches("colour", "x"))), "no column `colour`"),
        (scan("files", &["content"], root.clone()), "`content` is content"),
        (scan("files", &["path"], matches("name", "x")), "needs a bound on `path`"),
        (scan("files", &["path"], with(matches("name", "("))), "bad regular expression"),
        (scan("files", &["path"], with(is("size", Is::Equal(text("1"))))), "does not fit a column of type integer"),
        (scan("files", &["path"], with(is("size", network))), "does not fit"),
        (scan("files", &["path"], with(is("mtime", Is::Equal(Value::Integer(1))))), "type timestamp"),
        (scan("files", &["path"], with(is("name", Is::EveryLine(pattern("x"))))), "type text"),
        (scan("files", &["path"], content(Is::Equal(text("x")))), "content answers only"),
        (scan("files", &["path"], content(Is::Null)), "content answers only"),
        (scan("files", &["path"], content(Is::Matches(pattern("(")))), "bad regular expression"),
        (scan("files", &["path"], all(vec![root.clone(), deep])), "too deep"),
        (aggregate, "cannot answer `aggregate`"),
        (order, "cannot answer `order`"),
        (dependent, "cannot answer `depends_on`"),
        (patterns, "cannot answer `patterns`"),
        (blooms, "cannot answer `blooms`"),
        (scan("files", &["path"], with(is("name", Is::Equal(Value::Bytes(vec![0xde]))))), "type text"),
        (optional(Options { follow: true, ..Options::default() }), "cannot answer `follow`"),
        (optional(Options { decompress: true, ..Options::default() }), "cannot answer `decompress`"),
    ] {
        let error = ask(&machine(), &question).map(|asked| asked.record).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    let withheld = ask_with(
        &machine(),
        &scan("files", &["path"], content(Is::Like(pattern("%")))),
        Limits::default(),
        &["content"],
        &[],
    )
    .unwrap();
    assert_eq!((withheld.record.rows, withheld.record.troubles_count), (0, 1));
}
