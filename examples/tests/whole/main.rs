//! Tests of the whole system. They speak only the language of the command line: a flag, an exit code or a column named
//! here is a promise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod bad_input;
mod cage;
mod certificates;
mod certified;
mod compromise;
mod cosign;
mod desk;
mod distributed;
mod every_table;
mod fleet;
mod goldens;
mod house;
mod interface;
mod interrupts;
mod journey;
mod line;
mod local_files;
mod manual;
mod memory;
mod metrics;
mod past;
mod prompt;
mod proxy;
mod reading;
mod readme;
mod revoked;
mod roles;
mod servers;
mod stories;
mod swarm;
mod terminal;
