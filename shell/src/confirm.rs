//! The question before a statement goes to many agents.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use canvass_planner::desk::Planned;
use canvass_planner::error::Error;
use canvass_planner::explain;
use canvass_protocol::action::Action;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::interrupts::Interrupts;
use crate::render::escape::{visible, visible_lines};
use crate::terminal::Terminal;
use crate::typing::Asking;

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    Yes,
    No,
    Interrupted,
}

/// Whether so many agents are more than may be asked without a yes; 0 asks always.
pub fn is_needed(agents: usize, confirm_above: u64) -> bool {
    agents > 0 && agents as u64 > confirm_above
}

/// Says whom the statement asks and what, and waits for a yes.
pub async fn ask(
    planned: &Planned,
    action: &Action,
    terminal: &Terminal,
    interrupts: &mut Interrupts,
) -> Result<Consent, Error> {
    let agents = match planned.asked.len() {
        1 => "1 agent".to_owned(),
        many => format!("{many} agents"),
    };
    if !terminal.can_ask() {
        return Err(Error::usage(format!("this asks {agents}, and nobody is here to say yes"))
            .hint("add `-y`, or raise it: SET canvass.confirm_above = …"));
    }
    eprintln!("{}", visible_lines(&planned.explanation));
    for sentence in explain::binding(action) {
        eprintln!("this binds {}", visible(&sentence));
    }
    yes(&format!("ask {agents} of fleet {}?", visible(&action.fleet)), terminal, interrupts).await
}

/// Asks for a yes.
pub async fn yes(question: &str, terminal: &Terminal, interrupts: &mut Interrupts) -> Result<Consent, Error> {
    let said = said(&format!("{question} [y/N]"), terminal, interrupts).await?;
    Ok(said.map_or(Consent::Interrupted, |line| consent(&line)))
}

/// What is said to being asked for a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    Said(Consent),
    /// First all values are to be seen.
    All,
}

/// Asks for a yes to a signature.
pub async fn sign(terminal: &Terminal, interrupts: &mut Interrupts) -> Result<Reply, Error> {
    let said = said("sign it? [y/N, a shows all values]", terminal, interrupts).await?;
    Ok(match said {
        Some(line) if matches!(line.trim().to_ascii_lowercase().as_str(), "a" | "all") => Reply::All,
        said => Reply::Said(said.map_or(Consent::Interrupted, |line| consent(&line))),
    })
}

fn consent(line: &str) -> Consent {
    let yes = matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    if yes { Consent::Yes } else { Consent::No }
}

/// The line that is typed after a question; none where Ctrl-C is.
async fn said(question: &str, terminal: &Terminal, interrupts: &mut Interrupts) -> Result<Option<String>, Error> {
    if !terminal.can_ask() {
        return Err(Error::usage("nobody is here to say yes").hint("add `-y`"));
    }
    let _asking = Asking::begin();
    eprint!("{question} ");
    // A prompt that cannot be shown is answered blindly or not at all; either is the reader's choice.
    let _ = std::io::stderr().flush();
    loop {
        tokio::select! {
            () = interrupts.next() => {
                eprintln!();
                return Ok(None);
            }
            () = tokio::time::sleep(Duration::from_millis(30)) => {}
        }
        if has_line() {
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(|error| Error::usage(format!("no answer could be read: {error}")))?;
            return Ok(Some(line));
        }
    }
}

/// Whether a terminal holds a line; it hands over whole lines only.
fn has_line() -> bool {
    let stdin = std::io::stdin();
    let mut descriptors = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::is_needed;

    #[test]
    fn above_the_threshold_it_asks() {
        for (agents, above, expected) in [(100, 100, false), (101, 100, true), (1, 0, true), (0, 0, false)] {
            assert_eq!(is_needed(agents, above), expected, "{agents} {above}");
        }
    }
}
