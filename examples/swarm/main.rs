//! A swarm of agents in one process, to load a server with (`canvass-swarm --help`).

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use canvass_agent::cage;
use canvass_agent::config::Server;
use canvass_examples::swarm::behaviour::Shares;
use canvass_examples::swarm::{Config, Swarm, raise_descriptors};
use clap::Parser;
use tokio::sync::oneshot;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Threads that guard and sign: one a core is busy, and one that waits for the real run holds up nobody.
const GUARDS: usize = 4;

/// Many agents in one process. Journals and answers are in memory; guard, signatures and connections are real; a scan runs
/// once in a real cage on a fixture host and is replayed by all. Ends when its standard input does.
#[derive(Parser)]
#[command(name = "canvass-swarm", version)]
struct Arguments {
    /// The server, `https://…`; plain http only on a loopback address
    #[arg(long, value_name = "URL")]
    server: String,
    /// How many
    #[arg(long, default_value_t = 10)]
    agents: u32,
    /// Identities and behaviours follow from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// OpenPGP certificates of those whose actions may run
    #[arg(long, value_name = "DIR")]
    keyring: PathBuf,
    /// The fixture host that scans run on [default: examples/fleet/web-1]
    #[arg(long, value_name = "DIR")]
    host: Option<PathBuf>,
    /// What the server asks newcomers for, where it does
    #[arg(long, value_name = "TEXT")]
    enrol_token: Option<String>,
    #[command(flatten)]
    shares: Shares,
}

fn main() -> ExitCode {
    if std::env::args_os().nth(1).is_some_and(|first| first == cage::ARGUMENT) {
        return cage::child_main();
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("canvass-swarm: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let told: Option<Targets> = std::env::var("CANVASS_LOG").ok().and_then(|told| told.parse().ok());
    let levels = told.unwrap_or_else(|| "warn".parse().expect("it names levels"));
    tracing_subscriber::registry()
        .with(levels)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr))
        .init();
    raise_descriptors()?;
    let Arguments { server, agents, seed, keyring, host, enrol_token, shares } = arguments;
    let config = Config {
        server: Server::parse(&server)?,
        agents,
        seed,
        shares,
        keyring,
        host: host.unwrap_or_else(|| canvass_examples::folder().join("fleet/web-1")),
        enrol_token,
        program: std::env::current_exe().context("cannot find the program itself")?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(GUARDS).build()?;
    runtime.block_on(async {
        let swarm = Swarm::gather(config).await?;
        say(&format!("canvass-swarm agents={agents} seed={seed}"))?;
        end_of_input().await;
        let told = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        say(&format!(
            "canvass-swarm commands={} command_bytes={} parts={} part_bytes={}",
            told(&swarm.tally.commands),
            told(&swarm.tally.command_bytes),
            told(&swarm.tally.parts),
            told(&swarm.tally.part_bytes)
        ))
    })?;
    // Twelve thousand agents do not take leave one by one.
    std::process::exit(0)
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("standard output")
}

/// Waits for whoever started the swarm to close its standard input.
async fn end_of_input() {
    let (ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        // Whatever is said there means nothing; an error is an end.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}
