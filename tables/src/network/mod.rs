//! Tables of the module `network`.

mod sockets;

pub mod netstat;
