//! What carries commands to agents and brings back what they say.

#[cfg(test)]
mod contract;
pub mod embedded;

use std::net::IpAddr;

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::api::RelayAddress;
use canvass_protocol::relay::ToAgent;
use canvass_protocol::signed::Signed;

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
        part: Part,
    },
}

/// Carries messages. It keeps none: what an agent that was away has missed is sent again when it is present.
#[async_trait]
pub trait Relay: Send + Sync {
    /// What an agent is told at enrolment.
    fn address(&self) -> RelayAddress;

    /// Brings a message to those of these agents who can be reached.
    async fn send(&self, agents: &[String], message: &ToAgent);

    /// Makes these agents come again, and send again what was not taken.
    async fn shake(&self, agents: &[String]);
}
