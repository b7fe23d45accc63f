//! Agents in this program, and what they answered in this run and in those before: their actions, commands and results work
//! as a server's do.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread;

use async_trait::async_trait;
use canvass_planner::error::Error;
use canvass_planner::fleet::{DELIVERIES_MAX, Delivery, Endpoint, Fleet};
use canvass_planner::past::{Page, PastCommand, PastFilter};
use canvass_protocol::action::Action;
use canvass_protocol::api::{ActionSummary, Ending};
use canvass_protocol::envelope::Envelope;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::Here;
use super::kept::{Account, Folder, Keeping};
use crate::config::Places;
use crate::key::{Signers, Store};
use crate::render::escape::visible;

/// Actions whose accounts are read for one page.
const PAGE: usize = 100;

/// A fleet in this program that remembers.
pub struct Remembering {
    here: Here,
    /// Whose agents these are: other folders' past is not theirs.
    owner: String,
    folder: Folder,
    keys: Store,
    /// The agents as they were listed last: those that are asked now.
    listed: Mutex<Vec<Endpoint>>,
}

impl Remembering {
    /// `owner` is this machine, or a folder of hosts by its path.
    pub fn new(here: Here, owner: String, places: &Places) -> Remembering {
        let (folder, keys) = (Folder::new(places.answers()), Store::new(places));
        Remembering { here, owner, folder, keys, listed: Mutex::default() }
    }

    /// The account of an action, where it is this fleet's.
    fn account(&self, id: Uuid) -> Option<Account> {
        self.folder.account(id).filter(|account| account.owner == self.owner)
    }

    /// The account of an action by the start of its id; `last` is the newest.
    fn find(&self, wanted: &str) -> Result<Account, Error> {
        let wanted = wanted.to_lowercase();
        let ids = self.folder.ids().into_iter();
        let ids = ids.filter(|id| wanted == "last" || !wanted.is_empty() && id.to_string().starts_with(&wanted));
        let mut found = ids.filter_map(|id| self.account(id));
        let first = found.next().ok_or_else(|| {
            let error = Error::usage(format!("no action `{wanted}` was asked of {}", self.owner));
            error.hint("`SELECT id, statement FROM actions` lists them; those asked of a server need `--server URL`")
        })?;
        let others = if wanted == "last" { 0 } else { found.count() };
        if others > 0 {
            let error = Error::usage(format!("`{wanted}` begins the ids of {} actions", others + 1));
            return Err(error.hint("write more of the id"));
        }
        Ok(first)
    }

    /// Begins to keep the answers to an action; where that cannot be done it is asked all the same.
    fn keep(&self, envelope: &Envelope, agents: &[String]) -> Option<Keeping> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let asked: Vec<Endpoint> =
            agents.iter().filter_map(|id| listed.iter().find(|endpoint| endpoint.facts.id == *id).cloned()).collect();
        let signers = Signers::of(envelope.payload.as_bytes(), &envelope.signatures, &self.keys).known;
        let investigator = signers.into_iter().next().map(|(_, fingerprint)| fingerprint.0).unwrap_or_default();
        let account = Account::new(self.owner.clone(), envelope.clone(), investigator, asked);
        match account.and_then(|account| self.folder.begin(account)) {
            Ok(keeping) => Some(keeping),
            Err(error) => {
                warn(&error);
                None
            }
        }
    }
}

fn warn(error: &Error) {
    eprintln!("warning: the answers are not kept: {}", visible(&error.message));
}

#[async_trait]
impl Fleet for Remembering {
    fn name(&self) -> &str {
        self.here.name()
    }

    /// The fleet of a folder has another name in every run.
    fn answers_for(&self, fleet: &str) -> bool {
        let mut accounts = self.folder.ids().into_iter().filter_map(|id| self.account(id));
        fleet == self.name() || accounts.any(|account| account.action().is_ok_and(|action| action.fleet == fleet))
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let endpoints = self.here.endpoints().await?;
        self.listed.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&endpoints);
        Ok(endpoints)
    }

    async fn ask(&self, envelope: Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let Some(keeping) = self.keep(&envelope, &agents) else { return self.here.ask(envelope, agents).await };
        let answers = match self.here.ask(envelope, agents).await {
            Ok(answers) => answers,
            Err(error) => {
                keeping.discard();
                return Err(error);
            }
        };
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let started =
            thread::Builder::new().name("memory".to_owned()).spawn(move || pass_on(answers, &deliveries, keeping));
        started.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))?;
        Ok(receiver)
    }

    async fn asked(&self, action: &Action) -> Result<Vec<String>, Error> {
        Ok(self.find(&action.id.to_string())?.asked.into_iter().map(|asked| asked.facts.id).collect())
    }

    /// Agents end with the program that asked them, so nothing more will come than is there.
    async fn follow(&self, envelope: &Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        self.stored(envelope, agents).await
    }

    async fn stored(&self, envelope: &Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let action = super::action_of(envelope)?;
        let account = self.find(&action.id.to_string())?;
        let parts = self.folder.parts(action.id)?;
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let read = move || {
            for stored in parts {
                let delivery = match stored {
                    Ok((agent, part)) if agents.contains(&agent) => Delivery::Part { agent, part },
                    Ok(_) => continue,
                    Err(error) => {
                        eprintln!("warning: {}", visible(&error.message));
                        return;
                    }
                };
                // Whoever has seen enough has left.
                if deliveries.blocking_send(delivery).is_err() {
                    return;
                }
            }
            for command in account.commands.into_iter().filter(|command| command.state == "cancelled") {
                let _ = deliveries.blocking_send(Delivery::Ended { agent: command.agent, ending: Ending::Cancelled });
            }
        };
        let started = thread::Builder::new().name("memory".to_owned()).spawn(read);
        started.map_err(|error| Error::internal(format!("cannot start a thread: {error}")))?;
        Ok(receiver)
    }

    async fn signed(&self, wanted: &str) -> Result<Envelope, Error> {
        Ok(self.find(wanted)?.envelope)
    }

    async fn withdraw(&self, _: &Envelope) -> Result<(), Error> {
        Err(Error::usage("agents in this program end with it, so no action is left to be withdrawn"))
    }

    async fn actions(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<ActionSummary>, Error> {
        let Page { items, next } = self.page(filter, after)?;
        let items = items.into_iter().map(|(_, summary)| summary).collect();
        Ok(Page { items, next })
    }

    async fn commands(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<PastCommand>, Error> {
        let Page { items, next } = self.page(filter, after)?;
        let of_account = |(account, _): (Account, ActionSummary)| {
            let hosts = account.asked.into_iter().map(|asked| asked.host);
            hosts.zip(account.commands).map(|(host, command)| PastCommand { host: Some(host), command })
        };
        Ok(Page { items: items.into_iter().flat_map(of_account).collect(), next })
    }

    fn outlives_us(&self) -> bool {
        self.here.outlives_us()
    }

    async fn stop(&self) {
        self.here.stop().await;
    }
}

impl Remembering {
    /// The next actions that are wanted, with their accounts.
    fn page(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<(Account, ActionSummary)>, Error> {
        let ids = self.folder.ids();
        let after = after.and_then(|after| after.parse::<Uuid>().ok());
        let rest: Vec<Uuid> = ids.into_iter().filter(|id| after.is_none_or(|after| *id < after)).collect();
        let next = rest.get(PAGE - 1).filter(|_| rest.len() > PAGE).map(Uuid::to_string);
        let mut items = Vec::new();
        for id in rest.into_iter().take(PAGE) {
            // What cannot be read is not there.
            let Some(account) = self.account(id) else { continue };
            let Ok(summary) = account.summary() else { continue };
            if filter.keeps(&summary) {
                items.push((account, summary));
            }
        }
        Ok(Page { items, next })
    }
}

/// Hands answers on, and keeps them on the way.
fn pass_on(mut answers: mpsc::Receiver<Delivery>, deliveries: &mpsc::Sender<Delivery>, keeping: Keeping) {
    let mut keeping = Some(keeping);
    while let Some(delivery) = answers.blocking_recv() {
        if let (Delivery::Part { agent, part }, Some(open)) = (&delivery, &mut keeping)
            && let Err(error) = open.part(agent, part)
        {
            warn(&error);
            keeping.take().into_iter().for_each(Keeping::discard);
        }
        // Where nobody listens any more nobody else is asked.
        if deliveries.blocking_send(delivery).is_err() {
            break;
        }
    }
    drop(answers);
    if let Some(Err(error)) = keeping.map(Keeping::finish) {
        warn(&error);
    }
}

/// What these agents are called where their past is spoken of.
pub fn this_machine() -> String {
    "this machine".to_owned()
}

/// The same of a folder of hosts.
pub fn of_folder(folder: &Path) -> String {
    folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display().to_string()
}
