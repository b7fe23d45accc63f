//! Tables of the module `system`.

pub mod system;
