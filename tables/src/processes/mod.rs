//! Tables of the module `processes`.

pub(crate) mod proc;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod processes;
