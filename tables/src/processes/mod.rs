//! Tables of the module `processes`.

pub(crate) mod proc;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod processes;

use crate::module::{Module, Need};

const MODULE: Module = Module { name: "processes", needs: &[Need::OtherProcesses] };
