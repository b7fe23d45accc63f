//! Bare echoes over as many connections as there are agents: one message to each, and one answer of each.

mod amqp;
mod websocket;

use anyhow::{Context as _, Result};
use canvass_examples::swarm::running::Totals;
use tokio::runtime::Runtime;

/// Connections opened at once, as a swarm does.
const OPENING_MAX: usize = 32;

/// What the product carries for one agent and one statement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bytes {
    pub command: usize,
    pub answer: usize,
}

impl Bytes {
    pub fn of(totals: Totals) -> Bytes {
        let each = |bytes: u64| usize::try_from(bytes.checked_div(totals.commands).unwrap_or(0)).unwrap_or(usize::MAX);
        Bytes { command: each(totals.command_bytes), answer: each(totals.part_bytes) }
    }
}

/// Seconds of each run, over RabbitMQ.
pub fn amqp(url: &str, agents: u32, bytes: Bytes, runs: usize) -> Result<Vec<f64>> {
    runtime()?.block_on(amqp::measure(url, agents, bytes, runs)).context("the echo over RabbitMQ")
}

/// Seconds of each run, over WebSockets of this process with itself.
pub fn websocket(agents: u32, bytes: Bytes, runs: usize) -> Result<Vec<f64>> {
    runtime()?.block_on(websocket::measure(agents, bytes, runs)).context("the echo over WebSockets")
}

fn runtime() -> Result<Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}
