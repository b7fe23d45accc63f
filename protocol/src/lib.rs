//! The words that desk, server and agent share, and what of them is signed.
//!
//! **Invariant:** this crate knows no runtime, no files, no clock (`now` is an argument), no Arrow and no SQL. What it
//! reads came from somebody else: every decoder is strict and bounded, and bytes are verified before they are parsed.

pub mod value;
pub mod versions;

pub mod filter;
pub mod matcher;
mod words;

pub mod aggregate;
pub mod dependency;
pub mod features;
pub mod scan;
pub mod sets;
pub mod target;

pub mod action;
pub mod envelope;
pub mod openpgp;
pub mod statement;

pub mod answer;
pub mod heartbeat;
pub mod login;
pub mod members;
pub mod proof;
pub mod reason;
pub mod seal;
pub mod signed;

pub mod api;
pub mod relay;

pub mod acl;
pub mod limits;
pub mod strict;
