//! Many investigators who ask one host each, beside one who asks alone.

use std::time::Duration;

use anyhow::{Context as _, Result};
use canvass_examples::yard::Yard;
use tokio::task::JoinSet;

use crate::statement::median;
use crate::wire::Desk;

/// Sessions, each with connections of its own; they share a key.
const INVESTIGATORS: usize = 200;
/// Lone questions, one after the other.
const LONE: usize = 30;
/// The time over which the investigators begin, evenly, where they do not begin at once.
const SPREAD: Duration = Duration::from_secs(10);

pub fn measure(yard: &Yard, name: &str, agents: u32) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut desks = Vec::with_capacity(INVESTIGATORS);
        for _ in 0..INVESTIGATORS {
            desks.push(Desk::log_in(yard).await?);
        }
        let inventory = desks[0].inventory().await?;
        let id = |number: usize| -> Result<String> {
            let listed = &inventory.agents[number * 7919 % inventory.agents.len()];
            Ok(canvass_protocol::heartbeat::Heartbeat::read(&listed.heartbeat)?.facts.id)
        };
        let ids: Vec<String> = (0..INVESTIGATORS).map(id).collect::<Result<_>>()?;
        let mut lone = Vec::with_capacity(LONE);
        // The first opens connections, and is not counted.
        for number in 0..=LONE {
            lone.push(desks[number].question(&ids[number]).await?);
        }
        let lone = median(&lone[1..]);
        let spread = all(&desks, &ids, SPREAD).await?;
        let at_once = all(&desks, &ids, Duration::ZERO).await?;
        println!(
            "bench-fleet investigators engine={name} agents={agents} count={INVESTIGATORS} lone_s={lone:.4} \
             p95_over_{}s_s={spread:.4} ratio={:.2} p95_at_once_s={at_once:.4} ratio_at_once={:.2}",
            SPREAD.as_secs(),
            spread / lone,
            at_once / lone,
        );
        Ok(())
    })
}

/// The time within which 95 of 100 had their answer, when all begin within `spread`.
async fn all(desks: &[Desk], ids: &[String], spread: Duration) -> Result<f64> {
    let mut asking = JoinSet::new();
    for (number, (desk, id)) in desks.iter().zip(ids).enumerate() {
        let (desk, id, pause) =
            (desk.clone(), id.clone(), spread * u32::try_from(number)? / u32::try_from(desks.len())?);
        asking.spawn(async move {
            tokio::time::sleep(pause).await;
            desk.question(&id).await
        });
    }
    let mut taken = Vec::with_capacity(desks.len());
    while let Some(asked) = asking.join_next().await {
        taken.push(asked??);
    }
    taken.sort_by(f64::total_cmp);
    taken.get(taken.len() * 95 / 100).copied().context("nobody asked")
}
