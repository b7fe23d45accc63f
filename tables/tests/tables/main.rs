//! Tables asked through the engine: of hosts that are folders, and of this machine beside its own tools.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod fixtures;
mod machine;
mod rows;
