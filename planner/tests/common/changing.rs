//! A fleet that remembers what was answered, and whose agents change: they fall silent, leave, and call themselves otherwise.

use std::collections::HashMap;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use canvass_planner::error::Error;
use canvass_planner::fleet::{Delivery, Endpoint, Fleet};
use canvass_planner::kept::{Inventory, Keeper};
use canvass_protocol::action::Action;
use canvass_protocol::answer::{Outcome, Part, ScanRecord, Writer, agent_id};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::statement::InputFile;
use canvass_protocol::target::{self, Facts, Status};
use canvass_protocol::value::Truth;
use canvass_tables::Table;
use canvass_tables::engine::Request;
use canvass_tables::host::{Host, HostSpec};
use canvass_tables::module::NO_SOCKETS;
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

type Answers = Vec<(String, Vec<Part>)>;

pub struct Changing {
    tables: &'static [&'static dyn Table],
    agents: Mutex<Vec<(SigningKey, Endpoint)>>,
    past: Mutex<HashMap<Uuid, (Envelope, Answers)>>,
    /// Frames of all agents come before any final record, and each final record is a part of its own.
    pub late_finals: AtomicBool,
    /// No final record comes.
    pub no_finals: AtomicBool,
    /// The fleet has another name, as a folder of fixture hosts has in every run.
    pub opened_again: AtomicBool,
}

impl Changing {
    /// Agents by the names they give themselves, all online; a second one of a name is shown as `name#id8`.
    pub fn new(tables: &'static [&'static dyn Table], names: &[&str]) -> Changing {
        let fleet = Changing {
            tables,
            agents: Mutex::default(),
            past: Mutex::default(),
            late_finals: AtomicBool::new(false),
            no_finals: AtomicBool::new(false),
            opened_again: AtomicBool::new(false),
        };
        for (index, name) in names.iter().enumerate() {
            fleet.add(u8::try_from(index).unwrap() + 1, name);
        }
        fleet
    }

    /// An agent comes.
    pub fn add(&self, seed: u8, name: &str) {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let mut endpoint = super::endpoint(name, "linux", "test", Status::Online);
        let id = agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
        let mut agents = self.agents.lock().unwrap();
        if agents.iter().any(|(_, other)| other.host == name) {
            endpoint.host = format!("{name}#{}", &id[..8]);
        }
        Arc::make_mut(&mut endpoint.facts).id = id;
        agents.push((key, endpoint));
    }

    /// Changes the agent that is shown by this name.
    pub fn change(&self, host: &str, change: impl FnOnce(&mut Endpoint)) {
        let mut agents = self.agents.lock().unwrap();
        change(&mut agents.iter_mut().find(|(_, endpoint)| endpoint.host == host).unwrap().1);
    }

    pub fn status(&self, host: &str, status: Status) {
        self.change(host, |endpoint| endpoint.words.status = status);
    }

    pub fn rename(&self, host: &str, name: &str) {
        self.change(host, |endpoint| {
            Arc::make_mut(&mut endpoint.facts).name = name.into();
            endpoint.host = name.into();
        });
    }

    pub fn tag(&self, host: &str, team: &str) {
        self.change(host, |endpoint| {
            Arc::make_mut(&mut endpoint.facts).tags.insert("team".into(), team.into());
        });
    }

    /// The agent leaves the fleet, and the inventory with it.
    pub fn remove(&self, host: &str) {
        self.agents.lock().unwrap().retain(|(_, endpoint)| endpoint.host != host);
    }

    /// As an agent's guard and engine have it.
    fn answer(&self, action: &Action, envelope: &Envelope, key: &SigningKey, facts: &Facts) -> Vec<Part> {
        let host = Host::open(&HostSpec::Machine).unwrap();
        let mut writer = Writer::new(key, action.fleet.clone(), envelope.hash(), "00".repeat(16));
        let (mut parts, mut records, mut last) = (Vec::new(), Vec::new(), None);
        for (index, scan) in action.scans.iter().enumerate() {
            let may_be = |filter| target::evaluate(filter, facts, None) != Truth::False;
            if !scan.target.as_ref().is_none_or(may_be) {
                records.push(ScanRecord::default());
                continue;
            }
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
                if let Some((index, rows, body)) = last.replace((u32::try_from(index).unwrap(), rows, body)) {
                    parts.push(writer.frame(index, rows, body));
                }
                Ok(())
            };
            let record = table.scan(&request, &mut sink).unwrap();
            records.push(ScanRecord { asked: true, ..record });
        }
        if let Some((index, rows, body)) = last {
            if self.late_finals.load(Ordering::Relaxed) {
                parts.push(writer.frame(index, rows, body));
            } else {
                writer.last_frame(index, rows, body);
            }
        }
        parts.push(writer.finish(
            Outcome::Answered,
            records,
            action.limits,
            Some(facts.clone()),
            Timestamp::UNIX_EPOCH,
        ));
        parts
    }

    fn deliver(&self, answers: Answers) -> mpsc::Receiver<Delivery> {
        let (sender, receiver) = mpsc::channel(100_000);
        let (mut early, mut finals) = (Vec::new(), Vec::new());
        for (agent, mut parts) in answers {
            let last = parts.pop().map(|part| (agent.clone(), part));
            early.extend(parts.into_iter().map(|part| (agent.clone(), part)));
            if self.late_finals.load(Ordering::Relaxed) { finals.extend(last) } else { early.extend(last) }
        }
        if self.no_finals.load(Ordering::Relaxed) {
            finals.clear();
        }
        for (agent, part) in early.into_iter().chain(finals) {
            sender.try_send(Delivery::Part { agent, part }).unwrap();
        }
        receiver
    }

    fn remembered(&self, envelope: &Envelope) -> Answers {
        let action = Action::parse(envelope.payload.as_bytes()).unwrap();
        self.past.lock().unwrap()[&action.id].1.clone()
    }
}

#[async_trait]
impl Fleet for Changing {
    fn name(&self) -> &str {
        if self.opened_again.load(Ordering::Relaxed) { "changing:2" } else { "changing:1" }
    }

    fn answers_for(&self, fleet: &str) -> bool {
        fleet.starts_with("changing:")
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        Ok(self.agents.lock().unwrap().iter().map(|(_, endpoint)| endpoint.clone()).collect())
    }

    async fn ask(&self, envelope: Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let action = Action::parse(envelope.payload.as_bytes()).unwrap();
        let known = self.agents.lock().unwrap().clone();
        let asked = known.into_iter().filter(|(_, endpoint)| agents.contains(&endpoint.facts.id));
        let answers: Answers = asked
            .map(|(key, endpoint)| (endpoint.facts.id.clone(), self.answer(&action, &envelope, &key, &endpoint.facts)))
            .collect();
        self.past.lock().unwrap().insert(action.id, (envelope, answers.clone()));
        Ok(self.deliver(answers))
    }

    async fn asked(&self, action: &Action) -> Result<Vec<String>, Error> {
        Ok(self.past.lock().unwrap()[&action.id].1.iter().map(|(agent, _)| agent.clone()).collect())
    }

    async fn signed(&self, wanted: &str) -> Result<Envelope, Error> {
        Ok(self.past.lock().unwrap()[&wanted.parse::<Uuid>().unwrap()].0.clone())
    }

    async fn follow(&self, envelope: &Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Ok(self.deliver(self.remembered(envelope)))
    }

    async fn stored(&self, envelope: &Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Ok(self.deliver(self.remembered(envelope)))
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}

/// Keeps inventories as they would stand in a file, and copies of files.
pub struct Notebook {
    inventories: Mutex<HashMap<Uuid, String>>,
    copies: tempfile::TempDir,
    copies_are_lost: AtomicBool,
}

impl Notebook {
    /// As where a file was too large to be copied.
    pub fn lose_copies(&self) {
        self.copies_are_lost.store(true, Ordering::Relaxed);
    }
}

impl Default for Notebook {
    fn default() -> Notebook {
        Notebook {
            inventories: Mutex::default(),
            copies: tempfile::tempdir().unwrap(),
            copies_are_lost: AtomicBool::new(false),
        }
    }
}

impl Keeper for Notebook {
    fn keep_inventory(&self, action: &Action, inventory: &Inventory) -> Result<(), Error> {
        self.inventories.lock().unwrap().insert(action.id, serde_json::to_string(inventory).unwrap());
        Ok(())
    }

    fn inventory(&self, action: &Action) -> Result<Option<Inventory>, Error> {
        Ok(self.inventories.lock().unwrap().get(&action.id).map(|text| serde_json::from_str(text).unwrap()))
    }

    fn keep_file(&self, file: &InputFile) -> Result<(), Error> {
        std::fs::copy(&file.name, self.copies.path().join(&file.sha256)).unwrap();
        Ok(())
    }

    fn file(&self, sha256: &str) -> Option<File> {
        if self.copies_are_lost.load(Ordering::Relaxed) {
            return None;
        }
        File::open(self.copies.path().join(sha256)).ok()
    }
}
