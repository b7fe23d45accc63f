//! Tables asked through the engine: of hosts that are folders, and of this machine beside its own tools.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod fixtures;
mod logins;
mod machine;
mod network;
mod network_machine;
mod packages;
mod persistence;
mod ping;
mod process_memory;
mod processes;
mod rows;
mod sqlite;
mod ssh;
mod system;
