//! `follow`: folders behind links are entered; loops end, and no file is told twice.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use canvass_protocol::filter::{Filter, Is};
use canvass_tables::host::{Host, HostSpec};

use crate::common::tree::{Tree, alike, equal, is, null, number};
use crate::common::{all, at, matches, not, scan, sha256, text, under};

/// Rows by path and type, each file once.
fn rows(tree: &Tree, filter: Filter) -> Vec<String> {
    let rows = tree.rows(&["path", "type"], filter);
    let paths: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(paths.len(), rows.len(), "{rows:?}");
    rows
}

#[test]
fn folders_behind_links_are_entered_and_the_links_stay_rows() {
    let tree = Tree::of(&[("real/one", "1"), ("real/in/two", "2")]).following();
    let outside = Tree::of(&[("file", "outside"), ("deep/er", "outside")]);
    tree.link("door/out", outside.root()).link("file", "real/one").link("nowhere", "nothing").link("itself", "itself");
    assert_eq!(
        rows(&tree, all(vec![])),
        [
            ". directory",
            "door directory",
            "door/out link",
            "door/out/deep directory",
            "door/out/deep/er file",
            "door/out/file file",
            "file link",
            "itself link",
            "nowhere link",
            "real directory",
            "real/in directory",
            "real/in/two file",
            "real/one file",
        ]
    );
    assert_eq!(tree.found(matches("content", "outside")), ["door/out/deep/er", "door/out/file"]);
    assert_eq!(tree.found(equal("sha256", &sha256(b"1"))), ["file", "real/one"]);
    let without = tree.without_options();
    assert_eq!(without.found(all(vec![])).len(), 10, "without the option no link is entered");
    assert_eq!(without.found(matches("content", "outside")), [""; 0]);
}

#[test]
fn depth_counts_the_link_as_a_folder() {
    let outside = Tree::of(&[("a/b", ""), ("c", "")]);
    let tree = Tree::of(&[("x/y", "")]).following();
    tree.link("x/out", outside.root());
    let all_rows = tree.rows(&["path", "depth"], all(vec![]));
    let expected =
        [". 0", "x 1", "x/out 2", "x/out/a 3", "x/out/a/b 4", "x/out/c 3", "x/y 2"].map(str::to_owned).to_vec();
    assert_eq!(all_rows, expected);
    for bound in 0..6 {
        let expected: Vec<String> = all_rows
            .iter()
            .filter(|row| row.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap() <= bound)
            .cloned()
            .collect();
        // As docs/files.md says: what lies too deep by its own way may be told by a link's shorter one.
        let told = tree.rows(&["path", "depth"], number("depth", Is::LessOrEqual, bound));
        assert!(expected.iter().all(|row| told.contains(row)), "{bound}: {told:?}");
        let paths: Vec<String> = told.iter().map(|row| row.rsplit_once(' ').unwrap().0.to_owned()).collect();
        assert_eq!(unique_files(&tree, &paths).len(), paths.len(), "{bound}: {told:?}");
    }
}

#[test]
fn loops_end() {
    let tree = Tree::of(&[("a/b/file", "1"), ("c/d/file", "2")]).following();
    tree.link("a/b/up", "..").link("a/b/top", "../..").link("a/b/self", ".").link("a/b/absolute", tree.root());
    tree.link("a/to-c", "../c").link("c/to-a", "../a").link("c/d/chain", "../../a/to-c");
    let paths = tree.found(all(vec![]));
    assert_eq!(
        paths,
        [
            ".",
            "a",
            "a/b",
            "a/b/absolute",
            "a/b/file",
            "a/b/self",
            "a/b/top",
            "a/b/up",
            "a/to-c",
            "c",
            "c/d",
            "c/d/chain",
            "c/d/file",
            "c/to-a",
        ]
    );
    assert_eq!(tree.found(equal("name", "file")), ["a/b/file", "c/d/file"]);
}

/// From within a loop, what lies above is entered through the link, and the root is not told again.
#[test]
fn a_way_around_back_to_the_root_tells_no_file_twice() {
    let tree = Tree::of(&[("a/b/file", "1"), ("c/d/file", "2")]).following();
    tree.link("a/b/up", "..").link("a/b/top", "../..");
    let inner = alike_following(&tree, &["path"], tree.under("a/b"));
    let files: Vec<&String> = inner.iter().filter(|row| row.ends_with("/file")).collect();
    assert_eq!(files.len(), 2, "{inner:?}");
    assert_eq!(unique_files(&tree, &inner).len(), inner.len(), "{inner:?}");
}

fn alike_following(tree: &Tree, columns: &[&str], filter: Filter) -> Vec<String> {
    let answer = tree.ask(columns, filter);
    assert_eq!(answer.troubles(), Vec::<String>::new());
    tree.relative(&answer)
}

/// What the rows are, by the folder that really holds them and the name in it.
fn unique_files(tree: &Tree, paths: &[String]) -> BTreeSet<(u64, u64, Vec<u8>)> {
    let identity = |path: &String| {
        let path = if path == "." { tree.root().to_owned() } else { tree.at(path) };
        let folder = fs::metadata(path.parent().unwrap()).unwrap();
        (folder.dev(), folder.ino(), path.file_name().unwrap().as_encoded_bytes().to_vec())
    };
    paths.iter().map(identity).collect()
}

#[test]
fn links_to_each_other_end() {
    let (one, other) = (Tree::of(&[("file", "1")]).following(), Tree::of(&[("file", "2")]));
    one.link("other", other.root());
    other.link("one", one.root());
    assert_eq!(one.found(all(vec![])), [".", "file", "other", "other/file", "other/one"]);
    let tree = Tree::new().following();
    tree.link("a", "b").link("b", "a").link("c/d", "../c").link("e", "f/x").link("f", "e/x");
    assert_eq!(tree.found(all(vec![])), [".", "a", "b", "c", "c/d", "e", "f"]);
}

/// A folder that links and a plain way lead to is told by the plain way, in whatever order the walk meets them.
#[test]
fn the_plain_way_to_a_folder_wins() {
    let tree = Tree::new().following();
    for number in 0..12 {
        tree.file(&format!("m/{number}/deep/er/file"), "1");
        // Before and after it by name, above and below it, and one through another.
        tree.link(&format!("a-{number}"), format!("m/{number}"));
        tree.link(&format!("z-{number}"), format!("m/{number}/deep"));
        tree.link(&format!("a/b/c/{number}"), tree.at(&format!("m/{number}/deep/er")));
        tree.link(&format!("m/{number}/back"), "../..");
        tree.link(&format!("m/{number}/deep/link"), format!("../../../a-{}", (number + 1) % 12));
    }
    let expected: Vec<String> = {
        let mut names: Vec<String> = (0..12).map(|number| format!("m/{number}/deep/er/file")).collect();
        names.sort();
        names
    };
    for _ in 0..20 {
        assert_eq!(tree.found(equal("name", "file")), expected);
    }
    let whole = tree.found(all(vec![]));
    assert_eq!(unique_files(&tree, &whole).len(), whole.len());
    assert_eq!(whole.len(), 1 + 4 + 12 * 9);
}

/// What only links lead to is told by one of them, the same each time.
#[test]
fn of_several_links_the_same_one_wins_each_time() {
    let outside = Tree::of(&[("file", "1"), ("deep/er/file", "1")]);
    let tree = Tree::new().following();
    for number in 0..12 {
        tree.link(&format!("{number}/way"), outside.root());
        tree.link(&format!("{number}/deep"), outside.at("deep"));
        tree.link(&format!("{number}/deeper"), outside.at("deep/er"));
    }
    let first = tree.found(equal("name", "file"));
    assert_eq!(first.len(), 2, "{first:?}");
    for _ in 0..20 {
        assert_eq!(tree.found(equal("name", "file")), first);
    }
    let whole = tree.found(all(vec![]));
    assert_eq!(unique_files(&tree, &whole).len(), whole.len(), "{whole:?}");
    assert_eq!(whole.len(), 1 + 12 * 4 + 4);
}

/// What a filter lets pass is what it would let pass of all rows, whatever it lets the walk leave out.
#[test]
fn filters_choose_among_the_rows_and_change_none() {
    let tree = Tree::of(&[("a/b/c/d/file", "1"), ("z", "2")]).following();
    tree.link("short", "a/b/c").link("z-link", "a/b/c/d");
    let whole = tree.rows(&["path", "depth"], all(vec![]));
    for bound in 0..7 {
        let expected: Vec<String> = whole
            .iter()
            .filter(|row| row.rsplit_once(' ').unwrap().1.parse::<i64>().unwrap() <= bound)
            .cloned()
            .collect();
        // As docs/files.md says: what lies too deep by its own way may be told by a link's shorter one.
        let told = tree.rows(&["path", "depth"], number("depth", Is::LessOrEqual, bound));
        assert!(expected.iter().all(|row| told.contains(row)), "{bound}: {told:?}");
        let paths: Vec<String> = told.iter().map(|row| row.rsplit_once(' ').unwrap().0.to_owned()).collect();
        assert_eq!(unique_files(&tree, &paths).len(), paths.len(), "{bound}: {told:?}");
    }
    assert_eq!(tree.found(is("path", Is::Like(crate::common::pattern("%/short/%")))), [""; 0]);
    assert_eq!(tree.found(all(vec![equal("type", "file"), not(equal("name", "z"))])), ["a/b/c/d/file"]);
}

#[test]
fn roots_in_roots_are_followed_once() {
    let tree = Tree::of(&[("a/one", "1"), ("b/two", "2")]).following();
    tree.link("a/to-b", "../b").link("door", "a");
    let ask = |filter: Filter| alike_following(&tree, &["path"], filter);
    assert_eq!(ask(tree.under("a")), ["a", "a/one", "a/to-b", "a/to-b/two"]);
    assert_eq!(ask(tree.under("door")), ["door", "door/one", "door/to-b", "door/to-b/two"]);
    assert_eq!(ask(Filter::Any(vec![tree.under("a"), tree.under("a"), at(&tree.at("a/one"))])).len(), 4);
    let both = ask(Filter::Any(vec![tree.under("a"), tree.under("b")]));
    assert_eq!(both, ["a", "a/one", "a/to-b", "b", "b/two"], "the plain way, from whatever root, wins");
}

#[test]
fn content_of_links_is_that_of_files_inside_the_root() {
    let outside = Tree::of(&[("secret", "SECRET"), ("near", "near")]);
    outside.link("folder/beside", "../near");
    let tree = Tree::of(&[("file", "abc")]).following();
    tree.link("inside", "file").link("secret", outside.at("secret")).link("out", outside.at("folder"));
    assert_eq!(tree.found(matches("content", "abc")), ["file", "inside"]);
    assert_eq!(tree.found(matches("content", "SECRET")), [""; 0]);
    let rows = tree.rows(&["name", "target"], all(vec![equal("type", "link"), not(null("target"))]));
    assert_eq!(rows.len(), 4, "{rows:?}");
}

#[test]
fn pseudo_file_systems_are_not_entered_through_links() {
    let tree = Tree::of(&[("file", "")]).following();
    tree.link("proc", "/proc").link("sys", "/sys/kernel").link("own", "/proc/self").link("fd", "/proc/self/fd");
    let answer = tree.asked(&["path"], all(vec![]));
    assert_eq!(tree.relative(&answer), [".", "fd", "file", "own", "proc", "sys"]);
    // Named by a root they are; what leads out of them leads on.
    let question =
        scan("files", &["path"], all(vec![under("/proc/self/fd".as_ref()), number("depth", Is::LessOrEqual, 1)]));
    assert!(alike_rows(&question).iter().any(|row| row == "/proc/self/fd/1"));
}

fn alike_rows(question: &canvass_protocol::scan::Scan) -> Vec<String> {
    crate::common::ask(&crate::common::machine(), question).unwrap().rows()
}

#[test]
fn a_fixture_is_followed_inside_its_root() {
    let outside = Tree::of(&[("secret", "SECRET")]);
    let tree = Tree::of(&[("host.toml", ""), ("etc/one", "1"), ("srv/two", "2")]);
    tree.link("etc/srv", "/srv").link("srv/etc", "../etc").link("srv/out", outside.root()).link("up", "../../../..");
    let host = Host::open(&HostSpec::Fixture(tree.root().to_owned())).unwrap();
    let ask = |root: &str| {
        let mut question = scan("files", &["path"], under(root.as_ref()));
        question.options.follow = true;
        alike(&host, &question).rows()
    };
    assert_eq!(ask("/"), ["/", "/etc", "/etc/one", "/etc/srv", "/srv", "/srv/etc", "/srv/out", "/srv/two", "/up"]);
    assert_eq!(ask("/etc"), ["/etc", "/etc/one", "/etc/srv", "/etc/srv/etc", "/etc/srv/out", "/etc/srv/two"]);
}

#[test]
fn many_ways_to_many_folders_stay_many_and_no_more() {
    let tree = Tree::new().following();
    for number in 0..40 {
        tree.file(&format!("{number}/file"), "");
        for other in 0..40 {
            tree.link(&format!("{number}/to-{other}"), format!("../{other}"));
        }
    }
    let answer = tree.asked(&["path"], all(vec![]));
    assert_eq!((answer.record.rows, answer.record.troubles_count), (1 + 40 + 40 + 1600, 0));
    assert_eq!(tree.found(is("name", Is::In(vec![text("file")]))).len(), 40);
}
