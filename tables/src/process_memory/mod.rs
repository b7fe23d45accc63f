//! Tables of the module `process_memory`: it is one of its own, since whoever may list processes may not ask what they hold.

mod asked;
mod maps;
mod pages;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod process_memory;

use crate::module::{Module, Need};

const MODULE: Module = Module { name: "process_memory", needs: &[Need::OtherProcesses] };
