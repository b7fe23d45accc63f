//! What lies beside a file: its capabilities and the names of its extended attributes.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _};
use std::sync::OnceLock;

use rustix::fs::{lgetxattr, llistxattr};
use rustix::io::Errno;

/// What [`capabilities`] parses is no longer than this.
const CAPABILITIES_BYTES: usize = 24;

/// What a kernel lists at most (`XATTR_LIST_MAX`).
const LIST_BYTES_MAX: usize = 64 << 10;

/// The capabilities that a program gets when it is run, as `getcap -n` prints them; `None` where there are none.
pub(super) fn capabilities(folder: impl AsFd, name: &CStr) -> io::Result<Option<String>> {
    // A byte more than is valid, so that what is too long is seen to be.
    let mut value = [0; CAPABILITIES_BYTES + 1];
    let length = match lgetxattr(path(folder, name).as_slice(), c"security.capability", &mut value) {
        Ok(length) => length,
        Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
        Err(Errno::RANGE | Errno::INVAL) => return Err(malformed()),
        Err(error) => return Err(error.into()),
    };
    let sets = Sets::parse(&value[..length]).ok_or_else(malformed)?;
    Ok(Some(sets.text(last_capability())))
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed capabilities")
}

/// The names of a file's extended attributes, sorted, separated by commas; `None` where there are none. Their values are
/// content and stay where they are. A comma in a name is `\054` and a backslash `\134`, as getfattr writes bytes.
pub(super) fn xattrs(folder: impl AsFd, name: &CStr) -> io::Result<Option<String>> {
    let path = path(folder, name);
    let mut few = [0; 512];
    let mut many = Vec::new();
    let listed = match llistxattr(path.as_slice(), &mut few) {
        Ok(length) => &few[..length],
        Err(Errno::RANGE) => {
            many.resize(LIST_BYTES_MAX, 0);
            let length = llistxattr(path.as_slice(), many.as_mut_slice())?;
            &many[..length]
        }
        Err(Errno::OPNOTSUPP) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(names(listed))
}

/// The names in a list of the kernel's, each with a NUL at its end.
fn names(listed: &[u8]) -> Option<String> {
    let mut names: Vec<&[u8]> = listed.split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    let written = |name: &&[u8]| String::from_utf8_lossy(name).replace('\\', "\\134").replace(',', "\\054");
    let names: Vec<String> = names.iter().map(written).collect();
    Some(names.join(",")).filter(|names| !names.is_empty())
}

/// A name in an open folder as a path: no system call for attributes takes a descriptor and a name everywhere.
fn path(folder: impl AsFd, name: &CStr) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}/", folder.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    path
}

/// The highest capability that the kernel knows; a set of all is told by it.
fn last_capability() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(|| {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
        last.and_then(|last| last.trim().parse().ok()).filter(|&last| last < 64).unwrap_or(NAMES.len() as u32 - 1)
    })
}

/// What the attribute holds: one bit for each capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sets {
    permitted: u64,
    inheritable: u64,
    /// What is permitted or inherited is also in effect at once.
    effective: bool,
    /// The user namespace in which they count, by the user who is root there; 0 for all.
    root: u32,
}

const EFFECTIVE: u8 = 1;
const PERMITTED: u8 = 2;
const INHERITABLE: u8 = 4;

impl Sets {
    /// Takes the attribute apart: `struct vfs_ns_cap_data` of linux/capability.h and its two predecessors.
    fn parse(value: &[u8]) -> Option<Sets> {
        let words: Vec<u32> = value.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
        let (&magic, words) = words.split_first().filter(|_| value.len().is_multiple_of(4))?;
        let wide = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        let (permitted, inheritable, root) = match (magic >> 24, words) {
            (1, &[permitted, inheritable]) => (permitted.into(), inheritable.into(), 0),
            (2, &[p_low, i_low, p_high, i_high]) => (wide(p_low, p_high), wide(i_low, i_high), 0),
            (3, &[p_low, i_low, p_high, i_high, root]) => (wide(p_low, p_high), wide(i_low, i_high), root),
            _ => return None,
        };
        Some(Sets { permitted, inheritable, effective: magic & 1 != 0, root })
    }

    fn flags(&self, capability: u32) -> u8 {
        let has = |set: u64| set >> capability & 1 != 0;
        let (permitted, inheritable) = (has(self.permitted), has(self.inheritable));
        let effective = self.effective && (permitted || inheritable);
        u8::from(effective) * EFFECTIVE + u8::from(permitted) * PERMITTED + u8::from(inheritable) * INHERITABLE
    }

    /// The clauses of cap_text_formats(7) that libcap writes: what most capabilities have, then what others have beside
    /// or do not have; those beyond the kernel's last come at the end.
    fn text(&self, last: u32) -> String {
        let of = |capabilities: std::ops::Range<u32>, flags: u8| -> Vec<String> {
            capabilities.filter(|&capability| self.flags(capability) == flags).map(name).collect()
        };
        let known = 0..last + 1;
        let count = |flags: u8| known.clone().filter(|&capability| self.flags(capability) == flags).count();
        let most = (0..8).rev().max_by_key(|&flags| count(flags)).unwrap_or(0);
        let mut text = format!("={}", letters(most));
        for flags in (0..8).rev().filter(|&flags| flags != most) {
            let names = of(known.clone(), flags);
            if names.is_empty() {
                continue;
            }
            let added = flags & !most;
            if text == "=" {
                // `= a+p` is shorter as `a=p`.
                text = format!("{}={}", names.join(","), letters(added));
                continue;
            }
            text += &format!(" {}", names.join(","));
            for (sign, flags) in [('+', added), ('-', most & !flags)] {
                if flags != 0 {
                    text += &format!("{sign}{}", letters(flags));
                }
            }
        }
        for flags in (1..8).rev() {
            let names = of(known.end..64, flags);
            if !names.is_empty() {
                text += &format!(" {}+{}", names.join(","), letters(flags));
            }
        }
        if self.root != 0 {
            text += &format!(" [rootid={}]", self.root);
        }
        text
    }
}

fn letters(flags: u8) -> String {
    let letters = [(EFFECTIVE, 'e'), (INHERITABLE, 'i'), (PERMITTED, 'p')];
    letters.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, letter)| letter).collect()
}

fn name(capability: u32) -> String {
    match NAMES.get(capability as usize) {
        Some(name) => format!("cap_{name}"),
        None => capability.to_string(),
    }
}

/// In the order of their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::symlink;

    use rustix::fs::{XattrFlags, lsetxattr};

    use super::*;

    const ALL: u64 = (1 << 41) - 1;

    /// The attribute as it lies on the disk.
    fn value(revision: u32, effective: bool, permitted: u64, inheritable: u64, root: u32) -> Vec<u8> {
        let words = [permitted as u32, inheritable as u32, (permitted >> 32) as u32, (inheritable >> 32) as u32, root];
        let words = match revision {
            1 => &words[..2],
            2 => &words[..4],
            _ => &words[..],
        };
        let magic = revision << 24 | u32::from(effective);
        [magic].iter().chain(words).flat_map(|word| word.to_le_bytes()).collect()
    }

    fn text(value: &[u8]) -> Option<String> {
        Sets::parse(value).map(|sets| sets.text(40))
    }

    /// What getcap of libcap 2.66 printed of the same attributes on a kernel whose last capability is 40.
    #[test]
    fn capabilities_are_written_as_getcap_does() {
        for (effective, permitted, inheritable, expected) in [
            (false, 0, 0, "="),
            (true, 0, 0, "="),
            (true, 0x2000, 0, "cap_net_raw=ep"),
            (true, 0x400, 0x400, "cap_net_bind_service=eip"),
            (true, ALL, 0, "=ep"),
            (false, ALL, 0, "=p"),
            (true, ALL, ALL, "=eip"),
            (true, ALL - 1, 0, "=ep cap_chown-ep"),
            (true, ALL, 3, "=ep cap_chown,cap_dac_override+i"),
            (true, u64::MAX, 0, "=ep 41,42,43,44,45,46,47,48,49,50,51,52,53,54,55,56,57,58,59,60,61,62,63+ep"),
            (true, ALL, 7 << 41, "=ep 41,42,43+ei"),
            (false, 1 << 41 | 0x2001, 0, "cap_chown,cap_net_raw=p 41+p"),
            (false, 1 << 41, 0, "= 41+p"),
            (
                true,
                1 << 63 | 0x20ff,
                0xff00,
                "cap_net_raw=eip cap_setpcap,cap_linux_immutable,cap_net_bind_service,cap_net_broadcast,cap_net_admin,\
                 cap_ipc_lock,cap_ipc_owner+ei cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner,cap_fsetid,\
                 cap_kill,cap_setgid,cap_setuid+ep 63+ep",
            ),
            (true, 0x21, 0xf2, "cap_kill=eip cap_dac_override,cap_fsetid,cap_setgid,cap_setuid+ei cap_chown+ep"),
            (
                false,
                0xff,
                0xff0,
                "cap_fsetid,cap_kill,cap_setgid,cap_setuid=ip \
                 cap_setpcap,cap_linux_immutable,cap_net_bind_service,cap_net_broadcast+i \
                 cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner+p",
            ),
            (
                true,
                0x1f_ffff,
                0,
                "=ep cap_sys_admin,cap_sys_boot,cap_sys_nice,cap_sys_resource,cap_sys_time,cap_sys_tty_config,\
                 cap_mknod,cap_lease,cap_audit_write,cap_audit_control,cap_setfcap,cap_mac_override,cap_mac_admin,\
                 cap_syslog,cap_wake_alarm,cap_block_suspend,cap_audit_read,cap_perfmon,cap_bpf,\
                 cap_checkpoint_restore-ep",
            ),
            (
                true,
                0xf_ffff,
                ALL - 0xf_ffff,
                "=ei cap_chown,cap_dac_override,cap_dac_read_search,cap_fowner,cap_fsetid,cap_kill,cap_setgid,\
                 cap_setuid,cap_setpcap,cap_linux_immutable,cap_net_bind_service,cap_net_broadcast,cap_net_admin,\
                 cap_net_raw,cap_ipc_lock,cap_ipc_owner,cap_sys_module,cap_sys_rawio,cap_sys_chroot,\
                 cap_sys_ptrace+p-i",
            ),
        ] {
            for revision in [2, 3] {
                let value = value(revision, effective, permitted, inheritable, 0);
                assert_eq!(text(&value).as_deref(), Some(expected), "{value:x?}");
            }
        }
    }

    #[test]
    fn all_revisions_are_read_and_nothing_else_is() {
        assert_eq!(text(&value(1, true, 0x2000, 0, 0)).as_deref(), Some("cap_net_raw=ep"));
        assert_eq!(text(&value(3, true, 0x2000, 0, 1000)).as_deref(), Some("cap_net_raw=ep [rootid=1000]"));
        assert_eq!(text(&value(3, false, 0, 0, u32::MAX)).as_deref(), Some("= [rootid=4294967295]"));
        // An older kernel knows fewer.
        let sets = Sets::parse(&value(2, true, (1 << 38) - 1, 0, 0)).unwrap();
        assert_eq!(sets.text(37), "=ep");
        let rest: Vec<String> = (41..64).map(|number| number.to_string()).collect();
        let expected = format!("=ep cap_perfmon,cap_bpf,cap_checkpoint_restore,{}-ep", rest.join(","));
        assert_eq!(sets.text(63), expected);
        for revision in [1, 2, 3] {
            let whole = value(revision, true, 0x2000, 0, 0);
            for length in 0..whole.len() {
                assert_eq!(text(&whole[..length]), None);
            }
            assert_eq!(text(&[whole.as_slice(), &[0]].concat()), None);
        }
        assert_eq!(text(&value(4, true, 0x2000, 0, 0)), None);
        assert_eq!(text(&value(0, true, 0x2000, 0, 0)), None);
    }

    #[test]
    fn names_are_sorted_and_told_apart() {
        for (listed, expected) in [
            (&b""[..], None),
            (b"user.a\0", Some("user.a")),
            (b"user.b\0security.capability\0user.a\0", Some("security.capability,user.a,user.b")),
            (b"user.a,user.b\0user.c\\054\0", Some("user.a\\054user.b,user.c\\134054")),
            (b"user.\xff\0", Some("user.\u{fffd}")),
        ] {
            assert_eq!(names(listed).as_deref(), expected);
        }
    }

    /// A folder with a file and a link to it.
    fn folder() -> (tempfile::TempDir, File) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "text").unwrap();
        symlink("file", folder.path().join("link")).unwrap();
        let open = File::open(folder.path()).unwrap();
        (folder, open)
    }

    #[test]
    fn attributes_of_files_are_listed_by_name_and_a_link_is_not_followed() {
        let (folder, open) = folder();
        let set = |name: &str| lsetxattr(folder.path().join("file"), name, b"secret", XattrFlags::empty());
        assert_eq!(xattrs(&open, c"file").unwrap(), None);
        if set("user.two") == Err(Errno::OPNOTSUPP) {
            eprintln!("not tested: {} is on a file system without attributes", folder.path().display());
            return;
        }
        set("user.one").unwrap();
        assert_eq!(xattrs(&open, c"file").unwrap().as_deref(), Some("user.one,user.two"));
        assert_eq!(xattrs(&open, c"link").unwrap(), None);
        assert_eq!(xattrs(&open, c".").unwrap(), None);
        let long = "x".repeat(200);
        let many: Vec<String> = (10..14).map(|number| format!("user.{long}{number}")).collect();
        many.iter().for_each(|name| set(name).unwrap());
        assert_eq!(xattrs(&open, c"file").unwrap(), Some(format!("user.one,user.two,{}", many.join(","))));
        assert_eq!(xattrs(&open, c"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn capabilities_of_files_are_read_and_a_link_has_none() {
        let (folder, open) = folder();
        assert_eq!(capabilities(&open, c"file").unwrap(), None);
        assert_eq!(capabilities(&open, c".").unwrap(), None);
        assert_eq!(capabilities(&open, c"gone").unwrap_err().kind(), io::ErrorKind::NotFound);
        let set =
            |value: &[u8]| lsetxattr(folder.path().join("file"), "security.capability", value, XattrFlags::empty());
        match set(&value(2, true, 0x400, 0, 0)) {
            Err(Errno::PERM | Errno::OPNOTSUPP) => {
                eprintln!("not tested: this user, or this file system, cannot give a file capabilities");
                return;
            }
            given => given.unwrap(),
        }
        assert_eq!(capabilities(&open, c"file").unwrap().as_deref(), Some("cap_net_bind_service=ep"));
        assert_eq!(capabilities(&open, c"link").unwrap(), None);
        assert_eq!(xattrs(&open, c"file").unwrap().as_deref(), Some("security.capability"));
        set(&value(3, true, 0x3000, 0x3000, 1000)).unwrap();
        let expected = "cap_net_admin,cap_net_raw=eip [rootid=1000]";
        assert_eq!(capabilities(&open, c"file").unwrap().as_deref(), Some(expected));
    }

    #[test]
    fn pseudo_file_systems_have_neither() {
        let open = File::open("/proc/self").unwrap();
        assert_eq!(capabilities(&open, c"status").unwrap(), None);
        assert_eq!(xattrs(&open, c"status").unwrap(), None);
    }
}
