//! Where agents come to the relay: the embedded one's WebSocket, and lines over a broker.

use axum::Json;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::StatusCode;
use axum::response::Response;
use canvass_protocol::api::{OpenLine, QueueLine};
use canvass_protocol::limits;

use super::problem::{Body, Problem};
use super::{Peer, ServerName, State};
use crate::relay::{Door, NotAdmitted};

/// `GET /v1/relay`
pub async fn connect(
    shared: State,
    name: ServerName,
    peer: Peer,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let Door::Embedded(relay) = shared.relay.clone() else { return Err(another_relay()) };
    let upgrade = upgrade.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let upgrade = upgrade.max_message_size(limits::MESSAGE_BYTES_MAX).max_frame_size(limits::MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| relay.serve(socket, &name.0, peer.0).await))
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
