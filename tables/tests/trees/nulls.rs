//! What is unknown is NULL: no predicate on it is true, negated or not, and logic has three values.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use canvass_protocol::filter::{Filter, Is, Pattern, Place, VersionOrder, VersionTest};
use canvass_protocol::value::Value;
use canvass_protocol::versions::Source;
use canvass_tables::engine::Request;

use crate::common::tree::{Tree, alike, equal, is, null};
use crate::common::{all, answer, at, machine, matches, not, pattern, request, scan, text};

/// A tree of which only `file` has content.
fn without_content() -> (Tree, UnixListener) {
    let tree = Tree::of(&[("file", "abc\n")]);
    tree.folder("folder").fifo("fifo").link("dangling", "nothing").link("loop", "loop");
    tree.link("to-folder", "folder").link("to-fifo", "fifo").link("out", "/etc/passwd").link("null", "/dev/null");
    let socket = UnixListener::bind(tree.at("socket")).unwrap();
    (tree, socket)
}

fn content_tests() -> Vec<Filter> {
    let insensitive = |pattern: &str| Pattern { pattern: pattern.to_owned(), ignore_case: true };
    vec![
        matches("content", ""),
        matches("content", "abc"),
        matches("content", "never"),
        is("content", Is::Matches(insensitive("ABC"))),
        is("content", Is::Like(pattern("%"))),
        is("content", Is::Like(pattern("never"))),
        is("content", Is::EveryLine(pattern(""))),
        is("content", Is::EveryLine(pattern("never"))),
    ]
}

#[test]
fn no_test_of_content_that_is_not_there_is_true_negated_or_not() {
    let (tree, _socket) = without_content();
    for test in content_tests() {
        let yes = tree.found(test.clone());
        let no = tree.found(not(test.clone()));
        let mut both = [yes, no].concat();
        both.sort();
        assert_eq!(both, ["file"], "{test:?}");
        assert_eq!(tree.found(not(not(test.clone()))), tree.found(test.clone()));
        let excluded_middle = Filter::Any(vec![test.clone(), not(test.clone())]);
        assert_eq!(tree.found(excluded_middle), ["file"], "{test:?}");
        assert_eq!(tree.found(all(vec![test.clone(), not(test.clone())])), [""; 0], "{test:?}");
    }
}

#[test]
fn unknown_gives_way_to_what_is_known() {
    let (tree, _socket) = without_content();
    let unknown = matches("content", "abc");
    let folder = equal("name", "folder");
    // Unknown OR true is true; unknown AND false is false, so its negation is true.
    assert_eq!(tree.found(Filter::Any(vec![unknown.clone(), folder.clone()])), ["file", "folder"]);
    assert_eq!(tree.found(all(vec![unknown.clone(), folder.clone()])), [""; 0]);
    assert_eq!(tree.found(all(vec![not(unknown.clone()), folder.clone()])), [""; 0]);
    let neither = tree.found(not(all(vec![unknown.clone(), folder.clone()])));
    assert_eq!(neither.len(), 10, "all but `folder`, whose truth is unknown: {neither:?}");
    assert!(!neither.contains(&"folder".to_owned()));
    assert_eq!(tree.found(not(Filter::Any(vec![unknown.clone(), folder.clone()]))), [""; 0]);
    let other = not(Filter::Any(vec![matches("content", "never"), folder]));
    assert_eq!(tree.found(other), ["file"]);
    // An empty AND is true and an empty OR false, beside the unknown too.
    assert_eq!(tree.found(Filter::Any(vec![unknown.clone(), all(vec![])])).len(), 11);
    assert_eq!(tree.found(all(vec![unknown, Filter::Any(vec![])])), [""; 0]);
}

#[test]
fn null_columns_answer_to_no_operator_but_is_null() {
    let tree = Tree::of(&[("file", "abc")]);
    tree.folder("folder").link("link", "file");
    // `target` is NULL but for links, `path_hex` for all names here, hashes for folders.
    for (column, known) in [("target", vec!["link"]), ("path_hex", vec![]), ("md5", vec!["file", "link"])] {
        let unknown: Vec<_> =
            [".", "file", "folder", "link"].into_iter().filter(|name| !known.contains(name)).collect();
        assert_eq!(tree.found(null(column)), unknown, "{column}");
        assert_eq!(tree.found(not(null(column))), known, "{column}");
        for test in [
            Is::Equal(text("x")),
            Is::NotEqual(text("x")),
            Is::Less(text("x")),
            Is::LessOrEqual(text("x")),
            Is::Greater(text("x")),
            Is::GreaterOrEqual(text("x")),
            Is::In(vec![text("x"), text("y")]),
            Is::In(vec![]),
            Is::Like(pattern("%")),
            Is::Matches(pattern("")),
            Is::Under(Place::Folder("/".to_owned())),
            Is::Under(Place::parse("10.0.0.0/8").unwrap()),
            Is::Private,
            Is::Loopback,
            Is::Version(VersionTest { is: VersionOrder::LessOrEqual, than: "1".to_owned(), source: Source::Rpm }),
        ] {
            let mut either = tree.found(is(column, test.clone()));
            either.extend(tree.found(not(is(column, test.clone()))));
            assert!(either.iter().all(|name| known.contains(&name.as_str())), "{column} {test:?}: {either:?}");
        }
    }
}

#[test]
fn content_is_asked_by_its_own_operators_alone() {
    let tree = Tree::of(&[("file", "abc")]);
    for test in [
        Is::Null,
        Is::Equal(text("abc")),
        Is::NotEqual(text("abc")),
        Is::Less(text("abc")),
        Is::In(vec![text("abc")]),
        Is::InSet("x".into()),
        Is::Under(Place::Folder("/".into())),
        Is::Private,
        Is::Equal(Value::Integer(1)),
    ] {
        let question = scan("files", &["path"], all(vec![tree.under(""), is("content", test.clone())]));
        let error = crate::common::ask(&machine(), &question).map(|asked| asked.rows());
        assert!(error.is_err(), "{test:?}: {error:?}");
    }
}

#[test]
fn devices_and_fifos_are_rows_that_nobody_reads() {
    for path in ["/dev/null", "/dev/zero", "/dev/urandom"] {
        for test in content_tests() {
            for filter in [test.clone(), not(test)] {
                let question = scan("files", &["path"], all(vec![at(Path::new(path)), filter]));
                let answer = alike(&machine(), &question);
                assert_eq!((answer.record.rows, answer.troubles()), (0, vec![]), "{path}");
            }
        }
        let columns = ["path", "type", "md5", "sha256"];
        let row = alike(&machine(), &scan("files", &columns, at(Path::new(path)))).rows();
        assert_eq!(row, [format!("{path} char - -")]);
    }
    let tree = Tree::new();
    tree.fifo("fifo");
    let root = scan("files", &["type", "md5"], all(vec![at(&tree.at("fifo")), null("sha1")]));
    assert_eq!(alike(&machine(), &root).rows(), ["fifo -"]);
    // A FIFO with a writer who has something to say is left alone as well.
    let path = tree.at("fifo");
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NONBLOCK;
    let writer = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
    rustix::io::write(&writer, b"abc\n").unwrap();
    assert_eq!(tree.found(matches("content", "abc")), [""; 0]);
    assert_eq!(tree.rows(&["name", "sha1"], equal("type", "fifo")), ["fifo -"]);
    let mut left = [0; 16];
    assert_eq!(rustix::io::read(&writer, &mut left).unwrap(), 4, "what was written is still there");
}

/// The same questions asked by somebody who may not read all of it.
#[test]
fn what_may_not_be_read_is_null_and_a_trouble() {
    let tree = Tree::of(&[("open", "abc"), ("closed", "abc"), ("locked/inside", "abc")]);
    let chmod = |name: &str, mode| {
        std::fs::set_permissions(tree.at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    chmod("", 0o755);
    chmod("open", 0o644);
    chmod("closed", 0o000);
    chmod("locked", 0o700);
    let ask = |columns: &'static [&str], filter: Filter| {
        let question = scan("files", columns, all(vec![tree.under(""), filter]));
        // Rights belong to a thread and to those that it starts; only this one gives them up.
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| {
                if rustix::process::geteuid().is_root() {
                    let nobody = rustix::process::Uid::from_raw(65534);
                    rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                }
                let stop = std::sync::atomic::AtomicBool::new(false);
                [1, 4].map(|threads| {
                    let host = machine();
                    let request: Request<'_> = request(&host, &question, threads, &stop);
                    let asked = answer(&request).unwrap();
                    (tree.relative(&asked), asked.troubles())
                })
            });
            let [alone, together] = asking.join().unwrap();
            assert_eq!(alone.0, together.0);
            assert_eq!(alone.1.len(), together.1.len(), "{alone:?} {together:?}");
            alone
        })
    };
    let (rows, troubles) = ask(&["path"], all(vec![]));
    assert_eq!(rows, [".", "closed", "locked", "open"]);
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert!(troubles[0].ends_with("/locked: permission denied"), "{troubles:?}");
    for filter in [matches("content", "abc"), not(matches("content", "never"))] {
        let (rows, troubles) = ask(&["path"], filter);
        assert_eq!(rows, ["open"]);
        assert_eq!(troubles.len(), 2, "{troubles:?}");
        assert!(troubles.iter().any(|trouble| trouble.ends_with("/closed: permission denied")), "{troubles:?}");
    }
    let (rows, troubles) = ask(&["name", "md5"], equal("type", "file"));
    assert_eq!(rows, ["closed -".to_owned(), format!("open {}", crate::common::md5(b"abc"))]);
    assert_eq!(troubles.len(), 2, "one trouble a file, however many hashes: {troubles:?}");
    let several =
        ask(&["name", "md5", "sha1", "sha256"], all(vec![equal("type", "file"), not(matches("content", "x"))]));
    assert_eq!((several.0.len(), several.1.len()), (1, 2), "{several:?}");
    assert_eq!(ask(&["name", "size"], equal("name", "closed")).0, ["closed 3"]);
}
