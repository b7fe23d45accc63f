//! The pairs of store and relay, and a server that runs on one of them.

use anyhow::Result;
use canvass_examples::yard::Yard;
use canvass_services::{Postgres, Rabbitmq};

/// A pair of store and relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Distributed,
    Embedded,
}

/// How the broker is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broker {
    /// As `docs/fleet.md` has it for many agents: without management, and with rare heartbeats.
    Lean,
    /// With its management and all else as it comes.
    Management,
}

impl Broker {
    pub fn name(self) -> &'static str {
        match self {
            Broker::Lean => "lean",
            Broker::Management => "management",
        }
    }
}

/// A server under load, with what it needs.
pub struct Bench {
    pub engine: Engine,
    pub yard: Yard,
    /// Both end after the server does: fields are dropped in this order.
    pub services: Option<(Postgres, Rabbitmq)>,
}

impl Engine {
    pub fn name(self) -> &'static str {
        match self {
            Engine::Distributed => "rabbitmq+postgres",
            Engine::Embedded => "embedded+sqlite",
        }
    }

    /// The sizes that the goals name.
    pub fn sizes(self) -> &'static [u32] {
        match self {
            Engine::Distributed => &[1000, 5000, 12084],
            Engine::Embedded => &[1, 500, 1000],
        }
    }

    /// Starts a server, and its services.
    pub fn open(self, broker: Broker) -> Result<Bench> {
        let Engine::Distributed = self else {
            return Ok(Bench { engine: self, yard: Yard::open(&[])?, services: None });
        };
        let rabbitmq = match broker {
            Broker::Lean => Rabbitmq::start_lean()?,
            Broker::Management => Rabbitmq::start()?,
        };
        let postgres = Postgres::start(true)?;
        let yard = Yard::open(&["--store", &postgres.url(), "--relay", &rabbitmq.url()])?;
        Ok(Bench { engine: self, yard, services: Some((postgres, rabbitmq)) })
    }
}
