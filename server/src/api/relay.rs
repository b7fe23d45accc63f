//! Where agents come to the relay: the embedded one's WebSocket, and lines over a broker.

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::Response;
use axum::{Extension, Json};
use canvass_protocol::api::{OpenLine, QueueLine};
use canvass_protocol::limits;

use super::problem::{Body, Problem};
use super::{Peer, ServerName, State};
use crate::connections::Allowance;
use crate::relay::{Door, NotAdmitted};

/// What an agent may send over its WebSocket before its proof is taken: the proof, in JSON, and answers to pings.
const PROOF_BYTES_MAX: u64 = 4 * limits::PROOF_BYTES_MAX as u64;

/// `GET /v1/relay`
pub async fn connect(
    shared: State,
    name: ServerName,
    peer: Peer,
    allowance: Option<Extension<Allowance>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Door::Embedded(relay) = shared.relay.clone() else { return Err(another_relay()) };
    let upgrade = upgrade.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let upgrade = upgrade.max_message_size(limits::MESSAGE_BYTES_MAX).max_frame_size(limits::MESSAGE_BYTES_MAX);
    // Before the proof a message may be no longer than one.
    let Extension(allowance) = allowance.unwrap_or_default();
    allowance.leave(PROOF_BYTES_MAX);
    let proved = move || allowance.lift();
    Ok(upgrade.on_upgrade(async move |socket| relay.serve(socket, &name.0, peer.0, proved).await))
}

/// `POST /v1/lines`
pub async fn open_line(
    shared: State,
    name: ServerName,
    peer: Peer,
    body: Body<OpenLine>,
) -> Result<Json<QueueLine>, Problem> {
    let Door::Amqp(relay) = shared.relay.clone() else { return Err(another_relay()) };
    let Body(OpenLine { nonce, proof }) = body;
    let public_ip = peer.0;
    let line = relay.come(&nonce, &proof, &name.0, public_ip).await.map_err(|why| {
        tracing::info!(%why, "an agent was not let in");
        let status = match why {
            NotAdmitted::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::FORBIDDEN,
        };
        Problem::new(status, why.to_string())
    })?;
    Ok(Json(line))
}

fn another_relay() -> Problem {
    Problem::not_found("relay").hint("enrolment says which relay this server has")
}
