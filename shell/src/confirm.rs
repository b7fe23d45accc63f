//! The question before a statement goes to many agents.

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use canvass_planner::desk::Planned;
use canvass_planner::error::Error;
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
    yes(&format!("ask {agents} of fleet {}?", visible(&action.fleet)), terminal, interrupts).await
}

/// Asks for a yes.
pub async fn yes(question: &str, terminal: &Terminal, interrupts: &mut Interrupts) -> Result<Consent, Error> {
    if !terminal.can_ask() {
        return Err(Error::usage("nobody is here to say yes").hint("add `-y`"));
    }
    let _asking = Asking::begin();
    eprint!("{question} [y/N] ");
    // A prompt that cannot be shown is answered blindly or not at all; either is the reader's choice.
    let _ = std::io::stderr().flush();
    loop {
        tokio::select! {
            () = interrupts.next() => {
                eprintln!();
                return Ok(Consent::Interrupted);
            }
            () = tokio::time::sleep(Duration::from_millis(30)) => {}
        }
        if has_line() {
            let mut line = String::new();
            std::io::stdin()
                .lock()
                .read_line(&mut line)
                .map_err(|error| Error::usage(format!("no answer could be read: {error}")))?;
            let yes = matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
            return Ok(if yes { Consent::Yes } else { Consent::No });
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
