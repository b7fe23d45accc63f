//! A fleet whose agents answer at once, with the real engine and real signatures, over any tables.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_trait::async_trait;
use canvass_planner::error::Error;
use canvass_planner::fleet::{Delivery, Endpoint, Fleet};
use canvass_protocol::action::Action;
use canvass_protocol::answer::{Outcome, Part, Writer, agent_id};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::target::Status;
use canvass_tables::Table;
use canvass_tables::engine::Request;
use canvass_tables::host::{Host, HostSpec};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// What a fleet's agents do to their parts before they are delivered.
pub type Tamper = fn(Vec<Part>) -> Vec<Part>;

pub struct Direct {
    tables: &'static [&'static dyn Table],
    endpoints: Vec<Endpoint>,
    keys: HashMap<String, SigningKey>,
    tamper: Tamper,
}

impl Direct {
    pub fn new(tables: &'static [&'static dyn Table], names: &[&str], tamper: Tamper) -> Direct {
        let mut keys = HashMap::new();
        let mut endpoints = Vec::new();
        for (index, name) in names.iter().enumerate() {
            let key = SigningKey::from_bytes(&[u8::try_from(index).unwrap() + 1; 32]);
            let mut endpoint = super::endpoint(name, "linux", "test", Status::Online);
            Arc::make_mut(&mut endpoint.facts).id = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
            keys.insert(endpoint.facts.id.clone(), key);
            endpoints.push(endpoint);
        }
        Direct { tables, endpoints, keys, tamper }
    }

    /// The agents list these features, one after the other.
    pub fn listing(mut self, features: &[&[&str]]) -> Direct {
        for (endpoint, features) in self.endpoints.iter_mut().zip(features) {
            Arc::make_mut(&mut endpoint.facts).features = features.iter().map(|word| (*word).to_owned()).collect();
        }
        self
    }

    fn answer(&self, action: &Action, envelope: &Envelope, agent: &str) -> Vec<Part> {
        let host = Host::open(&HostSpec::Machine).unwrap();
        let mut writer = Writer::new(&self.keys[agent], action.fleet.clone(), envelope.hash(), "00".repeat(16));
        let mut parts = Vec::new();
        let mut records = Vec::new();
        for (index, scan) in action.scans.iter().enumerate() {
            let table = self.tables.iter().find(|table| table.info().name == scan.table).unwrap();
            let stop = AtomicBool::new(false);
            let request = Request {
                host: &host,
                scan,
                limits: action.limits,
                withheld: &[],
                forbidden: &[],
                threads: std::num::NonZeroUsize::MIN,
                stop: &stop,
            };
            let mut sink = |rows: u64, body: Vec<u8>| {
                parts.push(writer.frame(u32::try_from(index).unwrap(), rows, body));
                Ok(())
            };
            records.push(table.scan(&request, &mut sink).unwrap());
        }
        parts.push(writer.finish(Outcome::Answered, records, action.limits, None, Timestamp::UNIX_EPOCH));
        (self.tamper)(parts)
    }
}

#[async_trait]
impl Fleet for Direct {
    fn name(&self) -> &str {
        "direct"
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(self.endpoints.clone())
    }

    async fn ask(&self, envelope: Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let (sender, receiver) = mpsc::channel(100_000);
        let action = Action::parse(envelope.payload.as_bytes()).unwrap();
        for agent in agents {
            for part in self.answer(&action, &envelope, &agent) {
                sender.try_send(Delivery::Part { agent: agent.clone(), part }).unwrap();
            }
        }
        Ok(receiver)
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}
