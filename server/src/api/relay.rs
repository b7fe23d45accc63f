//! The embedded relay's door.

use std::sync::Arc;

use axum::extract::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use canvass_protocol::limits;

use super::problem::Problem;
use super::{Peer, ServerName, State};

/// `GET /v1/relay`
pub async fn connect(
    shared: State,
    name: ServerName,
    peer: Peer,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|error| Problem::new(error.status(), error.body_text()))?;
    let relay = Arc::clone(&shared.relay);
    let upgrade = upgrade.max_message_size(limits::MESSAGE_BYTES_MAX).max_frame_size(limits::MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |socket| relay.serve(socket, &name.0, peer.0.map(|peer| peer.ip())).await))
}
