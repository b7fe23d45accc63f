//! What carries commands to agents and brings back what they say.

pub mod amqp;
#[cfg(test)]
mod contract;
pub mod embedded;
pub mod inlet;

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::api::RelayAddress;
use canvass_protocol::relay::ToAgent;
use canvass_protocol::signed::Signed;

use crate::store::Store;

/// What a relay brings in. The agent is the one that proved its key.
#[derive(Debug)]
pub enum Incoming {
    /// It can be reached from now on.
    Present {
        agent: String,
    },
    /// It can be reached no more.
    Gone {
        agent: String,
    },
    Heartbeat {
        agent: String,
        heartbeat: Signed,
        public_ip: Option<IpAddr>,
    },
    Part {
        agent: String,
        action: ActionHash,
        /// Signatures that the action had when the agent judged it.
        judged: usize,
        part: Part,
    },
}

/// Carries messages. It keeps none: what an agent that was away has missed is sent again when it is present.
#[async_trait]
pub trait Relay: Send + Sync {
    /// What an agent is told at enrolment; the reason where it cannot be said now.
    fn address(&self) -> Result<RelayAddress, String>;

    /// Brings a message to those of these agents who can be reached.
    async fn send(&self, agents: &[String], message: &ToAgent);

    /// How many agents can be reached now.
    fn connected(&self) -> usize;

    /// Forgets lines of agents that have come to another server since.
    fn forget(&self, agents: &[String]);

    /// Makes these agents come again, wherever their lines are, and send again what was not taken.
    async fn shake(&self, agents: &[String]);
}

/// The relay that this server runs, as agents come to it.
#[derive(Clone)]
pub enum Door {
    Embedded(Arc<embedded::Embedded>),
    Amqp(Arc<amqp::Amqp>),
}

impl Door {
    pub fn relay(&self) -> Arc<dyn Relay> {
        match self {
            Door::Embedded(relay) => relay.clone(),
            Door::Amqp(relay) => relay.clone(),
        }
    }

    /// Ends the line of an agent that was taken out of the fleet, and takes back what it was given for it.
    pub async fn expel(&self, agent: &str) {
        if let Door::Amqp(relay) = self {
            relay.remove_user(agent).await;
        }
        self.relay().shake(&[agent.to_owned()]).await;
    }
}

/// Why an agent gets no line.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    #[error("{0}")]
    Proof(String),
    #[error("it is not enrolled")]
    Unknown,
    #[error("{0}")]
    Failed(String),
}

/// Whether an agent that proved its key belongs to the fleet.
async fn check_admitted(store: &dyn Store, agent: &str) -> Result<(), NotAdmitted> {
    match store.agent(agent).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) => Err(NotAdmitted::Unknown),
        Err(error) => {
            tracing::error!(%error, "an agent could not be looked up");
            Err(NotAdmitted::Failed("the server cannot look it up now".into()))
        }
    }
}
