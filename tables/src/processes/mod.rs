//! Tables of the module `processes`.

pub(crate) mod cgroup;
pub(crate) mod container;
pub(crate) mod proc;
pub(crate) mod program;

pub mod open_files;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod processes;

use crate::module::{Module, Need};

const MODULE: Module = Module { name: "processes", needs: &[Need::OtherProcesses] };
