//! The `canvass-agent` program.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use canvass_agent::config::{Config, Flags};
use canvass_agent::{agent, cage, daemon};
use clap::{Parser, Subcommand};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Answers investigators' questions about this endpoint, as far as its policy allows.
#[derive(Parser)]
#[command(name = "canvass-agent", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Option<Command>,
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
    let Arguments { flags, command } = Arguments::parse();
    let done = match command {
        Some(Command::Identity { data }) => identity(&data),
        None => flags.read().and_then(serve),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("canvass-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers until a signal comes.
fn serve(config: Config) -> anyhow::Result<()> {
    let told: Option<Targets> = std::env::var("CANVASS_LOG").ok().and_then(|told| told.parse().ok());
    let levels = told.unwrap_or_else(|| "warn,canvass_agent=info".parse().expect("it names levels"));
    tracing_subscriber::registry()
        .with(levels)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json())
        .init();
    if std::env::args().skip(1).any(|told| told == "--enrol-token" || told.starts_with("--enrol-token=")) {
        tracing::warn!("the enrolment token stands on the command line, where everybody on this host can read it");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(daemon::run(config))
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
