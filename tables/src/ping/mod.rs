//! The module `ping`: what other machines can be reached from here.

mod asked;
mod dns;
mod failure;
mod icmp;
mod names;
mod pace;
mod probe;
mod resolver_files;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod ping;

use crate::module::{Module, Need};

/// Datagrams and connections to whomever the question names, and ICMP, for which the scan is handed its sockets.
const MODULE: Module = Module { name: "ping", needs: &[Need::Connect, Need::Icmp] };
