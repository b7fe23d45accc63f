//! The table that `docs/adding-a-table.md` adds: it compiles as printed, and answers.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod swaps;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arrow::util::display::{ArrayFormatter, FormatOptions};
use canvass_protocol::limits::Limits;
use canvass_protocol::scan::Scan;
use canvass_tables::engine::Request;
use canvass_tables::host::{Host, HostSpec};
use canvass_tables::module::{Module, NO_SOCKETS};
use canvass_tables::{Table as _, column, engine, frame, host, table};

use self::swaps::SWAPS;

/// As in a family's `mod.rs`.
const MODULE: Module = Module::reading("memory");

const MANUAL: &str = include_str!("../../../docs/adding-a-table.md");
const SOURCE: &str = include_str!("swaps.rs");

#[test]
fn the_manual_prints_what_is_compiled() {
    let blocks = MANUAL.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next());
    // The last two lines of a new table are of other files.
    let printed: Vec<&str> = blocks.take_while(|block| !block.contains("TABLES")).map(str::trim_end).collect();
    assert_eq!(printed.join("\n\n"), SOURCE.trim_end());
}

#[test]
fn it_answers() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("proc")).unwrap();
    std::fs::write(folder.path().join("host.toml"), "").unwrap();
    let text =
        "Filename\tType\tSize\tUsed\tPriority\n/dev/dm-1 partition 2097148 0 -2\n/swap\\040file file 1024 0 5\nodd\n";
    std::fs::write(folder.path().join("proc/swaps"), text).unwrap();
    let host = Host::open(&HostSpec::Fixture(folder.path().to_owned())).unwrap();
    let columns: Vec<String> = ["path", "kind", "size_bytes", "priority"].map(str::to_owned).to_vec();
    let schema = Arc::new(SWAPS.schema(&columns));
    let scan = Scan { table: "swaps".to_owned(), columns, ..Scan::default() };
    let request = Request {
        host: &host,
        scan: &scan,
        limits: Limits::default(),
        withheld: &[],
        forbidden: &[],
        threads: NonZeroUsize::MIN,
        sockets: &NO_SOCKETS,
        stop: &AtomicBool::new(false),
    };
    let mut rows = Vec::new();
    let record = SWAPS.scan(&request, &mut |_, bytes| {
        let batch = frame::decode(&bytes, &schema).unwrap();
        let options = FormatOptions::default();
        let columns: Vec<_> = batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(" ")),
        );
        Ok(())
    });
    assert_eq!(rows, ["/dev/dm-1 partition 2147479552 -2", "/swap\\040file file 1048576 5"]);
    let troubles = record.unwrap().troubles;
    assert_eq!(troubles.iter().map(|trouble| trouble.reason.as_str()).collect::<Vec<_>>(), ["1 malformed lines"]);
}
