//! Agents: who asks to be let in, and who is there.

use std::sync::Arc;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::StatusCode;
use canvass_protocol::api::{Admission, Enrol, Enrolled, Inventory, Listed, Role};
use canvass_protocol::heartbeat::Heartbeat;
use jiff::Timestamp;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::problem::{Body, Problem};
use super::{Caller, Id, Peer, State};
use crate::config;
use crate::inventory::Known;
use crate::store::Agent;

/// `POST /v1/enrolments`
pub async fn enrol(shared: State, peer: Peer, body: Body<Enrol>) -> Result<Json<Enrolled>, Problem> {
    let Body(Enrol { heartbeat: signed, token }) = body;
    let heartbeat = Heartbeat::open(&signed, &shared.fleet)
        .map_err(|error| Problem::new(StatusCode::FORBIDDEN, format!("the heartbeat is not believed: {error}")))?;
    let admitted = match shared.enrol {
        config::Enrol::Open => true,
        config::Enrol::Approve => false,
        config::Enrol::Token => {
            let hash = |text: &str| Sha256::digest(text);
            let expected = shared.enrol_token.as_deref().map(hash);
            if expected.is_none() || token.as_deref().map(hash) != expected {
                let problem = Problem::new(StatusCode::FORBIDDEN, "the enrolment token is not this server's");
                return Err(problem.hint("the server's owner finds it in the server's data folder: `enrol-token`"));
            }
            true
        }
    };
    let known = shared.inventory.get(&heartbeat.facts.id);
    let admitted = known.as_ref().map_or(admitted, |known| known.agent.admitted || admitted);
    let agent = Agent {
        id: heartbeat.facts.id.clone(),
        name: heartbeat.facts.name.clone(),
        admitted,
        heartbeat: signed,
        heard_at: Timestamp::now(),
        public_ip: peer.0,
    };
    shared.inventory.hear(vec![agent.clone()]).await?;
    match known {
        None => {
            tracing::info!(agent = agent.id, name = agent.name, admitted, "an agent enrolled");
            shared.note(&agent.id, "enrol", None, agent.name).await?;
        }
        Some(known) if admitted && !known.agent.admitted => {
            shared.inventory.admit(&agent.id).await?;
        }
        Some(_) => {}
    }
    let admission = if admitted { Admission::Admitted } else { Admission::Pending };
    Ok(Json(Enrolled { admission, relay: shared.relay_address()? }))
}

/// `POST /v1/agents/{id}/admission`
pub async fn admit(shared: State, caller: Caller, id: Id<String>) -> Result<StatusCode, Problem> {
    caller.check(Role::Admin)?;
    if !shared.inventory.admit(&id.0).await? {
        return Err(Problem::not_found("agent"));
    }
    shared.note(&caller.0.fingerprint.0, "admit", None, id.0).await?;
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
    Ok(Json(Inventory { agents: listed(agents, true, now), mark: Some(mark), since }))
}

/// `GET /v1/agents/pending`
pub async fn pending(shared: State, caller: Caller) -> Result<Json<Inventory>, Problem> {
    caller.check(Role::Admin)?;
    let agents = listed(shared.inventory.all(), false, Timestamp::now());
    Ok(Json(Inventory { agents, mark: None, since: None }))
}

fn listed(agents: Vec<Arc<Known>>, admitted: bool, now: Timestamp) -> Vec<Listed> {
    let agents = agents.into_iter().filter(|known| known.agent.admitted == admitted);
    agents.map(|known| Listed { words: known.words(now), heartbeat: known.agent.heartbeat.clone() }).collect()
}
