//! The `canvass-agent` program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use canvass_agent::{agent, cage};
use clap::{Parser, Subcommand};

/// The agent of an endpoint.
///
/// This version answers on its own machine only, as a part of `canvass`. It does not yet connect to a server: there is
/// no daemon in it.
#[derive(Parser)]
#[command(name = "canvass-agent", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Prints the agent's id, and its first eight digits as `name#id8` shows them; makes an identity where there is none.
    Identity {
        /// The agent's own folder.
        #[arg(long, value_name = "DIR", default_value = "/var/lib/canvass/agent")]
        data: PathBuf,
    },
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == cage::ARGUMENT) {
        return cage::child_main();
    }
    let Command::Identity { data } = Arguments::parse().command;
    match identity(&data) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("canvass-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn identity(data: &Path) -> anyhow::Result<()> {
    let (identity, notices) =
        agent::open_identity(data).with_context(|| format!("no identity in `{}`", data.display()))?;
    for notice in notices {
        eprintln!("canvass-agent: {notice}");
    }
    println!("id     {}\nshort  {}", identity.id(), identity.id_short());
    Ok(())
}
