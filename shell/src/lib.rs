//! The prompt and the command line: reads statements, signs what they ask, prints what comes back.
//!
//! **Invariant:** this crate knows no PostgreSQL and no RabbitMQ. It is the only one that prints results, and the only
//! one that touches an investigator's key. Results go to standard output; everything else goes to standard error.

/// Says a line on standard error. Whoever read it may have left, as the reader of results may, and that is no failure.
macro_rules! eprintln {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

/// Like `eprintln!`, without the end of the line.
macro_rules! eprint {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = write!(std::io::stderr(), $($words)*);
    }};
}

pub mod args;
pub mod config;
pub mod error;
pub mod terminal;

pub mod key;

pub mod fleet;

pub mod archive;
mod kept;
pub mod listing;
pub mod script;
pub mod session;
pub mod subcommand;
pub mod variables;

pub mod command;
pub mod complete;
pub mod highlight;
pub mod repl;
pub mod typing;

pub mod confirm;
pub mod follow;
pub mod footer;
pub mod interrupts;
pub mod output;
pub mod progress;
pub mod render;

use canvass_planner::error::Error;

use args::{Args, Script};
use config::Places;
use error::{Exit, report};
use session::{Next, Session, read_script};
use terminal::Terminal;

/// Does what the command line says and returns what to exit with.
pub fn run(args: &Args, terminal: Terminal) -> Exit {
    let done = match &args.subcommand {
        Some(sub) => alone(args).and_then(|()| subcommand::run(sub, args, terminal)),
        None => ask(args, terminal),
    };
    done.unwrap_or_else(|error| report(&error, None, &terminal))
}

/// A sub-command and statements on one line would be two things to do.
fn alone(args: &Args) -> Result<(), Error> {
    if args.scripts.is_empty() {
        return Ok(());
    }
    Err(Error::usage("statements do not go with a sub-command"))
}

fn ask(args: &Args, terminal: Terminal) -> Result<Exit, Error> {
    let places = Places::from_environment()?;
    let args = &whom(args, &places)?;
    let mut session = Session::open(args, terminal, places)?;
    let exit = if !args.scripts.is_empty() {
        scripts(args, &mut session)
    } else if terminal.stdin {
        repl::run(&mut session, !args.no_init)
    } else {
        run_file(&mut session, std::path::Path::new("-"))
    };
    Ok(session.close(exit))
}

/// The same with the server that is configured, where the flags do not say whom to ask.
pub(crate) fn whom(args: &Args, places: &Places) -> Result<Args, Error> {
    match [args.server.is_some(), args.local, args.fleet.is_some()].iter().filter(|given| **given).count() {
        0 => Ok(Args { server: config::server(places)?, ..args.clone() }),
        1 => Ok(args.clone()),
        _ => Err(Error::usage("`--server`, `--local` and `--fleet` exclude each other")),
    }
}

/// Runs what `-c` and `-f` give in their order, as one session that stops at the first that is wrong.
fn scripts(args: &Args, session: &mut Session) -> Exit {
    let mut worst = Exit::Complete;
    for script in &args.scripts {
        match script {
            Script::Text(text) => match session.script(text) {
                Next::Quit => return worst,
                Next::Go(exit) => worst = worst.max(exit),
            },
            Script::File(file) => worst = worst.max(run_file(session, file)),
        }
        if worst.stops_script() {
            break;
        }
    }
    worst
}

fn run_file(session: &mut Session, file: &std::path::Path) -> Exit {
    match read_script(file).map(|text| session.script(&text)) {
        Ok(Next::Quit) => Exit::Complete,
        Ok(Next::Go(exit)) => exit,
        Err(error) => report(&error, None, &session.terminal),
    }
}
