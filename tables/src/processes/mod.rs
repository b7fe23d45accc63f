//! Tables of the module `processes`.

pub(crate) mod proc;

pub mod processes;
