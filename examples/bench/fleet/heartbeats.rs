//! What heartbeats cost the server, and how late the inventory is.

use std::time::Duration;

use anyhow::{Context as _, Result};
use canvass_agent::courier::HEARTBEAT;
use canvass_examples::yard::Yard;
use canvass_protocol::heartbeat::Heartbeat;
use jiff::Timestamp;

use crate::cpu;
use crate::statement::median;
use crate::wire::Desk;

/// Looks at the inventory, and the time between them: reading it costs more than keeping it.
const LOOKS: usize = 5;
const BETWEEN: Duration = Duration::from_secs(2);

/// While nothing but heartbeats comes in for as long as all agents need for one each.
pub fn measure(yard: &Yard, name: &str, agents: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let server = yard.server_id()?;
        let (before, machine) = (cpu::of_process(server)?, cpu::of_machine()?);
        tokio::time::sleep(HEARTBEAT).await;
        let (after, machine_after) = (cpu::of_process(server)?, cpu::of_machine()?);
        let desk = Desk::log_in(yard).await?;
        let mut lags = Vec::new();
        for _ in 0..LOOKS {
            tokio::time::sleep(BETWEEN).await;
            lags.push(lag(&desk, agents).await?);
        }
        let share = |seconds: f64| 100.0 * seconds / HEARTBEAT.as_secs_f64();
        println!(
            "bench-fleet heartbeats engine={name} agents={agents} interval_s={} server_core_percent={:.1} \
             machine_core_percent={:.1} inventory_lag_s={:.3}",
            HEARTBEAT.as_secs(),
            share(after - before),
            share(machine_after - machine),
            median(&lags),
        );
        Ok(())
    })
}

/// How much older than an interval the oldest heartbeat of the inventory was, by the agents' own clock, when it was asked for.
async fn lag(desk: &Desk, agents: u32) -> Result<f64> {
    let now = Timestamp::now();
    let inventory = desk.inventory().await?;
    anyhow::ensure!(inventory.agents.len() == agents as usize, "the inventory has {} agents", inventory.agents.len());
    let mut oldest = 0.0_f64;
    for listed in inventory.agents {
        let heartbeat = Heartbeat::read(&listed.heartbeat).context("a heartbeat of the inventory")?;
        oldest = oldest.max(now.duration_since(heartbeat.at).as_secs_f64());
    }
    Ok((oldest - HEARTBEAT.as_secs_f64()).max(0.0))
}
