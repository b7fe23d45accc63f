//! A statement becomes one plan and one action to sign; answers become rows.
//!
//! **Invariant:** this crate knows no terminal, no HTTP and no keys on disk. It is the only one that links DataFusion.

pub mod error;
pub mod fleet;
pub mod settings;

pub mod desk;
