//! A swarm as a process of its own, as tests and benchmarks start it.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::program;

/// What went over all lines of a swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub commands: u64,
    pub command_bytes: u64,
    pub parts: u64,
    pub part_bytes: u64,
}

/// A swarm that runs, and ends with this value.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    /// Starts a swarm and returns when all of its agents are where they belong. Its errors go to the file `log`.
    pub fn start(server: &str, keyring: &Path, agents: u32, more: &[&str], log: &Path) -> Result<Running> {
        let errors = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program("canvass-swarm"));
        command.args(["--server", server, "--agents", &agents.to_string(), "--keyring"]).arg(keyring).args(more);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(errors).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take().context("it has an output")?);
        let mut running = Running { child, input, lines: BufReader::new(output).lines() };
        match running.lines.next() {
            Some(Ok(line)) if line.starts_with("canvass-swarm agents=") => Ok(running),
            _ => bail!("the swarm did not gather: {}", std::fs::read_to_string(log).unwrap_or_default()),
        }
    }

    /// The process, for its figures.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it in order, and learns what went over its lines.
    pub fn end(mut self) -> Result<Totals> {
        self.input = None;
        let line = self.lines.next().context("the swarm ended without its totals")??;
        totals(&line).with_context(|| format!("the swarm's last line is `{line}`"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn totals(line: &str) -> Option<Totals> {
    let value = |name: &str| line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    Some(Totals {
        commands: value("commands")?,
        command_bytes: value("command_bytes")?,
        parts: value("parts")?,
        part_bytes: value("part_bytes")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        let line = "canvass-swarm commands=2 command_bytes=3000 parts=4 part_bytes=5000";
        assert_eq!(totals(line), Some(Totals { commands: 2, command_bytes: 3000, parts: 4, part_bytes: 5000 }));
        assert_eq!(totals("canvass-swarm agents=2 seed=1"), None);
    }
}
