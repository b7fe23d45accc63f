//! Agents: who asks to be let in, and who is there.

use axum::Json;
use axum::extract::Path;
use axum::http::StatusCode;
use canvass_protocol::api::{Admission, Enrol, Enrolled, Inventory, Listed, Role};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::target::{Mode, ServerWords, Status};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::problem::{Body, Problem};
use super::{Caller, Peer, State};
use crate::config;
use crate::store::Agent;

/// Time between two heartbeats.
const HEARTBEAT: SignedDuration = SignedDuration::from_secs(60);
/// Whoever was not heard for this long is offline.
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// `POST /v1/enrolments`
pub async fn enrol(shared: State, peer: Peer, body: Body<Enrol>) -> Result<Json<Enrolled>, Problem> {
    let Body(Enrol { heartbeat: signed, token }) = body;
    let heartbeat = Heartbeat::open(&signed, &shared.fleet)
        .map_err(|error| Problem::bad(format!("the heartbeat is not believed: {error}")))?;
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
    let known = shared.store.agent(&heartbeat.facts.id).await?;
    let admitted = known.as_ref().map_or(admitted, |known| known.admitted || admitted);
    let agent = Agent {
        id: heartbeat.facts.id.clone(),
        name: heartbeat.facts.name.clone(),
        admitted,
        heartbeat: signed,
        heard_at: Timestamp::now(),
        public_ip: peer.0.map(|peer| peer.ip().to_canonical()),
    };
    shared.store.hear(std::slice::from_ref(&agent)).await?;
    if known.is_none() {
        tracing::info!(agent = agent.id, name = agent.name, admitted, "an agent enrolled");
        shared.note(&agent.id, "enrol", None, agent.name).await?;
    } else if admitted {
        shared.store.admit(&agent.id).await?;
    }
    let admission = if admitted { Admission::Admitted } else { Admission::Pending };
    Ok(Json(Enrolled { admission, relay: shared.relay_address()? }))
}

/// `POST /v1/agents/{id}/admission`
pub async fn admit(shared: State, caller: Caller, id: Path<String>) -> Result<StatusCode, Problem> {
    caller.check(Role::Admin)?;
    if !shared.store.admit(&id).await? {
        return Err(Problem::not_found("agent"));
    }
    shared.note(&caller.0.fingerprint.0, "admit", None, id.0).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// `GET /v1/agents`
pub async fn list(shared: State, caller: Caller) -> Result<Json<Inventory>, Problem> {
    caller.check(Role::Read)?;
    inventory(&shared, true).await
}

/// `GET /v1/agents/pending`
pub async fn pending(shared: State, caller: Caller) -> Result<Json<Inventory>, Problem> {
    caller.check(Role::Admin)?;
    inventory(&shared, false).await
}

async fn inventory(shared: &State, admitted: bool) -> Result<Json<Inventory>, Problem> {
    let now = Timestamp::now();
    let agents = shared.store.agents().await?.into_iter().filter(|agent| agent.admitted == admitted);
    let agents = agents.map(|agent| Listed { words: words(&agent, now), heartbeat: agent.heartbeat }).collect();
    Ok(Json(Inventory { agents }))
}

/// What the server says of an agent.
pub fn words(agent: &Agent, now: Timestamp) -> ServerWords {
    let silent = now.duration_since(agent.heard_at);
    let daemon = || Heartbeat::read(&agent.heartbeat).is_ok_and(|heartbeat| heartbeat.facts.mode == Mode::Daemon);
    let status = if silent <= HEARTBEAT * 3 && daemon() {
        Status::Online
    } else if silent <= DAY {
        Status::Idle
    } else {
        Status::Offline
    };
    ServerWords { status, heartbeat_at: agent.heard_at, public_ip: agent.public_ip }
}
