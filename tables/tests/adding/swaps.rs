//! Table `swaps`: where a host puts memory that nobody uses at the moment.

use std::ops::ControlFlow;
use std::path::Path;

use crate::column::{Column, Kind};
use crate::engine::Collector;
use crate::host::reason;
use crate::table::{Declared, TableInfo};

/// A line of `/proc/swaps`.
pub struct Swap {
    path: String,
    kind: String,
    size_bytes: Option<u64>,
    priority: Option<i64>,
}

pub static SWAPS: Declared<Swap> = Declared {
    info: TableInfo {
        name: "swaps",
        module: super::MODULE,
        about: "Partitions and files that memory is swapped out to",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, path FROM swaps WHERE kind = 'file' AND size_bytes > '1G'",
    },
    columns: &[
        Column::field("path", Kind::Text, "Device or file, a space in it as \\040", |swap| swap.path.as_str().into()),
        Column::<Swap>::field("kind", Kind::Text, "What it is", |swap| swap.kind.as_str().into())
            .values(&["partition", "file"]),
        Column::field("size_bytes", Kind::Integer, "Room in it, in bytes", |swap| swap.size_bytes.into()),
        Column::field("priority", Kind::Integer, "The highest is filled first", |swap| swap.priority.into()),
    ],
    collect,
};

const PATH: &str = "/proc/swaps";

fn collect(collector: &mut Collector<'_, Swap>) -> ControlFlow<()> {
    let text = match collector.host.read_text(Path::new(PATH)) {
        Ok(text) => text,
        // A system without swapping has no such file.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return ControlFlow::Continue(()),
        Err(error) => {
            collector.trouble(Some(PATH), reason(&error));
            return ControlFlow::Continue(());
        }
    };
    let (mut malformed, lines) = (0, text.lines().skip(1));
    for line in lines {
        match parse(line) {
            Some(swap) => collector.row(swap)?,
            None => malformed += 1,
        }
    }
    if malformed > 0 {
        collector.trouble(Some(PATH), format!("{malformed} malformed lines"));
    }
    ControlFlow::Continue(())
}

/// Path, kind, size and use in kibibytes, and priority; what is no number is unknown.
fn parse(line: &str) -> Option<Swap> {
    let mut fields = line.split_whitespace();
    let (path, kind) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let size: Option<u64> = fields.next()?.parse().ok();
    let priority = fields.nth(1)?.parse().ok();
    Some(Swap { path, kind, size_bytes: size.and_then(|size| size.checked_mul(1024)), priority })
}
