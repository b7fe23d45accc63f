//! Tables whose scans have been taken over: each attempts one thing that no scan may do, inside a real cage.
//!
//! As a person's program it runs another one on a kernel that lacks something: `hostile-scan without landlock PROGRAM ARGUMENT…`.
//!
//! A scan's one column names the attempt. What became of it is its answer's only frame: words, no Arrow.

mod attempts;
mod without;

use std::process::ExitCode;

use canvass_agent::cage;
use canvass_protocol::answer::ScanRecord;
use canvass_tables::Table;
use canvass_tables::column::ColumnInfo;
use canvass_tables::engine::{Request, ScanError, Sink};
use canvass_tables::module::{Module, Need};
use canvass_tables::table::{Bound, Keys, TableInfo};

/// A table whose scan does what it is told.
struct Hostile(TableInfo);

impl Table for Hostile {
    fn info(&self) -> &TableInfo {
        &self.0
    }

    fn columns(&self) -> Vec<&'static ColumnInfo> {
        Vec::new()
    }

    fn scan(&'static self, request: &Request<'_>, sink: &mut Sink<'_>) -> Result<ScanRecord, ScanError> {
        let attempt = request.scan.columns.first().map(String::as_str).unwrap_or_default();
        sink(1, attempts::attempt(attempt, request.sockets).into_bytes())?;
        Ok(ScanRecord { asked: true, ..ScanRecord::default() })
    }
}

/// One table a profile; `placed` names where it looks, as `files` does.
static TABLES: &[&dyn Table] = &[
    &Hostile(table("reading", &[], None)),
    &Hostile(table("placed", &[], Some(PATH))),
    &Hostile(table("processes", &[Need::OtherProcesses], None)),
    &Hostile(table("netlink", &[Need::Netlink], None)),
    &Hostile(table("network_admin", &[Need::NetworkAdmin], None)),
    &Hostile(table("connect", &[Need::Connect], None)),
    &Hostile(table("icmp", &[Need::Icmp], None)),
];

const PATH: Bound = Bound { keys: Keys::Column("path"), about: "where to look", example: "path UNDER '/'" };

const fn table(name: &'static str, needs: &'static [Need], bound: Option<Bound>) -> TableInfo {
    TableInfo {
        name,
        module: Module { name, needs },
        about: "Attempts what no scan may do",
        bound,
        live: true,
        follows: false,
        example: "",
    }
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == cage::ARGUMENT) {
        return cage::child_main_of(TABLES);
    }
    let error = match std::env::args_os().skip(1).collect::<Vec<_>>().as_slice() {
        [without, part, program @ ..] if without == "without" => without::run(&part.to_string_lossy(), program),
        _ => anyhow::anyhow!("tests of the cage start this program as a scan's process"),
    };
    eprintln!("hostile-scan: {error:#}");
    ExitCode::FAILURE
}
