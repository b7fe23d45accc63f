//! Tables of the module `processes`.

pub mod processes;
