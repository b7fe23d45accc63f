//! Table `process_memory`: what regions the memory of processes has, and whether something lies in them.

use std::cell::OnceCell;
use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use canvass_protocol::answer::Trouble;
use rustix::fs::OFlags;

use super::asked::Asked;
use super::maps::{self, Mapping, Regions};
use super::pages::{Files, Memory};
use crate::column::{Cell, Column, Content, Form, Kind};
use crate::engine::Collector;
use crate::host::{Host, Id, READ_FLAGS};
use crate::processes::proc;
use crate::table::{Bound, Declared, Keys, TableInfo};

/// Bytes of a region that is searched: of a larger one it takes too long to find out what is there.
const SEARCHED_BYTES_MAX: u64 = 1 << 40;

/// A region of a process's memory.
pub struct Region {
    process: Rc<Process>,
    mapping: Mapping,
}

/// What all regions of a process share.
struct Process {
    pid: u32,
    name: Option<String>,
    library: Option<String>,
    /// Its folder in /proc, in which nothing appears once it has ended, even where another has its number.
    folder: OwnedFd,
    /// Its memory is not entered.
    own: bool,
    /// `Some(None)` once they could not be opened.
    files: OnceCell<Option<Rc<Files>>>,
}

pub static PROCESS_MEMORY: Declared<Region> = Declared {
    info: TableInfo {
        name: "process_memory",
        module: super::MODULE,
        about: "Regions of the memory of processes, whose bytes can be searched and are never shown",
        bound: Some(Bound {
            keys: Keys::Any(&[Keys::Column("pid"), Keys::Column("name"), Keys::Column("library")]),
            about: "whose memory to look at",
            example: "name = 'nginx'",
        }),
        live: false,
        follows: false,
        example: "SELECT DISTINCT host, pid, name FROM process_memory WHERE name ~ '^nginx$' AND content ~ 'BEGIN RSA PRIVATE KEY'",
    },
    columns: COLUMNS,
    collect,
};

const COLUMNS: &[Column<Region>] = &[
    Column::field("pid", Kind::Integer, "Process whose memory it is", |r| r.process.pid.into()),
    Column::field("name", Kind::Text, "Short name of the process, as in `processes`", |r| {
        r.process.name.as_deref().into()
    }),
    Column::field(
        "start_address",
        Kind::Text,
        "Where it begins: 0x and 16 hexadecimal digits, so that addresses sort",
        |r| address(r.mapping.start),
    ),
    Column::field("end_address", Kind::Text, "The first address after it, in the same form", |r| {
        address(r.mapping.end)
    }),
    Column::<Region>::field("size_bytes", Kind::Integer, "Its size, whether the process holds all of it or not", |r| {
        r.mapping.size().into()
    })
    .form(Form::Bytes),
    Column::field(
        "permissions",
        Kind::Text,
        "Letters r, w and x, a dash for what the process may not do, and p for private or s for shared",
        |r| r.mapping.permissions.as_str().into(),
    ),
    Column::<Region>::field(
        "type",
        Kind::Text,
        "What it is; shared is memory for several processes that no file keeps, anonymous what has no name or not a file's",
        |r| r.mapping.kind().as_str().into(),
    )
    .values(maps::Kind::NAMES),
    Column::<Region>::field("path", Kind::Text, "File that is mapped, by its name outside a chroot; of shared memory its name, such as /memfd:name", |r| {
        r.mapping.path().into()
    })
    .form(Form::Path),
    Column::field(
        "deleted",
        Kind::Boolean,
        "Whether the kernel says that the file has no name any more; NULL where `path` is",
        |r| r.mapping.deleted().into(),
    ),
    Column::<Region>::field("offset_bytes", Kind::Integer, "Where in the file it begins; NULL where `path` is", |r| {
        r.mapping.path().map(|_| r.mapping.offset).into()
    })
    .form(Form::Bytes),
    Column::field("inode", Kind::Integer, "Number of the file in its file system", |r| {
        Some(r.mapping.inode).filter(|inode| *inode > 0).into()
    }),
    Column::<Region>::field(
        "library",
        Kind::Text,
        "File that the process has mapped, in this region or another: the first that does what the question asks of \
         `library`; NULL where it asks for none, or none does",
        |r| r.process.library.as_deref().into(),
    )
    .form(Form::Path),
    Column::content(
        "content",
        "Its lines, which can be matched and are never shown, as far as the process holds it in RAM or swap; NULL where it \
         cannot be read, of devices and the kernel, and of the agent's own processes",
        open,
    )
    .secret(),
];

/// The numbers of a region's ends may be greater than an integer can be.
fn address(address: u64) -> Cell<'static> {
    format!("{address:#018x}").into()
}

fn collect(collector: &mut Collector<'_, Region>) -> ControlFlow<()> {
    let host = collector.host;
    let Some(pids) = collector.note(proc::pids(host)) else { return ControlFlow::Continue(()) };
    let asked = Asked::new(collector.filter, &collector.scan.sets);
    let own = if host.is_live() && collector.wants("content") { Own::find(host) } else { Own::Nobody };
    if matches!(own, Own::Unknown) {
        collector.trouble(Some("/proc/self"), "no memory is searched, since the scan's own cannot be told from it");
    }
    let mut unseen = 0;
    for pid in pids {
        collector.go_on()?;
        if asked.rules_out(pid, None, None) {
            collector.examined()?;
            continue;
        }
        match of_process(collector, pid, &asked, &own) {
            Ok(flow) => flow?,
            Err(error) if proc::gone(&error) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => unseen += 1,
            Err(error) => {
                let trouble = proc::trouble(&proc::path_of(pid, "maps"), &error);
                collector.note_trouble(trouble);
            }
        }
    }
    if unseen > 0 {
        collector.trouble(Some("/proc"), format!("the memory of {unseen} processes cannot be looked at"));
    }
    ControlFlow::Continue(())
}

/// Gives the regions of a process.
fn of_process(
    collector: &mut Collector<'_, Region>,
    pid: u32,
    asked: &Asked,
    own: &Own,
) -> io::Result<ControlFlow<()>> {
    let host = collector.host;
    // Opened before anything is read, so that all that is read is one process's.
    let folder = host.open_path(&proc::path_of(pid, ""), OFlags::PATH | OFlags::DIRECTORY)?;
    let mut name = None;
    if collector.wants("name") {
        name = match proc::stat(host, pid) {
            Ok(Some(stat)) => Some(stat.comm),
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Err(trouble) => {
                collector.note_trouble(trouble);
                None
            }
        };
        if asked.rules_out(pid, name.as_deref(), None) {
            return Ok(collector.examined());
        }
    }
    let mut library = None;
    if asked.library && collector.wants("library") {
        let mut regions = Regions::new(open_in(host, &folder, pid, c"maps")?);
        while let Some(mapping) = regions.next()? {
            if collector.go_on().is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if let Some(path) = mapping.path()
                && !asked.rules_out(pid, name.as_deref(), Some(path))
            {
                library = Some(path.to_owned());
                break;
            }
        }
    }
    let mut regions = Regions::new(open_in(host, &folder, pid, c"maps")?);
    let process = Rc::new(Process { pid, name, library, folder, own: own.is(host, pid), files: OnceCell::new() });
    while let Some(mapping) = regions.next()? {
        if collector.row(Region { process: Rc::clone(&process), mapping }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    if regions.malformed > 0 {
        let path = proc::path_of(pid, "maps").display().to_string();
        collector
            .trouble(Some(&path), format!("lines that are not in the form of a `maps` file: {}", regions.malformed));
    }
    Ok(ControlFlow::Continue(()))
}

fn open_in(host: &Host, folder: &OwnedFd, pid: u32, file: &CStr) -> io::Result<File> {
    let path = proc::path_of(pid, &file.to_string_lossy());
    host.open_through(folder, file, &path, READ_FLAGS).map(File::from)
}

/// Opens a region's bytes, where they are a program's own memory.
fn open(region: &Region, host: &Host) -> Result<Option<Content>, Trouble> {
    let Region { process, mapping } = region;
    if process.own || !mapping.is_readable() || !mapping.kind().is_memory() {
        return Ok(None);
    }
    if mapping.size() > SEARCHED_BYTES_MAX {
        let subject = format!("{} {:#018x}", process.pid, mapping.start);
        return Err(Trouble::new(Some(&subject), "not searched: a region of more than 1T"));
    }
    let files = match process.files.get() {
        Some(files) => files.clone(),
        None => {
            // What cannot be opened is told of once for all regions.
            let opened = open_files(process, host);
            let _ = process.files.set(opened.as_ref().ok().cloned().flatten());
            opened?
        }
    };
    let memory = |files| Content::Stream(Box::new(Memory { files, start: mapping.start, end: mapping.end }));
    Ok(files.map(memory))
}

/// Opens a process's memory; `None` where the process has ended.
fn open_files(process: &Process, host: &Host) -> Result<Option<Rc<Files>>, Trouble> {
    let open = |file: &CStr| match open_in(host, &process.folder, process.pid, file) {
        Ok(file) => Ok(Some(file)),
        Err(error) if host.is_live() && proc::gone(&error) && has_ended(process, host) => Ok(None),
        Err(error) => Err(proc::trouble(&proc::path_of(process.pid, &file.to_string_lossy()), &error)),
    };
    let (Some(mem), Some(pagemap)) = (open(c"mem")?, open(c"pagemap")?) else { return Ok(None) };
    Ok(Some(Rc::new(Files { mem, pagemap, page: rustix::param::page_size() as u64 })))
}

fn has_ended(process: &Process, host: &Host) -> bool {
    open_in(host, &process.folder, process.pid, c"stat").is_err()
}

/// Whose memory holds what is searched for only because it is: the scan's, and that of the agent that has started it.
enum Own {
    Nobody,
    Known {
        pid: u32,
        parent: u32,
        program: Option<Id>,
    },
    /// Nobody can be told from them.
    Unknown,
}

impl Own {
    /// By the numbers that /proc has, which need not be those that the process has for itself.
    fn find(host: &Host) -> Own {
        let find = || {
            let link = host.read_link(Path::new("/proc/self")).ok()?;
            let pid = proc::number(link.to_str()?)?;
            let parent = u32::try_from(proc::stat(host, pid).ok()??.ppid).ok()?;
            Some(Own::Known { pid, parent, program: program(host, pid) })
        };
        find().unwrap_or(Own::Unknown)
    }

    /// Other scans of the agent, and other agents, run the program that this scan runs.
    fn is(&self, host: &Host, other: u32) -> bool {
        match self {
            Own::Nobody => false,
            Own::Unknown => true,
            Own::Known { pid, parent, program: own } => {
                other == *pid || other == *parent || own.is_some() && program(host, other) == *own
            }
        }
    }
}

fn program(host: &Host, pid: u32) -> Option<Id> {
    host.metadata_behind(&proc::path_of(pid, "exe")).ok().map(|metadata| metadata.id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_sort_as_texts() {
        let text = |number| match address(number) {
            Cell::Text(text) => text.into_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(0x1000), "0x0000000000001000");
        assert_eq!(text(0xffff_ffff_ff60_0000), "0xffffffffff600000");
        assert!(text(0x9000) < text(0x10_000));
    }
}
