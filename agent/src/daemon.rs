//! The agent as a program of its own: enrols, connects, and comes again when the server was away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use canvass_protocol::api::{Admission, Enrol, RelayAddress};
use canvass_protocol::target::Mode;
use jiff::Timestamp;

use crate::agent::{self, Agent, Storage};
use crate::config::{Config, EnrolToken};
use crate::courier::Courier;
use crate::folder::{Folder, check_trusted, check_trusted_above};
use crate::policy::Policy;
use crate::relay::RelayError;
use crate::relay::amqp::Queue;
use crate::relay::http::Http;
use crate::revocations::Revocations;
use crate::spool::Spool;
use crate::withdrawn::Withdrawn;

/// The name of the file that holds the fleet that this agent belongs to.
const FLEET: &str = "fleet";
const FLEET_BYTES_MAX: usize = 255;
/// The first pause before the server is tried again, and the longest; the pause is drawn from below each.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// How long an agent waits that has to be approved, or was refused.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);

/// Runs until it is ended; with `once` until what waits is answered.
pub async fn run(config: Config) -> Result<()> {
    let once = config.once;
    let http = Http::new(config.server.clone())?;
    let mut pause = Pause::default();
    let (agent, spool) = loop {
        match open(&config, &http).await {
            Ok(opened) => break opened,
            Err(error) => match error.downcast::<RelayError>() {
                Ok(RelayError::Away(reason)) if !once => pause.wait(&reason).await,
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(error),
            },
        }
    };
    for trouble in agent.troubles() {
        tracing::warn!("{trouble}");
    }
    match crate::cage::divide_control_group() {
        Ok(true) => tracing::info!("each scan has a control group of its own"),
        Ok(false) => {}
        Err(error) => tracing::warn!(%error, "the agent's control group cannot be divided among scans"),
    }
    for lack in &agent.cage().lacks {
        tracing::warn!(part = lack.part.as_str(), "scans are less confined than they could be: {}", lack.reason);
    }
    let withdrawn = Withdrawn::open(&Folder::open(&config.data)?, Timestamp::now())
        .with_context(|| format!("the withdrawals in `{}`", config.data.display()))?;
    let courier = Courier::new(agent.clone(), spool, withdrawn);
    let mut pause = Pause::default();
    loop {
        let session = async {
            let relay = enrol(&config, &http, &agent).await?;
            let since = tokio::time::Instant::now();
            let spoken = match relay {
                RelayAddress::Embedded { path } => {
                    let mut line = http.connect(&path, agent.fleet(), agent.key()).await?;
                    tracing::info!(server = %config.server, fleet = agent.fleet(), "connected");
                    courier.speak(&mut line, once).await
                }
                RelayAddress::Amqp { nonce } => {
                    let told = http.open_line(nonce, agent.fleet(), agent.key()).await?;
                    let mut line = Queue::open(told).await?;
                    tracing::info!(server = %config.server, fleet = agent.fleet(), "connected over the broker");
                    courier.speak(&mut line, once).await
                }
            };
            Ok::<_, RelayError>((since.elapsed(), spoken))
        };
        let (held, ended) = match session.await {
            Ok((held, Ok(()))) => {
                tracing::info!(held_s = held.as_secs(), "nothing more to do");
                return Ok(());
            }
            Ok((held, Err(error))) => (held, error),
            Err(error) => (Duration::ZERO, error),
        };
        if once {
            return Err(ended.into());
        }
        if held > PAUSE_MAX {
            pause = Pause::default();
        }
        match ended {
            RelayError::Away(reason) => pause.wait(&reason).await,
            RelayError::Refused(reason) => {
                tracing::error!("{reason}; trying again in {} s", REFUSED_PAUSE.as_secs());
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// Opens the agent for the fleet that its policy names, else the one it was pinned to, else the server's, which is
/// pinned then.
async fn open(config: &Config, http: &Http) -> Result<(Arc<Agent>, Arc<Spool>)> {
    let folder = Folder::open(&config.data)?;
    let named = Policy::read(&config.policy, &[], &Revocations::default()).ok().and_then(|policy| policy.fleet);
    // With the end of its line.
    let pinned = folder.read_private(FLEET, FLEET_BYTES_MAX as u64 + 1)?;
    let pinned = pinned.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    let fleet = match (named, pinned) {
        (Some(named), _) => named,
        (None, Some(pinned)) => pinned,
        (None, None) => {
            let fleet = http.about().await?.fleet;
            check_fleet(&fleet).map_err(|reason| {
                RelayError::Refused(format!("`{}` names a fleet that cannot be one: {reason}", config.server))
            })?;
            folder.write_private(FLEET, format!("{fleet}\n").as_bytes())?;
            fleet
        }
    };
    let agent = Agent::open(agent::Config {
        fleet: Some(fleet),
        host: config.host.clone(),
        name: config.name.clone(),
        mode: if config.once { Mode::Checkin } else { Mode::Daemon },
        tags: config.tags.clone(),
        storage: Storage::Folder(config.data.clone()),
        policy: config.policy.clone(),
        policy_named: config.policy_named,
        keyrings: vec![config.keyring.clone()],
        secrets: config.secrets.clone(),
        own: false,
        program: program()?,
    })?;
    let spool = Spool::open(&folder.path().join("spool"), Timestamp::now())
        .with_context(|| format!("the spool in `{}`", config.data.display()))?;
    Ok((Arc::new(agent), Arc::new(spool)))
}

/// Checks a fleet's name that the server says before it is remembered: one that is long could not be read again, and an agent
/// of a fleet `local:…` takes whoever asks for somebody on its own machine.
fn check_fleet(fleet: &str) -> Result<(), &'static str> {
    match fleet {
        "" => Err("it is empty"),
        fleet if fleet.len() > FLEET_BYTES_MAX => Err("it is too long"),
        fleet if fleet.trim() != fleet || fleet.chars().any(char::is_control) => Err("it holds what cannot be seen"),
        fleet if fleet.starts_with("local:") => Err("that is what a machine by itself is called"),
        _ => Ok(()),
    }
}

/// Tells the server who is here, and learns where commands come from.
async fn enrol(config: &Config, http: &Http, agent: &Agent) -> Result<RelayAddress, RelayError> {
    let about = http.about().await?;
    if about.fleet != agent.fleet() {
        return Err(RelayError::Refused(format!(
            "`{}` is for fleet `{}`, and this agent belongs to `{}`; remove `{}` if that has changed",
            config.server,
            about.fleet,
            agent.fleet(),
            config.data.join(FLEET).display()
        )));
    }
    let token = config.enrol_token.as_ref().map(EnrolToken::read).transpose();
    let token = token.map_err(|error| RelayError::Refused(format!("the enrolment token: {error:#}")))?.flatten();
    let request = Enrol { heartbeat: agent.heartbeat(Timestamp::now()), token };
    let enrolled = http.enrol(&request).await?;
    match enrolled.admission {
        Admission::Admitted => {}
        Admission::Pending => {
            return Err(RelayError::Refused(format!(
                "an administrator of `{}` has to approve this agent; its id is {}",
                config.server,
                agent.id()
            )));
        }
    }
    Ok(enrolled.relay)
}

/// The program itself, which is started again for each scan: nobody but root and its user may put another in its place.
fn program() -> Result<PathBuf> {
    let path = std::env::current_exe().context("cannot find the program itself")?;
    let metadata = std::fs::metadata(&path).with_context(|| format!("`{}`", path.display()))?;
    check_trusted(&path, &metadata)
        .and_then(|()| check_trusted_above(&path))
        .context("scans are not run by this program")?;
    Ok(path)
}

/// Pauses that grow, and differ from agent to agent, so that a fleet does not come back all at once.
struct Pause {
    most: Duration,
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { most: PAUSE_MIN }
    }
}

impl Pause {
    async fn wait(&mut self, reason: &str) {
        let mut bytes = [0; 8];
        // Without randomness everybody waits as long as they may.
        let share = getrandom::fill(&mut bytes).map_or(1.0, |()| u64::from_be_bytes(bytes) as f64 / u64::MAX as f64);
        let pause = self.most.mul_f64(share.max(0.1));
        tracing::warn!("{reason}; trying again in {:.1} s", pause.as_secs_f64());
        tokio::time::sleep(pause).await;
        self.most = (self.most * 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_s_name_is_checked_before_it_is_remembered() {
        for good in ["acme", "fixtures:1", "a b", "ü", &"x".repeat(FLEET_BYTES_MAX)] {
            assert_eq!(check_fleet(good), Ok(()), "{good}");
        }
        for bad in ["", " acme", "acme\n", "a\u{1b}[2Jb", "local:", "local:1234", &"x".repeat(FLEET_BYTES_MAX + 1)] {
            assert!(check_fleet(bad).is_err(), "{bad}");
        }
    }
}
