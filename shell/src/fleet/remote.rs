//! A server's fleet: the inventory, actions posted, answers followed over whatever breaks.

mod following;
mod revoking;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use canvass_planner::error::{Error, ErrorKind};
use canvass_planner::fleet::{DELIVERIES_MAX, Delivery, Endpoint, Fleet};
use canvass_planner::past::{Page, PastCommand, PastFilter};
use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::api::{
    ACTION_STATES, ActionSummary, ActionsPage, Admit, AuditLine, COMMAND_STATES, CommandSummary, CommandsPage,
    Cosignature, Inventory, Listed, PendingPage, Posted,
};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::login::{Approval, Running, Withdrawal};
use canvass_protocol::signed::Signed;
use canvass_protocol::target::Facts;
use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

use self::following::Following;
use super::believed::{self, Believed};
use super::pins::{Claim, Pins};
use super::signed;
use super::wire::Wire;
use crate::archive::Archive;
use crate::config::Places;
use crate::key::{Certificates, Store};
use crate::render::escape::visible;
use crate::session::Signing;

pub use revoking::Heard;

/// Agents that wait and are looked through, at most.
const PENDING_MAX: usize = 10_000;
/// Agents that are missing, named in a sentence.
const MISSING_NAMED_MAX: usize = 3;
/// Lines of the audit in one request.
const AUDIT_PAGE: usize = 1000;

/// The fleet behind a server.
pub struct Remote {
    seen: Arc<Seen>,
    signing: Arc<Signing>,
    archive: Archive,
    keys: Store,
    /// The action that is followed.
    last: Mutex<Option<(Uuid, ActionHash)>>,
    /// The words of agents, by their ids, as they were listed to be approved.
    listed: Mutex<HashMap<String, Signed>>,
}

/// What a desk sees of the fleet.
struct Seen {
    wire: Wire,
    fleet: String,
    pins: Pins,
    believed: tokio::sync::Mutex<Believed>,
    /// Agents that were not listed, or not remembered, when that was told last.
    told: AtomicUsize,
}

impl Remote {
    /// Finds out which fleet the server is for, and logs in.
    pub async fn open(server: &str, signing: Arc<Signing>, places: &Places) -> Result<Remote, Error> {
        let mut wire = Wire::new(server)?;
        let fleet = wire.about().await?.fleet;
        let pins = Pins::open(places.pins())?;
        pins.check_server(server, &fleet)?;
        wire.log_in(fleet.clone(), signing.clone()).await?;
        let (archive, keys) = (Archive::new(places), Store::new(places));
        let believed = Believed::new(fleet.clone(), Certificates::of(&keys)).into();
        Ok(Remote {
            seen: Arc::new(Seen { wire, believed, fleet, pins, told: AtomicUsize::new(0) }),
            signing,
            archive,
            keys,
            last: Mutex::default(),
            listed: Mutex::default(),
        })
    }

    /// Hands over an action's answers from the first on, and those still to come where it follows. `asked` are the agents that
    /// the server has said it asks.
    fn listen(
        &self,
        action: &Action,
        agents: Vec<String>,
        follow: bool,
        asked: Option<Vec<String>>,
    ) -> mpsc::Receiver<Delivery> {
        let (deliveries, receiver) = mpsc::channel(DELIVERIES_MAX);
        let (seen, known) = (self.seen.clone(), agents.into_iter().collect());
        let (id, until) = (action.id, action.window.until);
        let following = Following { seen, id, until, follow, known, asked, after: 0, deliveries };
        tokio::spawn(following.run());
        receiver
    }

    async fn send_withdrawal(&self, id: Uuid, hash: ActionHash, running: Running) -> Result<(), Error> {
        let withdrawal = Withdrawal::new(self.seen.fleet.clone(), hash, running, Timestamp::now());
        let envelope = self.signing.envelope(withdrawal.to_bytes())?;
        self.seen.wire.send(&format!("/v1/actions/{id}/withdrawal"), &envelope).await
    }

    /// Keeps an agent's word to be approved, where it is believed; its name and id.
    fn list(&self, listed: Listed) -> Option<(String, String)> {
        let Heartbeat { facts, .. } = Heartbeat::open(&listed.heartbeat, &self.seen.fleet).ok()?;
        self.listed().insert(facts.id.clone(), listed.heartbeat);
        Some((facts.name, facts.id))
    }

    fn listed(&self) -> MutexGuard<'_, HashMap<String, Signed>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last(&self) -> MutexGuard<'_, Option<(Uuid, ActionHash)>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    /// Agents whose own signed word is believed, and a name for each.
    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        let mut believed = self.believed.lock().await;
        let since = believed.mark().map(|mark| format!("?since={mark}")).unwrap_or_default();
        let inventory: Inventory = self.wire.get(&format!("/v1/agents{since}")).await?;
        for error in believed.take(inventory) {
            eprintln!("warning: the server lists an agent that is not believed: {}", visible(&error.to_string()));
        }
        let agents: Vec<_> = believed.agents().cloned().collect();
        drop(believed);
        let claims = agents.iter().map(|believed::Agent { facts, certified_at, .. }| Claim {
            name: &facts.name,
            id: &facts.id,
            certified_at: *certified_at,
        });
        let claims: Vec<Claim<'_>> = claims.collect();
        let (names, forgotten) = self.pins.names(&self.fleet, &claims)?;
        self.tell_missing(&claims.iter().map(|claim| claim.id).collect(), forgotten);
        let endpoint = |(agent, host): (believed::Agent, String)| {
            let believed::Agent { facts, words, standing, .. } = agent;
            Endpoint { host, facts, words, standing }
        };
        let mut endpoints: Vec<Endpoint> = agents.into_iter().zip(names).map(endpoint).collect();
        endpoints.sort_by(|a, b| a.host.cmp(&b.host));
        Ok(endpoints)
    }

    /// Says how many agents this desk knows that the server does not list, whenever that is another number than before: they may
    /// have been taken out of the fleet, or kept from the desk.
    fn tell_missing(&self, listed: &HashSet<&str>, forgotten: usize) {
        let missing = self.pins.missing(&self.fleet, listed);
        if self.told.swap(missing.len() + forgotten, Ordering::Relaxed) == missing.len() + forgotten {
            return;
        }
        if forgotten > 0 {
            eprintln!(
                "warning: this desk remembers as many agents as it can, and shows {forgotten} others with their ids: none of \
                 them has its name for good"
            );
        }
        if missing.is_empty() {
            return;
        }
        let named: Vec<&str> = missing.iter().take(MISSING_NAMED_MAX).map(|(name, _)| name.as_str()).collect();
        let more = if missing.len() > named.len() { " …" } else { "" };
        let (agents, them) = if missing.len() == 1 { ("1 agent", "it") } else { ("agents", "one") };
        let count = if missing.len() == 1 { String::new() } else { format!("{} ", missing.len()) };
        eprintln!(
            "warning: the server does not list {count}{agents} that this desk has seen: {}{more}\nhint: `.remove NAME` forgets \
             {them}",
            visible(&named.join(", "))
        );
    }
}

#[async_trait]
impl Fleet for Remote {
    fn name(&self) -> &str {
        &self.seen.fleet
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        self.seen.endpoints().await
    }

    async fn ask(&self, envelope: Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let action = Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::internal(error.to_string()))?;
        let posted: Posted = self.seen.wire.post("/v1/actions", &envelope).await?;
        if posted.hash != envelope.hash() {
            return Err(Error::unreachable("the server speaks of another action than the one it was sent"));
        }
        *self.last() = Some((action.id, posted.hash));
        Ok(self.listen(&action, agents, true, Some(posted.asked)))
    }

    async fn asked(&self, action: &Action) -> Result<Vec<String>, Error> {
        let commands: Vec<CommandSummary> = self.seen.wire.get(&format!("/v1/actions/{}/commands", action.id)).await?;
        Ok(commands.into_iter().map(|command| command.agent).collect())
    }

    fn host_of(&self, facts: &Facts) -> String {
        self.seen.pins.name(&self.seen.fleet, &facts.name, &facts.id)
    }

    async fn pending(&self) -> Result<Vec<(String, String)>, Error> {
        let (mut pending, mut after) = (Vec::new(), String::new());
        loop {
            let PendingPage { agents, next } = self.seen.wire.get(&format!("/v1/agents/pending{after}")).await?;
            let believed = agents.into_iter().filter_map(|listed| self.list(listed));
            pending.extend(believed);
            // A server whose pages do not end says more than anybody looks through.
            let Some(next) = next.filter(|next| is_id(next) && pending.len() < PENDING_MAX) else { break };
            after = format!("?after={next}");
        }
        Ok(pending)
    }

    fn certifies(&self) -> bool {
        true
    }

    async fn approve(&self, id: &str) -> Result<(), Error> {
        let known = self.listed().get(id).cloned();
        let heartbeat = match known {
            Some(heartbeat) => heartbeat,
            None => {
                // It is in the fleet.
                let inventory: Inventory = self.seen.wire.get("/v1/agents").await?;
                inventory.agents.into_iter().for_each(|listed| drop(self.list(listed)));
                let known = self.listed().get(id).cloned();
                known.ok_or_else(|| Error::usage(format!("the server lists no agent `{}`", visible(id))))?
            }
        };
        let said = Heartbeat::open(&heartbeat, self.name()).map_err(|error| Error::unreachable(error.to_string()))?;
        let approval = Approval::new(self.name().to_owned(), id.to_owned(), said.facts.name, Timestamp::now());
        let approval = self.signing.envelope(approval.to_bytes())?;
        self.seen.wire.send(&format!("/v1/agents/{id}/admission"), &Admit { heartbeat, approval }).await
    }

    async fn remove(&self, id: &str) -> Result<(), Error> {
        let removed = self.seen.wire.send(&format!("/v1/agents/{id}/removal"), &()).await;
        let was_known = self.seen.pins.forget(self.name(), id)?;
        match removed {
            // The server does not list it any more, and this desk has forgotten it now.
            Err(error) if error.kind == ErrorKind::Usage && was_known => Ok(()),
            removed => removed,
        }
    }

    async fn missing(&self) -> Result<Vec<(String, String)>, Error> {
        let endpoints = self.seen.endpoints().await?;
        let listed = endpoints.iter().map(|endpoint| endpoint.facts.id.as_str()).collect();
        Ok(self.seen.pins.missing(self.name(), &listed))
    }

    async fn audit(&self, count: usize) -> Result<Vec<AuditLine>, Error> {
        let mut lines: Vec<AuditLine> = Vec::new();
        while lines.len() < count {
            let page = (count - lines.len()).min(AUDIT_PAGE);
            let before = lines.last().map(|line| format!("&before={}", line.position)).unwrap_or_default();
            let read: Vec<AuditLine> = self.seen.wire.get(&format!("/v1/audit?count={page}{before}")).await?;
            // A server that does not come nearer to the beginning would be asked for ever.
            let nearer = read.windows(2).all(|pair| pair[1].position < pair[0].position)
                && read.first().is_none_or(|first| lines.last().is_none_or(|last| first.position < last.position));
            if !nearer {
                return Err(Error::unreachable("the server tells its audit in no order"));
            }
            let over = read.len() < page;
            lines.extend(read);
            if over {
                break;
            }
        }
        Ok(lines)
    }

    async fn actions(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<ActionSummary>, Error> {
        let Some(states) = known_states(filter, &ACTION_STATES) else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let query = query(filter, &states, None, after);
        let ActionsPage { actions, next } = self.seen.wire.get(&format!("/v1/actions?{query}")).await?;
        Ok(Page { items: actions, next })
    }

    async fn commands(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<PastCommand>, Error> {
        let endpoints = self.seen.endpoints().await?;
        let ids = filter.hosts.as_ref().map(|hosts| {
            let named = endpoints.iter().filter(|endpoint| hosts.contains(&endpoint.host));
            named.map(|endpoint| endpoint.facts.id.clone()).collect::<BTreeSet<String>>()
        });
        let agents = match (&filter.agents, ids) {
            (Some(agents), Some(ids)) => Some(agents.intersection(&ids).cloned().collect()),
            (agents, ids) => ids.or_else(|| agents.clone()),
        };
        let states = known_states(filter, &COMMAND_STATES).filter(|_| !agents.as_ref().is_some_and(BTreeSet::is_empty));
        let Some(states) = states else { return Ok(Page { items: Vec::new(), next: None }) };
        let query = query(filter, &states, agents.as_ref(), after);
        let CommandsPage { commands, next } = self.seen.wire.get(&format!("/v1/commands?{query}")).await?;
        let hosts: HashMap<String, String> =
            endpoints.into_iter().map(|endpoint| (endpoint.facts.id.clone(), endpoint.host)).collect();
        let past = |command: CommandSummary| PastCommand { host: hosts.get(&command.agent).cloned(), command };
        Ok(Page { items: commands.into_iter().map(past).collect(), next })
    }

    async fn follow(&self, envelope: &Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let action = Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::internal(error.to_string()))?;
        *self.last() = Some((action.id, envelope.hash()));
        Ok(self.listen(&action, agents, true, None))
    }

    async fn signed(&self, wanted: &str) -> Result<Envelope, Error> {
        let kept = self.archive.get_of(&self.seen.fleet, wanted)?;
        let id = match &kept {
            Some(kept) => signed::action_of(&kept.envelope()?)?.id,
            None => signed::resolve(wanted, self).await?,
        };
        let envelope: Envelope = match self.seen.wire.get(&format!("/v1/actions/{id}/envelope")).await {
            Ok(envelope) => envelope,
            // The server may have forgotten it.
            Err(error) => return kept.map_or(Err(error), |kept| kept.envelope()),
        };
        if kept.as_ref().is_some_and(|kept| kept.payload != envelope.payload.as_bytes()) {
            return Err(Error::unreachable(format!("the server has another action `{id}` than was signed here")));
        }
        if signed::verify(&envelope, &self.seen.fleet, &self.keys)?.id != id {
            return Err(Error::unreachable("the server hands over another action than the one it was asked for"));
        }
        Ok(envelope)
    }

    async fn stored(&self, envelope: &Envelope, agents: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        let action = signed::action_of(envelope)?;
        // Whoever has seen enough of what is past withdraws nothing.
        self.last().take();
        Ok(self.listen(&action, agents, false, None))
    }

    async fn cosign(&self, id: Uuid, signature: &Cosignature) -> Result<(), Error> {
        self.seen.wire.send(&format!("/v1/actions/{id}/signatures"), signature).await
    }

    async fn withdraw(&self, envelope: &Envelope) -> Result<(), Error> {
        let action = Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::internal(error.to_string()))?;
        self.send_withdrawal(action.id, envelope.hash(), Running::Ends).await
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {
        let Some((id, hash)) = self.last().take() else { return };
        if let Err(error) = self.send_withdrawal(id, hash, Running::GoesOn).await {
            eprintln!("warning: the action could not be withdrawn: {}", visible(&error.to_string()));
        }
    }
}

/// Whether a text is an agent's id, and so may stand in an address.
fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Which states are wanted of those that there are, with commas between them; empty where all are, `None` where none is.
fn known_states(filter: &PastFilter, known: &[&str]) -> Option<String> {
    let Some(wanted) = &filter.states else { return Some(String::new()) };
    let states: Vec<&str> = known.iter().filter(|state| wanted.contains(**state)).copied().collect();
    (!states.is_empty()).then(|| states.join(","))
}

/// What a page of the past is asked with.
fn query(filter: &PastFilter, states: &str, agents: Option<&BTreeSet<String>>, after: Option<&str>) -> String {
    let list = |texts: Vec<String>| texts.join(",");
    let texts = |texts: Option<&BTreeSet<String>>| texts.map(|texts| list(texts.iter().cloned().collect()));
    let pairs = [
        ("after", after.map(str::to_owned)),
        ("id", filter.ids.as_ref().map(|ids| list(ids.iter().map(Uuid::to_string).collect()))),
        ("prefix", filter.prefix.clone()),
        ("since", filter.since.map(|at| at.to_string())),
        ("until", filter.until.map(|at| at.to_string())),
        ("state", (!states.is_empty()).then(|| states.to_owned())),
        ("agent", texts(agents)),
    ];
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value {
            query.append_pair(name, &value);
        }
    }
    query.finish()
}
