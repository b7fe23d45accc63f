//! A fleet whose agents answer at once, with the real engine and real signatures, over any tables.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

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
use canvass_tables::module::NO_SOCKETS;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use tokio::sync::mpsc;

/// What a fleet's agents do to their parts before they are delivered.
pub type Tamper = fn(Vec<Part>) -> Vec<Part>;

pub struct Direct {
    tables: &'static [&'static dyn Table],
    endpoints: Vec<Endpoint>,
    keys: HashMap<String, SigningKey>,
    /// The agents that stand for a folder; all others are on this machine.
    hosts: HashMap<String, HostSpec>,
    tamper: Tamper,
    /// The agent that says nothing, before it is stopped.
    silent: Option<String>,
    /// What it would say, and to whom.
    kept: Mutex<Option<(mpsc::Sender<Delivery>, Vec<Delivery>)>>,
    /// A stop never comes to its end.
    deaf: bool,
    outlives_us: bool,
    stops: AtomicUsize,
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
        Direct {
            tables,
            endpoints,
            keys,
            hosts: HashMap::new(),
            tamper,
            silent: None,
            kept: Mutex::default(),
            deaf: false,
            outlives_us: true,
            stops: AtomicUsize::new(0),
        }
    }

    /// One agent says nothing, and is waited for.
    pub fn with_silent(mut self, host: &str) -> Direct {
        self.silent = self.endpoints.iter().find(|endpoint| endpoint.host == host).map(|one| one.facts.id.clone());
        self
    }

    pub fn deaf(mut self) -> Direct {
        self.deaf = true;
        self
    }

    /// Its agents end with this program, and say what they have when they are stopped.
    pub fn of_this_program(mut self) -> Direct {
        self.outlives_us = false;
        self
    }

    /// How often it was stopped.
    pub fn stops(&self) -> usize {
        self.stops.load(Ordering::Relaxed)
    }

    /// The agents list these features, one after the other.
    pub fn listing(mut self, features: &[&[&str]]) -> Direct {
        for (endpoint, features) in self.endpoints.iter_mut().zip(features) {
            Arc::make_mut(&mut endpoint.facts).features = features.iter().map(|word| (*word).to_owned()).collect();
        }
        self
    }

    /// The fixture hosts of `examples/fleet`, which answer honestly.
    pub fn fixtures(tables: &'static [&'static dyn Table]) -> Direct {
        let mut fleet = Direct::new(tables, &["db-1", "laptop-7", "web-1"], |parts| parts);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/fleet");
        for endpoint in &mut fleet.endpoints {
            let spec = HostSpec::Fixture(folder.join(&endpoint.host));
            let host = Host::open(&spec).unwrap();
            let (about, facts) = (host.about(), Arc::make_mut(&mut endpoint.facts));
            facts.os.clone_from(&about.os);
            facts.arch.clone_from(&about.arch);
            facts.os_version.clone_from(&about.os_version);
            facts.kernel.clone_from(&about.kernel);
            facts.tags.clone_from(&about.tags);
            fleet.hosts.insert(facts.id.clone(), spec);
        }
        fleet
    }

    fn answer(&self, action: &Action, envelope: &Envelope, agent: &str) -> Vec<Part> {
        let host = Host::open(self.hosts.get(agent).unwrap_or(&HostSpec::Machine)).unwrap();
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
                sockets: &NO_SOCKETS,
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
            let parts = self.answer(&action, &envelope, &agent).into_iter();
            let parts = parts.map(|part| Delivery::Part { agent: agent.clone(), part });
            if self.silent.as_ref() == Some(&agent) {
                *self.kept.lock().unwrap() = Some((sender.clone(), parts.collect()));
                continue;
            }
            parts.for_each(|part| sender.try_send(part).unwrap());
        }
        Ok(receiver)
    }

    async fn asked(&self, _: &Action) -> Result<Vec<String>, Error> {
        Ok(self.endpoints.iter().map(|endpoint| endpoint.facts.id.clone()).collect())
    }

    fn outlives_us(&self) -> bool {
        self.outlives_us
    }

    async fn stop(&self) {
        self.stops.fetch_add(1, Ordering::Relaxed);
        if self.deaf {
            std::future::pending::<()>().await;
        }
        let kept = self.kept.lock().unwrap().take();
        if let Some((sender, parts)) = kept.filter(|_| !self.outlives_us) {
            parts.into_iter().for_each(|part| sender.try_send(part).unwrap());
        }
    }
}
