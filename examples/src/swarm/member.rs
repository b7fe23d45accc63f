//! One agent of a swarm: its identity, its courier, and its way to the server, again and again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use canvass_agent::agent::{self, Agent, Storage};
use canvass_agent::courier::Courier;
use canvass_agent::relay::amqp::Queue;
use canvass_agent::relay::http::Http;
use canvass_agent::relay::{Line, RelayError};
use canvass_agent::spool::Spool;
use canvass_agent::withdrawn::Withdrawn;
use canvass_protocol::api::{Enrol, RelayAddress};
use canvass_protocol::target::Mode;
use canvass_tables::host::HostSpec;
use ed25519_dalek::SigningKey;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};

use super::Config;
use super::behaviour::{Behaviour, derive};
use super::line::{Tally, Watched};
use super::replay::{Replay, Replayed};

/// How long an agent that lost its line waits before it comes again; the gate keeps them from coming all at once.
const PAUSE: Duration = Duration::from_secs(1);
/// How far the clock of a skewed agent is ahead.
const SKEW: SignedDuration = SignedDuration::from_hours(1);

/// What all agents of a swarm share.
pub struct Common {
    pub http: Http,
    pub fleet: String,
    pub host: HostSpec,
    pub replay: Arc<Replay>,
    /// Whoever enrols or connects holds a permit.
    pub gate: Arc<Semaphore>,
    pub token: Option<String>,
    pub tally: Arc<Tally>,
    /// Told once by each agent that is where it belongs.
    pub arrived: mpsc::UnboundedSender<()>,
}

pub struct Member {
    agent: Arc<Agent>,
    courier: Courier,
    behaviour: Behaviour,
    common: Arc<Common>,
    has_arrived: bool,
}

impl Member {
    pub fn open(number: u32, config: &Config, common: Arc<Common>) -> Result<Member> {
        let behaviour = config.shares.draw(config.seed, number);
        let name = format!("swarm-{number:05}");
        let key = SigningKey::from_bytes(&derive(config.seed, number, "key"));
        let agent = Agent::open(agent::Config {
            fleet: Some(common.fleet.clone()),
            host: common.host.clone(),
            name: Some(name.clone()),
            mode: Mode::Daemon,
            tags: BTreeMap::from([("swarm".to_owned(), config.seed.to_string())]),
            storage: Storage::Given(Box::new(key)),
            // Where there is no policy, everybody of the keyring may ask.
            policy: config.keyring.join("no-policy.toml"),
            policy_named: false,
            keyrings: vec![config.keyring.clone()],
            secrets: Vec::new(),
            own: false,
            program: PathBuf::new(),
        })?;
        let scans = Replayed { replay: common.replay.clone(), behaviour, name };
        let ahead = if behaviour == Behaviour::Skewed { SKEW } else { SignedDuration::ZERO };
        let agent = agent.with(Box::new(scans), Box::new(move || Timestamp::now() + ahead));
        let agent = Arc::new(agent);
        let courier = Courier::new(agent.clone(), Arc::new(Spool::in_memory()), Withdrawn::in_memory());
        Ok(Member { agent, courier, behaviour, common, has_arrived: false })
    }

    /// Enrols, connects and answers, again wherever the line is lost.
    pub async fn live(mut self) {
        loop {
            match self.session().await {
                Ok(()) => return,
                Err(error) => tracing::warn!(agent = self.agent.id(), %error, "a line of the swarm is lost"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn session(&mut self) -> Result<(), RelayError> {
        let common = self.common.clone();
        let permit = common.gate.acquire().await.expect("nobody closes the gate");
        let request = Enrol { heartbeat: self.agent.heartbeat(self.agent.now()), token: common.token.clone() };
        let enrolled = common.http.enrol(&request).await?;
        if self.behaviour == Behaviour::Offline {
            self.arrive();
            return Ok(());
        }
        match enrolled.relay {
            RelayAddress::Embedded { path } => {
                let line = common.http.connect(&path, &common.fleet, self.agent.key()).await?;
                self.speak(line, permit).await
            }
            RelayAddress::Amqp { nonce } => {
                let told = common.http.open_line(nonce, &common.fleet, self.agent.key()).await?;
                let line = Queue::open(told).await?;
                self.speak(line, permit).await
            }
        }
    }

    async fn speak(&mut self, line: impl Line, permit: SemaphorePermit<'_>) -> Result<(), RelayError> {
        drop(permit);
        self.arrive();
        let mut line = Watched { line, behaviour: self.behaviour, tally: self.common.tally.clone() };
        self.courier.speak(&mut line, false).await
    }

    fn arrive(&mut self) {
        if !std::mem::replace(&mut self.has_arrived, true) {
            // Nobody waits any more where the swarm is ending.
            let _ = self.common.arrived.send(());
        }
    }
}
