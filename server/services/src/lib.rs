//! Private instances of PostgreSQL and RabbitMQ for tests, benchmarks and play: each on free ports of the loopback address,
//! in a folder of its own, ended with the value that stands for it.
//!
//! **Invariant:** this crate knows nothing of Canvass, and no program that a user installs contains it.

pub mod postgres;
pub mod rabbitmq;

mod process;

use std::path::PathBuf;

pub use postgres::Postgres;
pub use rabbitmq::{Broker, Rabbitmq};

/// What a service proves itself with, in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The authority that signed it.
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}
