//! What is known of a file without reading it: type, mode, size, times, owners, depth, and tests of each.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

use crate::common::tree::{Tree, alike, equal, is, number};
use crate::common::{all, at, machine, matches, not, pattern, scan, text};

#[test]
fn type_is_one_of_seven_words() {
    let tree = Tree::of(&[("f", "")]);
    tree.folder("d").fifo("p").link("l", "f");
    let _socket = UnixListener::bind(tree.at("s")).unwrap();
    assert_eq!(
        tree.rows(&["path", "type"], all(vec![])),
        [". directory", "d directory", "f file", "l link", "p fifo", "s socket"]
    );
    for (kind, names) in [
        ("file", vec!["f"]),
        ("directory", vec![".", "d"]),
        ("link", vec!["l"]),
        ("fifo", vec!["p"]),
        ("socket", vec!["s"]),
        ("block", vec![]),
        ("char", vec![]),
        ("File", vec![]),
    ] {
        assert_eq!(tree.found(equal("type", kind)), names, "{kind}");
        assert_eq!(tree.found(not(equal("type", kind))).len(), 6 - names.len(), "{kind}");
    }
    let either = is("type", Is::In(vec![text("link"), text("fifo"), text("door")]));
    assert_eq!(tree.found(either.clone()), ["l", "p"]);
    assert_eq!(tree.found(all(vec![not(either), matches("type", "^.{4}$")])), ["f"]);
    assert_eq!(tree.found(is("type", Is::Like(pattern("%i%k%")))), ["l"]);
    let device = alike(&machine(), &scan("files", &["type", "mode"], at("/dev/null".as_ref())));
    assert_eq!(device.rows(), ["char crw-rw-rw-"]);
}

#[test]
fn modes_are_as_ls_and_chmod_write_them() {
    let tree = Tree::new();
    let modes = [
        (0o000, "----------"),
        (0o644, "-rw-r--r--"),
        (0o640, "-rw-r-----"),
        (0o777, "-rwxrwxrwx"),
        (0o4755, "-rwsr-xr-x"),
        (0o4644, "-rwSr--r--"),
        (0o2755, "-rwxr-sr-x"),
        (0o2644, "-rw-r-Sr--"),
        (0o1777, "-rwxrwxrwt"),
        (0o1666, "-rw-rw-rwT"),
        (0o7777, "-rwsrwsrwt"),
        (0o7000, "---S--S--T"),
        (0o111, "---x--x--x"),
    ];
    for (bits, _) in modes {
        let name = format!("{bits:04o}");
        tree.file(&name, "");
        fs::set_permissions(tree.at(&name), fs::Permissions::from_mode(bits)).unwrap();
    }
    for (bits, mode) in modes {
        let name = format!("{bits:04o}");
        let row = format!("{name} {mode} {name}");
        assert_eq!(tree.rows(&["name", "mode", "permissions"], equal("name", &name)), [row]);
        let files = |filter: Filter| tree.found(all(vec![equal("type", "file"), filter]));
        assert_eq!(files(equal("permissions", &name)), std::slice::from_ref(&name));
        assert_eq!(files(equal("mode", mode)), std::slice::from_ref(&name));
        assert_eq!(files(not(equal("mode", mode))).len(), modes.len() - 1);
    }
    let set_uid = ["4644", "4755", "7000", "7777"];
    assert_eq!(tree.found(matches("permissions", "^[4-7]...$")), set_uid);
    assert_eq!(tree.found(matches("mode", "^-..[sS]")), set_uid);
    assert_eq!(tree.found(is("mode", Is::Like(pattern("-%w_")))), ["0777", "1666", "1777", "7777"]);
    tree.folder("folder");
    fs::set_permissions(tree.at("folder"), fs::Permissions::from_mode(0o3750)).unwrap();
    assert_eq!(tree.rows(&["mode", "permissions"], equal("name", "folder")), ["drwxr-s--T 3750"]);
}

#[test]
fn size_is_compared_as_a_number() {
    let tree = Tree::new();
    for size in [0usize, 1, 9, 10, 1023, 1024, 1025, 70_000] {
        tree.file(&format!("{size:05}"), vec![0; size]);
    }
    let sparse = fs::File::create(tree.at("sparse")).unwrap();
    sparse.set_len(5 << 40).unwrap();
    let files = |filter: Filter| tree.found(all(vec![equal("type", "file"), filter]));
    for (filter, expected) in [
        (number("size", Is::Equal, 0), vec!["00000"]),
        (number("size", Is::Less, 10), vec!["00000", "00001", "00009"]),
        (number("size", Is::LessOrEqual, 10), vec!["00000", "00001", "00009", "00010"]),
        (number("size", Is::Greater, 1024), vec!["01025", "70000", "sparse"]),
        (number("size", Is::GreaterOrEqual, 1024), vec!["01024", "01025", "70000", "sparse"]),
        (number("size", Is::Greater, 1 << 40), vec!["sparse"]),
        (number("size", Is::Equal, 5 << 40), vec!["sparse"]),
        (number("size", Is::Less, 0), vec![]),
        (number("size", Is::Greater, i64::MAX), vec![]),
        (is("size", Is::Less(Value::Float(0.5))), vec!["00000"]),
        (is("size", Is::Equal(Value::Float(9.0))), vec!["00009"]),
        (is("size", Is::In(vec![Value::Integer(9), Value::Integer(1025), Value::Integer(-1)])), vec!["00009", "01025"]),
        (
            all(vec![number("size", Is::GreaterOrEqual, 9), number("size", Is::LessOrEqual, 1023)]),
            vec!["00009", "00010", "01023"],
        ),
    ] {
        assert_eq!(files(filter.clone()), expected, "{filter:?}");
        let rest = files(not(filter.clone()));
        assert_eq!(rest.len() + expected.len(), 9, "not {filter:?}");
    }
    assert_eq!(tree.rows(&["size"], equal("name", "sparse")), [(5i64 << 40).to_string()]);
    tree.link("link", "00009");
    assert_eq!(tree.rows(&["size"], equal("name", "link")), ["5"], "a link's own size");
}

fn set_times(tree: &Tree, name: &str, atime: (i64, i64), mtime: (i64, i64)) {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    let times = Timestamps { last_access: time(atime), last_modification: time(mtime) };
    rustix::fs::utimensat(CWD, tree.at(name), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn times_are_exact_to_the_nanosecond_and_may_lie_before_1970() {
    let tree = Tree::of(&[("now", ""), ("old", ""), ("before", ""), ("far", "")]);
    set_times(&tree, "now", (1_700_000_000, 5), (1_700_000_000, 123_456_789));
    set_times(&tree, "old", (0, 0), (0, 1));
    set_times(&tree, "before", (-1, 0), (-2, 999_999_999));
    set_times(&tree, "far", (8_000_000_000, 0), (8_000_000_000, 7));
    let time = |is: fn(Value) -> Is, ns: i64| Filter::test("mtime", is(Value::TimestampNs(ns)));
    let files = |filter: Filter| tree.found(all(vec![equal("type", "file"), filter]));
    let now = 1_700_000_000_123_456_789;
    for (filter, expected) in [
        (time(Is::Equal, now), vec!["now"]),
        (time(Is::Equal, now + 1), vec![]),
        (time(Is::Less, now), vec!["before", "old"]),
        (time(Is::LessOrEqual, now), vec!["before", "now", "old"]),
        (time(Is::Greater, now), vec!["far"]),
        (time(Is::GreaterOrEqual, now), vec!["far", "now"]),
        (time(Is::Equal, 1), vec!["old"]),
        (time(Is::Less, 0), vec!["before"]),
        (time(Is::Equal, -1_000_000_001), vec!["before"]),
        (time(Is::Equal, 8_000_000_000_000_000_007), vec!["far"]),
        (is("mtime", Is::In(vec![Value::TimestampNs(1), Value::TimestampNs(now)])), vec!["now", "old"]),
        (Filter::test("atime", Is::Equal(Value::TimestampNs(-1_000_000_000))), vec!["before"]),
        (Filter::test("atime", Is::Equal(Value::TimestampNs(1_700_000_000_000_000_005))), vec!["now"]),
    ] {
        assert_eq!(files(filter.clone()), expected, "{filter:?}");
        assert_eq!(files(not(filter.clone())).len() + expected.len(), 4, "not {filter:?}");
    }
    let changed = fs::metadata(tree.at("now")).unwrap();
    let ctime = changed.ctime() * 1_000_000_000 + changed.ctime_nsec();
    assert!(files(Filter::test("ctime", Is::Equal(Value::TimestampNs(ctime)))).contains(&"now".to_owned()));
    assert_eq!(tree.rows(&["mtime"], equal("name", "before")), ["1969-12-31T23:59:58.999999999"]);
}

#[test]
fn reading_a_file_is_not_seen_in_its_own_row() {
    let tree = Tree::of(&[("file", "abc")]);
    set_times(&tree, "file", (1, 0), (2, 0));
    let filter =
        all(vec![matches("content", "abc"), Filter::test("atime", Is::Equal(Value::TimestampNs(1_000_000_000)))]);
    let question = scan("files", &["name"], all(vec![tree.under(""), filter]));
    assert_eq!(crate::common::ask(&machine(), &question).unwrap().rows(), ["file"]);
}

#[test]
fn owners_are_told_by_number_and_name() {
    if !rustix::process::geteuid().is_root() {
        panic!("only root can give files away: run this test as root");
    }
    let tree = Tree::of(&[("root", ""), ("other", ""), ("daemon", "")]);
    std::os::unix::fs::chown(tree.at("other"), Some(123_456), Some(u32::MAX - 5)).unwrap();
    std::os::unix::fs::chown(tree.at("daemon"), Some(1), Some(0)).unwrap();
    let rows = tree.rows(&["name", "uid", "gid", "owner", "group"], equal("type", "file"));
    assert_eq!(rows, ["daemon 1 0 daemon root", "other 123456 4294967290 - -", "root 0 0 root root"]);
    let files = |filter: Filter| tree.found(all(vec![equal("type", "file"), filter]));
    assert_eq!(files(number("uid", Is::Equal, 0)), ["root"]);
    assert_eq!(files(number("uid", Is::NotEqual, 0)), ["daemon", "other"]);
    assert_eq!(files(number("gid", Is::Greater, 0)), ["other"]);
    assert_eq!(files(not(equal("owner", "root"))), ["daemon"], "an owner without a name is unknown");
    assert_eq!(files(is("owner", Is::Null)), ["other"]);
}

#[test]
fn names_and_folders_are_parts_of_the_path() {
    let tree = Tree::of(&[("a/b/c.tar.gz", ""), ("a/b/.hidden", ""), ("a/b c", "")]);
    let rows = tree.rows(&["path", "directory", "name", "depth"], equal("type", "file"));
    assert_eq!(rows, ["a/b c a b c 2", "a/b/.hidden a/b .hidden 3", "a/b/c.tar.gz a/b c.tar.gz 3"]);
    let top = alike(&machine(), &scan("files", &["path", "name", "directory", "depth", "type"], at("/".as_ref())));
    assert_eq!(top.rows(), ["/ / / 0 directory"]);
    assert_eq!(tree.found(matches("name", r"^\.")), ["a/b/.hidden"]);
    assert_eq!(tree.found(is("name", Is::Like(pattern("%.gz")))), ["a/b/c.tar.gz"]);
    assert_eq!(tree.found(equal("directory", tree.at("a").to_str().unwrap())), ["a/b", "a/b c"]);
    let linked = Tree::of(&[("one", "")]);
    fs::hard_link(linked.at("one"), linked.at("two")).unwrap();
    assert_eq!(linked.found(number("links", Is::Equal, 2)).len(), 2 + usize::from(links_of(&linked) == 2));
    let inode = i64::try_from(fs::metadata(linked.at("one")).unwrap().ino()).unwrap();
    assert_eq!(linked.found(number("inode", Is::Equal, inode)), ["one", "two"]);
}

/// Some file systems count a folder's own names, others do not.
fn links_of(tree: &Tree) -> u64 {
    fs::metadata(tree.root()).unwrap().nlink()
}

#[test]
fn depth_is_a_number_like_any_other() {
    let tree = Tree::of(&[("a/b/c/d", ""), ("e", "")]);
    for (filter, expected) in [
        (number("depth", Is::Equal, 0), vec!["."]),
        (number("depth", Is::LessOrEqual, 1), vec![".", "a", "e"]),
        (number("depth", Is::Less, 1), vec!["."]),
        (number("depth", Is::Less, 0), vec![]),
        (number("depth", Is::LessOrEqual, -1), vec![]),
        (number("depth", Is::Less, i64::MIN), vec![]),
        (number("depth", Is::Greater, 2), vec!["a/b/c", "a/b/c/d"]),
        (number("depth", Is::NotEqual, 1), vec![".", "a/b", "a/b/c", "a/b/c/d"]),
        (not(number("depth", Is::LessOrEqual, 2)), vec!["a/b/c", "a/b/c/d"]),
        (not(number("depth", Is::Greater, 1)), vec![".", "a", "e"]),
        (is("depth", Is::In(vec![Value::Integer(1), Value::Integer(4)])), vec!["a", "a/b/c/d", "e"]),
        (is("depth", Is::LessOrEqual(Value::Float(1.5))), vec![".", "a", "e"]),
        (is("depth", Is::Less(Value::Float(1.5))), vec![".", "a", "e"]),
        (is("depth", Is::Equal(Value::Float(1.5))), vec![]),
        (Filter::Any(vec![number("depth", Is::Equal, 1), number("depth", Is::Equal, 3)]), vec!["a", "a/b/c", "e"]),
        (Filter::Any(vec![number("depth", Is::Equal, 1), equal("name", "d")]), vec!["a", "a/b/c/d", "e"]),
        (all(vec![number("depth", Is::LessOrEqual, 3), number("depth", Is::GreaterOrEqual, 2)]), vec!["a/b", "a/b/c"]),
        (all(vec![Filter::Any(vec![]), number("depth", Is::LessOrEqual, 3)]), vec![]),
    ] {
        assert_eq!(tree.found(filter.clone()), expected, "{filter:?}");
    }
}
