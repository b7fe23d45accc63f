//! `GET /metrics`, on a listener of its own: Prometheus reads it without a session, so it tells counts and times, and nothing
//! of who asked what of whom; and whoever can reach the interface for investigators and agents does not reach this.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{self, MatchedPath, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use canvass_protocol::target::Status;
use jiff::Timestamp;
use prometheus_client::encoding::prometheus_text;

use super::problem::Problem;
use super::{Names, ServerName, Shared, State};
use crate::metrics::Levels;

/// What requests for no route of ours are counted under.
const NO_ROUTE: &str = "none";

/// The listener's only route. A page in a browser reaches a loopback address under any name, so the name is checked here too.
pub fn routes(shared: Arc<Shared>, names: Names) -> Router {
    Router::new()
        .route("/metrics", get(show))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address but `/metrics`"))
        .layer(from_fn_with_state(Arc::new(names), check))
        .with_state(shared)
}

async fn check(
    names: extract::State<Arc<Names>>,
    name: ServerName,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    names.check(&name)?;
    Ok(next.run(request).await)
}

/// `GET /metrics`
async fn show(shared: State) -> Response {
    let text = shared.metrics.text(&levels(&shared, Timestamp::now()));
    ([(CONTENT_TYPE, prometheus_text::CONTENT_TYPE)], text).into_response()
}

fn levels(shared: &Shared, now: Timestamp) -> Levels {
    let mut levels = Levels {
        connected: shared.relay.relay().connected(),
        open: shared.watchers.open(),
        incoming: shared.incoming.messages(),
        incoming_bytes: shared.incoming.bytes(),
        pending: shared.pending.len(),
        ..Levels::default()
    };
    for known in shared.inventory.all() {
        let status = known.words(now).status;
        let count = Status::ALL.iter().zip(&mut levels.agents).find(|(of, _)| **of == status);
        count.into_iter().for_each(|(_, count)| *count += 1);
    }
    levels
}

/// Counts requests of the other listener, and how long each took.
pub fn counted(router: Router<Arc<Shared>>, shared: Arc<Shared>) -> Router<Arc<Shared>> {
    router.layer(from_fn_with_state(shared, count))
}

async fn count(shared: State, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = known(request.method());
    let began = Instant::now();
    let response = next.run(request).await;
    let route = route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
    shared.metrics.answered(method, route, response.status().as_u16(), began.elapsed());
    response
}

/// Whoever asks may make methods up.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    }
}
