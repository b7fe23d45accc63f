//! The table `files`, on trees made for each case and against the system's own tools.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod common;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use canvass_protocol::filter::{Filter, Is, Place};
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::value::Value;
use canvass_tables::host::{Host, HostSpec};
use common::{Asked, all, ask, ask_with, at, machine, matches, not, pattern, scan, text, under};
use rustix::fs::{CWD, Mode, mkfifoat};

fn tree() -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/one"), "alpha\nbeta\r\n").unwrap();
    fs::write(root.join("a/b/two"), "gamma").unwrap();
    fs::write(root.join("a/b/c/three"), "").unwrap();
    fs::write(root.join("bin"), b"\xff\x00key\xfe\nalpha").unwrap();
    tree
}

/// Asks for columns below a tree; paths are shown relative to it.
fn asked(root: &Path, columns: &[&str], filter: Filter) -> Asked {
    ask(&machine(), &scan("files", columns, all(vec![under(root), filter]))).unwrap()
}

fn names(asked: &Asked, root: &Path) -> Vec<String> {
    let prefix = root.to_str().unwrap();
    let relative = |row: String| row.replace(&format!("{prefix}/"), "").replace(prefix, ".");
    let mut names: Vec<String> = asked.rows().into_iter().map(relative).collect();
    names.sort();
    names
}

#[test]
fn a_walk_meets_what_find_meets() {
    let tree = tree();
    let root = tree.path();
    symlink("a/one", root.join("link")).unwrap();
    symlink("..", root.join("a/up")).unwrap();
    symlink("nowhere", root.join("a/dangling")).unwrap();
    mkfifoat(CWD, root.join("fifo"), Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    fs::write(root.join("new\nline"), "x").unwrap();
    fs::set_permissions(root.join("a/one"), fs::Permissions::from_mode(0o4751)).unwrap();
    fs::set_permissions(root.join("a/b"), fs::Permissions::from_mode(0o1777)).unwrap();
    let columns =
        ["path", "depth", "type", "size", "mode", "permissions", "uid", "owner", "gid", "group", "inode", "links"];
    let answer = asked(root, &columns, all(vec![]));
    let format = "%p %d %y %s %M %m %U %u %G %g %i %n\\0";
    let output = Command::new("find").arg(root).args(["-printf", format]).output().unwrap();
    let kinds = [(" f ", " file "), (" d ", " directory "), (" l ", " link "), (" p ", " fifo "), (" s ", " socket ")];
    let mut found: Vec<String> = String::from_utf8(output.stdout)
        .unwrap()
        .split_terminator('\0')
        .map(|line| kinds.iter().fold(line.to_owned(), |line, (letter, word)| line.replacen(letter, word, 1)))
        .collect();
    found.sort();
    // find writes 0644 as 644.
    let rows: Vec<String> = answer
        .rows()
        .iter()
        .map(|row| {
            let mut words: Vec<String> = row.split(' ').map(str::to_owned).collect();
            words[5] = words[5].trim_start_matches('0').to_owned();
            words.join(" ")
        })
        .collect();
    assert_eq!(rows, found);
    assert_eq!(answer.record.troubles_count, 0);
    assert_eq!(answer.record.examined, rows.len() as u64);
}

#[test]
fn times_are_those_of_stat() {
    let tree = tree();
    let file = tree.path().join("a/one");
    let answer = ask(&machine(), &scan("files", &["mtime", "ctime", "atime"], at(&file))).unwrap();
    let output = Command::new("stat").args(["-c", "%.9Y %.9Z %.9X"]).arg(&file).output().unwrap();
    let seconds = |column: usize| {
        let column = answer.batches[0].column(column);
        let array = column.as_any().downcast_ref::<arrow::array::TimestampNanosecondArray>().unwrap();
        format!("{}.{:09}", array.value(0) / 1_000_000_000, array.value(0) % 1_000_000_000)
    };
    assert_eq!(format!("{} {} {}\n", seconds(0), seconds(1), seconds(2)), String::from_utf8(output.stdout).unwrap());
}

#[test]
fn hashes_are_those_of_the_tools() {
    let tree = tree();
    let root = tree.path();
    fs::write(root.join("big"), vec![7u8; 300_000]).unwrap();
    for (column, tool) in [("md5", "md5sum"), ("sha1", "sha1sum"), ("sha256", "sha256sum")] {
        let paths = ["a/one", "a/b/two", "a/b/c/three", "bin", "big"].map(|name| root.join(name));
        let output = Command::new(tool).args(&paths).output().unwrap();
        let mut lines: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(|line| line.replace("  ", " ")).collect();
        lines.sort();
        let answer = asked(root, &[column, "path"], Filter::test("type", Is::Equal(text("file"))));
        assert_eq!(answer.rows(), lines);
    }
    // Several at once, NULL for what has no content, and constants in any case.
    let answer = asked(root, &["md5", "sha1", "sha256"], Filter::test("name", Is::Equal(text("three"))));
    assert_eq!(
        answer.rows(),
        [
            "d41d8cd98f00b204e9800998ecf8427e da39a3ee5e6b4b0d3255bfef95601890afd80709 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        ]
    );
    let empty = "D41D8CD98F00B204E9800998ECF8427E";
    for is in [Is::Equal(text(empty)), Is::In(vec![text("x"), text(empty)])] {
        assert_eq!(names(&asked(root, &["path"], Filter::test("md5", is)), root), ["a/b/c/three"]);
    }
    let none = asked(root, &["path"], Filter::test("sha1", Is::Null));
    assert_eq!(names(&none, root), [".", "a", "a/b", "a/b/c"]);
}

#[test]
fn content_is_asked_line_by_line() {
    let tree = tree();
    let root = tree.path();
    mkfifoat(CWD, root.join("fifo"), Mode::RWXU).unwrap();
    let every = |text: &str| Filter::test("content", Is::EveryLine(pattern(text)));
    let like = |text: &str| Filter::test("content", Is::Like(pattern(text)));
    for (filter, expected) in [
        (matches("content", "alpha"), vec!["a/one", "bin"]),
        (matches("content", "^beta$"), vec!["a/one"]),
        (matches("content", "alpha.*beta"), vec![]),
        (matches("content", "key"), vec!["bin"]),
        (not(matches("content", "alpha")), vec!["a/b/c/three", "a/b/two"]),
        (every("^[a-z]+$"), vec!["a/b/c/three", "a/b/two", "a/one"]),
        (not(every("^[a-z]+$")), vec!["bin"]),
        (like("%mm%"), vec!["a/b/two"]),
        (like("beta"), vec!["a/one"]),
        (not(like("%a%")), vec!["a/b/c/three"]),
        (all(vec![matches("content", "alpha"), not(matches("content", "beta"))]), vec!["bin"]),
        (Filter::Any(vec![matches("content", "beta"), matches("content", "gamma")]), vec!["a/b/two", "a/one"]),
        (all(vec![not(matches("content", "key")), not(matches("content", "gamma"))]), vec!["a/b/c/three", "a/one"]),
        (not(Filter::Any(vec![matches("content", "key"), like("%gam%")])), vec!["a/b/c/three", "a/one"]),
        (all(vec![matches("content", "alpha"), matches("content", "be"), like("%ta")]), vec!["a/one"]),
        (
            Filter::Any(vec![matches("content", "no"), matches("content", "^g"), every("^x")]),
            vec!["a/b/c/three", "a/b/two"],
        ),
        (
            all(vec![not(matches("content", "key")), not(matches("content", "^g")), matches("content", "")]),
            vec!["a/one"],
        ),
    ] {
        assert_eq!(names(&asked(root, &["path"], filter.clone()), root), expected, "{filter:?}");
    }
}

#[test]
fn content_is_asked_for_ten_thousand_texts() {
    let tree = tree();
    let root = tree.path();
    let indicator = |number: u32| format!("{:08x}", number.wrapping_mul(2_654_435_761));
    fs::write(root.join("a/hit"), format!("none here\nand then {}.\n", indicator(9_999))).unwrap();
    fs::write(root.join("a/near"), format!("{}\n", &indicator(9_999)[1..])).unwrap();
    let texts: Vec<String> = (1..10_000).map(indicator).chain(["gamma".to_owned()]).collect();
    let any: Vec<Filter> = texts.iter().map(|text| matches("content", text)).collect();
    let none = any.iter().cloned().map(not).collect();
    assert_eq!(names(&asked(root, &["path"], Filter::Any(any)), root), ["a/b/two", "a/hit"]);
    assert_eq!(names(&asked(root, &["path"], all(none)), root), ["a/b/c/three", "a/near", "a/one", "bin"]);
}

#[test]
fn links_below_a_root_are_rows_and_lead_nowhere() {
    let tree = tree();
    let root = tree.path();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "alpha").unwrap();
    symlink(root.join("a/one"), root.join("inside")).unwrap();
    symlink(outside.path().join("secret"), root.join("outside")).unwrap();
    symlink("a", root.join("folder")).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    symlink("nowhere", root.join("dangling")).unwrap();
    let answer = asked(root, &["path"], matches("content", "alpha"));
    assert_eq!(names(&answer, root), ["a/one", "bin", "inside"]);
    assert_eq!(answer.record.troubles_count, 0);
    let targets = asked(root, &["name", "target", "md5"], Filter::test("type", Is::Equal(text("link"))));
    let md5 = asked(root, &["md5"], Filter::test("name", Is::Equal(text("one")))).rows()[0].clone();
    assert_eq!(
        names(&targets, root),
        vec![
            "dangling nowhere -".to_owned(),
            "folder a -".to_owned(),
            format!("inside a/one {md5}"),
            "loop loop -".to_owned(),
            format!("outside {}/secret -", outside.path().display()),
        ]
    );
}

#[test]
fn roots_that_are_links_are_entered_as_typed() {
    let tree = tree();
    let root = tree.path();
    symlink("a", root.join("door")).unwrap();
    symlink("a/one", root.join("file")).unwrap();
    let answer = ask(&machine(), &scan("files", &["path", "type", "depth"], under(&root.join("door")))).unwrap();
    let rows = names(&answer, root);
    assert_eq!(
        rows,
        [
            "door link 0",
            "door/b directory 1",
            "door/b/c directory 2",
            "door/b/c/three file 3",
            "door/b/two file 2",
            "door/one file 1"
        ]
    );
    let through = ask(&machine(), &scan("files", &["path", "depth"], under(&root.join("door/b")))).unwrap();
    assert_eq!(names(&through, root), ["door/b 0", "door/b/c 1", "door/b/c/three 2", "door/b/two 1"]);
    let file = all(vec![at(&root.join("file")), matches("content", "alpha")]);
    assert_eq!(names(&ask(&machine(), &scan("files", &["path"], file)).unwrap(), root), ["file"]);
}

#[test]
fn nested_and_repeated_roots_repeat_no_row() {
    let tree = tree();
    let root = tree.path();
    symlink("a", root.join("door")).unwrap();
    let places = Filter::Any(vec![
        under(&root.join("a/b")),
        under(root),
        at(&root.join("a/one")),
        under(root),
        under(&root.join("door")),
        at(&root.join("door/b/two")),
    ]);
    let rows = names(&ask(&machine(), &scan("files", &["path", "depth"], places)).unwrap(), root);
    assert_eq!(
        rows,
        [
            ". 0",
            "a 1",
            "a/b 2",
            "a/b/c 3",
            "a/b/c/three 4",
            "a/b/two 3",
            "a/one 2",
            "bin 1",
            "door 1",
            "door/b 2",
            "door/b/c 3",
            "door/b/c/three 4",
            "door/b/two 3",
            "door/one 2"
        ]
    );
    let side_by_side = Filter::Any(vec![under(&root.join("a/b/c")), at(&root.join("a/one")), at(&root.join("bin"))]);
    let rows = names(&ask(&machine(), &scan("files", &["path", "depth"], side_by_side)).unwrap(), root);
    assert_eq!(rows, ["a/b/c 0", "a/b/c/three 1", "a/one 0", "bin 0"]);
}

#[test]
fn depth_bounds_the_walk() {
    let tree = tree();
    let root = tree.path();
    for (is, expected, examined) in [
        (Is::LessOrEqual(Value::Integer(1)), vec![".", "a", "bin"], 3),
        (Is::Less(Value::Integer(1)), vec!["."], 1),
        (Is::Equal(Value::Integer(2)), vec!["a/b", "a/one"], 5),
        (Is::Greater(Value::Integer(3)), vec!["a/b/c/three"], 8),
    ] {
        let answer = asked(root, &["path"], Filter::test("depth", is));
        assert_eq!(
            (names(&answer, root), answer.record.examined),
            (expected.iter().map(ToString::to_string).collect(), examined)
        );
    }
}

/// Names that are not UTF-8 are compared as they are shown, whether a predicate is a root or not: what holds, what does not
/// and what is unknown add up to all.
#[test]
fn names_that_are_no_text_are_compared_as_they_are_shown() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    let folder = root.join(OsStr::from_bytes(b"dir\xfe"));
    fs::create_dir(&folder).unwrap();
    for name in [&b"bad\xff"[..], b"bad\xfe", "bad\u{fffd}".as_bytes(), b"good", b"dir\xfe/in"] {
        fs::write(root.join(OsStr::from_bytes(name)), "").unwrap();
    }
    let shown = |name: &str| format!("{}/{name}", root.display());
    let path = |is: Is| Filter::test("path", is);
    let count = |filter: Filter| asked(root, &["path"], filter).rows().len();
    let cases = [
        (path(Is::Equal(text(&shown("bad\u{fffd}")))), 3),
        (path(Is::In(vec![text(&shown("bad\u{fffd}")), text(&shown("good"))])), 4),
        (path(Is::Equal(text(&shown("dir\u{fffd}/in")))), 1),
        (path(Is::Under(Place::Folder(shown("dir\u{fffd}")))), 2),
        (path(Is::Like(pattern(&shown("bad\u{fffd}")))), 3),
        (path(Is::Equal(text(&shown("good")))), 1),
    ];
    for (filter, expected) in cases {
        let alone = ask(&machine(), &scan("files", &["path"], filter.clone())).unwrap();
        assert_eq!((alone.rows().len(), alone.record.troubles_count), (expected, 0), "{filter:?}");
        let parts = [filter.clone(), not(filter.clone()), all(vec![filter.clone(), path(Is::Null)])];
        let [holds, fails, unknown] = parts.map(count);
        assert_eq!((holds, fails, unknown), (expected, 7 - expected, 0), "{filter:?}");
    }
}

#[test]
fn strange_names_are_told_exactly() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    let strange = OsStr::from_bytes(b"bad\xffname");
    fs::create_dir(root.join(strange)).unwrap();
    fs::write(root.join(strange).join("plain"), "alpha").unwrap();
    fs::write(root.join("x".repeat(255)), "").unwrap();
    fs::write(root.join("tab\tbell\u{7}"), "").unwrap();
    let answer = asked(root, &["name", "path_hex"], not(Filter::test("path_hex", Is::Null)));
    let hex = |path: &Path| path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(
        answer.rows(),
        [
            format!("bad\u{fffd}name {}", hex(&root.join(strange))),
            format!("plain {}", hex(&root.join(strange).join("plain")))
        ]
    );
    assert_eq!(asked(root, &["name"], matches("content", "alpha")).rows(), ["plain"]);
    assert_eq!(asked(root, &["path"], all(vec![])).record.rows, 5);
}

#[test]
fn what_is_not_there_or_not_readable_is_a_trouble() {
    let tree = tree();
    let root = tree.path();
    let missing = ask(&machine(), &scan("files", &["path"], under(&root.join("none")))).unwrap();
    assert_eq!((missing.record.rows, missing.record.troubles_count), (0, 1));
    assert!(missing.troubles()[0].contains("/none: no such file"), "{:?}", missing.troubles());
    for spelled in ["/etc/", "/etc/../etc", "etc", "//etc"] {
        let answer = ask(&machine(), &scan("files", &["path"], at(Path::new(spelled)))).unwrap();
        assert_eq!((answer.record.rows, answer.record.troubles_count), (0, 1), "{spelled}");
    }
    let forbidden = [root.join("a/b").to_str().unwrap().to_owned(), root.join("bin").to_str().unwrap().to_owned()];
    let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
    let everywhere = scan("files", &["path"], all(vec![under(root), Filter::test("type", Is::Equal(text("file")))]));
    let answer = ask_with(&machine(), &everywhere, Limits::default(), &[], &forbidden).unwrap();
    assert_eq!(names(&answer, root), ["a/one", "bin"]);
    assert!(answer.troubles()[0].contains("forbidden"), "{:?}", answer.troubles());
    symlink("a/b", root.join("way")).unwrap();
    symlink("bin", root.join("other")).unwrap();
    for (path, rows) in [("a/b", 0), ("a/b/c", 0), ("way", 0), ("other", 0), ("bin", 0)] {
        let question = scan("files", &["path"], under(&root.join(path)));
        let answer = ask_with(&machine(), &question, Limits::default(), &[], &forbidden).unwrap();
        assert_eq!((answer.record.rows, answer.record.troubles_count), (rows, 1), "{path}");
    }
    let content = scan("files", &["path"], all(vec![under(root), matches("content", "key|alpha")]));
    let answer = ask_with(&machine(), &content, Limits::default(), &[], &forbidden).unwrap();
    assert_eq!(names(&answer, root), ["a/one"]);
}

#[test]
fn what_is_forbidden_is_not_read_under_another_name() {
    let tree = tree();
    let root = tree.path();
    fs::hard_link(root.join("bin"), root.join("same")).unwrap();
    fs::hard_link(root.join("a/b/two"), root.join("second")).unwrap();
    fs::write(root.join("a/b/c/three"), "gamma").unwrap();
    fs::hard_link(root.join("a/b/c/three"), root.join("third")).unwrap();
    let forbidden = ["a/b", "bin"].map(|path| root.join(path).to_str().unwrap().to_owned());
    let forbidden: Vec<&str> = forbidden.iter().map(String::as_str).collect();
    let content = scan("files", &["path"], all(vec![under(root), matches("content", "key|alpha|gamma")]));
    let answer = ask_with(&machine(), &content, Limits::default(), &[], &forbidden).unwrap();
    assert_eq!(names(&answer, root), ["a/one"]);
    for name in ["same", "second", "third"] {
        let hash = scan("files", &["sha256"], at(&root.join(name)));
        let answer = ask_with(&machine(), &hash, Limits::default(), &[], &forbidden).unwrap();
        assert_eq!(answer.record.rows, 0, "{name}");
        assert!(answer.troubles()[0].contains("forbidden"), "{:?}", answer.troubles());
    }
}

#[test]
fn what_reading_uses_up_and_what_never_ends_is_not_read() {
    let limits = Limits { time_ms: 5000, ..Limits::default() };
    for path in ["/proc/self/pagemap", "/proc/kmsg", "/proc/self/task/self/pagemap"] {
        let question =
            scan("files", &["path"], all(vec![at(Path::new(path)), not(matches("content", "no such text"))]));
        let answer = ask_with(&machine(), &question, limits, &[], &[]).unwrap();
        assert_eq!((answer.record.rows, answer.record.cut, answer.record.troubles_count), (0, None, 1), "{path}");
        assert!(!answer.troubles()[0].contains("unavailable"), "{:?}", answer.troubles());
    }
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("pagemap"), "of another kind").unwrap();
    assert_eq!(asked(tree.path(), &["name"], matches("content", "kind")).rows(), ["pagemap"]);
}

#[test]
fn proc_is_read_and_its_secrets_are_not() {
    let question = |path: &str, filter: Filter| {
        ask(&machine(), &scan("files", &["path", "size"], all(vec![under(Path::new(path)), filter]))).unwrap()
    };
    let status = question("/proc/self/status", matches("content", "^Uid:\\s+"));
    assert_eq!(status.rows(), ["/proc/self/status 0"]);
    for secret in ["/proc/self/environ", "/proc/self/mem", "/proc/self/task/self/environ", "/proc/kcore"] {
        let answer = question(secret, not(matches("content", "no such text")));
        assert_eq!(answer.record.rows, 0, "{secret}");
        assert_eq!(answer.record.troubles_count, 1, "{secret}");
    }
    let tree = tempfile::tempdir().unwrap();
    symlink("/proc/self/environ", tree.path().join("way")).unwrap();
    let answer = question(tree.path().join("way").to_str().unwrap(), not(matches("content", "no such text")));
    assert_eq!(answer.record.rows, 0);
    let device = question("/dev/null", not(matches("content", "x")));
    assert_eq!((device.record.rows, device.record.examined), (0, 1));
}

#[test]
fn pseudo_file_systems_are_entered_only_by_name() {
    let shallow = Filter::test("depth", Is::LessOrEqual(Value::Integer(2)));
    let root = ask(&machine(), &scan("files", &["path"], all(vec![under(Path::new("/")), shallow.clone()]))).unwrap();
    let rows = root.rows();
    assert!(rows.iter().any(|row| row == "/proc") && rows.iter().any(|row| row == "/"));
    assert!(!rows.iter().any(|row| row.starts_with("/proc/")), "{rows:?}");
    let named = Filter::Any(vec![under(Path::new("/")), under(Path::new("/proc"))]);
    let named = ask(&machine(), &scan("files", &["path", "depth"], all(vec![named, shallow]))).unwrap().rows();
    assert_eq!(named.iter().filter(|row| *row == "/proc 1").count(), 1);
    assert!(named.iter().any(|row| row == "/proc/meminfo 2"));
}

#[test]
fn a_fixture_is_walked_inside_its_root() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("web-1");
    fs::create_dir_all(root.join("etc/ssh")).unwrap();
    fs::create_dir_all(root.join("proc/1")).unwrap();
    fs::write(
        root.join("host.toml"),
        "[defaults]\nuid = 0\n[files.\"/etc/shadow\"]\ngid = 42\npermissions = \"0640\"\n",
    )
    .unwrap();
    fs::write(root.join("etc/shadow"), "root:x").unwrap();
    fs::write(root.join("etc/group"), "shadow:x:42:\n").unwrap();
    fs::write(root.join("proc/1/environ"), "KEY=root").unwrap();
    symlink("/etc/shadow", root.join("etc/ssh/key")).unwrap();
    symlink("/etc/ssh", root.join("door")).unwrap();
    symlink("../../outside", root.join("etc/out")).unwrap();
    fs::write(folder.path().join("outside"), "root").unwrap();
    let host = Host::open(&HostSpec::Fixture(root)).unwrap();
    let everywhere = Filter::test("path", Is::Under(Place::Folder("/".into())));
    let answer = ask(&host, &scan("files", &["path"], all(vec![everywhere, matches("content", "root")]))).unwrap();
    assert_eq!(answer.rows(), ["/etc/shadow", "/etc/ssh/key"]);
    assert_eq!(answer.troubles().len(), 1);
    let columns = ["path", "uid", "group", "permissions"];
    let shadow = ask(&host, &scan("files", &columns, at(Path::new("/etc/shadow")))).unwrap();
    assert_eq!(shadow.rows(), ["/etc/shadow 0 shadow 0640"]);
    let door = ask(&host, &scan("files", &["path"], under(Path::new("/door")))).unwrap();
    assert_eq!(door.rows(), ["/door", "/door/key"]);
    let hidden = ask(&host, &scan("files", &["path"], at(Path::new("/host.toml")))).unwrap();
    assert_eq!((hidden.record.rows, hidden.record.troubles_count), (0, 1));
}

#[test]
fn limits_cut_and_say_so() {
    let tree = tempfile::tempdir().unwrap();
    let root = tree.path();
    for file in 0..300 {
        fs::write(root.join(format!("file-{file}")), "x").unwrap();
    }
    let question = scan("files", &["path"], under(root));
    let limited = |limits: Limits| ask_with(&machine(), &question, limits, &[], &[]).unwrap().record;
    let exact = limited(Limits { rows: 301, ..Limits::default() });
    assert_eq!((exact.rows, exact.cut), (301, None));
    let rows = limited(Limits { rows: 300, ..Limits::default() });
    assert_eq!((rows.rows, rows.cut), (300, Some(Cut::Rows)));
    let bytes = limited(Limits { bytes: 4096, ..Limits::default() });
    assert!(bytes.bytes <= 4096 && bytes.rows > 0 && bytes.rows < 301, "{bytes:?}");
    assert_eq!(bytes.cut, Some(Cut::Bytes));
    let time = limited(Limits { time_ms: 0, ..Limits::default() });
    assert_eq!((time.rows, time.cut), (0, Some(Cut::Time)));
    let cpu = limited(Limits { cpu_ms: 0, ..Limits::default() });
    assert_eq!((cpu.rows, cpu.cut), (0, Some(Cut::Cpu)));
    let mut enough = question.clone();
    enough.limit = Some(7);
    let enough = ask(&machine(), &enough).unwrap().record;
    assert_eq!((enough.rows, enough.cut), (7, None));
    let counted = scan("files", &[], under(root));
    assert_eq!(ask(&machine(), &counted).unwrap().record.rows, 301);
}
