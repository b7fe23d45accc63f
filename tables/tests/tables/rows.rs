//! Asks a table of a host and shows the rows as text, for tests.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::array::{Array as _, ArrayRef, TimestampNanosecondArray};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::filter::Filter;
use canvass_protocol::limits::Limits;
use canvass_protocol::scan::Scan;
use canvass_tables::engine::{self, Request};
use canvass_tables::frame;
use canvass_tables::host::{Host, HostSpec};
use canvass_tables::module::NO_SOCKETS;

/// A host of the fleet in `examples/`.
pub fn fleet(name: &str) -> HostSpec {
    let fleet = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
    HostSpec::Fixture(fleet.join(name))
}

/// A host that is a folder of these files, with a `host.toml` that says nothing.
pub fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, HostSpec) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in [("host.toml", "")].iter().chain(files) {
        let path: PathBuf = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let spec = HostSpec::Fixture(folder.path().to_owned());
    (folder, spec)
}

/// The rows of a scan, each cell as text and NULL as `NULL`, and the scan's record.
pub fn ask(spec: &HostSpec, table: &str, columns: &str, filter: Option<Filter>) -> (Vec<Vec<String>>, ScanRecord) {
    let columns: Vec<String> = columns.split_whitespace().map(str::to_owned).collect();
    let schema = Arc::new(canvass_tables::find(table).unwrap().schema(&columns));
    assert_eq!(schema.fields().len(), columns.len(), "unknown columns among {columns:?}");
    let scan = Scan { table: table.to_owned(), columns, filter, ..Scan::default() };
    let host = Host::open(spec).unwrap();
    let stop = AtomicBool::new(false);
    let request = Request {
        host: &host,
        scan: &scan,
        limits: Limits::default(),
        withheld: &[],
        forbidden: &[],
        threads: NonZeroUsize::MIN,
        sockets: &NO_SOCKETS,
        stop: &stop,
    };
    let mut rows = Vec::new();
    let record = engine::run(&request, &mut |_, bytes| {
        let batch = frame::decode(&bytes, &schema).unwrap();
        rows.extend((0..batch.num_rows()).map(|row| batch.columns().iter().map(|column| text(column, row)).collect()));
        Ok(())
    })
    .unwrap();
    (rows, record)
}

/// Like [`ask`], each row as one line, and each trouble as `subject: reason`.
pub fn lines(spec: &HostSpec, table: &str, columns: &str) -> (Vec<String>, Vec<String>) {
    let (rows, record) = ask(spec, table, columns, None);
    let trouble = |trouble: &canvass_protocol::answer::Trouble| {
        format!("{}: {}", trouble.subject.as_deref().unwrap_or_default(), trouble.reason)
    };
    (rows.iter().map(|row| row.join(" | ")).collect(), record.troubles.iter().map(trouble).collect())
}

fn text(column: &ArrayRef, row: usize) -> String {
    match column.as_any().downcast_ref::<TimestampNanosecondArray>() {
        Some(times) if times.is_valid(row) => {
            jiff::Timestamp::from_nanosecond(times.value(row).into()).unwrap().to_string()
        }
        Some(_) => "NULL".into(),
        None => {
            let options = FormatOptions::new().with_null("NULL");
            ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string()
        }
    }
}
