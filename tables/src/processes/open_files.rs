//! Table `open_files`: what processes hold open, as `lsof` lists it.

use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use canvass_protocol::answer::Trouble;
use rustix::fs::OFlags;

use super::proc;
use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::host::{FileKind, Host, Listing, Metadata, READ_FLAGS};
use crate::table::{Declared, TableInfo};

/// A descriptor of a process.
pub struct OpenFile {
    pid: u32,
    process: Option<String>,
    fd: u32,
    /// Where the descriptor leads, in the kernel's words.
    target: String,
}

pub static OPEN_FILES: Declared<OpenFile> = Declared {
    info: TableInfo {
        name: "open_files",
        module: super::MODULE,
        about: "Files, sockets and pipes that processes hold open, one row a descriptor",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, pid, process, path FROM open_files WHERE deleted",
    },
    columns: &[
        Column::field("pid", Kind::Integer, "Process that holds it", |f| f.pid.into()),
        Column::field("process", Kind::Text, "Short name of the process", |f| f.process.as_deref().into()),
        Column::field("fd", Kind::Integer, "Number of the descriptor in the process", |f| f.fd.into()),
        Column::<OpenFile>::read(
            "type",
            Kind::Text,
            "What it is; anonymous is what has no name, such as eventfd",
            |f, host| Ok(kind(f, host)?.into()),
        )
        .values(&["file", "directory", "fifo", "socket", "block", "char", "anonymous"]),
        Column::<OpenFile>::read(
            "path",
            Kind::Text,
            "Path of what has one, in the mounts of its process",
            |f, host| Ok(shown_path(f, host)?.into()),
        )
        .form(Form::Path),
        Column::<OpenFile>::read(
            "deleted",
            Kind::Boolean,
            "Whether it has no name in the file system any more; NULL where `path` is",
            |f, host| Ok(is_deleted(f, host)?.into()),
        ),
        Column::field(
            "target",
            Kind::Text,
            "Where the descriptor leads in the kernel's words, e.g. socket:[20411]",
            |f| f.target.as_str().into(),
        ),
        Column::<OpenFile>::read(
            "access",
            Kind::Text,
            "How it was opened: r, w, rw, or path for neither",
            |f, host| Ok(info(f, host)?.and_then(|text| access(&text)).into()),
        )
        .values(&["r", "w", "rw", "path"]),
        Column::<OpenFile>::probe("offset_bytes", Kind::Integer, "Where in the file it stands", |f, host| {
            Ok(info(f, host)?.and_then(|text| proc::value(&text, "pos")?.parse::<u64>().ok()).into())
        })
        .form(Form::Bytes),
        Column::<OpenFile>::probe("size_bytes", Kind::Integer, "Size of a regular file", |f, host| {
            let metadata = metadata(f, host)?.filter(|metadata| metadata.kind == FileKind::File);
            Ok(metadata.map(|metadata| metadata.size).into())
        })
        .form(Form::Bytes),
        Column::<OpenFile>::probe(
            "inode",
            Kind::Integer,
            "Number of the file or socket in its file system",
            |f, host| Ok(number_in(&f.target).or(metadata(f, host)?.map(|metadata| metadata.inode)).into()),
        ),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, OpenFile>) -> ControlFlow<()> {
    let host = collector.host;
    let Some(pids) = collector.note(proc::pids(host)) else { return ControlFlow::Continue(()) };
    let names = collector.wants("process");
    let (mut unseen, mut listing) = (0, Listing::default());
    for pid in pids {
        collector.go_on()?;
        let folder = proc::path_of(pid, "fd");
        let mut fds: Vec<u32> = match descriptors(host, &folder, &mut listing) {
            Ok(fds) => fds,
            Err(error) if proc::gone(&error) => continue,
            Err(_) => {
                unseen += 1;
                continue;
            }
        };
        fds.sort_unstable();
        let process = if names { proc::stat(host, pid).ok().flatten().map(|stat| stat.comm) } else { None };
        for fd in fds {
            // What was closed meanwhile is not open.
            let Ok(target) = host.read_link(&folder.join(fd.to_string())) else { continue };
            let target = target.to_string_lossy().into_owned();
            collector.row(OpenFile { pid, process: process.clone(), fd, target })?;
        }
    }
    if unseen > 0 {
        collector.trouble(Some("/proc"), format!("the descriptors of {unseen} processes cannot be read"));
    }
    ControlFlow::Continue(())
}

/// The numbers of a process's descriptors, of which it may have a million.
fn descriptors(host: &Host, folder: &Path, listing: &mut Listing) -> io::Result<Vec<u32>> {
    let folder = host.open_path(folder, READ_FLAGS | OFlags::DIRECTORY)?;
    let mut fds = Vec::new();
    let _ = host.for_each_entry(&folder, listing, &mut |name, _| {
        fds.extend(name.to_str().ok().and_then(proc::number));
        if fds.len() < DESCRIPTORS_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(fds)
}

/// As many as the kernel lets a process have unless it is told otherwise.
const DESCRIPTORS_MAX: usize = 1 << 20;

/// The path that a link leads to, where it leads to one.
fn path(target: &str) -> Option<&str> {
    target.starts_with('/').then_some(target)
}

const DELETED: &str = " (deleted)";

fn without_deleted(path: &str) -> &str {
    path.strip_suffix(DELETED).unwrap_or(path)
}

/// The path without the kernel's word that it was removed.
fn shown_path(file: &OpenFile, host: &Host) -> Result<Option<String>, Trouble> {
    let Some(target) = path(&file.target) else { return Ok(None) };
    let shown = if is_deleted(file, host)? == Some(true) { without_deleted(target) } else { target };
    Ok(Some(shown.to_owned()))
}

/// The number in `socket:[20411]` and `pipe:[17]`.
fn number_in(target: &str) -> Option<u64> {
    let (_, rest) = target.split_once(":[")?;
    rest.strip_suffix(']')?.parse().ok()
}

fn of(file: &OpenFile, folder: &str) -> PathBuf {
    proc::path_of(file.pid, &format!("{folder}/{}", file.fd))
}

/// What `/proc/PID/fdinfo` says of it; `None` where it is closed by now.
fn info(file: &OpenFile, host: &Host) -> Result<Option<String>, Trouble> {
    proc::optional(host, file.pid, &format!("fdinfo/{}", file.fd))
}

fn access(info: &str) -> Option<&'static str> {
    let flags = u32::from_str_radix(proc::value(info, "flags")?, 8).ok()?;
    const PATH: u32 = 0o10_000_000;
    Some(match flags & 3 {
        _ if flags & PATH != 0 => "path",
        0 => "r",
        1 => "w",
        _ => "rw",
    })
}

/// What the descriptor leads to; `None` where it has no path, or is closed by now.
fn metadata(file: &OpenFile, host: &Host) -> Result<Option<Metadata>, Trouble> {
    let Some(target) = path(&file.target) else { return Ok(None) };
    // A folder of fixtures has no descriptors, only their names.
    let at = if host.is_live() { of(file, "fd") } else { PathBuf::from(OsStr::new(without_deleted(target))) };
    match host.metadata_behind(&at) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if proc::gone(&error) => Ok(None),
        Err(error) => Err(proc::trouble(&at, &error)),
    }
}

fn kind(file: &OpenFile, host: &Host) -> Result<Option<&'static str>, Trouble> {
    let named = [("socket:", "socket"), ("pipe:", "fifo"), ("anon_inode:", "anonymous")];
    if let Some((_, kind)) = named.iter().find(|(prefix, _)| file.target.starts_with(prefix)) {
        return Ok(Some(kind));
    }
    // Namespaces.
    if path(&file.target).is_none() && file.target.contains(":[") {
        return Ok(Some("file"));
    }
    Ok(metadata(file, host)?.and_then(|metadata| match metadata.kind {
        FileKind::File => Some("file"),
        FileKind::Directory => Some("directory"),
        FileKind::Fifo => Some("fifo"),
        FileKind::Socket => Some("socket"),
        FileKind::Block => Some("block"),
        FileKind::Char => Some("char"),
        FileKind::Link => None,
    }))
}

fn is_deleted(file: &OpenFile, host: &Host) -> Result<Option<bool>, Trouble> {
    let Some(target) = path(&file.target) else { return Ok(None) };
    Ok(Some(target.ends_with(DELETED) && proc::is_removed(host, file.pid, &of(file, "fd"), target)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_flags() {
        assert_eq!(path("/a b (deleted)").map(without_deleted), Some("/a b"));
        assert_eq!(path("socket:[1]"), None);
        assert_eq!(
            (number_in("socket:[20411]"), number_in("pipe:[x]"), number_in("/a:[1]b")),
            (Some(20411), None, None)
        );
        let cases = [
            ("pos:\t0\nflags:\t0100000\n", Some("r")),
            ("flags:\t02000001\n", Some("w")),
            ("flags:\t0100002\n", Some("rw")),
            ("flags:\t012100000\n", Some("path")),
            ("flags:\t9\n", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(access(text), expected, "{text}");
        }
    }
}
