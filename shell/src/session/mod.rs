//! One session at a fleet: statements planned, shown, signed, run and accounted for, one after another.

mod asking;
mod opening;
mod showing;
mod signed;
mod signing;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use canvass_planner::desk::{Desk, Entry, Planned};
use canvass_planner::error::Error;
use canvass_planner::fleet::{Endpoint, Fleet};
use canvass_planner::past::{Page, PastFilter};
use canvass_planner::whom::NotAsked;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::AuditLine;
use tokio::runtime::Runtime;

pub(crate) use opening::{format, open_output, read_script};
pub use signing::Signing;

use crate::archive::Archive;
use crate::config::Places;
use crate::error::{Exit, describe, report};
use crate::interrupts::Interrupts;
use crate::output::Output;
use crate::render::Format;
use crate::script::{Piece, pieces};
use crate::terminal::Terminal;
use crate::{command, variables};

/// Scripts that read scripts.
const DEPTH_MAX: usize = 16;

/// A session and what was last done in it.
pub struct Session {
    pub desk: Desk,
    pub fleet: Arc<dyn Fleet>,
    pub settings: View,
    pub terminal: Terminal,
    pub places: Places,
    pub history: Vec<String>,
    pub last: Last,
    runtime: Arc<Runtime>,
    interrupts: Interrupts,
    output: Output,
    variables: BTreeMap<String, String>,
    /// The server's address, where there is one.
    server: Option<String>,
    signing: Arc<Signing>,
    archive: Archive,
    depth: usize,
    /// Where results went before `.output` or `.once` sent them to a file.
    aside: Option<Aside>,
    /// Statements are typed one by one, by somebody who reads what each of them does.
    pub at_prompt: bool,
}

/// What results come back to after a file.
struct Aside {
    output: Output,
    format: Format,
    /// After one result.
    once: bool,
}

/// How results are shown.
#[derive(Debug, Clone)]
pub struct View {
    pub format: Format,
    pub timer: bool,
    /// `None` shows all rows on a terminal.
    pub rows_max: Option<usize>,
    /// A table whose rows do not fit the terminal is shown vertically.
    pub expand: bool,
    pub quiet: bool,
    pub yes: bool,
    /// Whoever is to co-sign sees every value and every line.
    pub verbose: bool,
    /// Texts that a spreadsheet could take for formulas are not written as such.
    pub safe_csv: bool,
}

/// The last statement, for the commands that ask about it.
#[derive(Debug, Default)]
pub struct Last {
    pub explanation: Option<String>,
    /// The signed bytes.
    pub payload: Option<String>,
    pub entries: Vec<Entry>,
    /// Hosts that were meant and not asked.
    pub not_asked: Vec<NotAsked>,
}

/// What a command wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Go(Exit),
    Quit,
}

impl Session {
    /// Runs a text of statements and commands, and stops at the first that is wrong.
    pub fn script(&mut self, text: &str) -> Next {
        if self.depth >= DEPTH_MAX {
            let error = Error::usage(format!("scripts read scripts more than {DEPTH_MAX} deep"));
            return Next::Go(report(&error, None, &self.terminal));
        }
        self.depth += 1;
        let mut worst = Exit::Complete;
        let mut quit = false;
        for piece in pieces(text) {
            match self.piece(&piece) {
                Next::Quit => quit = true,
                Next::Go(exit) => worst = worst.max(exit),
            }
            if quit || worst.stops_script() || self.output.closed() {
                break;
            }
        }
        self.depth -= 1;
        if quit && worst == Exit::Complete { Next::Quit } else { Next::Go(worst) }
    }

    /// Runs one statement or command; what goes wrong is said here.
    pub fn piece(&mut self, piece: &Piece) -> Next {
        match piece {
            Piece::Statement(statement) => Next::Go(self.statement(statement)),
            Piece::Command(line) => command::run(self, line),
        }
    }

    /// Runs one statement to its footer.
    pub fn statement(&mut self, statement: &str) -> Exit {
        let statement = statement.trim();
        let statement = match variables::substitute(statement, &self.variables) {
            Ok(substituted) => substituted,
            Err(error) => return report(&error, Some(statement), &self.terminal),
        };
        let runtime = self.runtime.clone();
        match runtime.block_on(self.run(&statement)) {
            Ok(exit) => exit,
            Err(error) => report(&error, Some(&statement), &self.terminal),
        }
    }

    /// The fleet's agents.
    pub fn endpoints(&mut self) -> Result<Vec<Endpoint>, Error> {
        heeding(&self.runtime, &mut self.interrupts, self.desk.endpoints())
    }

    /// Agents that wait to be let into the fleet: name and id of each.
    pub fn pending(&mut self) -> Result<Vec<(String, String)>, Error> {
        heeding(&self.runtime, &mut self.interrupts, self.fleet.pending())
    }

    /// Certifies an agent, which lets it into the fleet where it waits.
    pub fn approve(&mut self, id: &str) -> Result<(), Error> {
        heeding(&self.runtime, &mut self.interrupts, self.fleet.approve(id))
    }

    /// Takes an agent out of the fleet.
    pub fn remove(&mut self, id: &str) -> Result<(), Error> {
        heeding(&self.runtime, &mut self.interrupts, self.fleet.remove(id))
    }

    /// Agents that this desk has seen and the server does not list: name and id of each.
    pub fn missing(&mut self) -> Result<Vec<(String, String)>, Error> {
        heeding(&self.runtime, &mut self.interrupts, self.fleet.missing())
    }

    /// The latest lines of the server's audit, newest first.
    pub fn audit(&mut self, count: usize) -> Result<Vec<AuditLine>, Error> {
        heeding(&self.runtime, &mut self.interrupts, self.fleet.audit(count))
    }

    /// The ids of these actions, as far as the server remembers them, by the hashes of what was signed.
    pub fn action_ids(&mut self, mut wanted: HashSet<ActionHash>) -> Result<HashMap<ActionHash, String>, Error> {
        let (fleet, all) = (self.fleet.clone(), PastFilter::default());
        let look_up = async move {
            let (mut ids, mut after) = (HashMap::new(), None::<String>);
            // The newest come first, as the lines of the audit do.
            while !wanted.is_empty() {
                let Page { items, next } = fleet.actions(&all, after.as_deref()).await?;
                for action in items.into_iter().filter(|action| wanted.remove(&action.hash)) {
                    ids.insert(action.hash, action.id.to_string());
                }
                if next.is_none() || next == after {
                    break;
                }
                after = next;
            }
            Ok(ids)
        };
        heeding(&self.runtime, &mut self.interrupts, look_up)
    }

    /// Forgets a Ctrl-C that came when nothing ran any more, so that it does not stop what is typed next.
    pub fn forget_interrupts(&mut self) {
        self.interrupts.forget();
    }

    /// Plans a statement without running it; `.plan` shows the result.
    pub fn plan(&mut self, statement: &str) -> Result<Planned, Error> {
        let statement = variables::substitute(statement, &self.variables)?;
        heeding(&self.runtime, &mut self.interrupts, self.desk.plan(&statement))
    }

    /// What is wrong with the last line, for commands that report themselves.
    pub fn complain(&self, error: &Error, text: &str) -> Next {
        eprint!("{}", describe(error, Some(text), &self.terminal));
        Next::Go(error.kind.into())
    }

    /// Brings results to their place: whole, or not at all where nothing was to be written.
    pub fn close(self, exit: Exit) -> Exit {
        let terminal = self.terminal;
        let mut session = self;
        let exit = exit
            .max(session.back_to_terminal().map_or_else(|error| report(&error, None, &terminal), |()| Exit::Complete));
        let keeps = !matches!(exit, Exit::Usage | Exit::Unreachable | Exit::Internal);
        let closed = if keeps { session.output.finish() } else { session.output.discard() };
        match closed {
            Ok(()) => exit,
            Err(error) => {
                exit.max(report(&Error::usage(format!("results cannot be written: {error}")), None, &terminal))
            }
        }
    }
}

/// Waits for something and for Ctrl-C, whichever comes first.
fn heeding<T>(
    runtime: &Runtime,
    interrupts: &mut Interrupts,
    wanted: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    runtime.block_on(async {
        tokio::select! {
            done = wanted => done,
            () = interrupts.next() => Err(Error::stopped()),
        }
    })
}
