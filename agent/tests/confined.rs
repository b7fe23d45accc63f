//! What the real scan's process has given up before it reads its job.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use canvass_agent::cage;

/// Fields of `/proc/PID/stat` after the name in parentheses; niceness is the nineteenth of all, the seventeenth here.
fn niceness(pid: u32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(16)?.parse().ok()
}

#[test]
fn the_child_gives_up_what_it_does_not_need() {
    let secret = tempfile::NamedTempFile::new().expect("a temporary file");
    let inherited = File::open(secret.path()).expect("a temporary file opens");
    rustix::io::fcntl_setfd(inherited.as_fd(), rustix::io::FdFlags::empty()).expect("a descriptor's flags can be set");
    let mut child = Command::new(env!("CARGO_BIN_EXE_canvass-agent"))
        .arg(cage::ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let pid = child.id();
    // Niceness is what it takes on last; then it waits for its job.
    let end = Instant::now() + Duration::from_secs(60);
    while niceness(pid) != Some(10) && Instant::now() < end {
        std::thread::yield_now();
    }
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).expect("the child lives");
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("the child lives").flatten();
    let open: Vec<_> = links.filter_map(|link| fs::read_link(link.path()).ok()).collect();
    let (limits, status) = (read("limits"), read("status"));
    // Asks the kernel with ioprio_get.
    let ionice = Command::new("ionice").args(["-p", &pid.to_string()]).output().expect("`ionice` of util-linux runs");
    let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("the child lives");
    drop(child.stdin.take());
    let output = child.wait_with_output().expect("the child ends when its input does");

    assert!(!open.iter().any(|path| path == secret.path()), "{open:?}");
    assert!(status.lines().any(|line| line.split_whitespace().eq(["NoNewPrivs:", "1"])), "{status}");
    for (name, expected) in [("Max core file size", "0"), ("Max file size", "0"), ("Max open files", "1024")] {
        let limit = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the limit is listed");
        assert!(limit.split_whitespace().take(2).eq([expected; 2]), "{name}: {limit}");
    }
    assert_eq!(String::from_utf8_lossy(&ionice.stdout).trim(), "idle");
    assert_eq!(cwd.to_str(), Some("/"));
    assert_eq!(output.status.signal(), None);
    assert!(String::from_utf8_lossy(&output.stdout).contains("cannot read its job"));
}
