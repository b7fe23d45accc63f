//! The pairs of store and relay, and a server that runs on one of them.

use anyhow::Result;
use canvass_examples::yard::Yard;
use canvass_services::{Broker as Program, Postgres, Rabbitmq};

/// A pair of store and relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Distributed,
    Embedded,
}

/// Which RabbitMQ it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// The distribution's.
    Distribution,
    Four,
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
    pub fn open(self, series: Series, broker: Broker) -> Result<Bench> {
        let Engine::Distributed = self else {
            return Ok(Bench { engine: self, yard: Yard::open(&[])?, services: None });
        };
        let program = match series {
            Series::Distribution => Program::distribution(),
            Series::Four => Program::series_4()?,
        };
        let rabbitmq = match broker {
            Broker::Lean => Rabbitmq::start_lean(program)?,
            Broker::Management => Rabbitmq::start_of(program)?,
        };
        println!("bench-fleet rabbitmq={}", rabbitmq.version()?);
        let postgres = Postgres::start(true)?;
        let yard = Yard::open(&["--store", &postgres.url(), "--relay", &rabbitmq.url()])?;
        Ok(Bench { engine: self, yard, services: Some((postgres, rabbitmq)) })
    }
}
