//! Tables of the module `network`.

pub mod netstat;
