//! Agents inside this program, asked through the same guard and cage as any other.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use canvass_agent::agent::Agent;
use canvass_planner::error::Error;
use canvass_planner::fleet::{DELIVERIES_MAX, Delivery, Endpoint, Fleet, Standing};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::target::{ServerWords, Status};
use jiff::Timestamp;
use std::net::IpAddr;
use tokio::sync::mpsc;

/// Agents that run at once; each scans in a process of its own.
const WORKERS_MAX: usize = 8;

/// A fleet of agents in this program.
pub struct Here {
    name: String,
    hosts: Arc<Vec<Hosted>>,
    /// The switch of the action that runs.
    stop: Mutex<Arc<AtomicBool>>,
}

/// One agent, and what a server would say of it.
pub struct Hosted {
    pub agent: Agent,
    pub public_ip: Option<IpAddr>,
}

impl Here {
    pub fn new(name: String, hosts: Vec<Hosted>) -> Here {
        Here { name, hosts: Arc::new(hosts), stop: Mutex::default() }
    }

    /// What the agents have to say of their own state, each sentence once.
    pub fn troubles(&self) -> BTreeSet<String> {
        self.hosts.iter().flat_map(|hosted| hosted.agent.troubles()).collect()
    }
}

#[async_trait]
impl Fleet for Here {
    fn name(&self) -> &str {
        &self.name
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let now = Timestamp::now();
        let endpoint = |hosted: &Hosted| {
            let heartbeat = Heartbeat::open(&hosted.agent.heartbeat(now), &self.name);
            let Heartbeat { facts, policy_sha256, .. } =
                heartbeat.map_err(|error| Error::internal(error.to_string()))?;
            let words = ServerWords { status: Status::Online, heartbeat_at: now, public_ip: hosted.public_ip };
            let standing = Standing { certified_by: None, policy_sha256: Some(policy_sha256) };
            Ok(Endpoint { host: facts.name.clone(), facts: facts.into(), words, standing })
        };
        let mut endpoints = self.hosts.iter().map(endpoint).collect::<Result<Vec<_>, Error>>()?;
        endpoints.sort_by(|a, b| a.host.cmp(&b.host));
        Ok(endpoints)
    }

    async fn ask(&self, envelope: Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = stop.clone();
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let work = Arc::new(Work {
            envelope: envelope.to_bytes(),
            agents,
            next: AtomicUsize::new(0),
            hosts: self.hosts.clone(),
            stop,
            deliveries,
        });
        for _ in 0..work.agents.len().min(WORKERS_MAX) {
            let work = work.clone();
            let started = std::thread::Builder::new().name("agent".to_owned()).spawn(move || work.run());
            started.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))?;
        }
        Ok(receiver)
    }

    fn outlives_us(&self) -> bool {
        false
    }

    async fn stop(&self) {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner).store(true, Ordering::Relaxed);
    }
}

/// One action, shared by the threads that bring it to its agents.
struct Work {
    envelope: Vec<u8>,
    agents: Vec<String>,
    next: AtomicUsize,
    hosts: Arc<Vec<Hosted>>,
    stop: Arc<AtomicBool>,
    deliveries: mpsc::Sender<Delivery>,
}

impl Work {
    fn run(&self) {
        while let Some(agent) = self.agents.get(self.next.fetch_add(1, Ordering::Relaxed)) {
            self.bring_to(agent);
        }
    }

    fn bring_to(&self, id: &str) {
        // What was withdrawn before it began is not begun.
        if self.stop.load(Ordering::Relaxed) || self.deliveries.is_closed() {
            return;
        }
        let Some(hosted) = self.hosts.iter().find(|hosted| hosted.agent.id() == id) else {
            let reason = "it is not an agent of this fleet".to_owned();
            // Where nobody listens any more nobody needs to know.
            let _ = self.deliveries.blocking_send(Delivery::Silence { agent: id.to_owned(), reason });
            return;
        };
        hosted.agent.handle(&self.envelope, &self.stop, &mut |part| {
            let delivery = Delivery::Part { agent: id.to_owned(), part };
            self.deliveries.blocking_send(delivery).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
        });
    }
}
