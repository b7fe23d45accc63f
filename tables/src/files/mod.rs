//! Tables of the module `files`.

pub mod files;

mod guard;
mod hash;
mod mounts;
mod row;
mod walk;
