//! Asks a table as an agent would, and shows rows as text.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

pub mod tree;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{ArrayRef, TimestampNanosecondArray};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::filter::{Filter, Is, Pattern, Place};
use canvass_protocol::limits::Limits;
use canvass_protocol::scan::Scan;
use canvass_protocol::value::Value;
use canvass_tables::engine::{Request, ScanError, run};
use canvass_tables::frame::decode;
use canvass_tables::host::{Host, HostSpec};
use canvass_tables::module::NO_SOCKETS;
use sha2::Digest as _;

pub struct Asked {
    pub batches: Vec<RecordBatch>,
    pub record: ScanRecord,
}

impl Asked {
    /// Rows as text, a NULL as `-`, sorted.
    pub fn rows(&self) -> Vec<String> {
        let options = FormatOptions::new().with_null("-");
        let mut rows = Vec::new();
        for batch in &self.batches {
            let columns: Vec<_> = batch.columns().iter().map(without_zone).collect();
            let columns: Vec<_> =
                columns.iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
            for row in 0..batch.num_rows() {
                rows.push(columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" "));
            }
        }
        rows.sort();
        rows
    }

    pub fn troubles(&self) -> Vec<String> {
        let subject = |trouble: &canvass_protocol::answer::Trouble| trouble.subject.clone().unwrap_or_default();
        self.record.troubles.iter().map(|trouble| format!("{}: {}", subject(trouble), trouble.reason)).collect()
    }
}

/// Times as they are, in UTC: naming the zone needs a list of all zones.
fn without_zone(column: &ArrayRef) -> ArrayRef {
    match column.as_any().downcast_ref::<TimestampNanosecondArray>() {
        Some(times) => Arc::new(times.clone().with_timezone_opt(None::<&str>)),
        None => Arc::clone(column),
    }
}

pub fn scan(table: &str, columns: &[&str], filter: Filter) -> Scan {
    Scan {
        table: table.to_owned(),
        columns: columns.iter().map(ToString::to_string).collect(),
        filter: Some(filter),
        ..Scan::default()
    }
}

pub fn machine() -> Host {
    Host::open(&HostSpec::Machine).unwrap()
}

pub fn ask(host: &Host, scan: &Scan) -> Result<Asked, ScanError> {
    ask_with(host, scan, Limits::default(), &[], &[])
}

pub fn ask_with(
    host: &Host,
    scan: &Scan,
    limits: Limits,
    withheld: &[&str],
    forbidden: &[&str],
) -> Result<Asked, ScanError> {
    let own = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (withheld, forbidden) = (own(withheld), own(forbidden));
    let stop = AtomicBool::new(false);
    answer(&Request { limits, withheld: &withheld, forbidden: &forbidden, ..request(host, scan, THREADS, &stop) })
}

/// Workers of a scan, unless a test is about their number: more than one, so that what they share is tested too.
pub const THREADS: usize = 4;

/// The one place that makes a request: with the usual limits, and nothing withheld or forbidden.
pub fn request<'a>(host: &'a Host, scan: &'a Scan, threads: usize, stop: &'a AtomicBool) -> Request<'a> {
    let threads = NonZeroUsize::new(threads).expect("a scan has a worker");
    Request {
        host,
        scan,
        limits: Limits::default(),
        withheld: &[],
        forbidden: &[],
        threads,
        sockets: &NO_SOCKETS,
        stop,
    }
}

/// Runs a request and decodes what it hands over.
pub fn answer(request: &Request<'_>) -> Result<Asked, ScanError> {
    let scan = request.scan;
    let schema = Arc::new(
        canvass_tables::find(&scan.table)
            .map(|table| table.schema(&scan.columns))
            .unwrap_or_else(arrow::datatypes::Schema::empty),
    );
    let mut batches = Vec::new();
    let record = run(request, &mut |rows, bytes| {
        let batch = decode(&bytes, &schema).unwrap();
        assert_eq!(batch.num_rows() as u64, rows);
        batches.push(batch);
        Ok(())
    })?;
    assert_eq!(batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(), record.rows);
    Ok(Asked { batches, record })
}

pub fn under(path: &Path) -> Filter {
    Filter::test("path", Is::Under(Place::Folder(path.to_str().unwrap().to_owned())))
}

pub fn at(path: &Path) -> Filter {
    Filter::test("path", Is::Equal(Value::Text(path.to_str().unwrap().to_owned())))
}

pub fn all(parts: Vec<Filter>) -> Filter {
    Filter::All(parts)
}

pub fn not(inner: Filter) -> Filter {
    Filter::Not(Box::new(inner))
}

pub fn pattern(text: &str) -> Pattern {
    Pattern { pattern: text.to_owned(), ignore_case: false }
}

pub fn matches(column: &str, text: &str) -> Filter {
    Filter::test(column, Is::Matches(pattern(text)))
}

pub fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn md5(bytes: &[u8]) -> String {
    hex(&md5::Md5::digest(bytes))
}

pub fn sha1(bytes: &[u8]) -> String {
    hex(&sha1::Sha1::digest(bytes))
}

pub fn sha256(bytes: &[u8]) -> String {
    hex(&sha2::Sha256::digest(bytes))
}
