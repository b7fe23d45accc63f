//! Tables of the module `ssh`: keys, and who may log in with them.

pub mod authorized_keys;
mod der;
mod homes;
mod key_file;
mod line;
mod public;
pub mod ssh_keys;
mod sshd_config;
mod wire;

use crate::module::Module;

const MODULE: Module = Module::reading("ssh");
