//! Many agents in one process, for load and for what goes wrong: each has its own identity, its own connection and the real
//! guard; a scan runs once in a real cage and is replayed by all.

pub mod behaviour;
mod line;
mod member;
mod replay;
pub mod running;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use canvass_agent::config::Server;
use canvass_agent::relay::http::Http;
use canvass_tables::host::HostSpec;
use tokio::sync::{Semaphore, mpsc};

use behaviour::Shares;
pub use line::Tally;
use member::{Common, Member};
use replay::Replay;

/// Agents that enrol or connect at once: more would only wait within the server.
const ARRIVING_MAX: usize = 32;

/// What a swarm is made of.
pub struct Config {
    pub server: Server,
    pub agents: u32,
    /// Identities and behaviours follow from it.
    pub seed: u64,
    pub shares: Shares,
    /// Certificates that the agents trust.
    pub keyring: PathBuf,
    /// The fixture host that scans run on.
    pub host: PathBuf,
    pub enrol_token: Option<String>,
    /// The program that runs a scan's process.
    pub program: PathBuf,
}

/// Agents that work in the background until this value is dropped with its runtime.
pub struct Swarm {
    pub tally: Arc<Tally>,
}

impl Swarm {
    /// Opens all agents and returns when each is where it belongs: connected, or enrolled only where it is to stay away.
    pub async fn gather(config: Config) -> Result<Swarm> {
        let http = Http::new(config.server.clone())?;
        let fleet = http.about().await?.fleet;
        let host = HostSpec::Fixture(config.host.clone());
        let replay = Arc::new(Replay::new(config.program.clone()));
        let (arrived, mut arrivals) = mpsc::unbounded_channel();
        let tally = Arc::new(Tally::default());
        let gate = Arc::new(Semaphore::new(ARRIVING_MAX));
        let token = config.enrol_token.clone();
        let common = Arc::new(Common { http, fleet, host, replay, gate, token, tally: tally.clone(), arrived });
        for number in 0..config.agents {
            let member = Member::open(number, &config, common.clone());
            let member = member.with_context(|| format!("agent {number} cannot be opened"))?;
            tokio::spawn(member.live());
        }
        drop(common);
        for _ in 0..config.agents {
            arrivals.recv().await.context("an agent gave up")?;
        }
        Ok(Swarm { tally })
    }
}

/// Lets this process have as many descriptors as it may: each agent needs one.
pub fn raise_descriptors() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).context("the limit of open descriptors")
}
