//! A desk over three made-up agents, and a fleet that runs the real engine over rows held in memory.

#![allow(dead_code, reason = "each test program uses its own part")]

pub mod answers;
pub mod changing;
pub mod dice;
pub mod direct;
pub mod samples;
pub mod statements;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use canvass_planner::desk::Desk;
use canvass_planner::error::{Error, Span};
use canvass_planner::fleet::{Delivery, Endpoint, Fleet, Standing};
use canvass_planner::settings::Settings;
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::target::{Facts, ServerWords, Status};
use jiff::Timestamp;
use tokio::sync::mpsc;

/// A fleet that can be planned for and never answers.
pub struct Mute;

#[async_trait]
impl Fleet for Mute {
    fn name(&self) -> &str {
        "test"
    }

    async fn asked(&self, _: &Action) -> Result<Vec<String>, Error> {
        Ok(self.endpoints().await?.iter().map(|endpoint| endpoint.facts.id.clone()).collect())
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(vec![
            endpoint("db-1", "linux", "db", Status::Online),
            endpoint("laptop-7", "macos", "office", Status::Idle),
            endpoint("web-1", "linux", "web", Status::Online),
        ])
    }

    async fn ask(&self, _: Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(Error::unreachable("this fleet is mute"))
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}

pub fn endpoint(name: &str, os: &str, team: &str, status: Status) -> Endpoint {
    let at: Timestamp = "2026-11-01T10:00:00Z".parse().unwrap();
    let facts = Facts {
        os: os.into(),
        arch: "x86_64".into(),
        kernel: Some("6.1.0".into()),
        version: "0.1.0".into(),
        tags: BTreeMap::from([("team".into(), team.into())]),
        addresses: vec![[10, 0, 0, 1].into()],
        started_at: at,
        ..Facts::of(format!("{:0<64}", hex(name)), name)
    };
    let words = ServerWords { status, heartbeat_at: at, public_ip: Some([203, 0, 113, 7].into()) };
    Endpoint { host: name.into(), facts: facts.into(), words, standing: Standing::default() }
}

fn hex(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

pub fn desk() -> Desk {
    Desk::new(Arc::new(Mute), Settings::default())
}

/// The error of a statement as a person reads it: the message, the hint, and the text under the caret.
pub async fn plan_error(statement: &str) -> String {
    match desk().plan(statement).await {
        Ok(_) => "planned without error".into(),
        Err(error) => {
            let mut text = format!("{:?}: {}", error.kind, error.message);
            if let Some(hint) = &error.hint {
                text += &format!("\nhint: {hint}");
            }
            if let Some(Span { line, column, length }) = error.span {
                let line = statement.lines().nth(line - 1).unwrap_or_default();
                let word: String = line.chars().skip(column - 1).take(length).collect();
                text += &format!("\nat: `{word}`");
            }
            text
        }
    }
}
