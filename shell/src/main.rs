//! `canvass`: asks a question in SQL of every endpoint and prints the answer as one table.

use std::process::ExitCode;

use canvass::args::Args;
use canvass::terminal::Terminal;
use clap::Parser as _;

fn main() -> ExitCode {
    // A scan's process is this program again, and must confine itself before anything else happens.
    if std::env::args_os().nth(1).is_some_and(|first| first == canvass_agent::cage::ARGUMENT) {
        return canvass_agent::cage::child_main();
    }
    let args = Args::parse();
    let terminal = Terminal::detect();
    canvass::run(&args, terminal).code().into()
}
