//! Brings investigators' signed actions to agents and their signed answers back, and has no key that an agent obeys.
//!
//! **Invariant:** this crate knows no DataFusion and no tables. It stores and forwards; what an answer says is for the
//! desk to verify and to read.

mod config;

mod api;
mod connections;
mod inventory;
mod investigators;
mod metrics;
mod pending;
mod random;
mod rates;
mod receipts;
mod revocations;
mod roles;
mod server;

mod scheduler;

mod clash;
mod lead;
mod peers;
mod pump;
mod relay;
mod store;
mod watchers;

use std::process::ExitCode;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> ExitCode {
    let told: Option<Targets> = std::env::var("CANVASS_LOG").ok().and_then(|told| told.parse().ok());
    let levels = told.unwrap_or_else(|| "warn,canvass_server=info".parse().expect("it names levels"));
    tracing_subscriber::registry()
        .with(levels)
        .with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).json())
        .init();
    let ran = match config::Config::from_arguments() {
        Ok(config) => server::run(config).await,
        Err(error) => Err(error),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("canvass-server: {error:#}");
            ExitCode::FAILURE
        }
    }
}
