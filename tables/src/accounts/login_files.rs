//! What utmp, wtmp, btmp and lastlog record, read as a stream, and logins of wtmp brought together with their ends.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::SeekFrom;

use super::logins::Login;
use super::utmp::{self, Layout, Record};
use crate::engine::Collector;
use crate::host::reason;

/// Bytes from which the layout is guessed.
const GUESS_BYTES: u64 = 64 << 10;
/// Sessions that wait for their end; of more, the ends are not told.
const OPEN_MAX: usize = 4096;

/// Sessions that are going on; whether the file is there.
pub(super) fn current(collector: &mut Collector<'_, Login>, path: &Path) -> ControlFlow<(), bool> {
    each(collector, path, &mut |collector, record| {
        let kind = match record.kind {
            utmp::USER_PROCESS if !record.user.is_empty() => "current",
            _ => match event(&record) {
                Some(kind) => kind,
                None => return ControlFlow::Continue(()),
            },
        };
        collector.row(login(record, kind, "utmp", path))
    })
}

/// Attempts that failed.
pub(super) fn failed(collector: &mut Collector<'_, Login>, path: &Path) -> ControlFlow<()> {
    each(collector, path, &mut |collector, record| {
        if record.user.is_empty() && record.line.is_empty() && record.host.is_empty() {
            return ControlFlow::Continue(());
        }
        collector.row(login(record, "failed", "btmp", path))
    })
    .map_continue(drop)
}

/// Sessions and events of files that follow each other in time. A session ends where its terminal is given up or taken by
/// another, and where the system ends or starts, as `last` has it.
pub(super) fn sessions(collector: &mut Collector<'_, Login>, paths: &[PathBuf]) -> ControlFlow<()> {
    let mut open: HashMap<String, Login> = HashMap::new();
    for path in paths {
        let mut unpaired = 0_u64;
        each(collector, path, &mut |collector, record| {
            let event = event(&record);
            if record.line.starts_with('~') {
                let Some(kind) = event else { return ControlFlow::Continue(()) };
                let ends = kind != "runlevel" || matches!((record.pid & 255) as u8, b'0' | b'6');
                if ends {
                    close_all(collector, &mut open, Some(record.at_ns))?;
                }
                return collector.row(login(record, kind, "wtmp", path));
            }
            if let Some(kind) = event.filter(|kind| *kind == "clock") {
                return collector.row(login(record, kind, "wtmp", path));
            }
            let starts = record.kind == utmp::USER_PROCESS && !record.user.is_empty() && !record.line.is_empty();
            let ends = starts || record.kind == utmp::DEAD_PROCESS || record.user.is_empty();
            if ends && let Some(before) = open.remove(&record.line) {
                collector.row(Login { logout_ns: Some(record.at_ns).filter(|at| *at > 0), ..before })?;
            }
            if !starts {
                return ControlFlow::Continue(());
            }
            let line = record.line.clone();
            let login = login(record, "login", "wtmp", path);
            if open.len() >= OPEN_MAX {
                unpaired += 1;
                return collector.row(login);
            }
            open.insert(line, login);
            ControlFlow::Continue(())
        })?;
        if unpaired > 0 {
            let reason = format!("{unpaired} sessions show no end, since more than {OPEN_MAX} are open");
            collector.trouble(Some(&path.to_string_lossy()), reason);
        }
    }
    close_all(collector, &mut open, None)
}

/// Hands over the sessions that are open, the oldest first.
fn close_all(
    collector: &mut Collector<'_, Login>,
    open: &mut HashMap<String, Login>,
    at_ns: Option<i64>,
) -> ControlFlow<()> {
    let mut ended: Vec<Login> = open.drain().map(|(_, login)| login).collect();
    ended.sort_by(|one, other| (one.login_ns, &one.terminal).cmp(&(other.login_ns, &other.terminal)));
    ended.into_iter().try_for_each(|login| collector.row(Login { logout_ns: at_ns, ..login }))
}

/// What a record tells of the system, if anything.
fn event(record: &Record) -> Option<&'static str> {
    match (record.kind, record.user.as_str()) {
        (utmp::BOOT_TIME, _) => Some("boot"),
        (utmp::RUN_LVL, "shutdown") => Some("shutdown"),
        (utmp::RUN_LVL, _) => Some("runlevel"),
        (utmp::NEW_TIME | utmp::OLD_TIME, _) => Some("clock"),
        _ => None,
    }
}

fn login(record: Record, kind: &'static str, source: &'static str, path: &Path) -> Login {
    let known = |text: String| Some(text).filter(|text| !text.is_empty());
    // Of the system's events the number is none of a process.
    let pid = Some(record.pid).filter(|pid| *pid > 0 && matches!(kind, "login" | "current" | "failed"));
    Login {
        user: known(record.user),
        kind,
        terminal: known(record.line),
        host: known(record.host),
        ip: record.ip,
        pid,
        login_ns: Some(record.at_ns).filter(|at| *at != 0),
        source,
        path: path.to_string_lossy().into_owned(),
        ..Login::default()
    }
}

type Visit<'a> = dyn FnMut(&mut Collector<'_, Login>, Record) -> ControlFlow<()> + 'a;

/// Visits the records of a file; whether it is there.
fn each(collector: &mut Collector<'_, Login>, path: &Path, visit: &mut Visit<'_>) -> ControlFlow<(), bool> {
    let Some(file) = open(collector, path) else { return ControlFlow::Continue(false) };
    let bytes = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: BufReader<Box<dyn Read>> =
        BufReader::new(if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) });
    let mut start = Vec::new();
    let read = reader.by_ref().take(GUESS_BYTES).read_to_end(&mut start);
    let whole = if packed { start.len() as u64 } else { bytes };
    let layout = Layout::guess(&start, whole);
    let mut malformed = 0_u64;
    let mut problem = read.err();
    let mut source = start.as_slice().chain(reader);
    let mut record = vec![0; layout.size()];
    let flow = loop {
        if collector.go_on().is_break() {
            break ControlFlow::Break(());
        }
        match fill(&mut source, &mut record) {
            Ok(0) => break ControlFlow::Continue(()),
            Ok(length) if length < record.len() => {
                collector.trouble(Some(&path.to_string_lossy()), "it ends within a record");
                break ControlFlow::Continue(());
            }
            Ok(_) => match utmp::parse(&record, layout) {
                Some(record) => {
                    if visit(collector, record).is_break() {
                        break ControlFlow::Break(());
                    }
                }
                None => malformed += 1,
            },
            Err(error) => {
                problem.get_or_insert(error);
                break ControlFlow::Continue(());
            }
        }
    };
    if malformed > 0 {
        collector.trouble(Some(&path.to_string_lossy()), format!("{malformed} malformed records"));
    }
    if let Some(error) = problem {
        collector.trouble(Some(&path.to_string_lossy()), reason(&error));
    }
    flow.map_continue(|()| true)
}

/// Reads as much as there is room for, less only at the end.
fn fill(source: &mut impl Read, room: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = room.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Each user's last login: the record at the place of the user's number.
pub(super) fn last(collector: &mut Collector<'_, Login>, path: &Path) -> ControlFlow<()> {
    let Some(file) = open(collector, path) else { return ControlFlow::Continue(()) };
    let host = collector.host;
    let bytes = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    let (short, long) = (utmp::last_size(Layout::Short), utmp::last_size(Layout::Long));
    let layout = match (bytes.is_multiple_of(short), bytes.is_multiple_of(long)) {
        (true, false) => Layout::Short,
        (false, true) => Layout::Long,
        _ if matches!(host.about().arch.as_str(), "aarch64" | "loongarch64") => Layout::Long,
        _ => Layout::Short,
    };
    let size = utmp::last_size(layout);
    let mut record = vec![0; usize::try_from(size).unwrap_or_default()];
    let mut uid = 0_u64;
    while uid <= u64::from(u32::MAX) {
        collector.go_on()?;
        // The file has holes where nobody is, often of gigabytes.
        let data = match rustix::fs::seek(&file, SeekFrom::Data(uid * size)) {
            Ok(data) => data,
            Err(rustix::io::Errno::NXIO) => break,
            Err(_) => uid * size,
        };
        uid = uid.max(data / size);
        let end = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap_or(bytes).div_ceil(size);
        while uid < end.max(data / size + 1) && uid <= u64::from(u32::MAX) {
            collector.go_on()?;
            if file.read_exact_at(&mut record, uid * size).is_err() {
                return ControlFlow::Continue(());
            }
            let number = u32::try_from(uid).ok();
            uid += 1;
            let Some(record) = utmp::parse_last(&record, layout) else { continue };
            let user = number.and_then(|uid| host.user_name(uid)).map(str::to_owned);
            collector.row(Login { user, uid: number, ..login(record, "last", "lastlog", path) })?;
        }
    }
    ControlFlow::Continue(())
}

/// Opens a regular file; what is not there is no trouble.
fn open(collector: &mut Collector<'_, Login>, path: &Path) -> Option<File> {
    match collector.host.open_file(path) {
        Ok(Some(file)) => Some(file),
        // Such as a link to /dev/null, with which logins are hidden.
        Ok(None) => {
            collector.trouble(Some(&path.to_string_lossy()), "not a regular file");
            None
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                collector.trouble(Some(&path.to_string_lossy()), reason(&error));
            }
            None
        }
    }
}
