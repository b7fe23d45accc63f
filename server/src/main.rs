//! `canvass-server`: the place of the API, the scheduler, the stores and the relays.
//!
//! **Invariant:** the server links neither DataFusion nor the tables: it carries what it cannot read or forge.

use std::process::ExitCode;

use clap::Parser;

/// Carries actions to agents and answers back. Not in this version: it asks this machine or a folder of fixtures only.
#[derive(Parser)]
#[command(name = "canvass-server", version)]
struct Args {}

fn main() -> ExitCode {
    let Args {} = Args::parse();
    eprintln!(
        "error: there is no server in this version; `canvass` asks this machine, `canvass --fleet DIR` a folder of hosts"
    );
    ExitCode::from(3)
}
