//! Tables of the module `accounts`.

pub mod groups;
pub mod users;
