//! Random statements of every form that the grammar has, answered by DuckDB too.
//!
//! The rows of the fixture hosts are exported by Canvass itself, and the same statement is asked of both. What is spelled
//! otherwise there is in [`common::statements`]; what either refuses by intent is in [`REFUSED`]. Needs the wheel `duckdb`,
//! which pip installs. `CANVASS_SEED=… CANVASS_EXAMPLES=…` tells a run again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use canvass_planner::desk::Desk;
use canvass_planner::error::ErrorKind;
use canvass_planner::settings::Settings;
use common::answers::envelope;
use common::dice::{self, Dice};
use common::direct::Direct;
use common::samples;
use common::statements::{Kind, Maker, Statement, TABLES};
use datafusion::arrow::array::{Array, ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type};
use futures::TryStreamExt as _;
use serde_json::{Value, json};

/// Statements, unless `CANVASS_EXAMPLES` says otherwise.
const EXAMPLES: u64 = 300;

/// What pip installs.
const DUCKDB: &str = "duckdb==2.0.1";

/// Messages with which one of the two refuses a statement that the other answers, and why that is no difference of answers.
const REFUSED: &[(&str, &str)] = &[
    ("stands where it cannot be decided", "DataFusion decides EXISTS and IN (SELECT …) in WHERE and HAVING alone"),
    ("want their rows in different orders", "DataFusion orders the rows of all aggregates of one SELECT alike"),
    (
        "a window cannot be ordered or divided by",
        "DataFusion does not know the order that it made itself, see `upstream`",
    ),
];

/// What a statement gave: its rows, or why it was refused.
type Answer = Result<Vec<Vec<Value>>, String>;

#[tokio::test]
async fn both_give_the_same_rows() {
    let (seed, examples) = dice::run(EXAMPLES);
    let statements: Vec<(u64, Statement)> =
        (seed..seed + examples).map(|seed| (seed, Maker::new(&mut Dice::new(seed)).statement())).collect();
    if let [(_, alone)] = statements.as_slice() {
        println!("{}", dice::ours(&alone.text));
    }
    let theirs =
        duckdb(&exported().await, &statements.iter().map(|(_, made)| dice::theirs(&made.text)).collect::<Vec<_>>());
    let (mut wrong, mut refused, mut telling) = (Vec::new(), 0, 0);
    for ((seed, made), theirs) in statements.iter().zip(theirs) {
        let ours = ask(&dice::ours(&made.text)).await;
        let said = |what: &str| {
            let (ours, theirs) = (dice::ours(&made.text), dice::theirs(&made.text));
            format!("CANVASS_SEED={seed} CANVASS_EXAMPLES=1 {what}\n{ours}\n{theirs}")
        };
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => {
                telling += u64::from(!ours.is_empty());
                let (ours, theirs) = (lines(&ours, made.ordered), lines(&theirs, made.ordered));
                if ours != theirs {
                    wrong.push(said(&format!(
                        "{} rows and {}\n{}",
                        ours.len(),
                        theirs.len(),
                        difference(&ours, &theirs)
                    )));
                }
            }
            (Err(error), _) | (_, Err(error)) if REFUSED.iter().any(|(message, _)| error.contains(message)) => {
                refused += 1;
            }
            (Err(ours), Err(theirs)) => wrong.push(said(&format!("both refuse: {ours}; {theirs}"))),
            (Err(ours), Ok(_)) => wrong.push(said(&format!("refused: {ours}"))),
            (Ok(_), Err(theirs)) => wrong.push(said(&format!("DuckDB refuses: {theirs}"))),
        }
    }
    println!("{examples} statements from seed {seed}: {telling} with rows, {refused} refused");
    assert!(wrong.is_empty(), "{} of {examples} differ\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(examples < 50 || telling * 3 > examples, "only {telling} of {examples} statements have rows");
    assert!(examples < 50 || refused * 10 < examples, "{refused} of {examples} statements were refused");
}

async fn ask(statement: &str) -> Answer {
    let fleet = Arc::new(Direct::fixtures(samples::tables()));
    let mut desk = Desk::with_tables(fleet, Settings::default(), samples::tables());
    let answer = async {
        let planned = desk.plan(statement).await?;
        let envelope = envelope(&planned);
        desk.run(planned, envelope).await?.rows.try_collect::<Vec<RecordBatch>>().await
    };
    match answer.await {
        Ok(batches) => Ok(batches.iter().flat_map(cells).collect()),
        Err(error) if error.kind == ErrorKind::Usage => Err(error.message),
        Err(error) => Err(format!("{:?}: {}", error.kind, error.message)),
    }
}

/// The cells of a batch: text, a number, a truth or null.
fn cells(batch: &RecordBatch) -> Vec<Vec<Value>> {
    let columns: Vec<Vec<Value>> = batch.columns().iter().map(column_of).collect();
    (0..batch.num_rows()).map(|row| columns.iter().map(|column| column[row].clone()).collect()).collect()
}

fn column_of(array: &ArrayRef) -> Vec<Value> {
    let some = |row: usize, value: Value| if array.is_null(row) { Value::Null } else { value };
    match array.data_type() {
        DataType::LargeUtf8 | DataType::Utf8View => column_of(&cast(array, &DataType::Utf8).unwrap()),
        DataType::Utf8 => (0..array.len()).map(|row| some(row, array.as_string::<i32>().value(row).into())).collect(),
        DataType::Boolean => (0..array.len()).map(|row| some(row, array.as_boolean().value(row).into())).collect(),
        DataType::Null => vec![Value::Null; array.len()],
        _ => {
            let numbers = cast(array, &DataType::Float64).unwrap();
            let numbers = numbers.as_primitive::<Float64Type>();
            (0..array.len()).map(|row| some(row, numbers.value(row).into())).collect()
        }
    }
}

/// Rows as text, in an order of their own where theirs is not told; numbers to ten digits.
fn lines(rows: &[Vec<Value>], ordered: bool) -> Vec<String> {
    let cell = |value: &Value| match value {
        Value::Number(number) => format!("{:.9e}", number.as_f64().unwrap() + 0.0),
        other => other.to_string(),
    };
    let mut lines: Vec<String> = rows.iter().map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" ")).collect();
    if !ordered {
        lines.sort();
    }
    lines
}

fn difference(ours: &[String], theirs: &[String]) -> String {
    let only = |of: &[String], other: &[String]| {
        let of: Vec<&str> = of.iter().filter(|line| !other.contains(line)).map(String::as_str).collect();
        of[..of.len().min(3)].join(" | ")
    };
    format!("only here: {}; only there: {}", only(ours, theirs), only(theirs, ours))
}

/// The tables as Canvass shows them, to be made and filled in DuckDB.
async fn exported() -> Vec<Value> {
    let mut tables = Vec::new();
    for (table, columns) in TABLES {
        let types = columns.iter().map(|(name, kind)| {
            let kind = match kind {
                Kind::Text | Kind::Digits => "VARCHAR",
                Kind::Integer => "BIGINT",
                Kind::Float => "DOUBLE",
                Kind::Truth => "BOOLEAN",
                Kind::Time => "TIMESTAMP_NS",
            };
            format!("\"{name}\" {kind}")
        });
        let agent = "agent STRUCT(name VARCHAR, os VARCHAR, arch VARCHAR, tags STRUCT(team VARCHAR))";
        let make = format!("CREATE TABLE {table} ({}, {agent})", types.collect::<Vec<_>>().join(", "));
        let places = columns
            .iter()
            .map(|(_, kind)| if *kind == Kind::Time { "make_timestamp_ns(CAST(? AS BIGINT))" } else { "?" });
        let agent = "{'name': ?, 'os': ?, 'arch': ?, 'tags': {'team': ?}}";
        let fill = format!("INSERT INTO {table} VALUES ({}, {agent})", places.collect::<Vec<_>>().join(", "));
        let shown = columns.iter().map(|(name, kind)| {
            if *kind == Kind::Time { format!("CAST({name} AS BIGINT)") } else { (*name).to_owned() }
        });
        let shown = shown.collect::<Vec<_>>().join(", ");
        let rows = ask(&format!("SELECT {shown}, agent.name, agent.os, agent.arch, agent.tags['team'] FROM {table}"))
            .await
            .unwrap();
        assert!(!rows.is_empty());
        tables.push(json!({ "make": make, "fill": fill, "rows": rows }));
    }
    tables
}

/// What DuckDB answers.
fn duckdb(tables: &[Value], statements: &[String]) -> Vec<Answer> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ask_duckdb.py");
    let mut python = Command::new(python());
    let mut python = python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let asked = json!({ "tables": tables, "statements": statements }).to_string();
    // It reads all before it writes.
    python.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success(), "DuckDB could not be asked");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    answers
        .into_iter()
        .map(|mut answer| match answer["rows"].take() {
            Value::Array(rows) => Ok(rows.into_iter().map(|row| row.as_array().unwrap().clone()).collect()),
            _ => Err(answer["error"].as_str().unwrap().to_owned()),
        })
        .collect()
}

/// A Python that has DuckDB, which pip installs into the target folder where it is not there yet.
///
/// # Panics
/// Where pip cannot: a test that was left out would look like one that passed.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(DUCKDB.replace("==", "-"));
    let ready = folder.join("ready");
    if !ready.is_file() {
        let need = "this test needs `duckdb`, which pip installs from a package registry";
        run_to_its_end(Command::new("python3").args(["-m", "venv"]).arg(&folder), need);
        run_to_its_end(Command::new(folder.join("bin/pip")).args(["install", "--quiet", DUCKDB]), need);
        std::fs::write(ready, "").unwrap();
    }
    folder.join("bin/python")
}

fn run_to_its_end(command: &mut Command, need: &str) {
    match command.output() {
        Ok(output) => assert!(output.status.success(), "{need}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => panic!("{need}: {error}: {command:?}"),
    }
}
