//! What processes hold open and what else is known of them, of fixtures and of this machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use canvass_tables::host::HostSpec;

use crate::rows::{ask, fleet, folder, lines};

const MACHINE: HostSpec = HostSpec::Machine;

fn own() -> Option<Filter> {
    Some(Filter::test("pid", Is::Equal(Value::Integer(std::process::id().into()))))
}

#[test]
fn where_processes_run_and_what_they_wrote() {
    let columns = "pid nice effective_gid saved_uid saved_gid cgroup container read_bytes written_bytes sha256";
    let (rows, troubles) = lines(&fleet("web-1"), "processes", columns);
    assert_eq!(
        rows[5],
        "461 | 0 | 6352 | 6352 | 6352 | /user.slice/user-6352.slice/session-41.scope | NULL | 4096 | 1048576 | NULL"
    );
    // sha256sum examples/fleet/web-1/usr/sbin/nginx
    let nginx = "d91adee60e59aa59d3b35220338f2ade19f3ceb73f07be6d0023a389ebc8c999";
    let container = "8d5e957f297893487bd98fa830fa6413c0ffee00c0ffee00c0ffee00c0ffee00";
    assert_eq!(
        rows[8],
        format!(
            "701 | 0 | 33 | 33 | 33 | /system.slice/docker-{container}.scope | {container} | NULL | NULL | {nginx}"
        )
    );
    assert!(troubles.is_empty(), "{troubles:?}");
}

#[test]
fn what_the_processes_of_web_1_hold_open() {
    let columns = "pid process fd type path deleted access target";
    let (rows, troubles) = lines(&fleet("web-1"), "open_files", columns);
    assert_eq!(rows.len(), 31, "{rows:#?}");
    let of_461: Vec<&String> = rows.iter().filter(|row| row.starts_with("461 ")).collect();
    assert_eq!(of_461[0], "461 | update | 0 | NULL | /dev/null | false | rw | /dev/null");
    assert_eq!(of_461[3], "461 | update | 3 | socket | NULL | NULL | NULL | socket:[20999]");
    assert!(rows.contains(&"701 | nginx | 2 | fifo | NULL | NULL | NULL | pipe:[18011]".to_owned()), "{rows:#?}");
    assert!(troubles.is_empty(), "{troubles:?}");
    let (rows, _) = ask(&fleet("db-1"), "open_files", "pid inode", None);
    assert!(rows.contains(&vec!["3400".to_owned(), "23004".to_owned()]), "{rows:?}");
}

#[test]
fn odd_descriptors_and_groups_harm_nobody() {
    let (host, spec) = folder(&[
        ("proc/7/cgroup", "\n::\n0:\nx:y:z\u{0}\n"),
        ("proc/7/io", "read_bytes: 99999999999999999999\nwrite_bytes: -1"),
        (
            "proc/7/stat",
            "7 (a) S 1 7 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0",
        ),
        ("proc/7/fdinfo/0", "flags:\t99\npos:\t-5\n"),
        ("proc/7/fd/x", "no descriptor"),
        ("proc/7/fd/4", "no link"),
    ]);
    let link = |target: &str, fd: &str| {
        std::os::unix::fs::symlink(target, host.path().join("proc/7/fd").join(fd)).unwrap();
    };
    link("/gone (deleted)", "0");
    link("anon_inode:[eventfd]", "1");
    link("/../../../etc/passwd", "2");
    let (rows, troubles) = lines(&spec, "open_files", "fd type path deleted access offset_bytes size_bytes inode");
    assert_eq!(
        rows,
        [
            "0 | NULL | /gone | true | NULL | NULL | NULL | NULL",
            "1 | anonymous | NULL | NULL | NULL | NULL | NULL | NULL",
            "2 | NULL | /../../../etc/passwd | false | NULL | NULL | NULL | NULL",
        ]
    );
    assert!(troubles.is_empty(), "{troubles:?}");
    let (rows, troubles) = lines(&spec, "processes", "pid cgroup container read_bytes written_bytes");
    assert_eq!(rows, ["7 | NULL | NULL | NULL | NULL"]);
    assert!(troubles.iter().all(|trouble| !trouble.contains("/proc/7/")), "{troubles:?}");
}

/// A file that is removed, a pipe, a socket and a folder of our own, as lsof lists them.
#[test]
fn what_is_open_is_what_lsof_says() {
    let folder = tempfile::tempdir().unwrap();
    let (kept, removed) = (folder.path().join("kept (deleted)"), folder.path().join("removed"));
    fs::write(&kept, "12345").unwrap();
    fs::write(&removed, "123").unwrap();
    let files = [File::open(&kept).unwrap(), File::open(&removed).unwrap(), File::open(folder.path()).unwrap()];
    let (reader, _writer) = std::io::pipe().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    fs::remove_file(&removed).unwrap();
    let of = |fd: i32| {
        let fd = Filter::test("fd", Is::Equal(Value::Integer(fd.into())));
        let filter = Some(Filter::All(vec![own().unwrap(), fd]));
        let (rows, _) = ask(&MACHINE, "open_files", "type path deleted access size_bytes", filter);
        rows.into_iter().next().unwrap()
    };
    let root = folder.path().to_str().unwrap();
    assert_eq!(of(files[0].as_raw_fd()), ["file", &format!("{root}/kept (deleted)"), "false", "r", "5"]);
    assert_eq!(of(files[1].as_raw_fd()), ["file", &format!("{root}/removed"), "true", "r", "3"]);
    assert_eq!(of(files[2].as_raw_fd()), ["directory", root, "false", "r", "NULL"]);
    assert_eq!(of(reader.as_raw_fd())[..2], ["fifo", "NULL"]);
    assert_eq!(of(socket.as_raw_fd())[..2], ["socket", "NULL"]);

    // Of all descriptors that stay as they are, of another process.
    let mut sleeper = Command::new("sleep").arg("602").stdin(reader).spawn().unwrap();
    let pid = sleeper.id();
    while fs::read(format!("/proc/{pid}/cmdline")).unwrap().is_empty() {
        std::thread::yield_now();
    }
    let output = Command::new("lsof").args(["-n", "-P", "-F", "fti", "-p", &pid.to_string()]).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run `lsof` ({error}): install the package `lsof`"));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut said = BTreeSet::new();
    let mut fd = None;
    for line in text.lines() {
        match line.split_at(1) {
            ("f", number) => fd = number.parse::<u32>().ok(),
            ("i", inode) => said.extend(fd.map(|fd| vec![fd.to_string(), inode.to_owned()])),
            _ => {}
        }
    }
    let filter = Some(Filter::test("pid", Is::Equal(Value::Integer(pid.into()))));
    let (rows, _) = ask(&MACHINE, "open_files", "fd inode", filter);
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    assert!(said.len() >= 3, "{text}");
    assert_eq!(rows.into_iter().collect::<BTreeSet<_>>(), said);
}

#[test]
fn a_program_has_the_hash_that_sha256sum_says() {
    let path = fs::read_link("/proc/self/exe").unwrap();
    let output = Command::new("sha256sum").arg(&path).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let (rows, _) = ask(&MACHINE, "processes", "sha256 root nice", own());
    assert_eq!(rows[0][..2], [said.split_whitespace().next().unwrap(), "/"]);
    let nice = Command::new("ps").args(["-o", "ni=", "-p", &std::process::id().to_string()]).output().unwrap();
    assert_eq!(rows[0][2], String::from_utf8(nice.stdout).unwrap().trim());
}
