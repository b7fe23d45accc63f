//! Table `users`: the accounts that a host itself knows.

use std::ops::ControlFlow;

use crate::column::{Column, Kind};
use crate::engine::Collector;
use crate::host::UserEntry;
use crate::table::{Declared, TableInfo};

/// Directory services (LDAP, Active Directory) are not asked: what stands in the file is what nobody manages elsewhere.
pub static USERS: Declared<UserEntry> = Declared {
    info: TableInfo {
        name: "users",
        module: super::MODULE,
        about: "Accounts in /etc/passwd, without their passwords",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, name, shell FROM users WHERE uid = 0 AND name <> 'root'",
    },
    columns: &[
        Column::field("name", Kind::Text, "Login name", |user| user.name.as_str().into()),
        Column::field("uid", Kind::Integer, "Number of the user", |user| user.uid.into()),
        Column::field("gid", Kind::Integer, "Number of the primary group", |user| user.gid.into()),
        Column::field(
            "full_name",
            Kind::Text,
            "Comment field up to its first comma; NULL where that is empty",
            |user| full_name(user).into(),
        ),
        Column::field("home", Kind::Text, "Home folder", |user| user.home.as_str().into()),
        Column::field("shell", Kind::Text, "Program started at login; where it is empty, /bin/sh", |user| {
            user.shell.as_str().into()
        }),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, UserEntry>) -> ControlFlow<()> {
    super::note_troubles(collector, super::PASSWD);
    let host = collector.host;
    host.accounts().users.iter().try_for_each(|user| collector.row(user.clone()))
}

/// The name that stands before the room and the telephone numbers.
fn full_name(user: &UserEntry) -> Option<&str> {
    user.comment.split(',').next().map(str::trim).filter(|name| !name.is_empty())
}
