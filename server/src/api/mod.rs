//! The HTTP interface: one file a resource. Every request is bounded and, but for who asks to be let in, authorised.

mod actions;
mod agents;
mod answers;
mod audit;
mod doors;
pub mod metrics;
mod openapi;
mod past;
mod peer;
mod problem;
mod relay;
mod revocations;
mod sessions;
mod signatures;

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, HOST};
use axum::http::request::Parts;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use axum::{Json, Router};
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::{About, Role};
use canvass_protocol::limits;
use canvass_protocol::openpgp::Fingerprint;
use ipnet::IpNet;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::config::Enrol;
use crate::connections::Allowance;
use crate::inventory::Inventory;
use crate::investigators::{Investigator, Investigators, Stranger};
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pending::Pending;
use crate::pump::Order;
use crate::rates::{self, Rates};
use crate::relay::Door;
use crate::relay::inlet::Gauge;
use crate::revocations::Revocations;
use crate::store::watched::{Failing, Writes};
use crate::store::{Audit, Store, StoreError};
use crate::watchers::{Seen, Watchers};

pub use doors::Names;
use peer::Peer;
use problem::Problem;

/// What all requests share.
pub struct Shared {
    pub fleet: String,
    pub store: Arc<dyn Store>,
    /// Whether the store takes what is written to it.
    pub writes: Arc<Writes>,
    pub inventory: Arc<Inventory>,
    /// Who waits to be let in.
    pub pending: Pending,
    pub relay: Door,
    pub orders: mpsc::Sender<Order>,
    pub watchers: Arc<Watchers>,
    /// Servers that share the store, where others can.
    pub peers: Option<Arc<Peers>>,
    pub investigators: Investigators,
    pub revocations: Arc<Revocations>,
    pub rates: Rates,
    /// By which names requests may call this server.
    pub names: Names,
    /// Who is believed about where a request came from.
    pub trusted_proxies: Vec<IpNet>,
    pub enrol: Enrol,
    /// What an agent has to know to be let in, where that is asked for.
    pub enrol_token: Option<String>,
    pub metrics: Arc<Metrics>,
    /// How much agents said that is not stored yet.
    pub incoming: Gauge,
}

type State = axum::extract::State<Arc<Shared>>;

/// Bodies of those who have proved nothing: a login or a heartbeat with its signature, and a proof.
const WORD_BODY_MAX: usize = 64 << 10;
const PROOF_BODY_MAX: usize = 16 << 10;
/// The names in a line of the audit.
const REACHED_BYTES_MAX: usize = 1000;
/// Of a line of the audit, what others have written.
const DETAIL_CHARS_MAX: usize = 300;

/// All routes.
pub fn routes(shared: Arc<Shared>) -> Router {
    // Whoever comes here has proved nothing yet.
    let open = Router::new()
        .route("/v1/sessions", post(sessions::open).layer(DefaultBodyLimit::max(WORD_BODY_MAX)))
        .route("/v1/enrolments", post(agents::enrol).layer(DefaultBodyLimit::max(WORD_BODY_MAX)))
        .route("/v1/relay", get(relay::connect))
        .route("/v1/lines", post(relay::open_line).layer(DefaultBodyLimit::max(PROOF_BODY_MAX)))
        .layer(from_fn_with_state(shared.clone(), doors::rate));
    let router = Router::new()
        .route("/healthz", get(healthz))
        .route("/v1", get(about))
        .route("/v1/openapi.json", get(openapi::show))
        .merge(open)
        .route("/v1/agents", get(agents::list))
        .route("/v1/agents/pending", get(agents::pending))
        .route("/v1/agents/{id}/admission", post(agents::admit))
        .route("/v1/agents/{id}/removal", post(agents::remove))
        .route("/v1/actions", get(past::actions).post(actions::post))
        .route("/v1/actions/{id}", get(actions::show))
        .route("/v1/actions/{id}/envelope", get(signatures::envelope))
        .route("/v1/actions/{id}/signatures", post(signatures::cosign))
        .route("/v1/commands", get(past::commands))
        .route("/v1/actions/{id}/commands", get(actions::commands))
        .route("/v1/actions/{id}/withdrawal", post(actions::withdraw))
        .route("/v1/actions/{id}/answers", get(answers::follow))
        .route("/v1/revocations", post(revocations::post).layer(DefaultBodyLimit::max(limits::REVOCATION_BYTES_MAX)))
        .route("/v1/audit", get(audit::list))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing at this address"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this address does not know that method")
        })
        .layer(from_fn_with_state(shared.clone(), doors::note_refused))
        .layer(from_fn_with_state(shared.clone(), doors::host))
        .layer(DefaultBodyLimit::max(limits::ENVELOPE_BYTES_MAX));
    metrics::counted(router, shared.clone()).with_state(shared)
}

async fn healthz(shared: State) -> Result<&'static str, Problem> {
    let Some(Failing { since, full }) = shared.writes.failing() else { return Ok("ok\n") };
    let (why, hint) = if full {
        (": its disk is full", "make room there; nothing has to be started again")
    } else {
        ("", "the server's log says why")
    };
    let words = format!("the server cannot write to its store since {since}{why}");
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, words).hint(hint))
}

async fn about(shared: State) -> Json<About> {
    Json(About { fleet: shared.fleet.clone(), version: env!("CARGO_PKG_VERSION").to_owned() })
}

/// What whoever asks calls this server: host and port.
pub struct ServerName(pub String);

impl<S: Sync> FromRequestParts<S> for ServerName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<ServerName, Problem> {
        let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
        let name = header.or_else(|| parts.uri.authority().map(|authority| authority.as_str().to_owned()));
        name.map(|name| ServerName(name.to_ascii_lowercase()))
            .ok_or_else(|| Problem::new(StatusCode::BAD_REQUEST, "the request does not name its host"))
    }
}

/// Whoever sent the request, by the token of a session.
pub struct Caller(pub Investigator);

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Caller, Problem> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let investigator = shared.investigators.who(token, Timestamp::now())?;
        shared.rates.investigator(&investigator.fingerprint)?;
        if let Some(allowance) = parts.extensions.get::<Allowance>() {
            allowance.lift();
        }
        Ok(Caller(investigator))
    }
}

impl Caller {
    fn check(&self, role: Role) -> Result<(), Stranger> {
        self.0.check(role)
    }
}

/// What the address names: an action by its id, or an agent.
pub struct Id<T = Uuid>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Id<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id<T>, Problem> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Id(id)),
            Err(error) => Err(Problem::new(error.status(), error.body_text())),
        }
    }
}

impl Shared {
    /// Writes a line of the audit; a server that cannot is one that does nothing.
    async fn note(&self, who: &str, what: &str, about: Option<ActionHash>, detail: String) -> Result<(), Problem> {
        let line = Audit { at: Timestamp::now(), who: who.to_owned(), what: what.to_owned(), action: about, detail };
        Ok(self.store.note(&line).await?)
    }

    /// Writes down who reads what, or is refused what; the same once a minute.
    async fn note_often(
        &self,
        who: &Fingerprint,
        what: &'static str,
        about: Option<ActionHash>,
        detail: String,
    ) -> Result<(), Problem> {
        let subject = about.map_or_else(|| detail.clone(), |hash| hash.to_string());
        if self.rates.line(&who.0, what, &subject) { self.note(&who.0, what, about, detail).await } else { Ok(()) }
    }

    /// Writes down what a stranger tried, by the network that it came from; seldom, whatever is tried.
    async fn note_stranger(&self, from: Option<IpAddr>, what: &'static str, detail: &str) {
        let from = from.map_or_else(|| "unknown".to_owned(), |address| rates::network(address).to_string());
        tracing::info!(from, what, detail, "a request was refused");
        if !self.rates.strangers_line(&from, what) {
            return;
        }
        // It is turned away whether or not that is written down.
        let _ = self.note(&from, what, None, detail.chars().take(DETAIL_CHARS_MAX).collect()).await;
    }

    /// Agents by their names, as the audit says whom something reached: some of them, where there are many.
    fn reached(&self, ids: &[String]) -> String {
        let names =
            ids.iter().map(|id| self.inventory.get(id).map_or_else(|| id.clone(), |known| known.facts.name.clone()));
        let mut detail = format!("{} agent{}", ids.len(), if ids.len() == 1 { "" } else { "s" });
        for (number, name) in names.enumerate() {
            if detail.len() + name.len() > REACHED_BYTES_MAX {
                detail.push_str(" …");
                break;
            }
            detail.push_str(if number == 0 { ": " } else { ", " });
            detail.push_str(&name);
        }
        detail
    }

    /// Follows an action; `None` where nothing more will become of it.
    async fn follow(&self, hash: ActionHash) -> Result<Option<watch::Receiver<Seen>>, StoreError> {
        if let Some(seen) = self.watchers.follow(hash) {
            return Ok(Some(seen));
        }
        // Where another server schedules, this one knows of an action what is asked of it.
        let Some(peers) = &self.peers else { return Ok(None) };
        let Some(progress) = peers.progress(hash).await? else { return Ok(None) };
        let seen = self.watchers.begin(hash, progress);
        // What happened between the two may have been told before anybody followed.
        self.watchers.tell(hash, peers.progress(hash).await?);
        Ok(Some(seen))
    }

    fn relay_address(&self) -> Result<canvass_protocol::api::RelayAddress, Problem> {
        self.relay.relay().address().map_err(|reason| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, reason))
    }
}
