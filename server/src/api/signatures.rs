//! Signatures: an action as it was signed, and further investigators who sign it.

use std::collections::BTreeSet;

use axum::Json;
use axum::http::StatusCode;
use canvass_protocol::api::{Cosignature, Role};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::openpgp::Fingerprint;
use jiff::Timestamp;
use tokio::sync::oneshot;

use super::problem::{Body, Problem};
use super::{Caller, Id, State, actions};
use crate::pump::Order;
use crate::store::Action;

/// How often a signature is tried again that another came before.
const TRIES_MAX: usize = limits::SIGNATURES_MAX;

/// `GET /v1/actions/{id}/envelope`
pub async fn envelope(shared: State, caller: Caller, id: Id) -> Result<Json<Envelope>, Problem> {
    Ok(Json(actions::find(&shared, &caller, id.0).await?.envelope))
}

/// `POST /v1/actions/{id}/signatures`
///
/// Whoever signed the bytes has seen them, and so needs no right to be shown the action.
pub async fn cosign(shared: State, caller: Caller, id: Id, body: Body<Cosignature>) -> Result<StatusCode, Problem> {
    caller.check(Role::Hunt)?;
    let Body(Cosignature { hash, signature }) = body;
    for _ in 0..TRIES_MAX {
        let now = Timestamp::now();
        let action = shared.store.action(id.0).await?.filter(|action| action.hash == hash);
        let action = action.ok_or_else(|| Problem::not_found("action"))?;
        check_open(&action, now)?;
        let one = Envelope { payload: action.envelope.payload.clone(), signatures: vec![signature.clone()] };
        one.check_sizes().map_err(|error| Problem::bad(error.to_string()))?;
        let signer = shared.investigators.verify(&one, now).await?.remove(0);
        let (after, signers) = add(&action, &signer, &signature)?;
        let signers: Vec<String> = signers.into_iter().collect();
        if !shared.store.cosign(&action.envelope, &after, &signers).await? {
            continue;
        }
        shared.note(&caller.0.fingerprint.0, "cosign", Some(hash), format!("signed by {signer}")).await?;
        tracing::info!(action = %hash, id = %action.id, %signer, "an action was signed by another");
        let (done, cosigned) = oneshot::channel();
        if shared.orders.send(Order::Cosign { envelope: after, done }).await.is_ok() {
            let _ = cosigned.await;
        }
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::new(StatusCode::CONFLICT, "others sign this action at the same time").hint("try it again"))
}

/// A signature over what nobody may begin any more is of no use.
fn check_open(action: &Action, now: Timestamp) -> Result<(), Problem> {
    if action.withdrawal.is_some() {
        return Err(Problem::bad("the action was withdrawn"));
    }
    if action.expires_at <= now {
        return Err(Problem::bad(format!("the action expired at {}", action.expires_at)).hint("ask again"));
    }
    Ok(())
}

/// The envelope with one more signature; that of somebody who signed already is not taken twice.
fn add(action: &Action, signer: &Fingerprint, signature: &str) -> Result<(Envelope, BTreeSet<String>), Problem> {
    let mut envelope = action.envelope.clone();
    let mut signers: BTreeSet<String> = action.signers.iter().cloned().collect();
    if signers.insert(signer.0.clone()) {
        if envelope.signatures.len() >= limits::SIGNATURES_MAX {
            return Err(Problem::bad(format!("the action has {} signatures already", limits::SIGNATURES_MAX)));
        }
        envelope.signatures.push(signature.to_owned());
    }
    Ok((envelope, signers))
}
