//! A line that counts what goes over it, and misbehaves where its agent is to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use canvass_agent::relay::{Delivery, Line, RelayError};
use canvass_protocol::relay::ToAgent;

use super::behaviour::Behaviour;

/// How long a slow agent takes before it says a part of its answer.
const SLOW: Duration = Duration::from_millis(500);
/// What a part of an answer begins with, in the bytes of `FromAgent`.
const PART: &[u8] = b"{\"part\":";

/// What went over all lines of a swarm.
#[derive(Debug, Default)]
pub struct Tally {
    pub commands: AtomicU64,
    pub command_bytes: AtomicU64,
    /// Parts of answers: frames, and final records.
    pub parts: AtomicU64,
    pub part_bytes: AtomicU64,
}

/// An agent's line.
pub struct Watched<L> {
    pub line: L,
    pub behaviour: Behaviour,
    pub tally: Arc<Tally>,
}

impl<L: Line> Line for Watched<L> {
    async fn say(&mut self, message: Vec<u8>, wanted: Delivery) -> Result<Delivery, RelayError> {
        if !message.starts_with(PART) {
            return self.line.say(message, wanted).await;
        }
        self.tally.parts.fetch_add(1, Ordering::Relaxed);
        self.tally.part_bytes.fetch_add(message.len() as u64, Ordering::Relaxed);
        match self.behaviour {
            Behaviour::Slow => tokio::time::sleep(SLOW).await,
            Behaviour::Duplicate => drop(self.line.say(message.clone(), wanted).await?),
            _ => {}
        }
        self.line.say(message, wanted).await
    }

    async fn hear(&mut self) -> Result<ToAgent, RelayError> {
        let message = self.line.hear().await?;
        if let ToAgent::Command(_) = &message {
            self.tally.commands.fetch_add(1, Ordering::Relaxed);
            self.tally.command_bytes.fetch_add(message.to_text().len() as u64, Ordering::Relaxed);
        }
        Ok(message)
    }
}
