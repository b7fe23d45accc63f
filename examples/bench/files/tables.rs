//! Other tables beside the system's own tools: `make bench-tables`.

use std::fmt::Write as _;
use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use canvass_examples::swarm::raise_descriptors;
use rustix::io::FdFlags;

use crate::Bench;
use crate::memory;
use crate::report::{Goal, Measure, Report};
use crate::rounds::{alternate, timing, warm_up};
use crate::side::Side;
use crate::tools::in_path;

/// What the machine is given to list, beside what it has.
const SOCKETS: usize = 20_000;
const PROCESSES: usize = 1_000;
const MEMORY_BYTES: usize = 512 << 20;
/// No table's scan may hold more.
const ANONYMOUS_BYTES_MAX: u64 = 32 << 20;

/// A question, the command that answers it too, and whether both print the same text.
struct Case {
    name: &'static str,
    statement: String,
    tool: Side,
    same: bool,
    at_most: f64,
}

pub fn measure(bench: &Bench, report: &mut Report) -> Result<()> {
    raise_descriptors()?;
    let mut processes = Sleepers::start()?;
    // One process may not have so many descriptors on every system.
    let handed = sockets()?;
    for socket in &handed {
        rustix::io::fcntl_setfd(socket, FdFlags::empty())?;
    }
    processes.add()?;
    drop(handed);
    let kept = sockets()?;
    let buffer = Buffer::new();
    let cases = [
        Case {
            name: "netstat, without processes",
            statement: "SELECT local_ip, local_port, remote_ip, remote_port FROM netstat WHERE protocol = 'udp'".into(),
            tool: tool("ss", &["-H", "-uan"])?,
            same: false,
            at_most: 1.0,
        },
        Case {
            name: "netstat, with processes",
            statement: "SELECT local_ip, local_port, pid, process FROM netstat WHERE protocol = 'udp'".into(),
            tool: tool("ss", &["-H", "-uanp"])?,
            same: false,
            at_most: 1.0,
        },
        Case {
            name: "packages of dpkg",
            statement: "SELECT name, version, arch FROM packages WHERE source = 'dpkg'".into(),
            tool: tool("dpkg-query", &["-W", "-f", "${Package}\t${Version}\t${Architecture}\n"])?,
            same: true,
            at_most: 1.0,
        },
        Case {
            name: "processes",
            statement: "SELECT pid, parent_pid, uid, command_line FROM processes WHERE name = 'sleep'".into(),
            tool: tool("ps", &["-C", "sleep", "-o", "pid=,ppid=,uid=,args="])?,
            same: false,
            at_most: 1.0,
        },
        Case {
            name: "open_files",
            statement: "SELECT pid, fd, path FROM open_files WHERE process = 'sleep'".into(),
            tool: Side { header: 1, ..tool("lsof", &["-n", "-P", "-w", "-a", "-d", "0-99999", "-c", "sleep"])? },
            same: false,
            at_most: 1.0,
        },
        buffer.case()?,
    ];
    for case in cases {
        run(bench, report, &case).with_context(|| case.name)?;
    }
    drop(kept);
    Ok(())
}

/// Half of all sockets.
fn sockets() -> Result<Vec<UdpSocket>> {
    let sockets = (0..SOCKETS / 2).map(|_| UdpSocket::bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>();
    sockets.with_context(|| format!("{} sockets; `ulimit -Hn` has to be higher", SOCKETS / 2))
}

fn run(bench: &Bench, report: &mut Report, case: &Case) -> Result<()> {
    let (canvass, trivial) = (bench.canvass.asks(&case.statement), bench.canvass.trivial());
    let (ours, theirs) = if case.same {
        let hits = warm_up(&[&case.tool, &canvass])?;
        (hits, hits)
    } else {
        (canvass.hits()?.len() as u64, case.tool.hits()?.len() as u64)
    };
    // A tool such as dd lists nothing; the others must list as many.
    anyhow::ensure!(theirs == 0 || ours == theirs, "{ours} rows, and {} prints {theirs}", case.tool.name);
    let takers = vec![timing(&canvass, ours), timing(&trivial, 1), timing(&case.tool, theirs)];
    let taken = alternate(bench.settings.runs, takers)?;
    let measure = Measure::new("tables", case.name).hits(ours).scan(&taken[0], &taken[1]);
    report.add(measure.against(case.tool.name, &taken[2]).goal(Goal::AtMost(case.at_most)));
    let peak = memory::watch(&canvass)?.peak;
    let name = format!("{}, memory", case.name);
    report.add(Measure::new("tables", &name).memory(peak).goal(Goal::BytesAtMost(ANONYMOUS_BYTES_MAX)));
    Ok(())
}

fn tool(name: &'static str, arguments: &[&str]) -> Result<Side> {
    let program = in_path(name).with_context(|| format!("missing: `{name}`; `make bench-tools` installs it"))?;
    Ok(Side { end: b'\n', codes: &[0], ..Side::tool(name, &program).with(arguments) })
}

/// Processes that do nothing, ended when this is dropped.
struct Sleepers(Vec<Child>);

impl Sleepers {
    fn start() -> Result<Sleepers> {
        let mut sleepers = Sleepers(Vec::new());
        for _ in 1..PROCESSES {
            sleepers.add()?;
        }
        Ok(sleepers)
    }

    /// Starts one more, which inherits what it may.
    fn add(&mut self) -> Result<()> {
        let mut sleep = Command::new("sleep");
        sleep.arg("3600").stdin(Stdio::null()).stdout(Stdio::null());
        self.0.push(sleep.spawn().context("`sleep` cannot be started")?);
        Ok(())
    }
}

impl Drop for Sleepers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            // One that ended by itself needs no ending.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Memory of this process, with one line at its end that is looked for.
struct Buffer(Vec<u8>);

impl Buffer {
    fn new() -> Buffer {
        let (mut bytes, mut line) = (Vec::with_capacity(MEMORY_BYTES), String::new());
        let mut number = 0_u64;
        while bytes.len() + 64 < MEMORY_BYTES {
            line.clear();
            let noise = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            // Writing to a text cannot fail.
            let _ = writeln!(line, "{number} of no interest {noise:016x}");
            bytes.extend_from_slice(line.as_bytes());
            number += 1;
        }
        // Put together only here, so that it stands nowhere else in this process.
        bytes.extend_from_slice(&[b"needle".as_slice(), b"-in-", b"memory\n"].concat());
        Buffer(bytes)
    }

    fn case(&self) -> Result<Case> {
        let (process, address) = (std::process::id(), self.0.as_ptr().addr());
        let arguments = [
            format!("if=/proc/{process}/mem"),
            "of=/dev/null".to_owned(),
            "bs=1M".to_owned(),
            "iflag=skip_bytes,count_bytes".to_owned(),
            format!("skip={address}"),
            format!("count={}", self.0.len()),
            "status=none".to_owned(),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        Ok(Case {
            name: "process_memory",
            statement: format!(
                "SELECT pid FROM process_memory WHERE pid = {process} AND content ~ 'needle-in-m[a-e]mory'"
            ),
            tool: tool("dd", &arguments)?,
            same: false,
            at_most: 1.3,
        })
    }
}
