//! Table `processes`: what runs on a host, as its `/proc` tells.

use std::ops::ControlFlow;
use std::sync::Arc;

use canvass_protocol::answer::Trouble;
use procfs_core::process::Stat;

use super::program::{self, Hashes};
use super::{cgroup, container, proc};
use crate::accounts;
use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::host::Host;
use crate::table::{Declared, TableInfo};

/// A process, without its threads.
pub struct Process {
    pid: u32,
    stat: Stat,
    started_ns: Option<i64>,
    uid: Option<u32>,
    effective_uid: Option<u32>,
    gid: Option<u32>,
    effective_gid: Option<u32>,
    saved_uid: Option<u32>,
    saved_gid: Option<u32>,
    memory_bytes: Option<u64>,
    /// What was read for the scan's other processes.
    hashes: Arc<Hashes>,
}

pub static PROCESSES: Declared<Process> = Declared {
    info: TableInfo {
        name: "processes",
        module: super::MODULE,
        about: "Running processes, kernel threads included, one row each",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, pid, user, path FROM processes WHERE deleted AND uid = 0",
    },
    columns: &[
        Column::field("pid", Kind::Integer, "Number of the process", |p| p.pid.into()),
        Column::field("parent_pid", Kind::Integer, "Process that started or adopted it; 0 is the kernel", |p| {
            i64::from(p.stat.ppid).into()
        }),
        Column::field("name", Kind::Text, "Short name that the process gives itself, 15 bytes for programs", |p| {
            p.stat.comm.as_str().into()
        }),
        Column::<Process>::field(
            "state",
            Kind::Text,
            "State in ps's letters: R runs, S sleeps, D waits for a device, Z zombie, T stopped, I idle, P parked",
            |p| p.stat.state.to_string().into(),
        )
        .values(&["R", "S", "D", "Z", "T", "t", "I", "P", "X"]),
        Column::<Process>::probe("path", Kind::Text, "Program file; NULL for kernel threads and zombies", |p, host| {
            Ok(program::path(host, p.pid)?.map(|(path, _)| path).into())
        })
        .form(Form::Path),
        Column::probe(
            "deleted",
            Kind::Boolean,
            "Whether the program file was removed since the start; NULL where `path` is",
            |p, host| Ok(program::path(host, p.pid)?.map(|(_, deleted)| deleted).into()),
        ),
        Column::<Process>::read(
            "command_line",
            Kind::Text,
            "Arguments joined by spaces, their first 256 KiB; NULL for kernel threads, zombies and during exec",
            |p, host| Ok(proc::start_of(host, p.pid, "cmdline", COMMAND_LINE_BYTES_MAX)?.and_then(command_line).into()),
        )
        .sensitive(),
        Column::<Process>::probe(
            "working_directory",
            Kind::Text,
            "Folder in which the process works; NULL for zombies",
            |p, host| Ok(program::link(host, p.pid, "cwd")?.into()),
        )
        .form(Form::Path),
        Column::field("uid", Kind::Integer, "User who started it (the real one)", |p| p.uid.into()),
        Column::read("user", Kind::Text, "Name of `uid` in /etc/passwd", |p, host| {
            Ok(p.uid.and_then(|uid| host.user_name(uid)).map(str::to_owned).into())
        }),
        Column::field("gid", Kind::Integer, "Group who started it (the real one)", |p| p.gid.into()),
        Column::field("effective_uid", Kind::Integer, "User whose rights it has", |p| p.effective_uid.into()),
        Column::field("started_at", Kind::Timestamp, "Start, to about a second", |p| {
            p.started_ns.map_or(Cell::Null, Cell::Timestamp)
        }),
        Column::field("threads", Kind::Integer, "Number of its threads", |p| p.stat.num_threads.into()),
        Column::field(
            "memory_bytes",
            Kind::Integer,
            "Memory it holds in RAM, in bytes; NULL for kernel threads and zombies",
            |p: &Process| p.memory_bytes.into(),
        )
        .form(Form::Bytes),
        Column::field(
            "cpu_time_ms",
            Kind::Integer,
            "Processor time used so far, user and system, in milliseconds",
            |p| p.stat.utime.saturating_add(p.stat.stime).checked_mul(1000 / proc::TICKS_PER_SECOND).into(),
        ),
        Column::field("terminal", Kind::Text, "Terminal that controls it, e.g. pts/0; NULL without one", |p| {
            terminal(&p.stat).into()
        }),
        Column::field("effective_gid", Kind::Integer, "Group whose rights it has", |p| p.effective_gid.into()),
        Column::field("saved_uid", Kind::Integer, "User whose rights it can take back", |p| p.saved_uid.into()),
        Column::field("saved_gid", Kind::Integer, "Group whose rights it can take back", |p| p.saved_gid.into()),
        Column::field("nice", Kind::Integer, "Niceness, from -20 for the most to 19 for the least favoured", |p| {
            p.stat.nice.into()
        }),
        Column::<Process>::probe(
            "root",
            Kind::Text,
            "Folder that the process sees as /, in the mounts of the agent; NULL for zombies",
            |p, host| Ok(program::link(host, p.pid, "root")?.into()),
        )
        .form(Form::Path),
        Column::read(
            "cgroup",
            Kind::Text,
            "Control group, by its path in the unified or systemd's hierarchy",
            |p, host| Ok(control_groups(host, p.pid)?.as_deref().and_then(cgroup::path).map(str::to_owned).into()),
        ),
        Column::read(
            "container",
            Kind::Text,
            "Container that it runs in, by the name that its control group has",
            |p, host| Ok(control_groups(host, p.pid)?.as_deref().and_then(container::id).into()),
        ),
        Column::<Process>::probe("read_bytes", Kind::Integer, "Bytes that it has had read from disks", |p, host| {
            Ok(io_bytes(host, p.pid, "read_bytes")?.into())
        })
        .form(Form::Bytes),
        Column::<Process>::probe(
            "written_bytes",
            Kind::Integer,
            "Bytes that it has had written to disks",
            |p, host| Ok(io_bytes(host, p.pid, "write_bytes")?.into()),
        )
        .form(Form::Bytes),
        Column::<Process>::probe(
            "sha256",
            Kind::Text,
            "SHA-256 of the program it runs, as it is on disk, also where it was removed; NULL where `path` is",
            |p, host| Ok(p.hashes.of(host, p.pid)?.into()),
        )
        .form(Form::Hex(Some(64))),
    ],
    collect,
};

/// Columns that are read from a process's `status`.
const STATUS_COLUMNS: &[&str] =
    &["uid", "user", "gid", "effective_uid", "effective_gid", "saved_uid", "saved_gid", "memory_bytes"];

fn collect(collector: &mut Collector<'_, Process>) -> ControlFlow<()> {
    let host = collector.host;
    let pids = collector.note(proc::pids(host)).unwrap_or_default();
    let boot_ns = if collector.wants("started_at") { collector.note(proc::boot_ns(host)) } else { None };
    if collector.wants("user") {
        accounts::note_troubles(collector, accounts::PASSWD);
    }
    let status_wanted = STATUS_COLUMNS.iter().any(|name| collector.wants(name));
    let hashes = Arc::new(Hashes::default());
    for pid in pids {
        collector.go_on()?;
        let Some(stat) = collector.note(proc::stat(host, pid)).flatten() else { continue };
        let status = if status_wanted { collector.note(proc::text(host, pid, "status")).flatten() } else { None };
        let ids = |key, index| id(status.as_deref()?, key, index);
        collector.row(Process {
            pid,
            started_ns: boot_ns.and_then(|boot| started_ns(boot, stat.starttime)),
            uid: ids("Uid", 0),
            effective_uid: ids("Uid", 1),
            gid: ids("Gid", 0),
            effective_gid: ids("Gid", 1),
            saved_uid: ids("Uid", 2),
            saved_gid: ids("Gid", 2),
            hashes: hashes.clone(),
            memory_bytes: status.as_deref().and_then(|status| proc::kilobytes(status, "VmRSS")),
            stat,
        })?;
    }
    ControlFlow::Continue(())
}

fn control_groups(host: &Host, pid: u32) -> Result<Option<String>, Trouble> {
    proc::optional(host, pid, "cgroup")
}

/// A counter of a process's `io`, which only its user and administrators may read.
fn io_bytes(host: &Host, pid: u32, key: &str) -> Result<Option<u64>, Trouble> {
    Ok(proc::optional(host, pid, "io")?.and_then(|text| proc::value(&text, key)?.parse().ok()))
}

/// More of a command line nobody reads, and a process can make its own as long as it likes.
const COMMAND_LINE_BYTES_MAX: u64 = 256 << 10;

fn command_line(mut bytes: Vec<u8>) -> Option<String> {
    let end = bytes.iter().rposition(|byte| *byte != 0)? + 1;
    bytes.truncate(end);
    bytes.iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn id(status: &str, key: &str, index: usize) -> Option<u32> {
    proc::number(proc::value(status, key)?.split_ascii_whitespace().nth(index)?)
}

fn started_ns(boot_ns: i64, ticks: u64) -> Option<i64> {
    let since = i64::try_from(ticks).ok()?.checked_mul(1_000_000_000 / proc::TICKS_PER_SECOND as i64)?;
    boot_ns.checked_add(since)
}

/// Names the terminals that people log in on; numbers as in the kernel's `devices.txt`.
fn terminal(stat: &Stat) -> Option<String> {
    match stat.tty_nr() {
        (major @ 136..=143, minor) => Some(format!("pts/{}", (major - 136) * 256 + minor)),
        (4, minor @ 0..64) => Some(format!("tty{minor}")),
        (4, minor) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".into()),
        (229, minor) => Some(format!("hvc{minor}")),
        _ => None,
    }
}
