//! Tables of the module `accounts`.

pub mod groups;
mod login_files;
mod login_stores;
pub mod logins;
pub mod users;
mod utmp;

use crate::engine::Collector;
use crate::module::Module;

const MODULE: Module = Module::reading("accounts");

pub(crate) const PASSWD: &str = "/etc/passwd";
pub(crate) const GROUP: &str = "/etc/group";

/// Notes what is wrong with one of the two files, for whoever shows names from it.
pub(crate) fn note_troubles<R>(collector: &mut Collector<'_, R>, file: &str) {
    let host = collector.host;
    for (path, reason) in host.accounts().troubles.iter().filter(|(path, _)| path == file) {
        collector.trouble(Some(path), reason.as_str());
    }
}
