//! Brings investigators' signed actions to agents and their signed answers back, and has no key that an agent obeys.
//!
//! **Invariant:** this crate knows no DataFusion and no tables. It stores and forwards; what an answer says is for the
//! desk to verify and to read.

mod config;

mod api;
mod inventory;
mod investigators;
mod metrics;
mod random;
mod rates;
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

use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> ExitCode {
    let filter = EnvFilter::try_from_env("CANVASS_LOG").unwrap_or_else(|_| EnvFilter::new("warn,canvass_server=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).json().init();
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
