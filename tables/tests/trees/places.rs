//! Where a question looks: every way to bound `path`, roots in roots, roots that are links, and never a row twice.

use std::collections::BTreeSet;
use std::path::Path;

use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::value::Value;

use crate::common::tree::{Tree, alike, equal, is, number};
use crate::common::{all, at, machine, matches, not, pattern, scan, text};

/// Folders whose names begin alike, and files in them.
fn tree() -> Tree {
    Tree::of(&[("ab/one", "1"), ("ab/c/two", "2"), ("abc/three", "3"), ("ab.c", "4"), ("b/four", "5")])
}

fn path(tree: &Tree, name: &str) -> String {
    tree.at(name).to_str().unwrap().trim_end_matches('/').to_owned()
}

fn like(tree: &Tree, end: &str) -> Filter {
    is("path", Is::Like(pattern(&format!("{}{end}", path(tree, "")))))
}

fn regex(tree: &Tree, end: &str) -> Filter {
    matches("path", &format!("^{}{end}", regex::escape(&path(tree, ""))))
}

/// Asks without any bound but the filter's own; rows relative to the tree, and how many were looked at.
fn check(tree: &Tree, filter: Filter, expected: &[&str], examined_max: u64) {
    let answer = tree.ask(&["path"], filter.clone());
    assert_eq!(tree.relative(&answer), expected, "{filter:?}");
    assert_eq!(answer.troubles(), Vec::<String>::new(), "{filter:?}");
    assert!(answer.record.examined <= examined_max, "{} looked at for {filter:?}", answer.record.examined);
}

#[test]
fn under_is_a_folder_and_what_lies_below_it() {
    let tree = tree();
    check(&tree, tree.under("ab"), &["ab", "ab/c", "ab/c/two", "ab/one"], 4);
    check(&tree, tree.under("ab/c"), &["ab/c", "ab/c/two"], 2);
    check(&tree, tree.under("ab/one"), &["ab/one"], 1);
    check(
        &tree,
        all(vec![tree.under(""), not(tree.under("ab"))]),
        &[".", "ab.c", "abc", "abc/three", "b", "b/four"],
        10,
    );
    check(&tree, Filter::Any(vec![tree.under("ab/c"), tree.under("b")]), &["ab/c", "ab/c/two", "b", "b/four"], 4);
    check(&tree, all(vec![tree.under("ab"), tree.under("ab/c")]), &["ab/c", "ab/c/two"], 2);
    check(&tree, all(vec![tree.under("ab"), tree.under("abc")]), &[], 0);
    check(&tree, all(vec![tree.under("ab"), not(tree.under("ab/c"))]), &["ab", "ab/one"], 4);
}

#[test]
fn equality_and_in_open_what_they_name_and_no_more() {
    let tree = tree();
    let file = |name: &str| at(&tree.at(name));
    check(&tree, file("ab/one"), &["ab/one"], 1);
    check(&tree, file("ab"), &["ab"], 1);
    check(&tree, all(vec![file("ab/one"), tree.under("")]), &["ab/one"], 1);
    check(&tree, all(vec![tree.under("ab"), file("b/four")]), &[], 0);
    let several = is("path", Is::In(["ab/one", "b/four", "ab/one"].map(|name| text(&path(&tree, name))).to_vec()));
    check(&tree, several.clone(), &["ab/one", "b/four"], 2);
    check(&tree, all(vec![several.clone(), tree.under("ab")]), &["ab/one"], 1);
    check(&tree, Filter::Any(vec![several.clone(), file("ab/one"), several]), &["ab/one", "b/four"], 2);
    check(&tree, is("path", Is::In(vec![])), &[], 0);
    check(&tree, all(vec![file("ab/one"), matches("content", "1")]), &["ab/one"], 1);
    check(&tree, all(vec![file("ab/one"), matches("content", "2")]), &[], 1);
    let mut question = scan("files", &["path"], is("path", Is::InSet("iocs".into())));
    question.sets.insert("iocs".into(), vec![text(&path(&tree, "ab.c")), text(&path(&tree, "b"))]);
    assert_eq!(tree.relative(&alike(&machine(), &question)), ["ab.c", "b"]);
}

#[test]
fn thousands_of_paths_are_looked_up_one_by_one() {
    let tree = Tree::new();
    let mut values = Vec::new();
    for number in 0..3000 {
        let name = format!("{}/{number}", number % 7);
        if number % 3 == 0 {
            tree.file(&name, "");
        }
        values.push(text(&path(&tree, &name)));
    }
    let answer = tree.ask(&["path"], is("path", Is::In(values)));
    assert_eq!((answer.record.rows, answer.record.troubles_count), (1000, 2000));
    assert_eq!(answer.record.troubles.len(), 100);
}

#[test]
fn patterns_look_where_their_prefix_says() {
    let tree = tree();
    let (ab, all_below) = (["ab", "ab/c", "ab/c/two", "ab/one"], 10);
    check(&tree, like(&tree, "/ab/%"), &ab[1..], 4);
    check(&tree, like(&tree, "/ab%"), &["ab", "ab.c", "ab/c", "ab/c/two", "ab/one", "abc", "abc/three"], all_below);
    check(&tree, like(&tree, "/ab/one"), &["ab/one"], 1);
    check(&tree, like(&tree, "/ab_c"), &["ab.c", "ab/c"], all_below);
    check(&tree, like(&tree, r"/ab\_c%"), &[], all_below);
    check(&tree, like(&tree, "/%/two"), &["ab/c/two"], all_below);
    check(&tree, all(vec![like(&tree, "/ab/%"), not(like(&tree, "/ab/c%"))]), &["ab/one"], 4);
    check(&tree, regex(&tree, "/ab/"), &ab[1..], 4);
    check(&tree, regex(&tree, "/ab/one$"), &["ab/one"], 1);
    check(&tree, regex(&tree, "/(ab|b)/"), &["ab/c", "ab/c/two", "ab/one", "b/four"], 6);
    check(&tree, regex(&tree, "/ab"), &["ab", "ab.c", "ab/c", "ab/c/two", "ab/one", "abc", "abc/three"], all_below);
    check(&tree, regex(&tree, "/ab.c"), &["ab.c", "ab/c", "ab/c/two"], all_below);
    check(&tree, regex(&tree, r"/[^/]*\.c$"), &["ab.c"], all_below);
    check(&tree, all(vec![regex(&tree, "/"), matches("path", "/two$")]), &["ab/c/two"], all_below);
    let upper = path(&tree, "ab").to_uppercase();
    let insensitive = |pattern: String| Pattern { pattern, ignore_case: true };
    check(
        &tree,
        all(vec![tree.under(""), is("path", Is::Like(insensitive(format!("{upper}/%"))))]),
        &ab[1..],
        all_below,
    );
    check(
        &tree,
        all(vec![tree.under(""), is("path", Is::Matches(insensitive(format!("^{upper}/"))))]),
        &ab[1..],
        all_below,
    );
}

#[test]
fn between_looks_where_both_ends_agree() {
    let tree = tree();
    let between = |low: &str, high: &str| {
        let end = |name: &str| text(&path(&tree, name));
        all(vec![is("path", Is::GreaterOrEqual(end(low))), is("path", Is::LessOrEqual(end(high)))])
    };
    check(&tree, between("ab/a", "ab/d"), &["ab/c", "ab/c/two"], 4);
    check(&tree, between("ab", "abd"), &["ab", "ab.c", "ab/c", "ab/c/two", "ab/one", "abc", "abc/three"], 10);
    check(&tree, between("b", "ab"), &[], 10);
    check(&tree, between("ab/one", "ab/one"), &["ab/one"], 4);
    let open = all(vec![
        is("path", Is::Greater(text(&path(&tree, "ab/c")))),
        is("path", Is::Less(text(&path(&tree, "ab/one")))),
    ]);
    check(&tree, open, &["ab/c/two"], 4);
    check(&tree, all(vec![between("ab/a", "ab/d"), not(equal("name", "two"))]), &["ab/c"], 4);
}

#[test]
fn order_and_nesting_of_a_bound_do_not_matter() {
    let tree = tree();
    let (ab, one) = (tree.under("ab"), equal("name", "one"));
    for filter in [
        all(vec![ab.clone(), one.clone()]),
        all(vec![one.clone(), ab.clone()]),
        all(vec![all(vec![one.clone()]), Filter::Any(vec![all(vec![ab.clone()])])]),
        Filter::Any(vec![all(vec![one.clone(), ab.clone()])]),
        all(vec![not(not(one.clone())), ab.clone(), not(tree.under("b"))]),
        Filter::Any(vec![all(vec![one.clone(), ab.clone()]), all(vec![ab, one])]),
    ] {
        check(&tree, filter, &["ab/one"], 4);
    }
    let unbounded = Filter::Any(vec![tree.under("ab"), equal("name", "one")]);
    assert!(crate::common::ask(&machine(), &scan("files", &["path"], unbounded)).is_err());
    let unbounded = not(not(tree.under("ab")));
    assert!(crate::common::ask(&machine(), &scan("files", &["path"], all(vec![unbounded]))).is_err());
}

/// Each path once, whatever roots hold it.
fn rows_once(tree: &Tree, filter: Filter) -> Vec<String> {
    let rows = tree.relative(&tree.ask(&["path", "depth"], filter.clone()));
    let paths: BTreeSet<&str> = rows.iter().map(|row| row.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(paths.len(), rows.len(), "{filter:?}: {rows:?}");
    rows
}

#[test]
fn roots_in_roots_give_each_row_once_and_the_depth_of_the_outermost() {
    let tree = tree();
    let whole =
        [". 0", "ab 1", "ab.c 1", "ab/c 2", "ab/c/two 3", "ab/one 2", "abc 1", "abc/three 2", "b 1", "b/four 2"];
    let root = || tree.under("");
    for filter in [
        root(),
        Filter::Any(vec![root(), root(), root()]),
        Filter::Any(vec![tree.under("ab"), root(), tree.under("ab/c")]),
        Filter::Any(vec![at(&tree.at("ab/c/two")), root(), at(&tree.at("ab")), at(&tree.at("ab/c/two"))]),
        Filter::Any(vec![like(&tree, "/ab/%"), root(), regex(&tree, "/b/")]),
        Filter::Any(vec![root(), all(vec![tree.under("ab"), equal("name", "one")])]),
    ] {
        assert_eq!(rows_once(&tree, filter), whole);
    }
    let inner = Filter::Any(vec![tree.under("ab/c"), tree.under("ab"), at(&tree.at("ab.c")), at(&tree.at("b"))]);
    assert_eq!(rows_once(&tree, inner), ["ab 0", "ab.c 0", "ab/c 1", "ab/c/two 2", "ab/one 1", "b 0"]);
    let beside = Filter::Any(vec![tree.under("ab/c"), at(&tree.at("ab/c")), at(&tree.at("ab/one"))]);
    assert_eq!(rows_once(&tree, beside), ["ab/c 0", "ab/c/two 1", "ab/one 0"]);
    let bounded = all(vec![Filter::Any(vec![root(), tree.under("ab/c")]), number("depth", Is::LessOrEqual, 1)]);
    assert_eq!(rows_once(&tree, bounded), [". 0", "ab 1", "ab.c 1", "abc 1", "b 1"]);
    let bounded =
        all(vec![Filter::Any(vec![tree.under("b"), tree.under("ab/c")]), number("depth", Is::LessOrEqual, 0)]);
    assert_eq!(rows_once(&tree, bounded), ["ab/c 0", "b 0"]);
}

#[test]
fn roots_behind_links_keep_the_spelling_and_give_each_row_once() {
    let tree = tree();
    tree.link("door", "ab").link("abc/back", "../ab").link("chain", "door").link("away", "nothing");
    assert_eq!(rows_once(&tree, tree.under("door")), ["door 0", "door/c 1", "door/c/two 2", "door/one 1"]);
    assert_eq!(rows_once(&tree, tree.under("chain/c")), ["chain/c 0", "chain/c/two 1"]);
    assert_eq!(
        rows_once(&tree, tree.under("abc/back")),
        ["abc/back 0", "abc/back/c 1", "abc/back/c/two 2", "abc/back/one 1"]
    );
    assert_eq!(rows_once(&tree, tree.under("away")), ["away 0"]);
    assert_eq!(rows_once(&tree, at(&tree.at("door"))), ["door 0"]);
    assert_eq!(rows_once(&tree, at(&tree.at("door/one"))), ["door/one 0"]);
    let types = tree.relative(&tree.ask(&["path", "type"], tree.under("door")));
    assert_eq!(types[0], "door link");
    let both = Filter::Any(vec![tree.under("ab"), tree.under("door"), tree.under("door/c"), tree.under("ab/c")]);
    assert_eq!(
        rows_once(&tree, both),
        ["ab 0", "ab/c 1", "ab/c/two 2", "ab/one 1", "door 0", "door/c 1", "door/c/two 2", "door/one 1"]
    );
    let nested = Filter::Any(vec![
        tree.under("abc"),
        tree.under("abc/back"),
        tree.under("abc/back/c"),
        at(&tree.at("abc/back/one")),
    ]);
    let expected = ["abc 0", "abc/back 1", "abc/back/c 2", "abc/back/c/two 3", "abc/back/one 2", "abc/three 1"];
    assert_eq!(rows_once(&tree, nested.clone()), expected);
    let bounded = all(vec![nested, number("depth", Is::LessOrEqual, 2)]);
    assert_eq!(rows_once(&tree, bounded), ["abc 0", "abc/back 1", "abc/back/c 2", "abc/back/one 2", "abc/three 1"]);
    // Without a root that names it, the link is a row of its own and not entered.
    assert_eq!(rows_once(&tree, tree.under("abc")), ["abc 0", "abc/back 1", "abc/three 1"]);
    assert_eq!(rows_once(&tree, like(&tree, "/door/%")), ["door/c 1", "door/c/two 2", "door/one 1"]);
}

/// `UNDER ('/bin', '/usr/bin')` where the one is a link to the other.
#[test]
fn the_same_folder_under_two_names_is_told_under_both() {
    let both = |first: &str, second: &str| {
        let under = |path: &str| is("path", Is::Under(canvass_protocol::filter::Place::Folder(path.to_owned())));
        let roots = Filter::Any(vec![under(first), under(second), under(first)]);
        let question = scan("files", &["path"], all(vec![roots, number("depth", Is::LessOrEqual, 1)]));
        alike(&machine(), &question).rows()
    };
    let rows = both("/bin", "/usr/bin");
    let unique: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(unique.len(), rows.len());
    let below =
        |folder: &str| rows.iter().filter_map(|row| row.strip_prefix(folder)).map(str::to_owned).collect::<Vec<_>>();
    if Path::new("/bin").is_symlink() {
        assert_eq!(below("/bin/"), below("/usr/bin/"));
    }
    assert!(below("/usr/bin/").iter().any(|name| name == "env"), "{}", rows.len());
}

#[test]
fn depth_bounds_what_is_looked_at() {
    let tree = Tree::new();
    for folder in 0..50 {
        tree.folder(&format!("a/{folder}/{folder}/{folder}"));
    }
    for (bound, rows) in [(0, 1), (1, 2), (2, 52), (3, 102), (4, 152), (5, 152)] {
        let filter = number("depth", Is::LessOrEqual, bound);
        let answer = tree.asked(&["path"], filter);
        assert_eq!((answer.record.rows, answer.record.examined), (rows, rows), "{bound}");
        let exact = tree.asked(&["path"], number("depth", Is::Equal, bound));
        assert!(exact.record.examined <= rows, "{bound}");
        let strict = tree.asked(&["path"], number("depth", Is::Less, bound + 1));
        assert_eq!((strict.record.rows, strict.record.examined), (rows, rows), "{bound}");
        let either = Filter::Any(vec![number("depth", Is::Equal, bound), number("depth", Is::Equal, 0)]);
        assert!(tree.asked(&["path"], either).record.examined <= rows, "{bound}");
    }
}

#[test]
fn roots_that_are_missing_are_troubles_and_spoil_nothing() {
    let tree = tree();
    let filter =
        Filter::Any(vec![tree.under("none"), at(&tree.at("ab/none")), tree.under("ab/c"), tree.under("ab/one/x")]);
    let answer = tree.ask(&["path"], filter);
    assert_eq!(tree.relative(&answer), ["ab/c", "ab/c/two"]);
    let mut troubles = answer.troubles();
    troubles.sort();
    assert_eq!(troubles.len(), 3, "{troubles:?}");
    assert!(troubles[0].ends_with("/ab/none: no such file"), "{troubles:?}");
    assert!(troubles[2].ends_with("/none: no such file"), "{troubles:?}");
    // Inside a root that was walked, a path that is not there is just no row.
    let inside = Filter::Any(vec![tree.under("ab"), at(&tree.at("ab/none"))]);
    assert_eq!(tree.relative(&tree.ask(&["path"], inside)).len(), 4);
    for spelled in ["relative", "/a//b", "/a/", "/a/.", "/../a", "//"] {
        let value = Is::In(vec![text(spelled), text(&path(&tree, "ab.c"))]);
        let answer = tree.ask(&["path"], is("path", value));
        assert_eq!(tree.relative(&answer), ["ab.c"], "{spelled:?}");
        assert_eq!(answer.record.troubles_count, 1, "{spelled:?}: {:?}", answer.troubles());
    }
    let long = format!("/{}", "x/".repeat(3000).trim_end_matches('/'));
    let answer = tree.ask(&["path"], equal("path", &long));
    assert_eq!((answer.record.rows, answer.record.troubles_count), (0, 1));
    let zero = tree.ask(&["path"], equal("path", "/etc\0/passwd"));
    assert_eq!((zero.record.rows, zero.record.troubles_count), (0, 1));
    let number = scan("files", &["path"], is("path", Is::In(vec![Value::Integer(1)])));
    assert!(crate::common::ask(&machine(), &number).is_err());
}
