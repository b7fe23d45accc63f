//! What a scan that was taken over can do: real children that attempt it, one a profile.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;

use canvass_agent::cage::{self, Job, Report};
use canvass_protocol::answer::ScanRecord;
use canvass_protocol::filter::{Filter, Is, Place};
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::scan::Scan;
use canvass_tables::host::HostSpec;

use crate::desk::{Home, stderr, stdout};

/// Every profile: what one cannot do, none that asks for something else can.
const TABLES: [&str; 7] = ["reading", "placed", "processes", "netlink", "network_admin", "connect", "icmp"];
/// What a call says that a cage ends the process for.
const KILLED: &str = "the scan's process made a system call that its cage forbids";
const UNKNOWN: &str = "Function not implemented (os error 38)";
const DENIED: &str = "Permission denied (os error 13)";

fn hostile() -> PathBuf {
    canvass_examples::program("hostile-scan")
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn job(table: &str, attempt: &str) -> Job {
    let filter = (table == "placed").then(|| Filter::test("path", Is::Under(Place::Folder("/nowhere".into()))));
    Job {
        host: HostSpec::Machine,
        scan: Scan { table: table.into(), columns: vec![attempt.into()], filter, ..Scan::default() },
        limits: Limits::default(),
        threads: NonZeroUsize::MIN,
        withheld: Vec::new(),
        forbidden: Vec::new(),
        whole_cage: false,
    }
}

/// What each attempt came to, in the order of the jobs: what it said, or what became of its process.
fn attempt_with(program: &Path, jobs: Vec<Job>) -> Vec<String> {
    let (stop, mut said) = (AtomicBool::new(false), BTreeMap::new());
    let jobs: Vec<(u32, Job)> = (0..).zip(jobs).collect();
    let count = jobs.len();
    let mut hear = |frame: cage::Frame| {
        said.insert(frame.scan, String::from_utf8(frame.body).unwrap());
        Ok(())
    };
    let ran = cage::run(program, jobs, 4, &stop, &mut hear).unwrap();
    ran.last.map(&mut hear);
    let ended = |record: &ScanRecord| match (record.cut, record.troubles.first()) {
        (Some(Cut::Crashed), Some(trouble)) => trouble.reason.clone(),
        _ => format!("{record:?}"),
    };
    (0..).take(count).map(|index| said.remove(&index).unwrap_or_else(|| ended(&ran.records[&index]))).collect()
}

fn attempt(jobs: Vec<Job>) -> Vec<String> {
    attempt_with(&hostile(), jobs)
}

fn attempt_one(table: &str, what: &str) -> String {
    attempt(vec![job(table, what)]).remove(0)
}

#[test]
fn no_scan_makes_a_call_that_it_does_not_need() {
    let names = attempt_one("reading", "list");
    let names: Vec<&str> = names.strip_prefix("done: ").unwrap().lines().collect();
    assert!(names.len() > 60, "{names:?}");
    let tried: Vec<(&str, &str)> = TABLES.iter().flat_map(|table| names.iter().map(|name| (*table, *name))).collect();
    let said = attempt(tried.iter().map(|(table, name)| job(table, name)).collect());
    for ((table, name), said) in tried.into_iter().zip(said) {
        match (table, name) {
            ("netlink" | "network_admin", "socket of netlink") | ("connect", "socket of inet") => {
                assert!(said.starts_with("done: "), "{table}: {name}: {said}");
            }
            ("connect", "raw socket of inet") => assert_eq!(said, "Operation not permitted (os error 1)"),
            // With a socket it makes that wait for nobody, and nothing else.
            ("connect", "ioctl") => assert_eq!(said, KILLED, "{table}: {name}"),
            (_, "clone3" | "ioctl" | "openat2") => assert_eq!(said, UNKNOWN, "{table}: {name}"),
            _ => assert_eq!(said, KILLED, "{table}: {name}"),
        }
    }
}

#[test]
fn raw_sockets_are_opened_before_rights_are_given_up() {
    // For root to open, and handed to whoever declares them.
    let said = attempt(vec![job("icmp", "icmp"), job("connect", "icmp")]);
    let opened = if is_root() { "done: true true" } else { "done: false false" };
    assert_eq!(said, [opened, "done: false false"]);
}

#[test]
fn who_may_connect_does_and_nobody_else() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(attempt_one("connect", &format!("connect {address}")), format!("done: {address}"));
    assert!(attempt_one("connect", "datagram").starts_with("done: "));
    for table in TABLES.into_iter().filter(|table| *table != "connect") {
        assert_eq!(attempt_one(table, &format!("connect {address}")), KILLED, "{table}");
    }
}

#[test]
fn files_are_read_where_the_scan_looks_and_changed_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let path = |name: &str| root.join(name).to_str().unwrap().to_owned();
    for name in ["agent", "home", "elsewhere"] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(&format!("{name}/file")), format!("in {name}")).unwrap();
    }
    let (key, inside, outside) = (path("agent/file"), path("home/file"), path("elsewhere/file"));
    let at_home = |attempt: String| {
        let scan = Scan {
            filter: Some(Filter::test("path", Is::Under(Place::Folder(path("home"))))),
            ..job("placed", &attempt).scan
        };
        Job { scan, ..job("placed", &attempt) }
    };
    let guarded = |table: &str, attempt: String| Job { forbidden: vec![path("agent")], ..job(table, &attempt) };
    let parent = std::process::id();
    let cases = [
        (at_home(format!("read {inside}")), "done: in home"),
        (at_home(format!("names {}", path("home"))), "done: 1"),
        (at_home(format!("read {outside}")), DENIED),
        (at_home(format!("read {key}")), DENIED),
        (at_home("read /root/.profile".into()), DENIED),
        (at_home("names /".into()), DENIED),
        // Anywhere, but for the agent's own.
        (guarded("reading", format!("read {inside}")), "done: in home"),
        (guarded("reading", format!("read {outside}")), "done: in elsewhere"),
        (guarded("reading", format!("read {key}")), DENIED),
        // Memory, environment and descriptors of whoever holds the key, and of another scan.
        (guarded("reading", format!("read /proc/{parent}/mem")), DENIED),
        (guarded("reading", format!("read /proc/{parent}/environ")), DENIED),
        (guarded("reading", format!("link /proc/{parent}/fd/0")), DENIED),
        (guarded("reading", format!("link /proc/{parent}/exe")), DENIED),
        // Nothing is written, whoever asks.
        (at_home(format!("write {inside}")), KILLED),
        (guarded("reading", format!("append {inside}")), KILLED),
        (guarded("processes", format!("create {}", path("home/new"))), KILLED),
        (guarded("reading", "program /bin/true".into()), KILLED),
    ];
    let (jobs, expected): (Vec<Job>, Vec<&str>) = cases.into_iter().unzip();
    let tried: Vec<String> = jobs.iter().map(|job| format!("{}: {}", job.scan.table, job.scan.columns[0])).collect();
    for ((tried, expected), said) in tried.into_iter().zip(expected).zip(attempt(jobs)) {
        assert_eq!(said, expected, "{tried}");
    }
    assert!(!root.join("home/new").exists());
}

/// A field of `/proc/self/status`.
fn field<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).split_whitespace().collect()
}

#[test]
fn a_scan_has_the_rights_that_it_needs() {
    if !is_root() {
        println!("not tried: only root has rights to give up");
        return;
    }
    // CAP_DAC_READ_SEARCH is the second, CAP_NET_ADMIN the twelfth, CAP_SYS_PTRACE the nineteenth bit.
    let (read, admin, trace) = (1_u64 << 2, 1_u64 << 12, 1_u64 << 19);
    for (table, capabilities) in [
        ("reading", read),
        ("placed", read),
        ("processes", read | trace),
        ("network_admin", read | admin),
        ("connect", read),
        ("icmp", read),
    ] {
        let status = attempt_one(table, "read /proc/self/status");
        let status = status.strip_prefix("done: ").unwrap();
        let expected = format!("{capabilities:016x}");
        for name in ["CapEff", "CapPrm", "CapBnd"] {
            assert_eq!(field(status, name), [expected.as_str()], "{table}: {name}");
        }
        for name in ["CapInh", "CapAmb"] {
            assert_eq!(field(status, name), ["0000000000000000"], "{table}: {name}");
        }
        let users = field(status, "Uid");
        assert!(users.iter().all(|user| user.parse::<u32>().unwrap() > 999 && *user == users[0]), "{table}: {users:?}");
        assert_eq!(field(status, "Groups"), [""; 0], "{table}");
        assert_eq!((field(status, "NoNewPrivs"), field(status, "Seccomp")), (vec!["1"], vec!["2"]), "{table}");
    }
    // What belongs to root alone is read all the same.
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "root's").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(attempt_one("reading", &format!("read {}", secret.display())), "done: root's");
    let exe = attempt_one("processes", &format!("link /proc/{}/exe", std::process::id()));
    assert_eq!(exe, format!("done: {}", std::env::current_exe().unwrap().display()));
}

/// A copy of a program where everybody may run it, behind words that are run first.
fn behind(folder: &Path, words: &str, program: &Path) -> PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
    let (copy, script) = (folder.join("program"), folder.join("script"));
    fs::copy(program, &copy).unwrap();
    fs::write(&script, format!("#!/bin/sh\nexec {words} {} \"$@\"\n", copy.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

#[test]
fn whoever_is_not_root_is_confined_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let drop = if is_root() { "setpriv --reuid=65534 --regid=65534 --clear-groups" } else { "" };
    let program = behind(folder.path(), drop, &hostile());
    let (inside, outside) = (folder.path().join("inside"), folder.path().join("outside"));
    for path in [&inside, &outside] {
        fs::write(path, "words").unwrap();
    }
    let read = |table, path: &Path| job(table, &format!("read {}", path.display()));
    let mut at_inside = read("placed", &inside);
    at_inside.scan.filter = Some(Filter::test("path", Is::Under(Place::Folder(inside.to_str().unwrap().into()))));
    let mut at_outside = at_inside.clone();
    at_outside.scan.columns = vec![format!("read {}", outside.display())];
    let jobs = vec![
        job("reading", "read /proc/self/status"),
        at_inside,
        at_outside,
        job("reading", "ptrace"),
        job("reading", "socket of inet"),
    ];
    let said = attempt_with(&program, jobs);
    assert_eq!(field(&said[0], "CapEff"), ["0000000000000000"]);
    assert_eq!(said[1..], ["done: words", DENIED, KILLED, KILLED]);
}

#[test]
fn a_table_that_panics_costs_its_own_scan() {
    let said = attempt(vec![job("reading", "environment"), job("reading", "panic"), job("reading", "environment")]);
    assert_eq!(said, ["done: 0", "the scan's process ended early with status 101", "done: 0"]);
}

#[test]
fn what_the_kernel_lacks_is_said_and_may_refuse() {
    let agent = canvass_examples::program("canvass-agent");
    let report = Report::of(&agent).unwrap();
    assert!(report.is_whole(), "this kernel or container lacks a part of the cage: {}", report.words());
    let folder = tempfile::tempdir().unwrap();
    let without = behind(folder.path(), &format!("{} without landlock", hostile().display()), &agent);
    let report = Report::of(&without).unwrap();
    assert_eq!(report.features(), ["cage:without_landlock"]);

    let home = Home::new();
    let ask = |landlock: bool, statement: &str| {
        let mut command = Command::new(hostile());
        if landlock {
            command = home.command();
        } else {
            command.args(["without", "landlock"]).arg(canvass_examples::program("canvass"));
            command.envs(home.environment()).env_remove("CANVASS_SERVER").current_dir(home.path());
        }
        command.args(["--local", "--format", "csv", "-c", statement]).output().unwrap()
    };
    let statement = "SELECT count(*) > 0 AS any FROM users";
    assert_eq!(stdout(&ask(false, statement)), "any\ntrue\n");
    assert!(stdout(&ask(false, ".status")).contains("cage     without landlock"));
    assert!(stdout(&ask(true, ".status")).contains("cage     whole 1\n"));
    let listed = stdout(&home.canvass(&["key", "list"]));
    let key = listed.split_whitespace().find(|word| word.len() == 40).unwrap();
    let policy = format!(
        "require_cage = true\n[acl.default]\nminimum_weight = 1\ninvestigators.local = {{ fingerprint = \"{key}\", weight = 1 }}\n"
    );
    let file = home.configuration().join("agent.toml");
    fs::write(&file, policy).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let refused = ask(false, statement);
    assert!(
        stderr(&refused).contains("the policy of this agent asks for a whole cage (`require_cage`)"),
        "{}",
        stderr(&refused)
    );
    assert!(stderr(&refused).contains("the kernel has no Landlock"), "{}", stderr(&refused));
    assert_eq!(stdout(&ask(true, statement)), "any\ntrue\n");
}
