//! Tables of the module `files`.

pub mod files;
