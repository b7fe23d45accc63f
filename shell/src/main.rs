//! `canvass`: asks a question in SQL of every endpoint and prints the answer as one table.

use std::process::ExitCode;

use canvass::args::Args;
use canvass::error::Exit;
use canvass::terminal::Terminal;

fn main() -> ExitCode {
    // A scan's process is this program again, and must confine itself before anything else happens.
    if std::env::args_os().nth(1).is_some_and(|first| first == canvass_agent::cage::ARGUMENT) {
        return canvass_agent::cage::child_main();
    }
    let args = Args::read();
    // A defect has said what it is by now; it still ends in the exit code of defects.
    std::panic::catch_unwind(|| canvass::run(&args, Terminal::detect())).unwrap_or(Exit::Internal).code().into()
}
