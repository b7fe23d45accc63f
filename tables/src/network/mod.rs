//! Tables of the module `network`.

mod diag;
mod holders;
mod lines;
mod link_files;
mod links;
mod netlink;
mod route_files;
mod sockets;

pub mod interfaces;
pub mod neighbors;
pub mod netstat;
pub mod routes;

use crate::module::{Module, Need};

/// Whose a socket is stands in other processes' `fd`, and what the kernel says of the network is asked over netlink.
const MODULE: Module = Module { name: "network", needs: &[Need::OtherProcesses, Need::Netlink] };
