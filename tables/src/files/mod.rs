//! Tables of the module `files`.

#[allow(clippy::module_inception, reason = "a table is in the file of its name")]
pub mod files;

mod guard;
mod hash;
mod mounts;
mod row;
mod walk;
