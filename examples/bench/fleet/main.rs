//! How fast a fleet answers, beside a bare echo over as many connections: `make bench-fleet`.

mod cpu;
mod desk;
mod echo;
mod engine;
mod heartbeats;
mod investigators;
mod settings;
mod statement;
mod wire;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use canvass_examples::swarm::raise_descriptors;

use settings::{Settings, What};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let settings = Settings::from_environment()?;
    raise_descriptors()?;
    head(&settings);
    for engine in &settings.engines {
        let sizes = settings.sizes(*engine);
        for (place, agents) in sizes.iter().enumerate() {
            // Who is not asked for everything is spared the minutes of the larger measures at every size.
            let last = place + 1 == sizes.len();
            let bench = engine.open(settings.series, settings.broker)?;
            let measured = statement::measure(&settings, &bench, *agents, |yard, name| {
                if last && settings.wants(What::Heartbeats) {
                    heartbeats::measure(yard, name, *agents)?;
                }
                if last && settings.wants(What::Investigators) {
                    investigators::measure(yard, name, *agents)?;
                }
                Ok(())
            });
            measured.with_context(|| format!("{} with {agents} agents", engine.name()))?;
        }
    }
    Ok(())
}

/// What the lines below it are of.
fn head(settings: &Settings) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let profile = if cfg!(debug_assertions) { "development" } else { "release" };
    println!(
        "bench-fleet cores={cores} kernel={} profile={profile} broker={} runs={} rounds={}",
        kernel.trim(),
        settings.broker.name(),
        settings.runs,
        settings.rounds
    );
    println!(
        "# statement_s: from the line typed into a running `canvass --server` to its last row; medians of runs x rounds. Every\n\
         # agent checks the investigator's signature and signs its answer; the desk checks every agent's. The swarm's journals and\n\
         # answers are in memory; a scan ran once in a real cage. echo_s: one message to each agent, one answer of each, bytes,\n\
         # queues and acknowledgements as the product's; blocks of runs of both take turns. Broker and database are private,\n\
         # on this machine, with all else; the database waits for its disk; agents share the server's user at the broker."
    );
}
