//! What `mounts` and `kernel_modules` say: of hosts that are folders, and of this machine beside `findmnt` and `lsmod`.

use std::path::Path;

use canvass_tables::host::HostSpec;

use crate::machine::tool;
use crate::rows::{ask, fleet, folder, lines};

const MACHINE: HostSpec = HostSpec::Machine;

#[test]
fn mounts_of_web_1() {
    let (rows, troubles) = lines(&fleet("web-1"), "mounts", "device path type options root size_bytes available_bytes");
    assert_eq!(
        rows,
        [
            "sysfs | /sys | sysfs | rw,nosuid,nodev,noexec,relatime | / | NULL | NULL",
            "proc | /proc | proc | rw,nosuid,nodev,noexec,relatime | / | NULL | NULL",
            "udev | /dev | devtmpfs | rw,nosuid,relatime,size=4045096k,nr_inodes=1011274,mode=755 | / | NULL | NULL",
            "/dev/sda1 | / | ext4 | rw,relatime,errors=remount-ro | / | NULL | NULL",
            "cgroup2 | /sys/fs/cgroup | cgroup2 | rw,nosuid,nodev,noexec,relatime,nsdelegate,memory_recursiveprot | / | NULL | NULL",
            "/dev/sda2 | /var/www | ext4 | ro,relatime | /www | NULL | NULL",
            "10.22.74.9:/export/web-1 | /mnt/nightly backup | nfs4 | rw,relatime,vers=4.2,rsize=1048576,hard,proto=tcp,addr=10.22.74.9 | / | NULL | NULL",
            "none | /tmp/.x | tmpfs | rw,nosuid,relatime,size=4096k | / | NULL | NULL",
        ]
    );
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn odd_mounts() {
    let table = b"1 0 8:1 / /a\\011\\012\\\\134b rw - ext4  rw\nnonsense\n\n2 1 8:2 / /\xff rw - - x\xff ro\n\
        3 1 8:3 / /no/dash rw ext4 /dev/sda3 rw\n4 1 4294967296:0 / /big rw - ext4 big rw\n";
    let (root, spec) = folder(&[("proc/self/mountinfo", "")]);
    std::fs::write(root.path().join("proc/self/mountinfo"), table).unwrap();
    let (rows, troubles) = lines(&spec, "mounts", "device path type options root");
    assert_eq!(rows, ["NULL | /a\t\n\\\\b | ext4 | rw | /", "x\u{fffd} | /\u{fffd} | - | ro | /"]);
    assert_eq!(troubles, ["/proc/self/mountinfo: 3 malformed lines"]);
    let (rows, troubles) = lines(&fleet("laptop-7"), "mounts", "path");
    assert_eq!((rows.len(), troubles), (0, vec!["/proc/self/mountinfo: no such file".to_owned()]));
}

/// What `findmnt` prints as JSON, column by column; NULL for null.
fn findmnt(arguments: &str, columns: &[&str]) -> Vec<Vec<String>> {
    let text = tool("util-linux", &format!("findmnt -J -l -v -b {arguments} -o {}", columns.join(",").to_uppercase()));
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let cell = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "NULL".to_owned(),
        other => other.to_string(),
    };
    let row = |row: &serde_json::Value| columns.iter().map(|column| cell(&row[*column])).collect();
    all["filesystems"].as_array().unwrap().iter().map(row).collect()
}

const FINDMNT: [&str; 5] = ["source", "target", "fstype", "options", "fsroot"];

fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}

#[test]
fn mounts_are_those_of_findmnt() {
    let before = findmnt("", &FINDMNT);
    let (rows, record) = ask(&MACHINE, "mounts", "device path type options root", None);
    assert_eq!(before, findmnt("", &FINDMNT), "something was mounted during the test");
    assert!(rows.len() > 1 && record.troubles_count == 0, "{record:?}");
    assert_eq!(sorted(rows), sorted(before));
    // The same tool reads a table of our own, with what no machine here has.
    for (spec, table) in [(fleet("web-1"), None), odd_table()] {
        let HostSpec::Fixture(root) = &spec else { panic!("{spec:?}") };
        let file = root.join("proc/self/mountinfo");
        let (rows, _) = ask(&spec, "mounts", "device path type options root", None);
        assert_eq!(sorted(rows), sorted(findmnt(&format!("--tab-file {}", file.display()), &FINDMNT)));
        drop(table);
    }
}

fn odd_table() -> (HostSpec, Option<tempfile::TempDir>) {
    let table = "1 0 8:1 / / rw - ext4 /dev/a\\040b rw\n2 1 8:2 /x\\134y /mnt ro,nosuid master:3 - xfs /dev/b rw,a\\040=b\n\
        3 1 0:3 / /m\\011n rw,nodev shared:1 master:3 propagate_from:2 - fuse.sshfs me@there: ro,user_id=0\n\
        4 1 0:3 / /m/\u{e9}\\303\\251 ro - tmpfs none ro\n";
    let (root, spec) = folder(&[("proc/self/mountinfo", table)]);
    (spec, Some(root))
}

#[test]
fn space_is_what_findmnt_says() {
    let (rows, _) = ask(&MACHINE, "mounts", "path type size_bytes available_bytes", None);
    let theirs = findmnt("--real", &["target", "size"]);
    let mut compared = 0;
    for row in rows.iter().filter(|row| row[2] != "NULL") {
        let Some(their) = theirs.iter().find(|their| their[0] == row[0]) else { continue };
        assert_eq!(their[1], row[2], "{row:?}");
        let (size, available): (i64, i64) = (row[2].parse().unwrap(), row[3].parse().unwrap());
        assert!((0..=size).contains(&available), "{row:?}");
        compared += 1;
    }
    assert!(compared > 0, "{rows:?}");
    assert!(rows.iter().all(|row| row[1] != "proc" || row[2] == "NULL"));
}

#[test]
fn kernel_modules_of_web_1() {
    let columns = "name size_bytes used_by references state taints path signed";
    let (rows, troubles) = lines(&fleet("web-1"), "kernel_modules", columns);
    let folder = "/lib/modules/6.1.0-18-amd64";
    assert_eq!(
        rows,
        [
            "xt_helper | 16384 |  | 0 | live | OE | NULL | NULL".to_owned(),
            format!("nvidia | 56512512 |  | 0 | live | POE | {folder}/updates/dkms/nvidia.ko | false"),
            format!("nf_nat | 57344 | xt_nat | 1 | live | NULL | {folder}/kernel/net/netfilter/nf_nat.ko.xz | true"),
            format!(
                "nf_conntrack | 188416 | xt_nat,nf_nat | 2 | live | NULL | {folder}/kernel/net/netfilter/nf_conntrack.ko.zst | true"
            ),
            format!("xt_nat | 16384 |  | 1 | live | NULL | {folder}/kernel/net/netfilter/xt_nat.ko.gz | true"),
            format!("virtio_net | 73728 |  | 0 | live | NULL | {folder}/kernel/drivers/net/virtio_net.ko | true"),
            format!(
                "usb_storage | 81920 |  | 0 | unloading | NULL | {folder}/kernel/drivers/usb/storage/usb-storage.ko | NULL"
            ),
        ]
    );
    assert_eq!(troubles, [format!("{folder}/kernel/drivers/usb/storage/usb-storage.ko: no such file")]);
}

#[test]
fn odd_kernel_modules() {
    let list = "a-b.ko: a\nnonsense\n:\n/x/a-b.ko:\n../a/c.ko.xz: d\n";
    let (root, spec) = folder(&[
        ("proc/modules", "a_b 1 0 - Live 0x0\n\nnonsense\nc x y - Gone 0x0\n"),
        ("lib/modules/1.0/modules.dep", list),
        ("lib/modules/a/c.ko.xz", "\u{fffd}7zXZ"),
        ("lib/modules/1.0/a-b.ko", "~Module signature appended~\n\n"),
    ]);
    std::fs::write(root.path().join("host.toml"), "kernel = '1.0'\n").unwrap();
    std::fs::write(root.path().join("lib/modules/a/c.ko.xz"), b"\xfd7zXZ\0\xff\xff").unwrap();
    let (rows, troubles) = lines(&spec, "kernel_modules", "name size_bytes references state path signed");
    assert_eq!(
        rows,
        [
            "a_b | 1 | 0 | live | /lib/modules/1.0/a-b.ko | false",
            "c | NULL | NULL | NULL | /lib/modules/1.0/../a/c.ko.xz | NULL"
        ]
    );
    assert_eq!(troubles.len(), 2, "{troubles:?}");
    assert!(troubles[0].starts_with("/lib/modules/1.0/../a/c.ko.xz: the xz stream"), "{troubles:?}");
    assert_eq!(troubles[1], "/proc/modules: 1 malformed lines");
    // No kernel with modules, and no /proc at all.
    let (_root, spec) = folder(&[("proc/stat", "")]);
    assert_eq!(lines(&spec, "kernel_modules", "name"), (vec![], vec![]));
    let (rows, troubles) = lines(&fleet("laptop-7"), "kernel_modules", "name");
    assert_eq!((rows.len(), troubles), (0, vec!["/proc/modules: no such file".to_owned()]));
}

#[test]
fn kernel_modules_are_those_of_lsmod() {
    if !Path::new("/proc/modules").exists() {
        // This kernel has no modules: lsmod cannot say anything either, and neither may the table.
        let silent = std::process::Command::new("lsmod").output();
        let silent = silent.unwrap_or_else(|error| panic!("cannot run `lsmod` ({error}): install the package `kmod`"));
        assert!(silent.stdout.is_empty() && !silent.status.success(), "{silent:?}");
        let (rows, record) = ask(&MACHINE, "kernel_modules", "name path signed", None);
        assert_eq!((rows.len(), record.troubles_count), (0, 0));
        return;
    }
    let look = || -> Vec<Vec<String>> {
        let text = tool("kmod", "lsmod");
        let row = |line: &str| {
            let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            words.resize(4, String::new());
            words
        };
        sorted(text.lines().skip(1).map(row).collect())
    };
    // What changes between two looks is found equal by the next round; what is told wrongly never is.
    let agree = || {
        let before = look();
        let (rows, _) = ask(&MACHINE, "kernel_modules", "name size_bytes references used_by", None);
        (before.clone(), sorted(rows), before == look())
    };
    let (theirs, ours, _) = (0..5).map(|_| agree()).find(|(a, b, still)| a == b && *still).unwrap_or_else(agree);
    assert_eq!(ours, theirs);
    let (rows, _) = ask(&MACHINE, "kernel_modules", "name path signed", None);
    for row in rows.iter().filter(|row| row[2] != "NULL") {
        assert_eq!(tool("kmod", &format!("modinfo -F filename {}", row[0])).trim(), row[1]);
        assert_eq!(!tool("kmod", &format!("modinfo -F signer {}", row[0])).trim().is_empty(), row[2] == "true");
    }
}
