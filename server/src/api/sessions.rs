//! Sessions: opened by signing a login.

use axum::Json;
use canvass_protocol::api::Session;
use canvass_protocol::envelope::Envelope;
use jiff::Timestamp;

use super::problem::{Body, Problem};
use super::{Peer, ServerName, State};

/// `POST /v1/sessions`
pub async fn open(shared: State, name: ServerName, peer: Peer, body: Body<Envelope>) -> Result<Json<Session>, Problem> {
    let Body(envelope) = body;
    envelope.check_sizes().map_err(|error| Problem::bad(error.to_string()))?;
    match shared.investigators.login(&envelope, &name.0, Timestamp::now()).await {
        Ok(session) => {
            shared.note(&session.investigator.0, "login", None, String::new()).await?;
            Ok(Json(session))
        }
        Err(stranger) => {
            shared.note_stranger(peer.0, "login failed", &stranger.to_string()).await;
            Err(stranger.into())
        }
    }
}
