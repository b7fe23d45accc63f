//! Tables of the module `network`.

mod sockets;

pub mod netstat;

use crate::module::{Module, Need};

/// Whose a socket is stands in other processes' `fd`.
const MODULE: Module = Module { name: "network", needs: &[Need::OtherProcesses] };
