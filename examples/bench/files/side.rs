//! One side of a comparison: a program that prints its hits, run again and again.

use std::ffi::{OsStr, OsString};
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::rounds::Sample;

/// Of what a failed program said on standard error.
const ERRORS_BYTES_MAX: usize = 2000;
const READ_BYTES: usize = 64 << 10;

/// A program, how it is called, and how it prints.
#[derive(Debug, Clone)]
pub struct Side {
    pub name: &'static str,
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// Where set, the only variable the program sees beside `LC_ALL`.
    pub home: Option<PathBuf>,
    /// What ends a hit.
    pub end: u8,
    /// Lines before the first hit.
    pub header: u64,
    /// Exit codes that do not spoil the comparison.
    pub codes: &'static [i32],
}

impl Side {
    /// A tool that ends each hit with a zero byte, and may meet files that it cannot read.
    pub fn tool(name: &'static str, program: &std::path::Path) -> Side {
        let (program, arguments) = (program.to_owned(), Vec::new());
        Side { name, program, arguments, home: None, end: 0, header: 0, codes: &[0, 1, 2] }
    }

    pub fn with(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Side {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if let Some(home) = &self.home {
            command.env_clear().env("HOME", home);
        }
        // Names are bytes to every tool then, which is what they are fastest at.
        command.args(&self.arguments).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// Runs it once and returns its hits, sorted.
    pub fn hits(&self) -> Result<Vec<String>> {
        let output = self.command().output().with_context(|| self.words("cannot be started"))?;
        self.check(output.status.code(), &output.stderr)?;
        let mut hits = output.stdout.split(|byte| *byte == self.end);
        for _ in 0..self.header {
            hits.next();
        }
        let mut hits: Vec<String> = hits.map(|hit| self.readable(hit)).filter(|hit| !hit.is_empty()).collect();
        hits.sort_unstable();
        Ok(hits)
    }

    /// Runs it once; returns the time it took and how many hits it printed, which are read and thrown away.
    ///
    /// The output is a pipe: some tools do less when it is `/dev/null`.
    pub fn time(&self) -> Result<(Sample, u64)> {
        let cpu_before = children_cpu_s()?;
        let started = Instant::now();
        let mut child = self
            .command()
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| self.words("cannot be started"))?;
        let mut output = child.stdout.take().context("a program without output")?;
        let (mut buffer, mut ends) = (vec![0; READ_BYTES], 0_u64);
        loop {
            match output.read(&mut buffer)? {
                0 => break,
                read => ends += buffer[..read].iter().filter(|byte| **byte == self.end).count() as u64,
            }
        }
        let status = child.wait()?;
        let value = started.elapsed().as_secs_f64();
        self.check(status.code(), b"")?;
        let cpu_s = children_cpu_s()? - cpu_before;
        Ok((Sample { value, cpu_s }, ends.saturating_sub(self.header)))
    }

    /// A hit as Canvass writes it in tab-separated values.
    fn readable(&self, hit: &[u8]) -> String {
        let text = String::from_utf8_lossy(hit);
        if self.end != 0 {
            return text.into_owned();
        }
        text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
    }

    fn check(&self, code: Option<i32>, errors: &[u8]) -> Result<()> {
        if code.is_some_and(|code| self.codes.contains(&code)) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&errors[..errors.len().min(ERRORS_BYTES_MAX)]).into_owned();
        let code = code.map_or_else(|| "by a signal".to_owned(), |code| format!("with {code}"));
        bail!("{}: {said}", self.words(&format!("ended {code}")))
    }

    fn words(&self, what: &str) -> String {
        let arguments: Vec<_> = self.arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        format!("`{} {}` {what}", self.program.display(), arguments.join(" "))
    }
}

/// Processor time of all processes that this one has waited for, and they in turn.
pub fn children_cpu_s() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").context("`/proc/self/stat` cannot be read")?;
    Ok(children_ticks(&stat) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// The sixteenth and seventeenth field; after the name, which stands in parentheses, comes the third.
fn children_ticks(stat: &str) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(13).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

/// Stops where two sides found different things: then there is nothing to compare.
pub fn check_same(left: (&str, &[String]), right: (&str, &[String])) -> Result<()> {
    let (left_only, right_only) = (missing(left.1, right.1), missing(right.1, left.1));
    if left_only.is_empty() && right_only.is_empty() && left.1.len() == right.1.len() {
        return Ok(());
    }
    let some = |only: &[&String]| only.iter().take(5).map(|hit| format!("\n  {hit}")).collect::<String>();
    bail!(
        "{} has {} hits and {} has {}\nonly {}, {}:{}\nonly {}, {}:{}",
        left.0,
        left.1.len(),
        right.0,
        right.1.len(),
        left.0,
        left_only.len(),
        some(&left_only),
        right.0,
        right_only.len(),
        some(&right_only)
    )
}

/// What of a sorted list is not in another one.
fn missing<'a>(list: &'a [String], of: &[String]) -> Vec<&'a String> {
    list.iter().filter(|hit| of.binary_search(hit).is_err()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str) -> Side {
        Side::tool("say", "/bin/sh".as_ref()).with(["-c", text])
    }

    #[test]
    fn hits_are_read_sorted_and_counted() {
        let side = say("printf 'b\\0a\\tc\\0'");
        assert_eq!(side.hits().unwrap(), ["a\\tc", "b"]);
        assert_eq!(side.time().unwrap().1, 2);
        let rows = Side { end: b'\n', header: 1, ..say("printf 'path\\n/b\\n/a\\n'") };
        assert_eq!(rows.hits().unwrap(), ["/a", "/b"]);
        assert_eq!(rows.time().unwrap().1, 2);
    }

    #[test]
    fn processor_time_is_the_children_s() {
        assert_eq!(children_ticks("7 (a ) b) R 4 5 6 7 8 9 10 11 12 13 14 15 1600 17 18"), 1617);
    }

    #[test]
    fn a_failure_is_told_with_what_was_said() {
        let error = say("echo broken >&2; exit 3").hits().unwrap_err().to_string();
        assert!(error.contains("ended with 3: broken"), "{error}");
        assert!(say("exit 1").hits().unwrap().is_empty());
    }

    #[test]
    fn different_hits_are_no_comparison() {
        let list = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(check_same(("fd", &list("a b")), ("canvass", &list("a b"))).is_ok());
        let error = check_same(("fd", &list("a b c")), ("canvass", &list("b d"))).unwrap_err().to_string();
        assert_eq!(error, "fd has 3 hits and canvass has 2\nonly fd, 2:\n  a\n  c\nonly canvass, 1:\n  d");
    }
}
