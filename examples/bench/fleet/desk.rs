//! The real prompt in a terminal of ours: types statements and notes when rows and footer come.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use canvass_examples::yard::Yard;

/// How long a statement may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// What the prompt writes before the first line of a result, where it does not edit lines.
const PROMPT: &str = "canvass> ";

/// A desk that runs, and ends with this value.
pub struct Desk {
    child: Child,
    terminal: std::fs::File,
    lines: Receiver<Line>,
}

struct Line {
    at: Instant,
    /// It is of standard output.
    row: bool,
    text: String,
}

/// What came of a statement.
pub struct Asked {
    pub first_row_s: f64,
    pub last_row_s: f64,
    pub footer: String,
}

impl Desk {
    pub fn open(yard: &Yard) -> Result<Desk> {
        let pair = nix::pty::openpty(None, None).context("no terminal")?;
        let mut command = yard.desk();
        command.args(["--server", &yard.url(), "--yes", "--wait", "expire", "--format", "tsv", "--no-init"]);
        // A terminal that cannot move its cursor: lines are read whole.
        command.env("TERM", "dumb").stdin(pair.slave).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("canvass")?;
        let (output, errors) = (child.stdout.take().context("output")?, child.stderr.take().context("errors")?);
        let (sender, lines) = channel();
        read(output, true, sender.clone());
        read(errors, false, sender);
        let terminal = std::fs::File::from(pair.master);
        // What we type is echoed to us; nobody may leave it there.
        let mut echoed = terminal.try_clone()?;
        std::thread::spawn(move || std::io::copy(&mut echoed, &mut std::io::sink()));
        let mut desk = Desk { child, terminal, lines };
        desk.wait(|line| line.text.contains(".help lists the commands"))?;
        Ok(desk)
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Types a statement and waits for its footer and all rows that the footer counts.
    pub fn ask(&mut self, statement: &str) -> Result<Asked> {
        let started = Instant::now();
        writeln!(self.terminal, "{statement};").context("the terminal")?;
        let (mut rows, mut first, mut last) = (0, None, started);
        let mut footer: Option<(u64, String)> = None;
        while footer.as_ref().is_none_or(|(count, _)| rows < *count) {
            let line = self.next()?;
            if !line.row {
                match count(&line.text) {
                    Some(count) => footer = Some((count, line.text)),
                    None => bail!("the desk says: {}", line.text),
                }
            } else if !line.text.starts_with(PROMPT) {
                rows += 1;
                first.get_or_insert(line.at);
                last = line.at;
            }
        }
        let (_, footer) = footer.context("a statement ends with a footer")?;
        let first_row_s = first.unwrap_or(last).duration_since(started).as_secs_f64();
        Ok(Asked { first_row_s, last_row_s: last.duration_since(started).as_secs_f64(), footer })
    }

    /// Asks nothing for a while, in which the desk has nothing to say.
    pub fn rest(&mut self, time: Duration) -> Result<()> {
        match self.lines.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("the desk has ended"),
            Ok(line) if line.text.starts_with(PROMPT) => self.rest(time),
            Ok(line) => bail!("the desk says, unasked: {}", line.text),
        }
    }

    fn wait(&mut self, wanted: impl Fn(&Line) -> bool) -> Result<()> {
        while !wanted(&self.next()?) {}
        Ok(())
    }

    fn next(&mut self) -> Result<Line> {
        self.lines.recv_timeout(PATIENCE).context("the desk says nothing any more")
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(from: impl Read + Send + 'static, row: bool, lines: Sender<Line>) {
    std::thread::spawn(move || {
        for text in BufReader::new(from).lines().map_while(Result::ok) {
            if lines.send(Line { at: Instant::now(), row, text }).is_err() {
                return;
            }
        }
    });
}

/// Rows, as a footer counts them.
fn count(footer: &str) -> Option<u64> {
    let (count, rest) = footer.split_once(" row")?;
    (rest.contains(" from ") && rest.contains(" hosts · ")).then(|| count.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn footers_are_told_from_other_words() {
        assert_eq!(count("3 rows from 3 of 12084 hosts · 12084 answered · 2.9 s"), Some(3));
        assert_eq!(count("1 row from 1 of 1 hosts · 1 answered · 0.1 s"), Some(1));
        assert_eq!(count("error: a row from nowhere"), None);
    }
}
