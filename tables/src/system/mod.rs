//! Tables of the module `system`.

pub mod kernel_modules;
pub mod mounts;

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod system;

use crate::module::Module;

const MODULE: Module = Module::reading("system");
