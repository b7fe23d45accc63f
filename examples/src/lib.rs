//! Stories, fixtures and whole-system tests: what sees the whole house and is seen by nobody.
//!
//! **Invariant:** no other crate depends on this one.

mod front;
pub mod swarm;
pub mod yard;

use std::path::{Path, PathBuf};

/// The folder of this package.
pub fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of the whole workspace.
pub fn workspace() -> &'static Path {
    folder().parent().expect("this package lies in the workspace")
}

/// A program of the workspace, built beside the running test.
///
/// # Panics
/// If it was not built: run the tests with `--workspace`.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let program = test.ancestors().skip(1).map(|folder| folder.join(name)).find(|path| path.is_file());
    program.unwrap_or_else(|| panic!("`{name}` was not built; run `cargo test --workspace`"))
}
