//! The licence of sets: a statement gives the same rows whether the endpoint was told the desk's values or not.
//!
//! Each statement is asked twice, the second time of a sub-query with a LIMIT that no set can pass.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::cell::Cell;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use canvass_planner::desk::Desk;
use canvass_planner::settings::Settings;
use canvass_protocol::envelope::Envelope;
use canvass_tables::Table;
use canvass_tables::column::{Column, Kind};
use canvass_tables::module::Module;
use canvass_tables::table::{Declared, TableInfo};
use common::direct::Direct;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt as _;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[derive(Debug, Clone)]
struct Sample {
    id: i64,
    t: Option<String>,
    n: Option<i64>,
    h: Option<String>,
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
        Column::field("n", Kind::Integer, "", |row: &Sample| row.n.into()),
        Column::field("h", Kind::Text, "", |row: &Sample| row.h.as_deref().into()).hex(),
    ],
    collect: |collector| {
        for row in ROWS.lock().unwrap().clone() {
            collector.row(row)?;
        }
        ControlFlow::Continue(())
    },
};

static TABLES: &[&dyn Table] = &[&SAMPLES];

const TEXTS: &[&str] = &["", "a", "A", "b", "é", "it's", "007", "x y"];
const DIGITS: &[&str] = &["00ff", "0a0b", "1234", "dead"];

fn rows() -> impl Strategy<Value = Vec<Sample>> {
    let text = prop::option::of(prop::sample::select(TEXTS));
    let digits = prop::option::of(prop::sample::select(DIGITS));
    prop::collection::vec((text, prop::option::of(0..5_i64), digits), 0..12).prop_map(|rows| {
        let sample = |(id, (t, n, h)): (usize, (Option<&str>, _, Option<&str>))| Sample {
            id: i64::try_from(id).unwrap(),
            t: t.map(str::to_owned),
            n,
            h: h.map(str::to_owned),
        };
        rows.into_iter().enumerate().map(sample).collect()
    })
}

/// A csv file whose columns `t`, `n` and `h` are what samples are compared with; hashes are written in any case.
fn file() -> impl Strategy<Value = String> {
    let text = prop::option::of(prop::sample::select(TEXTS));
    let digits = prop::option::of((prop::sample::select(DIGITS), any::<bool>()));
    prop::collection::vec((text, prop::option::of(0..5_i64), digits), 0..6).prop_map(|rows| {
        let mut csv = "t,n,h\nzz,9,zz\n".to_owned();
        for (t, n, h) in rows {
            let t = t.map_or(String::new(), |t| format!("\"{t}\""));
            let n = n.map_or(String::new(), |n| n.to_string());
            let h = h.map_or(String::new(), |(h, large)| if large { h.to_uppercase() } else { h.to_owned() });
            csv += &format!("{t},{n},{h}\n");
        }
        csv
    })
}

/// Statements over `samples s` and `'FILE' f`, compared by column `$c`.
const STATEMENTS: &[&str] = &[
    "SELECT s.id FROM samples s WHERE s.$c IN (SELECT $c FROM 'FILE')",
    "SELECT s.id FROM samples s WHERE s.$c NOT IN (SELECT $c FROM 'FILE')",
    "SELECT s.id FROM samples s WHERE s.$c NOT IN (SELECT $c FROM 'FILE' WHERE $c IS NOT NULL)",
    "SELECT s.id FROM samples s WHERE NOT (s.$c IN (SELECT $c FROM 'FILE' WHERE n > 1))",
    "SELECT s.id FROM samples s WHERE s.n > 1 OR s.$c IN (SELECT $c FROM 'FILE')",
    "SELECT s.id FROM samples s WHERE EXISTS (SELECT 1 FROM 'FILE' f WHERE f.$c = s.$c)",
    "SELECT s.id FROM samples s WHERE NOT EXISTS (SELECT 1 FROM 'FILE' f WHERE f.$c = s.$c)",
    "SELECT s.id FROM samples s WHERE NOT EXISTS (SELECT 1 FROM 'FILE' f WHERE f.$c = s.$c AND f.n < s.id)",
    "SELECT s.id, f.n FROM samples s JOIN 'FILE' f ON f.$c = s.$c",
    "SELECT s.id, f.n FROM 'FILE' f JOIN samples s ON f.$c = s.$c AND f.n <> s.id",
    "SELECT s.id, f.n FROM samples s JOIN 'FILE' f ON f.$c = s.$c AND f.n = s.n",
    "SELECT s.id, f.n FROM samples s LEFT JOIN 'FILE' f ON f.$c = s.$c",
    "SELECT s.id, f.n FROM 'FILE' f LEFT JOIN samples s ON f.$c = s.$c",
    "SELECT s.id, f.n FROM samples s FULL JOIN 'FILE' f ON f.$c = s.$c",
    "SELECT s.id, f.n FROM samples s JOIN 'FILE' f ON f.$c IS NOT DISTINCT FROM s.$c",
    "SELECT f.n FROM 'FILE' f WHERE f.$c IN (SELECT s.$c FROM samples s)",
    "SELECT f.n FROM 'FILE' f WHERE f.$c NOT IN (SELECT s.$c FROM samples s)",
    "SELECT s.$c, count(*), min(s.id) FROM samples s WHERE s.$c IN (SELECT $c FROM 'FILE') GROUP BY s.$c",
    "SELECT a.id, b.id FROM samples s JOIN samples a ON a.id = s.id LEFT JOIN samples b ON b.$c = a.$c JOIN 'FILE' f ON f.$c = b.$c",
    "SELECT s.id FROM (SELECT * FROM samples s UNION ALL SELECT * FROM samples s) s WHERE s.$c IN (SELECT $c FROM 'FILE')",
    "SELECT s.id, f.n FROM samples s JOIN 'FILE' f USING ($c)",
    "SELECT s.id FROM samples s WHERE s.$c = (SELECT max($c) FROM 'FILE')",
    "SELECT s.id FROM samples s WHERE s.host IN (SELECT $c FROM 'FILE' UNION SELECT 'one') AND s.$c IN (SELECT $c FROM 'FILE')",
    "SELECT s.id FROM samples s WHERE s.host NOT IN (SELECT t FROM 'FILE' WHERE t IS NOT NULL UNION SELECT 'two')",
];

/// The rows of a statement as text, in order, and what was asked.
async fn answer(statement: &str) -> (Vec<String>, String) {
    let mut desk =
        Desk::with_tables(Arc::new(Direct::new(TABLES, &["one", "two"], |parts| parts)), Settings::default(), TABLES);
    let planned = desk.plan(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    let plan = planned.explanation.clone();
    let envelope = planned
        .action
        .as_ref()
        .map(|action| Envelope { payload: String::from_utf8(action.to_bytes()).unwrap(), signatures: vec![] });
    let rows = desk.run(planned, envelope).await.unwrap().rows;
    let batches: Vec<RecordBatch> =
        rows.try_collect().await.unwrap_or_else(|error| panic!("{statement}: {error:?}\n{plan}"));
    let options = FormatOptions::new().with_null("NULL");
    let mut rows: Vec<String> = Vec::new();
    for batch in &batches {
        let cells = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let cells: Vec<_> = cells.collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| cells.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(",")),
        );
    }
    rows.sort();
    (rows, plan)
}

#[test]
fn what_endpoints_are_told_changes_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("f.csv");
    let name = path.display().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 150, failure_persistence: None, ..Config::default() });
    let narrowed = Cell::new(0_u32);
    let column = prop::sample::select(&["t", "n", "h"][..]);
    let outcome =
        runner.run(&(rows(), file(), prop::sample::select(STATEMENTS), column), |(rows, file, statement, column)| {
            *ROWS.lock().unwrap() = rows;
            std::fs::write(&path, &file).unwrap();
            let host_in_numbers = column == "n" && statement.contains("host IN");
            if host_in_numbers {
                return Ok(());
            }
            let statement = statement.replace("$c", column).replace("'FILE'", &format!("'{name}'"));
            let (told, plan) = runtime.block_on(answer(&statement));
            narrowed.set(narrowed.get() + u32::from(plan.contains("IN set")));
            let untold = statement.replace("samples ", "(SELECT * FROM samples LIMIT 1000) ");
            let (expected, plan) = runtime.block_on(answer(&untold));
            prop_assert!(!plan.contains("IN set"), "a set passed a LIMIT: {untold}\n{plan}");
            prop_assert_eq!(told, expected, "{}\n{}", statement, file);
            Ok(())
        });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(narrowed.get() > 60, "only {} of 150 statements were narrowed", narrowed.get());
}
