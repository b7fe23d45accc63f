//! Revocations: taken from anybody who has a session, since whatever narrows needs no trust.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use canvass_protocol::api::Revoked;
use canvass_protocol::openpgp::{Fingerprint, Revocation};
use canvass_protocol::target::Status;
use jiff::Timestamp;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::problem::{Problem, Raw};
use super::{Caller, State};
use crate::pump::Order;
use crate::revocations::COUNT_MAX;
use crate::store;

/// How long agents that are online are waited for, which say at once that they know.
const HEARD_WITHIN: Duration = Duration::from_secs(3);
/// How often it is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `POST /v1/revocations`
///
/// What is posted again changes nothing, and is answered with how many agents know by then.
pub async fn post(shared: State, caller: Caller, body: Raw) -> Result<Json<Revoked>, Problem> {
    let found = shared.investigators.revocations(body.0).await.map_err(Problem::from)?;
    let found = found.map_err(|error| not_one(&error.to_string()))?;
    if found.is_empty() {
        return Err(not_one("none of its certificates is revoked by it"));
    }
    for revocation in &found {
        take(&shared, &caller, revocation).await?;
    }
    let mut certificates: Vec<Fingerprint> = found.into_iter().map(|revocation| revocation.certificate).collect();
    certificates.sort();
    certificates.dedup();
    Ok(Json(heard(&shared, certificates).await))
}

fn not_one(why: &str) -> Problem {
    let problem = Problem::new(StatusCode::NOT_FOUND, format!("this revokes nothing that this server knows: {why}"));
    problem.hint("it takes what `canvass key revoke` or `gpg --gen-revoke` made for a certificate of its keyring")
}

/// Stores a revocation and has it brought to agents, where no other revokes the same key.
async fn take(shared: &State, caller: &Caller, revocation: &Revocation) -> Result<(), Problem> {
    let who = &caller.0.fingerprint;
    let Revocation { certificate, key, armor, .. } = revocation;
    let detail = if revocation.is_whole() { certificate.to_string() } else { format!("{certificate} subkey {key}") };
    if shared.revocations.contains(key) {
        return shared.note_often(who, "revoke", None, format!("{detail} again")).await;
    }
    if shared.revocations.count() >= COUNT_MAX {
        return Err(Problem::new(StatusCode::CONFLICT, format!("this server carries {COUNT_MAX} revocations already")));
    }
    shared.note(&who.0, "revoke", None, detail).await?;
    let (key, certificate, armor) = (key.clone(), certificate.clone(), armor.clone());
    let stored = store::Revocation { key, certificate, armor, posted_by: who.0.clone(), at: Timestamp::now() };
    let Some(armor) = shared.revocations.add(shared.store.as_ref(), &stored).await? else { return Ok(()) };
    tracing::info!(key = %stored.key, by = %who, "revoked: {}", stored.certificate);
    let (done, brought) = oneshot::channel();
    // Whatever happens to the order, it is in the store, and every agent that comes is brought it.
    if shared.orders.send(Order::Revoke { armor, done }).await.is_ok() {
        let _ = brought.await;
    }
    Ok(())
}

/// How many agents say that these certificates are revoked: once all that are online do, or time is up.
async fn heard(shared: &State, certificates: Vec<Fingerprint>) -> Revoked {
    let until = Instant::now() + HEARD_WITHIN;
    loop {
        let (now, agents) = (Timestamp::now(), shared.inventory.all());
        let (mut known, mut is_awaited) = (0, false);
        for agent in &agents {
            if certificates.iter().all(|certificate| agent.facts.revoked_keys.contains(certificate)) {
                known += 1;
            } else if agent.words(now).status == Status::Online {
                is_awaited = true;
            }
        }
        if !is_awaited || Instant::now() >= until {
            return Revoked { certificates, known, agents: agents.len() as u64 };
        }
        sleep(LOOK_EVERY).await;
    }
}
