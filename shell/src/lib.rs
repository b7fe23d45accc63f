//! The prompt and the command line: reads statements, signs what they ask, prints what comes back.
//!
//! **Invariant:** this crate knows no PostgreSQL and no RabbitMQ. It is the only one that prints results, and the only
//! one that touches an investigator's key. Results go to standard output; everything else goes to standard error.

pub mod args;
pub mod config;
pub mod error;
pub mod terminal;

pub mod key;

pub mod fleet;

pub mod archive;
pub mod script;
pub mod session;
pub mod subcommand;
pub mod variables;

pub mod command;
pub mod complete;
pub mod highlight;
pub mod repl;

pub mod confirm;
pub mod follow;
pub mod footer;
pub mod output;
pub mod progress;
pub mod render;
