//! The licence of every exact push-down: on random rows and random predicates the endpoint's engine and DataFusion keep
//! the same rows, NULLs included.
//!
//! The same predicate is asked twice. Once as it is, so that it is pushed down whole; once above a LIMIT that no filter
//! can pass, so that DataFusion applies it to all rows.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use canvass_planner::desk::Desk;
use canvass_planner::settings::Settings;
use canvass_protocol::envelope::Envelope;
use canvass_tables::Table;
use canvass_tables::column::{self, Column, Form, Kind};
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, TableInfo};
use common::direct::Direct;
use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::TryStreamExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[derive(Debug, Clone)]
struct Sample {
    id: i64,
    t: Option<String>,
    n: Option<i64>,
    f: Option<f64>,
    b: Option<bool>,
    at: Option<i64>,
}

static ROWS: Mutex<Vec<Sample>> = Mutex::new(Vec::new());

static SAMPLES: Declared<Sample> = Declared {
    info: TableInfo {
        name: "samples",
        module: Module::reading("samples"),
        about: "",
        bound: None,
        live: false,
        follows: false,
        example: "",
    },
    columns: &[
        Column::field("id", Kind::Integer, "", |row: &Sample| row.id.into()),
        Column::field("t", Kind::Text, "", |row: &Sample| row.t.as_deref().into()),
        Column::field("n", Kind::Integer, "", |row: &Sample| row.n.into()).form(Form::Bytes),
        Column::field("f", Kind::Float, "", |row: &Sample| row.f.map_or(column::Cell::Null, column::Cell::Float)),
        Column::field("b", Kind::Boolean, "", |row: &Sample| row.b.into()),
        Column::field("at", Kind::Timestamp, "", |row: &Sample| {
            row.at.map_or(column::Cell::Null, column::Cell::Timestamp)
        }),
        Column::<Sample>::field("source", Kind::Text, "", |row| {
            usize::try_from(row.id).ok().and_then(|id| SOURCES.get(id % (SOURCES.len() + 1)).copied()).into()
        })
        .values(SOURCES),
        Column::probe("p", Kind::Text, "", |row: &Sample, _| Ok(row.t.clone().into())),
    ],
    collect: |collector| {
        for row in ROWS.lock().unwrap().clone() {
            collector.row(row)?;
        }
        ControlFlow::Continue(())
    },
};

static TABLES: &[&dyn Table] = &[&SAMPLES];

const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "ab",
    "aB",
    "a%b",
    "a_b",
    "a\\b",
    "a\\%",
    "é",
    "É",
    "ß",
    "\u{212a}",
    "k",
    "x\ny",
    "x\r\n",
    "/",
    "/etc",
    "/etc/",
    "/etc/passwd",
    "/etcetera",
    "10.0.0.1",
    "10.1.2.3",
    "192.168.1.1",
    "127.0.0.1",
    "::1",
    "fe80::1",
    "::ffff:10.0.0.1",
    "2001:db8::1",
    "it's",
    "NULL",
    "1.2.3",
    "1.2.3~rc1",
    "1.2.3-rc1",
    "1:0",
    "1.10.0",
];
/// The values of `source`, which some rows lack.
const SOURCES: &[&str] = &["dpkg", "rpm", "apk", "pip", "npm"];
const BY: &[&str] = &["", ", source", ", 'dpkg'", ", 'rpm'", ", 'apk'", ", 'pip'", ", 'npm'"];
/// Constants that are versions of every source.
const VERSIONS: &[&str] = &["0.0.1", "1.2.3", "10.0.0"];
const LIKES: &[&str] = &[
    "", "%", "_", "a", "a%", "%b", "%a%", "a_b", "_%_", "a\\%b", "a\\_b", "a\\\\b", "\\", "a\\", "\\a", "%é%", "k",
    "K", "x%y", "x_y", "/etc/%", "%\n%", "%%", "ß", "SS",
];
const REGEXES: &[&str] =
    &["", "a", "^a$", "^x$", "(?m)^y$", "x.y", "[[:upper:]]", "é", "k", "^/etc", "a|b", "\\d+\\.", "^.*$"];
const PLACES: &[&str] =
    &["/", "/etc", "/etc/", "/etc/passwd", "10.0.0.0/8", "10.0.0.1", "::/0", "fe80::/10", "0.0.0.0/0"];
const NUMBERS: &[i64] = &[i64::MIN, -1, 0, 1, 2, 1024, 9_007_199_254_740_993, i64::MAX];
const TIMES: &[&str] =
    &["1969-12-31T23:59:59.999999999Z", "1970-01-01", "2026-11-01T10:00:00Z", "2026-11-01 10:00:00.5"];

fn pick<T: Copy + std::fmt::Debug + 'static>(from: &'static [T]) -> impl Strategy<Value = T> {
    prop::sample::select(from)
}

fn rows() -> impl Strategy<Value = Vec<Sample>> {
    let row = (
        prop::option::of(pick(TEXTS)),
        prop::option::of(pick(NUMBERS)),
        prop::option::of(pick(&[-1.5_f64, 0.0, 0.5, 1e300])),
        prop::option::of(any::<bool>()),
        prop::option::of(pick(&[-1_i64, 0, 1_793_527_200_000_000_000, 1_793_527_200_500_000_000])),
    );
    prop::collection::vec(row, 1..20).prop_map(|rows| {
        let sample = |(id, (t, n, f, b, at)): (usize, (Option<&str>, _, _, _, _))| Sample {
            id: i64::try_from(id).unwrap(),
            t: t.map(str::to_owned),
            n,
            f,
            b,
            at,
        };
        rows.into_iter().enumerate().map(sample).collect()
    })
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn predicate() -> impl Strategy<Value = String> {
    let comparison = || pick(&["=", "<>", "<", "<=", ">", ">="]);
    let text = || pick(&["t", "p"]);
    let leaf = prop_oneof![
        (text(), comparison(), pick(TEXTS)).prop_map(|(c, op, v)| format!("{c} {op} {}", quote(v))),
        (text(), pick(&["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"]), pick(LIKES))
            .prop_map(|(c, op, v)| format!("{c} {op} {}", quote(v))),
        (text(), pick(&["~", "~*", "!~", "!~*"]), pick(REGEXES))
            .prop_map(|(c, op, v)| format!("{c} {op} {}", quote(v))),
        (text(), pick(&["UNDER", "NOT UNDER"]), pick(PLACES)).prop_map(|(c, op, v)| format!("{c} {op} {}", quote(v))),
        (pick(&["n", "id"]), comparison(), pick(NUMBERS)).prop_map(|(c, op, v)| format!("{c} {op} {v}")),
        (comparison(), pick(NUMBERS)).prop_map(|(op, v)| format!("{v} {op} n")),
        (comparison(), pick(&["-1.5", "0.0", "0.5", "1e300"])).prop_map(|(op, v)| format!("f {op} {v}")),
        (comparison(), pick(TIMES)).prop_map(|(op, v)| format!("at {op} {}", quote(v))),
        (pick(&["IN", "NOT IN"]), prop::collection::vec(pick(TEXTS), 1..6))
            .prop_map(|(op, v)| { format!("t {op} ({})", v.into_iter().map(quote).collect::<Vec<_>>().join(", ")) }),
        (pick(&["IN", "NOT IN"]), prop::collection::vec(pick(NUMBERS), 1..6)).prop_map(|(op, v)| {
            format!("n {op} ({})", v.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }),
        (pick(&["BETWEEN", "NOT BETWEEN"]), pick(NUMBERS), pick(NUMBERS))
            .prop_map(|(op, low, high)| format!("n {op} {low} AND {high}")),
        pick(&["t IS NULL", "n IS NOT NULL", "p IS NULL", "at IS NULL", "b", "NOT b", "b IS NULL", "b = false"])
            .prop_map(str::to_owned),
        (pick(&["", "NOT "]), pick(&["lt", "le", "gt", "ge", "eq"]), text(), pick(VERSIONS), pick(BY))
            .prop_map(|(not, order, c, v, by)| format!("{not}version_{order}({c}, {}{by})", quote(v))),
        (pick(&["lt", "le", "gt", "ge", "eq"]), text(), pick(VERSIONS), pick(BY))
            .prop_map(|(order, c, v, by)| format!("version_{order}({}, {c}{by})", quote(v))),
        pick(&["is_private(t)", "NOT is_private(t)", "is_loopback(p)", "n < '1k'", "n IN ('1k', 2)"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
}

/// Runs a statement that gives ids; returns them in order, and the plan.
async fn ids(statement: &str) -> (Vec<i64>, String) {
    let mut desk =
        Desk::with_tables(Arc::new(Direct::new(TABLES, &["one"], |parts| parts)), Settings::default(), TABLES);
    let planned = desk.plan(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let plan = planned.explanation.clone();
    let envelope = planned
        .action
        .as_ref()
        .map(|action| Envelope { payload: String::from_utf8(action.to_bytes()).unwrap(), signatures: vec![] });
    let batches: Vec<RecordBatch> = desk.run(planned, envelope).await.unwrap().rows.try_collect().await.unwrap();
    let mut ids: Vec<i64> =
        batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values().to_vec()).collect();
    ids.sort_unstable();
    (ids, plan)
}

#[test]
fn endpoint_and_desk_keep_the_same_rows() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // A version without a source is less than another one neither certainly nor certainly not; one of each source is.
    let row = |id| Sample { id, t: Some("1.2.3".to_owned()), n: None, f: None, b: None, at: None };
    *ROWS.lock().unwrap() = (0..6).map(row).collect();
    for (predicate, expected) in
        [("version_lt(t, '0.0.1')", vec![]), ("NOT version_lt(t, '0.0.1')", vec![0, 1, 2, 3, 4])]
    {
        let (found, plan) = runtime.block_on(ids(&format!("SELECT id FROM samples WHERE {predicate}")));
        assert_eq!(found, expected, "{predicate}");
        assert!(!plan.contains("keeps rows where"), "not pushed whole: {plan}");
    }
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let (asked, whole) = (Cell::new(0_u32), Cell::new(0_u32));
    let outcome = runner.run(&(rows(), predicate()), |(rows, predicate)| {
        *ROWS.lock().unwrap() = rows;
        let (pushed, plan) = runtime.block_on(ids(&format!("SELECT id FROM samples WHERE {predicate}")));
        asked.set(asked.get() + 1);
        whole.set(whole.get() + u32::from(!plan.contains("keeps rows where")));
        let at_desk = format!("SELECT id FROM (SELECT *, p FROM samples LIMIT 1000) s WHERE {predicate}");
        let (expected, plan) = runtime.block_on(ids(&at_desk));
        prop_assert!(!plan.contains("filter   rows where"), "pushed below a LIMIT: {predicate}\n{plan}");
        prop_assert_eq!(pushed, expected, "{}", predicate);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    // DataFusion turns a few forms (`t LIKE '%'`) into ones that stay at the desk; nearly all must reach the endpoint.
    assert!(whole.get() * 10 > asked.get() * 9, "only {} of {} predicates were pushed whole", whole.get(), asked.get());
}
