//! Table `system`: what a host is, in one row.

use std::ops::ControlFlow;
use std::path::Path;

use canvass_protocol::answer::Trouble;

use crate::column::{Cell, Column, Form, Kind};
use crate::engine::Collector;
use crate::host::Host;
use crate::processes::proc;
use crate::table::{Declared, TableInfo};

/// A host at one moment.
#[derive(Default)]
pub struct System {
    hostname: String,
    os: String,
    os_version: Option<String>,
    kernel: Option<String>,
    arch: String,
    timezone: Option<String>,
    boot_ns: Option<i64>,
    uptime_s: Option<u64>,
    cpus: Option<u64>,
    memory_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    load_1m: Option<f64>,
}

pub static SYSTEM: Declared<System> = Declared {
    info: TableInfo {
        name: "system",
        module: super::MODULE,
        about: "Operating system, uptime, processors and memory of a host, in one row",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, os_version, kernel FROM system WHERE uptime_s > 180 * 86400",
    },
    columns: &[
        Column::field("hostname", Kind::Text, "Name the host has for itself", |s| s.hostname.as_str().into()),
        Column::<System>::field("os", Kind::Text, "Operating system", |s| s.os.as_str().into())
            .values(&["linux", "darwin"]),
        Column::field("os_version", Kind::Text, "Distribution and version", |s| s.os_version.as_deref().into()),
        Column::field("kernel", Kind::Text, "Release of the kernel", |s| s.kernel.as_deref().into()),
        Column::field("arch", Kind::Text, "Machine architecture, e.g. x86_64", |s| s.arch.as_str().into()),
        Column::field("timezone", Kind::Text, "Time zone, e.g. Europe/Paris", |s| s.timezone.as_deref().into()),
        Column::field("boot_at", Kind::Timestamp, "Start of the system, to about a second", |s| {
            s.boot_ns.map_or(Cell::Null, Cell::Timestamp)
        }),
        Column::field("uptime_s", Kind::Integer, "Time since the start, in whole seconds", |s| s.uptime_s.into()),
        Column::field("cpus", Kind::Integer, "Processors in use", |s| s.cpus.into()),
        Column::field("memory_bytes", Kind::Integer, "Memory that the kernel manages, in bytes", |s: &System| {
            s.memory_bytes.into()
        })
        .form(Form::Bytes),
        Column::field(
            "memory_available_bytes",
            Kind::Integer,
            "Memory that programs could still get, in bytes",
            |s: &System| s.memory_available_bytes.into(),
        )
        .form(Form::Bytes),
        Column::field("load_1m", Kind::Float, "Processes running or waiting, averaged over a minute", |s| {
            s.load_1m.map_or(Cell::Null, Cell::Float)
        }),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, System>) -> ControlFlow<()> {
    let host = collector.host;
    let about = host.about();
    let mut system = System {
        hostname: about.name.clone(),
        os: about.os.clone(),
        os_version: about.os_version.clone(),
        kernel: about.kernel.clone(),
        arch: about.arch.clone(),
        ..System::default()
    };
    let mut read = |columns: &[&str], path: &str, parse: &mut dyn FnMut(&str) -> Option<()>| {
        if columns.iter().any(|column| collector.wants(column))
            && let Err(trouble) = read(host, path, parse)
        {
            collector.note_trouble(trouble);
        }
    };
    read(&["boot_at", "cpus"], "/proc/stat", &mut |text| {
        system.cpus = Some(text.lines().filter(|line| is_cpu(line)).count() as u64).filter(|cpus| *cpus > 0);
        system.boot_ns = proc::boot_ns_in(text);
        system.cpus.and(system.boot_ns).map(drop)
    });
    read(&["uptime_s"], "/proc/uptime", &mut |text| {
        system.uptime_s = first_float(text).map(|seconds| seconds as u64);
        system.uptime_s.map(drop)
    });
    read(&["memory_bytes", "memory_available_bytes"], "/proc/meminfo", &mut |text| {
        system.memory_bytes = proc::kilobytes(text, "MemTotal");
        system.memory_available_bytes = proc::kilobytes(text, "MemAvailable");
        system.memory_bytes.and(system.memory_available_bytes).map(drop)
    });
    read(&["load_1m"], "/proc/loadavg", &mut |text| {
        system.load_1m = first_float(text);
        system.load_1m.map(drop)
    });
    if collector.wants("timezone") {
        system.timezone = timezone(host);
    }
    collector.row(system)
}

/// Reads one file into the row; `parse` keeps what it understood and gives `None` where anything was missing.
fn read(host: &Host, path: &str, parse: &mut dyn FnMut(&str) -> Option<()>) -> Result<(), Trouble> {
    let text = host.read_text(Path::new(path)).map_err(|error| proc::trouble(Path::new(path), &error))?;
    parse(&text).ok_or_else(|| Trouble::new(Some(path), "not all that was expected is in it"))
}

/// Whether a line of `/proc/stat` is of one processor (`cpu0 …`), rather than of all (`cpu …`).
fn is_cpu(line: &str) -> bool {
    line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
}

fn first_float(text: &str) -> Option<f64> {
    let number = text.split_ascii_whitespace().next()?.parse::<f64>().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

/// The zone that `/etc/localtime` links to, or that `/etc/timezone` names.
fn timezone(host: &Host) -> Option<String> {
    let link = host.read_link(Path::new("/etc/localtime")).ok();
    let linked = link.as_ref().and_then(|link| link.to_str()?.split_once("zoneinfo/")).map(|(_, zone)| zone.to_owned());
    let named = || host.read_text(Path::new("/etc/timezone")).ok().map(|text| text.trim().to_owned());
    linked.or_else(named).filter(|zone| !zone.is_empty())
}
