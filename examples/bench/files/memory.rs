//! What a scan's process holds in memory while it works, as the kernel counts it.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::side::Side;

/// How often the kernel is asked.
const SAMPLE_EVERY: Duration = Duration::from_millis(2);
const READ_BYTES: usize = 64 << 10;

/// The most that was seen, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Anonymous memory of the scan's process: what the goal bounds.
    pub anonymous: u64,
    /// All its memory at its highest, the program's own pages included.
    pub resident: u64,
    /// Anonymous memory of the program that asked.
    pub desk: u64,
}

/// A run that was watched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Watched {
    pub seconds: f64,
    pub rows: u64,
    pub peak: Peak,
}

/// Runs a statement once and looks at its scan's process all the while.
pub fn watch(side: &Side) -> Result<Watched> {
    let started = Instant::now();
    let mut child = side.command().stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?;
    let mut output = child.stdout.take().context("a program without output")?;
    let (done, ended) = sync_channel(1);
    let end = side.end;
    std::thread::spawn(move || {
        let (mut buffer, mut ends) = (vec![0; READ_BYTES], 0_u64);
        let count = loop {
            match output.read(&mut buffer) {
                Ok(0) => break Ok(ends),
                Ok(read) => ends += buffer[..read].iter().filter(|byte| **byte == end).count() as u64,
                Err(error) => break Err(error),
            }
        };
        drop(done.send(count));
    });
    let (mut peak, mut scan) = (Peak::default(), None);
    let ends = loop {
        scan = scan.or_else(|| scan_of(child.id()));
        if let Some(status) = scan.and_then(status) {
            peak.anonymous = peak.anonymous.max(bytes(&status, "RssAnon:"));
            peak.resident = peak.resident.max(bytes(&status, "VmHWM:"));
        }
        let desk = status(child.id()).map_or(0, |status| bytes(&status, "RssAnon:"));
        peak.desk = peak.desk.max(desk);
        match ended.recv_timeout(SAMPLE_EVERY) {
            Ok(ends) => break ends?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the output cannot be read"),
        }
    };
    let status = child.wait()?;
    let seconds = started.elapsed().as_secs_f64();
    if !status.success() {
        bail!("the statement ended with {status}");
    }
    if peak.anonymous == 0 {
        bail!("the scan's process was never seen");
    }
    Ok(Watched { seconds, rows: ends.saturating_sub(side.header), peak })
}

/// The process that scans for another one: its child, once it runs a command line of its own.
fn scan_of(parent: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut numbers = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let own = command(parent)?;
    numbers.find(|process| parent_of(*process) == Some(parent) && command(*process).is_some_and(|line| line != own))
}

fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn command(process: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{process}/cmdline")).ok().filter(|line| !line.is_empty())
}

fn status(process: u32) -> Option<String> {
    fs::read_to_string(format!("/proc/{process}/status")).ok()
}

/// A line of `/proc/PID/status` that is in kB; 0 where it is missing, as it is once a process has ended.
fn bytes(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_in_kilobytes() {
        let text = "Name:\tcanvass\nVmHWM:\t   20480 kB\nRssAnon:\t     512 kB\n";
        assert_eq!((bytes(text, "VmHWM:"), bytes(text, "RssAnon:"), bytes(text, "RssFile:")), (20 << 20, 512 << 10, 0));
    }
}
