//! A statement becomes one plan and one action to sign; answers become rows.
//!
//! **Invariant:** this crate knows no terminal, no HTTP and no keys on disk. It is the only one that links DataFusion.

pub mod desk;

mod depth;
mod dialect;
mod headings;
mod ignored;
mod question;
mod rewrite;
mod session;
mod show;
mod shown;
mod size;
mod slips;
mod source;

pub mod catalog;
mod corrected;
mod form;
pub mod local;
mod provider;

mod arithmetic;
mod functions;
mod predicate;
mod results;
mod versions;

mod hosts;
mod lower;
mod narrow;

mod meeting;
pub mod warning;
pub mod whom;

mod exec;
pub mod explain;
mod feed;
mod forget;

mod again;
pub mod kept;

pub mod fleet;
pub mod past;

mod account;
mod answers;
mod support;
mod workers;

pub mod error;
mod refusal;
pub mod settings;
pub mod zone;
