//! Tables of the module `files`.

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod files;

mod crew;
mod guard;
mod mounts;
mod names;
mod probes;
mod roots;
mod row;
mod walk;
mod worker;

pub(crate) use mounts::is_local_type;
pub use mounts::not_entered;

use crate::module::Module;

const MODULE: Module = Module::reading("files");
