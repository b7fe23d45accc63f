//! Tables of the module `accounts`.

pub(crate) mod names;

pub mod groups;
pub mod users;
