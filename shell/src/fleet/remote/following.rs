//! An action's answers as they come, over whatever breaks.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use canvass_planner::error::ErrorKind;
use canvass_planner::fleet::Delivery;
use canvass_protocol::api::Record;
use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Seen;
use crate::fleet::wire::Lines;

/// Pauses between tries to reach a server that was lost, and how often it is tried.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
const TRIES_MAX: u32 = 20;

/// One action that is followed.
pub struct Following {
    pub(super) seen: Arc<Seen>,
    pub(super) id: Uuid,
    pub(super) until: Timestamp,
    pub(super) follow: bool,
    /// Agents that the desk knows are asked.
    pub(super) known: HashSet<String>,
    /// Agents that the server has said it asks, until it is followed.
    pub(super) asked: Option<Vec<String>>,
    /// The position of the last part that came.
    pub(super) after: i64,
    pub(super) deliveries: mpsc::Sender<Delivery>,
}

/// How a stream of answers ended.
enum End {
    Complete,
    /// Nobody listens here any more.
    Left,
    Lost,
}

impl Following {
    /// Hands over what comes until all is said, and begins again where the server was lost.
    pub async fn run(mut self) {
        let (mut pause, mut tries) = (PAUSE_MIN, 0);
        loop {
            let before = self.after;
            let asked = self.asked.take();
            let count = asked.as_ref().map(|asked| format!("&asked={}", asked.len())).unwrap_or_default();
            let path = format!("/v1/actions/{}/answers?after={}&follow={}{count}", self.id, self.after, self.follow);
            let end = match self.seen.wire.lines(&path).await {
                Ok(lines) => self.stream(asked.unwrap_or_default(), lines).await,
                Err(error) if error.kind == ErrorKind::Unreachable => End::Lost,
                Err(_) => End::Left,
            };
            match end {
                End::Complete | End::Left => return,
                End::Lost if self.after > before => (pause, tries) = (PAUSE_MIN, 0),
                End::Lost => {}
            }
            tries += 1;
            if tries > TRIES_MAX || self.deliveries.is_closed() || Timestamp::now() > self.until {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Whether agents that the server asks are told; `false` where it cannot be asked who they are.
    async fn meet(&mut self, asked: Vec<String>) -> bool {
        for agent in asked {
            if self.known.contains(&agent) {
                continue;
            }
            let Ok(endpoints) = self.seen.endpoints().await else { return false };
            let met = endpoints.into_iter().find(|endpoint| endpoint.facts.id == agent);
            self.known.insert(agent);
            // Whom the desk does not believe is not there. Where nobody listens any more, that is noticed with the next part.
            if let Some(endpoint) = met {
                let _ = self.deliveries.send(Delivery::Joined(Box::new(endpoint))).await;
            }
        }
        true
    }

    async fn stream(&mut self, asked: Vec<String>, mut lines: Lines) -> End {
        if !self.meet(asked).await {
            return End::Lost;
        }
        loop {
            let record = tokio::select! {
                record = lines.next() => match record {
                    Ok(Some(record)) => record,
                    Ok(None) | Err(_) => return End::Lost,
                },
                () = self.deliveries.closed() => return End::Left,
            };
            let delivery = match record {
                Record::Complete => return End::Complete,
                Record::Ended { agent, state } => Delivery::Ended { agent, ending: state },
                Record::Asked { agent } => match self.meet(vec![agent]).await {
                    true => continue,
                    false => return End::Lost,
                },
                Record::Part(stored) => {
                    self.after = stored.position;
                    Delivery::Part { agent: stored.agent.clone(), part: stored.into() }
                }
            };
            if self.deliveries.send(delivery).await.is_err() {
                return End::Left;
            }
        }
    }
}
