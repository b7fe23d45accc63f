//! Agents: who asks to be let in, who is let in and taken out again, and who is there.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use canvass_protocol::api::{Admission, Admit, Enrol, Enrolled, Inventory, Listed, PendingPage, Role};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits;
use canvass_protocol::login::Approval;
use canvass_protocol::signed::Signed;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;

use super::problem::{Body, Problem};
use super::{Caller, Id, Peer, State};
use crate::config;
use crate::inventory::{self, Known};
use crate::investigators::Stranger;
use crate::pending::{self, Waiting};
use crate::pump::Order;
use crate::store::Agent;

/// Agents that wait, listed at once.
pub const PENDING_MAX: usize = 500;

/// `POST /v1/enrolments`
///
/// Nothing proves here that whoever asks has the agent's key: of an agent of the fleet nothing is learnt. Its line is where it
/// proves that, and says what is new.
pub async fn enrol(shared: State, peer: Peer, body: Body<Enrol>) -> Result<Json<Enrolled>, Problem> {
    let Body(Enrol { heartbeat: signed, token }) = body;
    let heartbeat = open(&signed, &shared.fleet)?;
    if shared.enrol == config::Enrol::Token {
        let hash = |text: &str| Sha256::digest(text);
        let expected = shared.enrol_token.as_deref().map(hash);
        if expected.is_none() || token.as_deref().map(hash) != expected {
            let problem = Problem::new(StatusCode::FORBIDDEN, "the enrolment token is not this server's");
            return Err(problem.hint("the server's owner finds it in the server's data folder: `enrol-token`"));
        }
    }
    let relay = shared.relay_address()?;
    let admission = if is_in(&shared, &heartbeat.facts.id).await? {
        Admission::Admitted
    } else if shared.enrol == config::Enrol::Approve {
        wait(&shared, heartbeat, signed, peer.0)?;
        Admission::Pending
    } else {
        let agent = newcomer(heartbeat, signed, Timestamp::now());
        tracing::info!(agent = agent.id, name = agent.name, "an agent enrolled");
        shared.note(&agent.id, "enrol", None, agent.name.clone()).await?;
        shared.inventory.admit(agent).await?;
        Admission::Admitted
    };
    Ok(Json(Enrolled { admission, relay }))
}

fn open(signed: &Signed, fleet: &str) -> Result<Heartbeat, Problem> {
    Heartbeat::open(signed, fleet)
        .map_err(|error| Problem::new(StatusCode::FORBIDDEN, format!("the heartbeat is not believed: {error}")))
}

/// Whether an agent belongs to the fleet. What another server has let in is in the store before it is heard of here.
async fn is_in(shared: &State, id: &str) -> Result<bool, Problem> {
    if shared.inventory.get(id).is_some() {
        return Ok(true);
    }
    Ok(shared.peers.is_some() && shared.store.agent(id).await?.is_some())
}

/// An agent as it enrols: it was heard when it made its word, and where it is was not proved.
fn newcomer(Heartbeat { at, facts, .. }: Heartbeat, heartbeat: Signed, now: Timestamp) -> Agent {
    Agent { id: facts.id, name: facts.name, approval: None, heartbeat, heard_at: at.min(now), public_ip: None }
}

/// Strangers write nothing down: neither into the store nor into the audit.
fn wait(shared: &State, heartbeat: Heartbeat, signed: Signed, public_ip: Option<IpAddr>) -> Result<(), Problem> {
    let (bytes, max) = (signed.statement.len(), pending::HEARTBEAT_BYTES_MAX);
    if bytes > max {
        let why = format!("the heartbeat of an agent that waits has at most {max} bytes, and this one has {bytes}");
        return Err(Problem::new(StatusCode::FORBIDDEN, why).hint("give it its tags once it is let in"));
    }
    let (id, name) = (heartbeat.facts.id.clone(), heartbeat.facts.name.clone());
    if shared.pending.knock(heartbeat, signed, public_ip, Timestamp::now()) {
        tracing::debug!(agent = id, name, "an agent waits to be let in");
    }
    Ok(())
}

/// `POST /v1/agents/{id}/admission`
pub async fn admit(shared: State, caller: Caller, id: Id<String>, body: Body<Admit>) -> Result<StatusCode, Problem> {
    caller.check(Role::Admin)?;
    let Body(Admit { heartbeat: signed, approval }) = body;
    let now = Timestamp::now();
    let heartbeat = open(&signed, &shared.fleet)?;
    let said = approved(&shared, &approval, now).await?;
    if said.fleet != shared.fleet || said.id != id.0 || heartbeat.facts.id != id.0 {
        return Err(Problem::bad("the approval is of another agent or fleet"));
    }
    let known = shared.inventory.get(&id.0);
    let name = known.as_ref().map_or(&heartbeat.facts.name, |known| &known.facts.name);
    if said.name != *name {
        let why = format!("the approval is of `{}`, and the agent calls itself `{name}`", said.name);
        return Err(Problem::new(StatusCode::CONFLICT, why).hint("look at the list again"));
    }
    let (what, agent) = match known {
        Some(known) => ("certify", known.agent.clone()),
        None => ("admit", newcomer(heartbeat, signed, now)),
    };
    shared.note(&caller.0.fingerprint.0, what, None, format!("{} {}", agent.id, agent.name)).await?;
    tracing::info!(agent = agent.id, name = agent.name, what, "an administrator approved an agent");
    shared.inventory.admit(Agent { approval: Some(approval), ..agent }).await?;
    shared.pending.remove(&id.0);
    Ok(StatusCode::NO_CONTENT)
}

/// What an administrator has signed.
async fn approved(shared: &State, approval: &Envelope, now: Timestamp) -> Result<Approval, Problem> {
    approval.check_sizes().map_err(|error| Problem::bad(error.to_string()))?;
    if approval.payload.len() > limits::WORD_BYTES_MAX {
        return Err(Problem::bad(format!("an approval has at most {} bytes", limits::WORD_BYTES_MAX)));
    }
    let signers = shared.investigators.verify(approval, now).await?;
    if !signers.iter().any(|signer| shared.investigators.roles(signer).contains(&Role::Admin)) {
        return Err(Stranger::Role(signers[0].clone(), "admin").into());
    }
    Approval::parse(approval.payload.as_bytes()).map_err(|error| Problem::bad(error.to_string()))
}

/// `POST /v1/agents/{id}/removal`
pub async fn remove(shared: State, caller: Caller, id: Id<String>) -> Result<StatusCode, Problem> {
    caller.check(Role::Admin)?;
    let (waited, name) =
        (shared.pending.remove(&id.0), shared.inventory.get(&id.0).map(|known| known.facts.name.clone()));
    let was_in = shared.inventory.remove(&id.0).await?;
    if !waited && !was_in {
        return Err(Problem::not_found("agent"));
    }
    let detail = format!("{} {}", id.0, name.unwrap_or_default());
    shared.note(&caller.0.fingerprint.0, "remove", None, detail.trim_end().to_owned()).await?;
    if was_in {
        tracing::info!(agent = id.0, "an agent was taken out of the fleet");
        shared.relay.expel(&id.0).await;
        let (done, removed) = oneshot::channel();
        if shared.orders.send(Order::Remove { agent: id.0, done }).await.is_ok() {
            let _ = removed.await;
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Since {
    /// A mark of a former answer.
    since: Option<String>,
}

/// `GET /v1/agents`
pub async fn list(
    shared: State,
    caller: Caller,
    since: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Inventory>, Problem> {
    caller.check(Role::Read)?;
    let Query(Since { since }) = since.map_err(|error| Problem::bad(error.body_text()))?;
    let now = Timestamp::now();
    // A mark of another server, or of one that has started since, says nothing: everybody is listed.
    let new = since.as_deref().and_then(|mark| shared.inventory.since(mark, now));
    let since = since.filter(|_| new.is_some());
    let (agents, mark) = new.unwrap_or_else(|| shared.inventory.whole(now));
    Ok(Json(Inventory { agents: listed(agents, now), mark: Some(mark), since }))
}

fn listed(agents: Vec<Arc<Known>>, now: Timestamp) -> Vec<Listed> {
    let listed = |known: Arc<Known>| Listed {
        words: known.words(now),
        heartbeat: known.agent.heartbeat.clone(),
        approval: known.agent.approval.clone(),
    };
    agents.into_iter().map(listed).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The `next` of the page before.
    after: Option<String>,
    #[serde(default = "pending_max")]
    count: usize,
}

fn pending_max() -> usize {
    PENDING_MAX
}

/// `GET /v1/agents/pending`
pub async fn pending(
    shared: State,
    caller: Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<PendingPage>, Problem> {
    caller.check(Role::Admin)?;
    let Query(Page { after, count }) = page.map_err(|error| Problem::bad(error.body_text()))?;
    if !(1..=PENDING_MAX).contains(&count) {
        return Err(Problem::bad(format!("`count` is 1 to {PENDING_MAX}")));
    }
    let now = Timestamp::now();
    let waiting = shared.pending.after(&after.unwrap_or_default(), count, now);
    let next = waiting.last().filter(|_| waiting.len() == count).map(|last| last.facts.id.clone());
    let listed = |waiting: Arc<Waiting>| Listed {
        words: inventory::words(waiting.facts.mode, waiting.heard_at, waiting.public_ip, now),
        heartbeat: waiting.heartbeat.clone(),
        approval: None,
    };
    Ok(Json(PendingPage { agents: waiting.into_iter().map(listed).collect(), next }))
}
