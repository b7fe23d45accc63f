//! Which file systems a walk enters by itself: local ones; networks and kernels answer only where a root names them.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, OsString};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use crate::host::{Host, mountinfo};

/// What is mounted, by device.
#[derive(Default)]
pub(super) struct Mounts {
    local: HashMap<u64, bool>,
    /// Last parts of the paths at which something is mounted.
    names: HashSet<Vec<u8>>,
}

/// Names of file systems that the kernel makes up, or that wait for something.
const PSEUDO: &[&str] = &[
    "autofs",
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "resctrl",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
    "fuse.lxcfs",
    "fuse.portal",
];

/// Names of file systems that another machine answers for.
const NETWORK: &[&str] = &[
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs",
    "pvfs2", "smb3", "smbfs", "vboxsf", "vmhgfs",
];

/// Of file systems in user space, those that another machine answers for.
const NETWORK_FUSE: &[&str] = &[
    "afp",
    "blobfuse",
    "blobfuse2",
    "ceph",
    "ceph-fuse",
    "curlftpfs",
    "davfs",
    "gcsfuse",
    "glusterfs",
    "goofys",
    "google-drive-ocamlfuse",
    "gvfsd-fuse",
    "hdfs",
    "juicefs",
    "JuiceFS",
    "mfs",
    "mount-s3",
    "mountpoint-s3",
    "rclone",
    "s3fs",
    "seaweedfs",
    "smbnetfs",
    "sshfs",
    "vmhgfs-fuse",
];

/// What statfs calls the same, for what /proc/self/mountinfo does not list (a fixture, or no /proc).
const MAGIC: &[u64] = &[
    0x0187, 0x42494e4d, 0xcafe4a11, 0x0027e0eb, 0x63677270, 0x62656570, 0x64626720, 0x1cd1, 0xde5e81e4, 0x65735543,
    0x958458f6, 0x19800202, 0x6e736673, 0x9fa0, 0x6165676c, 0x67596969, 0x73636673, 0xf97cff8c, 0x43415d53, 0x62656572,
    0x74726163, 0x01021997, 0x5346414f, 0x6b414653, 0x00c36400, 0xff534d42, 0xfe534d42, 0x517b, 0x6969, 0x564c,
    0x73757245, 0x0bd00bd0, 0x47504653, 0x19830326, 0x20030528, 0x786f4256, 0xbacbacbc,
];

/// The magic number of proc.
pub(super) const PROC: u64 = 0x9fa0;

impl Mounts {
    /// Reads what is mounted; a fixture has no mounts of its own.
    pub fn read(host: &Host) -> Mounts {
        if !host.is_live() {
            return Mounts::default();
        }
        let table = host.read(Path::new("/proc/self/mountinfo")).unwrap_or_default();
        let mounts = || mountinfo::lines(&table).flatten();
        Mounts {
            local: mounts().map(|mount| (mount.device, is_local_type(mount.kind))).collect(),
            names: mounts().map(|mount| last_part(&mount)).collect(),
        }
    }

    /// Whether a folder of this name may be one at which something is mounted; others need not be looked at before
    /// they are opened.
    pub fn may_be_mounted(&self, name: &CStr) -> bool {
        self.names.contains(name.to_bytes())
    }

    /// Whether a device is walked without being named; `None` where the table does not list it.
    pub fn is_local(&self, device: u64) -> Option<bool> {
        self.local.get(&device).copied()
    }
}

/// What statfs says of an open folder; what cannot be told is not entered.
pub(super) fn is_local(folder: impl AsFd) -> bool {
    magic(folder).is_some_and(|magic| !MAGIC.contains(&magic))
}

/// The magic number of the file system that holds an open file.
pub(super) fn magic(file: impl AsFd) -> Option<u64> {
    // The type differs between architectures; the number has 32 bits.
    rustix::fs::fstatfs(file).ok().map(|stat| stat.f_type as u64 & 0xffff_ffff)
}

/// The places at which something is mounted, of what `/proc/self/mountinfo` lists, that no walk enters by itself.
pub fn not_entered(mountinfo: &str) -> HashSet<PathBuf> {
    let foreign = mountinfo::lines(mountinfo.as_bytes()).flatten().filter(|mount| !is_local_type(mount.kind));
    foreign.map(|mount| PathBuf::from(OsString::from_vec(mountinfo::decoded(mount.path)))).collect()
}

/// The last part of the path at which something is mounted.
fn last_part(mount: &mountinfo::Mount<'_>) -> Vec<u8> {
    let last = mount.path.rsplit(|&byte| byte == b'/').next();
    mountinfo::decoded(last.unwrap_or_default())
}

/// Whether a file system of this type is walked without being named, since no other machine and no kernel answers for it.
pub(crate) fn is_local_type(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return true };
    let network_fuse = name.strip_prefix("fuse.").is_some_and(|sub| NETWORK_FUSE.contains(&sub));
    !(network_fuse || PSEUDO.contains(&name) || NETWORK.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_tells_what_is_local() {
        for (name, local) in [
            ("ext4", true),
            ("tmpfs", true),
            ("overlay", true),
            ("fuseblk", true),
            ("fuse.fuse-overlayfs", true),
            ("virtiofs", true),
            ("nfs4", false),
            ("cifs", false),
            ("fuse.sshfs", false),
            ("proc", false),
            ("cgroup2", false),
            ("autofs", false),
        ] {
            let line = format!("36 35 8:1 / /mnt rw,noatime master:1 - {name} source rw");
            let mount = mountinfo::parse(line.as_bytes()).unwrap();
            assert_eq!((mount.device, is_local_type(mount.kind)), (rustix::fs::makedev(8, 1), local), "{name}");
        }
        let line = "36 35 8:1 / /mnt/a\\040disk rw - ext4 source rw";
        assert_eq!(last_part(&mountinfo::parse(line.as_bytes()).unwrap()), b"a disk");
        let table = format!(
            "{line}\n37 35 0:40 / /srv/a\\040share rw - nfs4 source rw\n38 35 0:41 / /sys rw - sysfs source rw\n"
        );
        assert_eq!(not_entered(&table), ["/srv/a share", "/sys"].map(PathBuf::from).into());
    }
}
