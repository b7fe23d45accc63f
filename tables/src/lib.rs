//! Every table an endpoint can be asked for, and the one engine that answers a scan.
//!
//! **Invariant:** this crate knows no async, no network relay, no keys, nobody who asks, and no DataFusion.
//!
//! What every table owes its reader: it is one file that declares its columns and collects its rows; unknown is NULL,
//! never a sentinel; what goes wrong is a trouble beside the rows; its loops end whatever the host holds; it touches the
//! host through [`host::Host`] only, so that a folder of fixtures is as good as a machine.

pub mod module;
pub mod table;

pub mod column;
pub mod host;

pub mod bound;
pub mod engine;
mod filter;
pub mod frame;
pub mod sqlite;

mod accounts;
mod files;
mod network;
mod packages;
mod persistence;
mod ping;
mod process_memory;
mod processes;
mod ssh;
mod system;

pub use files::not_entered;
pub use module::{Module, Need};
pub use table::{Table, TableInfo};

/// All tables, in the order in which they are listed to people: what is asked most comes first.
pub static TABLES: &[&dyn Table] = &[
    &files::files::FILES,
    &processes::processes::PROCESSES,
    &processes::open_files::OPEN_FILES,
    &process_memory::process_memory::PROCESS_MEMORY,
    &network::netstat::NETSTAT,
    &network::interfaces::INTERFACES,
    &network::neighbors::NEIGHBORS,
    &network::routes::ROUTES,
    &ping::ping::PING,
    &packages::packages::PACKAGES,
    &accounts::users::USERS,
    &accounts::groups::GROUPS,
    &accounts::logins::LOGINS,
    &ssh::ssh_keys::SSH_KEYS,
    &ssh::authorized_keys::AUTHORIZED_KEYS,
    &system::system::SYSTEM,
    &system::mounts::MOUNTS,
    &system::kernel_modules::KERNEL_MODULES,
    &persistence::crontab::CRONTAB,
    &persistence::systemd_units::SYSTEMD_UNITS,
];

/// Finds a table by its name.
pub fn find(name: &str) -> Option<&'static dyn Table> {
    TABLES.iter().copied().find(|table| table.info().name == name)
}
