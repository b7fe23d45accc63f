//! The prompt and the command line: reads statements, signs what they ask, prints what comes back.
//!
//! **Invariant:** this crate knows no PostgreSQL and no RabbitMQ. It is the only one that prints results, and the only
//! one that touches an investigator's key. Results go to standard output; everything else goes to standard error.

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

pub mod confirm;
pub mod follow;
pub mod footer;
pub mod output;
pub mod progress;
pub mod render;

use canvass_planner::error::Error;

use args::Args;
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
    if args.commands.is_empty() && args.files.is_empty() {
        return Ok(());
    }
    Err(Error::usage("`-c` and `-f` do not go with a sub-command"))
}

fn ask(args: &Args, terminal: Terminal) -> Result<Exit, Error> {
    let whom = [args.server.is_some(), args.local, args.fleet.is_some()];
    if whom.iter().filter(|given| **given).count() > 1 {
        return Err(Error::usage("`--server`, `--local` and `--fleet` exclude each other"));
    }
    let mut session = Session::open(args, terminal, Places::from_environment()?)?;
    let statements = !args.commands.is_empty() || !args.files.is_empty();
    let exit = if statements {
        scripts(args, &mut session)
    } else if terminal.stdin {
        repl::run(&mut session, !args.no_init)
    } else {
        run_file(&mut session, std::path::Path::new("-"))
    };
    Ok(session.close(exit))
}

/// Runs all of `-c`, then all of `-f`, as one session that stops at the first that is wrong.
fn scripts(args: &Args, session: &mut Session) -> Exit {
    let mut worst = Exit::Complete;
    for text in &args.commands {
        match session.script(text) {
            Next::Quit => return worst,
            Next::Go(exit) => worst = worst.max(exit),
        }
        if worst.stops_script() {
            return worst;
        }
    }
    for file in &args.files {
        worst = worst.max(run_file(session, file));
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
