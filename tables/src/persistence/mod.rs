//! Tables of the module `persistence`: what a host runs by itself, at a time or at the start.
//!
//! Command lines stand in them, which may hold secrets, so that they have a permission of their own beside `system`.

pub mod crontab;
pub mod systemd_units;

mod cgroups;
mod cron_lines;
mod folders;
mod unit_file;
mod unit_folders;
mod unit_names;
mod unit_state;

use crate::module::Module;

const MODULE: Module = Module::reading("persistence");
