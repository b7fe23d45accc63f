//! The door to the operating system: fixtures stay inside their root, overlays hold, nothing blocks.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use canvass_tables::host::{FileKind, Host, HostError, HostSpec};

const TOML: &str = r#"
os = "linux"
arch = "aarch64"
kernel = "6.1.0-9"
public_ip = "203.0.113.7"
addresses = ["10.1.2.3"]
now = "2026-01-02T03:04:05Z"
[tags]
team = "web"
[defaults]
uid = 0
gid = 0
mtime = "2025-12-01T00:00:00Z"
[files."/etc/shadow"]
gid = 42
permissions = "0640"
mtime = "2025-12-24T18:00:00Z"
"#;

fn fixture(toml: &str) -> (tempfile::TempDir, HostSpec) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("web-1");
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("host.toml"), toml).unwrap();
    fs::write(root.join("etc/shadow"), "root:*\n").unwrap();
    fs::write(root.join("etc/os-release"), "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n").unwrap();
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\n# a note\nbroken\nann:x:1000:1000:Ann,,,:/home/ann:/bin/bash\ntwin:x:0:0::/:/bin/sh\n",
    )
    .unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\nshadow:x:42:ann,bob\n").unwrap();
    let spec = HostSpec::Fixture(root);
    (folder, spec)
}

#[test]
fn a_fixture_is_what_its_host_toml_says() {
    let (_folder, spec) = fixture(TOML);
    let host = Host::open(&spec).unwrap();
    let about = host.about();
    assert_eq!(
        (about.name.as_str(), about.os.as_str(), about.arch.as_str(), about.os_version.as_deref()),
        ("web-1", "linux", "aarch64", Some("Debian GNU/Linux 13"))
    );
    assert_eq!(about.kernel.as_deref(), Some("6.1.0-9"));
    assert_eq!(about.tags["team"], "web");
    assert_eq!(host.now_ns(), 1_767_323_045_000_000_000);
    assert!(!host.is_live());
}

#[test]
fn the_overlay_replaces_what_git_cannot_keep() {
    let (_folder, spec) = fixture(TOML);
    let host = Host::open(&spec).unwrap();
    let shadow = host.metadata(Path::new("/etc/shadow")).unwrap();
    assert_eq!((shadow.permissions, shadow.uid, shadow.gid), (0o640, 0, 42));
    assert_eq!(shadow.mtime_ns, 1_766_599_200_000_000_000);
    assert_eq!((shadow.ctime_ns, shadow.atime_ns, shadow.btime_ns), (None, None, None));
    let passwd = host.metadata(Path::new("/etc/passwd")).unwrap();
    assert_eq!((passwd.uid, passwd.mtime_ns), (0, 1_764_547_200_000_000_000));
}

#[test]
fn bad_host_toml_is_an_error_that_says_why() {
    for (toml, part) in [
        ("colour = 1", "unknown field `colour`"),
        ("[files.\"/etc/shadow\"]\nowner = 1", "unknown field `owner`"),
        ("[files.\"/etc/shadow\"]\npermissions = \"0888\"", "not octal"),
        ("[files.\"/etc/none\"]\nuid = 1", "`/etc/none`"),
        ("now = \"yesterday\"", "now"),
        ("os = ", "TOML"),
    ] {
        let (_folder, spec) = fixture(toml);
        match Host::open(&spec).map(|_| ()) {
            Err(HostError::Malformed { path, reason }) => {
                assert!(path.ends_with("host.toml"));
                assert!(reason.contains(part), "{toml:?}: {reason}");
            }
            other => panic!("{toml:?}: {other:?}"),
        }
    }
    let missing = HostSpec::Fixture("/nowhere/at/all".into());
    assert!(matches!(Host::open(&missing), Err(HostError::Io { .. })));
}

#[test]
fn nothing_outside_a_fixture_is_opened() {
    let (folder, spec) = fixture(TOML);
    let root = folder.path().join("web-1");
    fs::write(folder.path().join("secret"), "outside").unwrap();
    symlink("/etc/shadow", root.join("absolute")).unwrap();
    symlink("../../../secret", root.join("etc/up")).unwrap();
    symlink("/secret", root.join("etc/down")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let host = Host::open(&spec).unwrap();
    assert_eq!(host.read(Path::new("/absolute")).unwrap(), b"root:*\n");
    for path in ["/etc/up", "/etc/down", "/../secret", "/etc/../../secret", "/loop"] {
        assert!(host.read(Path::new(path)).is_err(), "{path}");
    }
    fs::write(root.join("secret"), "inside").unwrap();
    assert_eq!(host.read(Path::new("/etc/up")).unwrap(), b"inside");
    assert_eq!(host.read_link(Path::new("/etc/down")).unwrap(), Path::new("/secret"));
    assert_eq!(host.metadata(Path::new("/absolute")).unwrap().kind, FileKind::Link);
}

#[test]
fn host_toml_is_no_file_of_the_host() {
    let (folder, spec) = fixture(TOML);
    fs::write(folder.path().join("web-1/etc/host.toml"), "another").unwrap();
    let host = Host::open(&spec).unwrap();
    let names = |path: &str| {
        let mut names: Vec<_> = host.entries(Path::new(path)).unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    };
    assert_eq!(names("/"), ["etc"]);
    assert!(names("/etc").contains(&"host.toml".into()));
    assert!(host.read(Path::new("/host.toml")).is_err());
    assert!(host.metadata(Path::new("/etc/../host.toml")).is_err());
    assert!(host.read(Path::new("/etc/host.toml")).is_ok());
}

#[test]
fn accounts_are_read_under_the_root() {
    let (_folder, spec) = fixture(TOML);
    let host = Host::open(&spec).unwrap();
    assert_eq!((host.user_name(0), host.user_name(1000), host.user_name(7)), (Some("root"), Some("ann"), None));
    assert_eq!((host.group_name(42), host.group_name(7)), (Some("shadow"), None));
    assert_eq!(host.accounts().users.len(), 3);
    assert_eq!(host.accounts().groups[1].members, ["ann", "bob"]);
    assert_eq!(host.accounts().troubles, [("/etc/passwd".to_owned(), "malformed line 3".to_owned())]);
}

#[test]
fn what_is_no_regular_file_is_not_waited_for() {
    let (folder, spec) = fixture(TOML);
    let root = folder.path().join("web-1");
    rustix::fs::mkfifoat(rustix::fs::CWD, root.join("fifo"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::write(root.join("long"), vec![b'x'; (16 << 20) + 1]).unwrap();
    let host = Host::open(&spec).unwrap();
    for path in ["/fifo", "/socket", "/etc"] {
        assert!(host.open_file(Path::new(path)).unwrap().is_none(), "{path}");
        assert!(host.read(Path::new(path)).is_err(), "{path}");
    }
    assert!(host.read(Path::new("/long")).is_err());
}

#[test]
fn the_machine_is_named_as_it_names_itself() {
    let host = Host::open(&HostSpec::Machine).unwrap();
    let name = rustix::system::uname();
    assert_eq!(host.about().name, name.nodename().to_str().unwrap());
    assert_eq!(host.about().kernel.as_deref(), Some(name.release().to_str().unwrap()));
    assert!(host.is_live());
    assert!(!host.read(Path::new("/proc/self/status")).unwrap().is_empty());
    assert!(host.now_ns() > 1_700_000_000_000_000_000);
}
