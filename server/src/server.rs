//! The server as a whole: opens its parts, listens, and ends in order.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::{Semaphore, mpsc};

use crate::api::{self, Names, Shared};
use crate::config::{Config, Enrol, RelayUrl, StoreUrl, Tls};
use crate::connections::Bounded;
use crate::inventory::Inventory;
use crate::investigators::Investigators;
use crate::lead::Means;
use crate::metrics::Metrics;
use crate::peers::Peers;
use crate::pending::Pending;
use crate::pump::Pump;
use crate::random;
use crate::rates::Rates;
use crate::relay::Door;
use crate::relay::amqp::Amqp;
use crate::relay::embedded::Embedded;
use crate::relay::inlet;
use crate::revocations::Revocations;
use crate::store::Store;
use crate::store::postgres::Postgres;
use crate::store::sqlite::Sqlite;
use crate::store::watched::{Watched, Writes};
use crate::watchers::Watchers;

/// Orders of investigators that wait.
const ORDERS_MAX: usize = 256;
/// How long connections may take to end.
const GRACE: Duration = Duration::from_secs(5);
/// How long the head of a request may take to come.
const HEAD_WITHIN: Duration = Duration::from_secs(30);
/// Descriptors that are no connections of others.
const DESCRIPTORS_KEPT: u64 = 256;
const CONNECTIONS_MIN: u64 = 64;
/// Each takes some kilobytes.
const CONNECTIONS_MAX: u64 = 1 << 20;
/// How long answers are kept after their action has ended.
const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
/// How often what is older is looked for.
const PURGE_EVERY: Duration = Duration::from_secs(3600);

/// Runs until a signal ends it.
pub async fn run(config: Config) -> Result<()> {
    let free = Arc::new(Semaphore::new(connections_max(raise_descriptors())));
    let tls = match &config.tls {
        Some(tls) => Some(open_tls(tls).await?),
        None => None,
    };
    let listener = bind(config.listen)?;
    let address = listener.local_addr()?;
    let metrics = config.metrics.map(bind).transpose()?;
    let certificate = tls.as_ref().map(|(_, certificate)| certificate);
    let shared = open(&config, names(&config, config.listen, certificate)?).await?;
    let (scheme, keyring) = (if tls.is_some() { "https" } else { "http" }, shared.investigators.keyring());
    keyring.troubles.iter().for_each(|trouble| tracing::warn!("{trouble}"));
    if keyring.keyring.is_empty() {
        tracing::warn!("nobody may ask yet: put investigators' certificates into `{}`", config.keyring.display());
    }
    let handle = Handle::new();
    if let Some(listener) = metrics {
        let names = names(&config, listener.local_addr()?, certificate)?;
        let routes = api::metrics::routes(shared.clone(), names);
        // On a loopback address Prometheus needs no certificate of this server's.
        let tls = tls
            .as_ref()
            .map(|(tls, _)| tls.clone())
            .filter(|_| !config.metrics.is_some_and(|at| at.ip().is_loopback()));
        tell_metrics(listener, routes, tls, free.clone(), handle.clone())?;
    }
    // Whoever starts the server reads here where it is, also where it chose the port.
    println!("canvass-server listens on {scheme}://{address} for fleet {}", shared.fleet);
    std::io::stdout().flush()?;
    tokio::spawn(end_at_signal(handle.clone()));
    serve(listener, api::routes(shared), tls.map(|(tls, _)| tls), free, handle).await
}

async fn serve(
    listener: TcpListener,
    routes: Router,
    tls: Option<RustlsConfig>,
    free: Arc<Semaphore>,
    handle: Handle<SocketAddr>,
) -> Result<()> {
    let service = routes.into_make_service_with_connect_info::<SocketAddr>();
    // What is said is said at once: the kernel would keep a short message until the one before is acknowledged.
    match tls {
        Some(tls) => {
            let acceptor = Bounded::new(RustlsAcceptor::new(tls).acceptor(NoDelayAcceptor::new()), free);
            let mut server = axum_server::from_tcp(listener)?.handle(handle).acceptor(acceptor);
            bound_heads(server.http_builder());
            server.serve(service).await?;
        }
        None => {
            let acceptor = Bounded::new(NoDelayAcceptor::new(), free);
            let mut server = axum_server::from_tcp(listener)?.handle(handle).acceptor(acceptor);
            bound_heads(server.http_builder());
            server.serve(service).await?;
        }
    }
    Ok(())
}

/// The names of this server at an address.
fn names(config: &Config, listen: SocketAddr, certificate: Option<&CertificateDer<'static>>) -> Result<Names> {
    Names::new(&config.public_names, listen, certificate).with_context(|| {
        format!(
            "{listen} can be reached by others, and the certificate names no host of this server alone: say with `--public-name \
             NAME` what desks and agents call it"
        )
    })
}

fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers Prometheus, on a listener of its own.
fn tell_metrics(
    listener: TcpListener,
    routes: Router,
    tls: Option<RustlsConfig>,
    free: Arc<Semaphore>,
    handle: Handle<SocketAddr>,
) -> Result<()> {
    tracing::info!(address = %listener.local_addr()?, tls = tls.is_some(), "metrics are told at /metrics");
    tokio::spawn(async move {
        if let Err(error) = serve(listener, routes, tls, free, handle).await {
            tracing::error!(%error, "metrics are told no more");
        }
    });
    Ok(())
}

/// Who does not come to the end of a request's head is not waited for.
fn bound_heads(builder: &mut Builder<TokioExecutor>) {
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN);
}

/// Every agent of the embedded relay is a connection, and so a descriptor: the program takes all that it may have.
fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        // Where this fails the limit is what it was.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    getrlimit(Resource::Nofile).current
}

/// How many connections there may be with so many descriptors: the store, the broker and files need some, too.
fn connections_max(descriptors: Option<u64>) -> usize {
    let most = descriptors.map_or(CONNECTIONS_MAX, |all| all.saturating_sub(DESCRIPTORS_KEPT).max(CONNECTIONS_MIN));
    usize::try_from(most.min(CONNECTIONS_MAX)).unwrap_or(usize::MAX)
}

async fn open(config: &Config, names: Names) -> Result<Arc<Shared>> {
    let folder = &config.data;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))?;
    // Servers share a database where agents reach each of them over a broker.
    let mut others = None;
    let store: Arc<dyn Store> = match &config.store {
        StoreUrl::Sqlite(file) => {
            let why = || format!("cannot open the store `{}`", file.display());
            Arc::new(Sqlite::open(file).await.with_context(why)?)
        }
        StoreUrl::Postgres(url) => {
            let why = || format!("cannot open the store at `{}`", url.host_str().unwrap_or_default());
            if matches!(config.relay, RelayUrl::Amqp(_)) {
                let (store, peers, news) = Postgres::join(url).await.with_context(why)?;
                others = Some((peers, news));
                Arc::new(store)
            } else {
                Arc::new(Postgres::open(url).await.with_context(why)?)
            }
        }
    };
    let metrics = Arc::new(Metrics::new());
    let writes = Arc::new(Writes::new(metrics.clone()));
    let store: Arc<dyn Store> = Arc::new(Watched::new(store, writes.clone()));
    let fleet = match &config.fleet {
        Some(fleet) => fleet.clone(),
        None => kept(folder, "fleet", || Ok(format!("fleet-{}", &random::hex()?[..8])))?,
    };
    let peers = others.as_ref().map(|(peers, _)| peers.clone());
    let fleet = match &peers {
        Some(peers) => agreed(fleet, config.fleet.is_some(), peers).await?,
        None => fleet,
    };
    let enrol_token = match (&config.enrol_token, config.enrol) {
        (Some(token), _) => Some(token.clone()),
        (None, Enrol::Token) => Some(kept(folder, "enrol-token", || Ok(random::hex()?))?),
        (None, _) => None,
    };
    let (incoming, messages) = inlet::channel(inlet::MESSAGES_MAX, inlet::BYTES_MAX);
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let waiting = incoming.gauge();
    let relay = match &config.relay {
        RelayUrl::Embedded => Door::Embedded(Arc::new(Embedded::new(fleet.clone(), store.clone(), incoming))),
        RelayUrl::Amqp(address) => {
            let id = peers.as_ref().map_or_else(Peers::draw, |peers| Ok(peers.id()))?;
            let (address, server) = (address.as_ref().clone(), format!("{id:08x}"));
            Door::Amqp(Amqp::open(address, fleet.clone(), &server, store.clone(), incoming).await?)
        }
    };
    let watchers = Arc::new(Watchers::default());
    let inventory = Arc::new(Inventory::open(store.clone()).await?);
    let revocations = Arc::new(Revocations::open(store.as_ref()).await?);
    let means = Means {
        store: store.clone(),
        relay: relay.relay(),
        watchers: watchers.clone(),
        metrics: metrics.clone(),
        revocations: revocations.clone(),
    };
    let pump = Pump::start(fleet.clone(), inventory.clone(), means, others).await?;
    tokio::spawn(pump.run(messages, ordered));
    tokio::spawn(purge(store.clone()));
    let (keyring, roles) = (config.keyring.clone(), config.roles.clone());
    let investigators = Investigators::new(fleet.clone(), keyring, roles, revocations.clone());
    Ok(Arc::new(Shared {
        fleet,
        store,
        writes,
        inventory,
        pending: Pending::default(),
        relay,
        orders,
        watchers,
        peers,
        investigators,
        revocations,
        rates: Rates::default(),
        names,
        trusted_proxies: config.trusted_proxies.clone(),
        enrol: config.enrol,
        enrol_token,
        metrics,
        incoming: waiting,
    }))
}

/// The fleet of all servers that share a database: what the first of them was told, or drew.
async fn agreed(fleet: String, is_given: bool, peers: &Peers) -> Result<String> {
    let agreed = peers.fleet(&fleet).await?;
    if is_given && agreed != fleet {
        bail!("the database is of fleet `{agreed}`, and `--fleet` says `{fleet}`");
    }
    Ok(agreed)
}

/// What is drawn once and kept in a file of the data folder, readable for its owner only.
fn kept(folder: &Path, name: &str, draw: impl FnOnce() -> Result<String>) -> Result<String> {
    let path = folder.join(name);
    let why = || format!("`{}`", path.display());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let text = draw()?;
            let mut file =
                std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).with_context(why)?;
            writeln!(file, "{text}").with_context(why)?;
            Ok(text)
        }
        Err(error) => Err(error).with_context(why),
    }
}

/// What speaks TLS, and the certificate that it shows.
async fn open_tls(tls: &Tls) -> Result<(RustlsConfig, CertificateDer<'static>)> {
    // Where another part of the program has chosen already, that is the same choice.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let why = || format!("TLS: `{}` and `{}` cannot be used", tls.certificate.display(), tls.key.display());
    let config = RustlsConfig::from_pem_file(&tls.certificate, &tls.key).await.with_context(why)?;
    let mut spoken = ServerConfig::clone(&config.get_inner());
    spoken.alpn_protocols = vec![b"http/1.1".to_vec()];
    config.reload_from_config(Arc::new(spoken));
    Ok((config, CertificateDer::from_pem_file(&tls.certificate).with_context(why)?))
}

async fn purge(store: Arc<dyn Store>) {
    let mut due = tokio::time::interval(PURGE_EVERY);
    loop {
        due.tick().await;
        let Ok(before) = Timestamp::now().checked_sub(KEPT) else { continue };
        match store.purge(before).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "old actions were forgotten"),
            Err(error) => tracing::error!(%error, "old actions cannot be forgotten"),
        }
    }
}

async fn end_at_signal(handle: Handle<SocketAddr>) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tracing::info!("ending");
    handle.graceful_shutdown(Some(GRACE));
}
