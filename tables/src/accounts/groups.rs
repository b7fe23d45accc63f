//! Table `groups`: the groups that a host itself knows.

use std::ops::ControlFlow;

use crate::column::{Column, Kind};
use crate::engine::Collector;
use crate::host::GroupEntry;
use crate::table::{Declared, TableInfo};

/// A row is a group, not a membership, so that groups without members are there and counting rows counts groups;
/// `unnest(string_to_array(members, ','))` makes one row a member of it. Users whose primary group it is are found by
/// `users.gid`, as in the file.
pub static GROUPS: Declared<GroupEntry> = Declared {
    info: TableInfo {
        name: "groups",
        module: super::MODULE,
        about: "Groups in /etc/group with their members, one row a group",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, name, members FROM groups WHERE name IN ('sudo', 'wheel', 'docker') AND members <> ''",
    },
    columns: &[
        Column::field("name", Kind::Text, "Name of the group", |group| group.name.as_str().into()),
        Column::field("gid", Kind::Integer, "Number of the group", |group| group.gid.into()),
        Column::field(
            "members",
            Kind::Text,
            "Login names, separated by commas; empty where the file names none",
            |group| group.members.join(",").into(),
        ),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, GroupEntry>) -> ControlFlow<()> {
    super::note_troubles(collector, super::GROUP);
    let host = collector.host;
    host.accounts().groups.iter().try_for_each(|group| collector.row(group.clone()))
}
