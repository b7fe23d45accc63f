//! Hashes: as output and as predicate, several in one read, NULL where there is no content.

use std::fs;
use std::os::unix::net::UnixListener;

use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::value::Value;

use crate::common::tree::{Tree, alike, equal, is, null};
use crate::common::{all, at, machine, matches, not, pattern, scan, text};
use crate::published::{HASHES, Published};

fn published() -> Tree {
    let million = vec![b'a'; 1_000_000];
    Tree::of(&[("empty", &b""[..]), ("abc", b"abc"), ("folder/million", &million), ("other", b"abd")])
}

fn columns() -> Vec<&'static str> {
    HASHES.iter().map(|hash| hash.column).collect()
}

/// A value that none of the files has, as long as the hash.
fn absent(hash: &Published, number: usize) -> Value {
    Value::Text(format!("{number:0>width$x}", width = hash.abc.len()))
}

#[test]
fn each_hash_is_the_published_one() {
    let tree = published();
    for hash in &HASHES {
        let rows = tree.rows(&["name", hash.column], not(equal("name", "other")));
        let expected = [
            "folder -".to_owned(),
            format!("abc {}", hash.abc),
            format!("empty {}", hash.empty),
            format!("million {}", hash.million),
        ];
        for row in expected {
            assert!(rows.contains(&row), "{}: {row} in {rows:?}", hash.column);
        }
        assert_eq!(rows.len(), 5, "{}: {rows:?}", hash.column);
    }
}

#[test]
fn all_hashes_of_a_row_come_together_and_in_the_order_asked() {
    let tree = published();
    let of = |pick: fn(&Published) -> &str| HASHES.iter().map(pick).collect::<Vec<_>>().join(" ");
    assert_eq!(tree.rows(&columns(), equal("name", "abc")), [of(|hash| hash.abc)]);
    assert_eq!(tree.rows(&columns(), equal("name", "million")), [of(|hash| hash.million)]);
    assert_eq!(tree.rows(&columns(), equal("name", "empty")), [of(|hash| hash.empty)]);
    let reversed: Vec<_> = columns().into_iter().rev().collect();
    let expected = HASHES.iter().rev().map(|hash| hash.abc).collect::<Vec<_>>().join(" ");
    assert_eq!(tree.rows(&reversed, equal("name", "abc")), [expected]);
    // A column may be asked for twice.
    let twice = format!("{0} {0}", HASHES[2].abc);
    assert_eq!(tree.rows(&["sha256", "sha256"], equal("name", "abc")), [twice]);
}

#[test]
fn each_hash_finds_its_file_whatever_the_case_of_the_constant() {
    let tree = published();
    for hash in &HASHES {
        let mixed: String = hash
            .abc
            .char_indices()
            .map(|(at, digit)| if at % 2 == 0 { digit.to_ascii_uppercase() } else { digit })
            .collect();
        for constant in [hash.abc, &hash.abc.to_ascii_uppercase(), &mixed] {
            assert_eq!(tree.found(equal(hash.column, constant)), ["abc"], "{constant}");
            let unlike = all(vec![is(hash.column, Is::NotEqual(text(constant)))]);
            assert_eq!(tree.found(unlike), ["empty", "folder/million", "other"], "{constant}");
            assert_eq!(tree.found(not(equal(hash.column, constant))), ["empty", "folder/million", "other"]);
        }
        assert_eq!(tree.found(equal(hash.column, hash.million)), ["folder/million"]);
        assert_eq!(tree.found(equal(hash.column, hash.empty)), ["empty"]);
        for never in ["", "abc", &hash.abc[1..], &format!("{} ", hash.abc), &format!("{}00", hash.abc)] {
            assert_eq!(tree.found(equal(hash.column, never)), [""; 0], "{never:?}");
        }
    }
}

#[test]
fn thousands_of_hashes_are_looked_up_at_once() {
    let tree = published();
    for hash in &HASHES {
        let mut values: Vec<Value> = (1..5000).map(|number| absent(hash, number)).collect();
        assert_eq!(tree.found(is(hash.column, Is::In(values.clone()))), [""; 0]);
        let everything = is(hash.column, Is::In(values.clone()));
        assert_eq!(tree.found(not(everything)).len(), 4, "{}", hash.column);
        values.insert(2500, Value::Text(hash.abc.to_ascii_uppercase()));
        values.push(text(hash.million));
        assert_eq!(tree.found(is(hash.column, Is::In(values.clone()))), ["abc", "folder/million"]);
        assert_eq!(tree.found(not(is(hash.column, Is::In(values.clone())))), ["empty", "other"]);
        let mut question =
            scan("files", &["name"], all(vec![tree.under(""), is(hash.column, Is::InSet("known".into()))]));
        question.sets.insert("known".to_owned(), values);
        assert_eq!(alike(&machine(), &question).rows(), ["abc", "million"], "{}", hash.column);
    }
}

#[test]
fn hashes_answer_to_all_operators_of_text() {
    let tree = published();
    for hash in &HASHES {
        let start = &hash.abc[..12];
        let like = |pattern: String| is(hash.column, Is::Like(Pattern { pattern, ignore_case: false }));
        assert_eq!(tree.found(matches(hash.column, &format!("^{start}"))), ["abc"]);
        assert_eq!(tree.found(not(matches(hash.column, &format!("^{start}")))), ["empty", "folder/million", "other"]);
        assert_eq!(tree.found(like(format!("{start}%"))), ["abc"]);
        assert_eq!(tree.found(like(format!("%{}", &hash.abc[20..]))), ["abc"]);
        assert_eq!(tree.found(matches(hash.column, "^[0-9a-f]+$")).len(), 4, "lower case alone");
        let upper = all(vec![
            is(hash.column, Is::GreaterOrEqual(text(hash.abc))),
            is(hash.column, Is::LessOrEqual(text(hash.abc))),
        ]);
        assert_eq!(tree.found(upper), ["abc"]);
    }
}

#[test]
fn tests_of_different_hashes_are_combined() {
    let tree = published();
    let hash = |index: usize, pick: fn(&Published) -> &str| equal(HASHES[index].column, pick(&HASHES[index]));
    let both = all((0..9).map(|index| hash(index, |hash| hash.abc)).collect());
    assert_eq!(tree.found(both), ["abc"]);
    let one_wrong =
        all((0..9).map(|index| hash(index, if index == 8 { |hash| hash.empty } else { |hash| hash.abc })).collect());
    assert_eq!(tree.found(one_wrong), [""; 0]);
    let either = Filter::Any(vec![hash(0, |hash| hash.abc), hash(8, |hash| hash.million), hash(5, |hash| hash.empty)]);
    assert_eq!(tree.found(either), ["abc", "empty", "folder/million"]);
}

#[test]
fn only_what_has_content_has_a_hash() {
    let tree = Tree::of(&[("file", "abc")]);
    let outside = Tree::of(&[("secret", "abc")]);
    tree.folder("folder").fifo("fifo");
    let _socket = UnixListener::bind(tree.at("socket")).unwrap();
    tree.link("to-file", "file").link("to-folder", "folder").link("to-fifo", "fifo").link("to-nothing", "nothing");
    tree.link("to-itself", "to-itself").link("out", outside.at("secret")).link("folder/up", "../file");
    tree.link("twice", "to-file").link("folder/round", tree.at("folder/../file"));
    for hash in &HASHES {
        let with = ["file", "folder/round", "folder/up", "to-file", "twice"];
        assert_eq!(tree.found(equal(hash.column, hash.abc)), with, "{}", hash.column);
        assert_eq!(tree.found(not(null(hash.column))), with, "{}", hash.column);
        assert_eq!(tree.found(not(equal(hash.column, hash.empty))), with, "{}", hash.column);
        assert_eq!(tree.found(is(hash.column, Is::NotEqual(text(hash.empty)))), with);
        let without = [".", "fifo", "folder", "out", "socket", "to-fifo", "to-folder", "to-itself", "to-nothing"];
        assert_eq!(tree.found(null(hash.column)), without, "{}", hash.column);
        let rows = tree.rows(&["name", hash.column], null(hash.column));
        assert!(rows.iter().all(|row| row.ends_with(" -")), "{rows:?}");
    }
    let device = scan("files", &["path", "md5"], at("/dev/zero".as_ref()));
    assert_eq!(alike(&machine(), &device).rows(), ["/dev/zero -"]);
}

/// A file's hashes are of all of it, even where a test of its content was decided in the first line.
#[test]
fn content_that_is_decided_early_spoils_no_hash() {
    let tree = Tree::new();
    let mut bytes = b"early\n".to_vec();
    bytes.resize(999_994, b'\n');
    bytes.extend(b"late!\n");
    tree.file("big", &bytes).file("million", vec![b'a'; 1_000_000]);
    let sha256 = crate::common::sha256(&bytes);
    for filter in [
        matches("content", "^early$"),
        matches("content", "^late!$"),
        not(matches("content", "aa")),
        not(is("content", Is::EveryLine(pattern("early|a")))),
        all(vec![matches("content", "early"), not(matches("content", "never"))]),
        Filter::Any(vec![matches("content", "early"), equal("sha256", HASHES[2].empty)]),
        all(vec![equal("sha256", &sha256), matches("content", "early")]),
        all(vec![matches("content", "early"), equal("sha256", &sha256.to_uppercase())]),
    ] {
        assert_eq!(tree.rows(&["name", "sha256"], filter.clone()), [format!("big {sha256}")], "{filter:?}");
    }
    let wrong = all(vec![matches("content", "early"), equal("sha256", HASHES[2].million)]);
    assert_eq!(tree.found(wrong), [""; 0]);
}

#[test]
fn a_hash_is_told_where_the_filter_could_do_without() {
    let tree = published();
    let md5 = &HASHES[0];
    let either = Filter::Any(vec![equal("name", "abc"), equal("md5", md5.empty)]);
    assert_eq!(tree.rows(&["name", "md5"], either), [format!("abc {}", md5.abc), format!("empty {}", md5.empty)]);
    // One hash tested, another one told.
    let other = tree.rows(&["sha1"], equal("md5", md5.million));
    assert_eq!(other, [HASHES[1].million]);
}

#[test]
fn hashes_cross_the_borders_of_blocks() {
    let tree = Tree::new();
    let mut expected = Vec::new();
    for border in [64usize << 10, 128 << 10, 256 << 10, 1 << 20, 2 << 20] {
        for size in [border - 1, border, border + 1] {
            let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
            tree.file(&format!("{size}"), &bytes);
            expected.push(format!("{size} {} {}", crate::common::md5(&bytes), crate::common::sha256(&bytes)));
        }
    }
    expected.sort();
    assert_eq!(tree.rows(&["name", "md5", "sha256"], equal("type", "file")), expected);
}

#[test]
fn hard_links_and_copies_have_the_same_hash() {
    let tree = Tree::of(&[("one", "same"), ("copy", "same"), ("else", "other")]);
    fs::hard_link(tree.at("one"), tree.at("two")).unwrap();
    assert_eq!(tree.found(equal("sha1", &crate::common::sha1(b"same"))), ["copy", "one", "two"]);
}

#[test]
fn withheld_content_withholds_no_hash_nor_the_other_way() {
    let tree = Tree::of(&[("one", "abc")]);
    let ask = |columns: &[&str], filter: Filter, withheld: &[&str]| {
        let question = scan("files", columns, all(vec![tree.under(""), equal("type", "file"), filter]));
        let asked = crate::common::ask_with(&machine(), &question, Default::default(), withheld, &[]).unwrap();
        (asked.rows(), asked.record.troubles_count)
    };
    let sha1 = HASHES[1].abc;
    assert_eq!(ask(&["name", "md5", "sha1"], all(vec![]), &["md5"]), (vec![format!("one - {sha1}")], 1));
    assert_eq!(ask(&["name"], equal("md5", HASHES[0].abc), &["md5"]), (vec![], 1));
    assert_eq!(ask(&["name"], not(equal("md5", HASHES[0].empty)), &["md5"]), (vec![], 1));
    assert_eq!(ask(&["sha1"], equal("sha1", sha1), &["content"]), (vec![sha1.to_owned()], 0));
    assert_eq!(ask(&["name"], matches("content", "abc"), &["sha1"]), (vec!["one".to_owned()], 0));
    assert_eq!(ask(&["sha1"], matches("content", "abc"), &["content"]), (vec![], 1));
    let either = Filter::Any(vec![matches("content", "abc"), equal("sha1", sha1)]);
    assert_eq!(ask(&["name"], either, &["content"]), (vec!["one".to_owned()], 1));
}
