//! Table `mounts`: what is mounted where.

use std::collections::HashSet;
use std::ffi::OsString;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use canvass_protocol::answer::Trouble;
use rustix::fs::{AtFlags, OFlags, StatVfs, StatxFlags};

use crate::column::{Column, Form, Kind};
use crate::engine::Collector;
use crate::files::is_local_type;
use crate::host::{Host, mountinfo};
use crate::processes::proc;
use crate::table::{Declared, TableInfo};

const MOUNTINFO: &str = "/proc/self/mountinfo";

pub struct Mount {
    id: u64,
    device: Option<String>,
    path: PathBuf,
    kind: String,
    options: String,
    root: String,
    /// Asking the file system does not ask another machine.
    is_local: bool,
}

pub static MOUNTS: Declared<Mount> = Declared {
    info: TableInfo {
        name: "mounts",
        module: super::MODULE,
        about: "What is mounted, as the agent sees it: file systems of all types, one row a mount",
        bound: None,
        live: false,
        follows: false,
        example: "SELECT host, path, device FROM mounts WHERE type IN ('nfs', 'nfs4', 'cifs') OR path UNDER '/tmp'",
    },
    columns: &[
        Column::field("device", Kind::Text, "What is mounted: a device, a share, or a word where it is neither", |m| {
            m.device.as_deref().into()
        }),
        Column::<Mount>::field("path", Kind::Text, "Folder or file on which it is mounted", |m| {
            m.path.to_string_lossy().into_owned().into()
        })
        .form(Form::Path),
        Column::field("type", Kind::Text, "Type of the file system, e.g. ext4", |m| m.kind.as_str().into()),
        Column::field(
            "options",
            Kind::Text,
            "Options of the mount and of the file system, separated by commas; rw or ro comes first",
            |m| m.options.as_str().into(),
        ),
        Column::field(
            "root",
            Kind::Text,
            "What of the file system is mounted: / is all of it, a folder a bind mount or a subvolume",
            |m| m.root.as_str().into(),
        ),
        Column::<Mount>::probe(
            "size_bytes",
            Kind::Integer,
            "Size of the file system, in bytes; NULL where it, or one that it is mounted in, is of a network or of the kernel",
            |m, host| Ok(space(m, host)?.and_then(|space| space.f_blocks.checked_mul(space.f_frsize)).into()),
        )
        .form(Form::Bytes),
        Column::<Mount>::probe(
            "available_bytes",
            Kind::Integer,
            "What users other than root could still write, in bytes; NULL where `size_bytes` is",
            |m, host| Ok(space(m, host)?.and_then(|space| space.f_bavail.checked_mul(space.f_frsize)).into()),
        )
        .form(Form::Bytes),
    ],
    collect,
};

fn collect(collector: &mut Collector<'_, Mount>) -> ControlFlow<()> {
    let host = collector.host;
    let table = match host.read(Path::new(MOUNTINFO)) {
        Ok(table) => table,
        Err(error) => {
            let trouble = proc::trouble(Path::new(MOUNTINFO), &error);
            collector.note_trouble(trouble);
            return ControlFlow::Continue(());
        }
    };
    let foreign: HashSet<PathBuf> =
        mountinfo::lines(&table).flatten().filter(|mount| !is_local_type(mount.kind)).map(|m| path(&m)).collect();
    let mut malformed = 0;
    for mount in mountinfo::lines(&table) {
        collector.go_on()?;
        let Some(mount) = mount else {
            malformed += 1;
            continue;
        };
        let path = path(&mount);
        collector.row(Mount {
            id: mount.id,
            device: Some(mountinfo::text(mount.source)).filter(|source| !source.is_empty()),
            kind: mountinfo::text(mount.kind),
            options: joined(&mountinfo::text(mount.options), &mountinfo::text(mount.super_options)),
            root: mountinfo::text(mount.root),
            is_local: host.is_live() && !path.ancestors().any(|folder| foreign.contains(folder)),
            path,
        })?;
    }
    if malformed > 0 {
        collector.trouble(Some(MOUNTINFO), format!("{malformed} malformed lines"));
    }
    ControlFlow::Continue(())
}

fn path(mount: &mountinfo::Mount<'_>) -> PathBuf {
    PathBuf::from(OsString::from_vec(mountinfo::decoded(mount.path)))
}

/// Options as `findmnt` shows them: those of the mount, then those of the file system; ro where either is.
fn joined(mount: &str, file_system: &str) -> String {
    if mount == file_system || file_system.is_empty() {
        return mount.to_owned();
    }
    let words = || mount.split(',').chain(file_system.split(','));
    let access = if words().any(|word| word == "ro") { "ro" } else { "rw" };
    let others = words().filter(|word| !matches!(*word, "" | "ro" | "rw"));
    std::iter::once(access).chain(others).collect::<Vec<_>>().join(",")
}

/// What a file system says of its space; `None` where that is not asked, or another is mounted over it.
fn space(mount: &Mount, host: &Host) -> Result<Option<StatVfs>, Trouble> {
    if !mount.is_local {
        return Ok(None);
    }
    let ask = || {
        let opened = host.open_path(&mount.path, OFlags::PATH | OFlags::NOFOLLOW)?;
        let seen = rustix::fs::statx(&opened, c"", AtFlags::EMPTY_PATH | AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID)?;
        let is_it = seen.stx_mask & StatxFlags::MNT_ID.bits() != 0 && seen.stx_mnt_id == mount.id;
        is_it.then(|| rustix::fs::fstatvfs(&opened)).transpose().map_err(Into::into)
    };
    match ask() {
        // It was unmounted meanwhile, or lies where another is mounted over.
        Err(error) if proc::gone(&error) => Ok(None),
        other => other.map_err(|error| proc::trouble(&mount.path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn options_are_joined_as_findmnt_does() {
        for (mount, file_system, both) in [
            ("", "", ""),
            ("rw,relatime", "rw", "rw,relatime"),
            ("rw", "rw", "rw"),
            ("ro,nosuid", "rw,mode=755", "ro,nosuid,mode=755"),
            ("rw,nosuid", "ro,mode=755", "ro,nosuid,mode=755"),
            ("ro", "ro,errors=ro", "ro,errors=ro"),
            ("nosuid,,", "size=1", "rw,nosuid,size=1"),
        ] {
            assert_eq!(joined(mount, file_system), both);
        }
    }
}
