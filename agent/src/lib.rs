//! What stands on an endpoint between an envelope and a scan: courier, guard and cage.
//!
//! **Invariant:** this crate knows no DataFusion, no SQL and no server's storage. Nothing that it does depends on trusting
//! whoever delivered the envelope.

pub mod config;
pub mod daemon;

pub mod courier;
pub mod relay;
pub mod spool;
pub mod withdrawn;

pub mod agent;

pub mod guard;
pub mod policy;
pub mod revocations;

pub mod journal;

pub mod cage;

pub mod folder;
pub mod identity;
