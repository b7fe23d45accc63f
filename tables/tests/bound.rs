//! Search roots: what a filter says of where to look.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;

use canvass_protocol::filter::{Filter, Is, Pattern, Place};
use canvass_protocol::value::Value;
use canvass_tables::bound::{Root, Sets, missing, roots, roots_with};
use canvass_tables::table::Keys;

fn path(is: Is) -> Filter {
    Filter::test("path", is)
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn under(folder: &str) -> Filter {
    path(Is::Under(Place::Folder(folder.to_owned())))
}

fn at(file: &str) -> Filter {
    path(Is::Equal(text(file)))
}

fn like(pattern: &str, ignore_case: bool) -> Filter {
    path(Is::Like(Pattern { pattern: pattern.to_owned(), ignore_case }))
}

fn regex(pattern: &str, ignore_case: bool) -> Filter {
    path(Is::Matches(Pattern { pattern: pattern.to_owned(), ignore_case }))
}

fn size() -> Filter {
    Filter::test("size", Is::Less(Value::Integer(1024)))
}

/// Roots in words: `=/etc/passwd` is one path, `/etc` a folder; `None` is unbounded.
fn check(filter: &Filter, expected: Option<&[&str]>) {
    let shown = roots(Some(filter), "path").map(|roots| {
        let show = |root: Root| match root {
            Root::At(path) => format!("={path}"),
            Root::Under(path) => path,
        };
        roots.into_iter().map(show).collect::<Vec<_>>()
    });
    let expected = expected.map(|roots| roots.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(shown, expected, "{filter:?}");
}

#[test]
fn single_tests_bound() {
    check(&at("/etc/passwd"), Some(&["=/etc/passwd"]));
    check(&path(Is::In(vec![text("/b"), text("/a"), text("/b")])), Some(&["=/a", "=/b"]));
    check(&under("/etc"), Some(&["/etc"]));
    check(&path(Is::NotEqual(text("/etc"))), None);
    check(&path(Is::Null), None);
    check(&path(Is::Greater(text("/etc"))), None);
    check(&size(), None);
    assert_eq!(roots(None, "path"), None);
}

#[test]
fn patterns_bound_by_their_prefix() {
    for (pattern, expected) in [
        ("/etc/%", Some(&["/etc"][..])),
        ("/etc/pa%", Some(&["/etc"])),
        ("/etc%", Some(&["/"])),
        ("/%", Some(&["/"])),
        ("etc%", Some(&["/"])),
        ("/etc/passwd", Some(&["=/etc/passwd"])),
        (r"/etc/100\%/x%", Some(&["/etc/100%"])),
        ("/etc/_/x", Some(&["/etc"])),
        ("%passwd", None),
        ("_etc/%", None),
    ] {
        check(&like(pattern, false), expected);
    }
    check(&like("/ETC/%", true), Some(&["/"]));
    check(&like("/1/%", true), Some(&["/1"]));
    for (pattern, expected) in [
        ("^/etc/", Some(&["/etc"][..])),
        ("^/etc/pa", Some(&["/etc"])),
        ("^/etc", Some(&["/"])),
        ("^/", Some(&["/"])),
        (r"^/etc/cron\.d/.*", Some(&["/etc/cron.d"])),
        ("^/etc/passwd$", Some(&["=/etc/passwd"])),
        ("^/(etc|var)/", Some(&["/etc", "/var"])),
        ("^/etc/|^/var/", Some(&["/etc", "/var"])),
        ("^(/etc/a|/var/b)$", Some(&["=/etc/a", "=/var/b"])),
        ("^/home/[^/]+/.ssh/", Some(&["/home"])),
        ("/etc/", None),
        ("^/etc/|/var/", None),
        ("(^/etc/)?x", None),
        ("(?m)^/etc/", None),
        ("^.*/etc/", None),
        ("^", None),
        ("^(|/etc/)", None),
        (r"\A/etc/", Some(&["/etc"])),
    ] {
        check(&regex(pattern, false), expected);
    }
    // Nobody gave a folder all the names that letters of either case spell: it is looked for where they begin.
    for (pattern, ignore_case, expected) in [
        ("^/1/ETC/", true, Some(&["/1"][..])),
        ("^/var/log/", true, Some(&["/"])),
        ("(?i)^/var/log/", false, Some(&["/"])),
        ("^/tmp/(?i:x)/", false, Some(&["/tmp"])),
        ("^/1/2$", true, Some(&["=/1/2"])),
        ("^/[Tt]mp/", false, Some(&["/Tmp", "/tmp"])),
        ("(?i)etc", false, None),
    ] {
        check(&regex(pattern, ignore_case), expected);
    }
}

#[test]
fn and_takes_what_all_hold() {
    check(&Filter::All(vec![size(), under("/etc")]), Some(&["/etc"]));
    check(&Filter::All(vec![under("/"), at("/etc/passwd"), under("/etc")]), Some(&["=/etc/passwd"]));
    check(&Filter::All(vec![under("/etc"), under("/var")]), Some(&[]));
    check(&Filter::All(vec![path(Is::In(vec![text("/etc/a"), text("/var/b")])), under("/etc")]), Some(&["=/etc/a"]));
    check(&Filter::All(vec![size(), size()]), None);
    check(&Filter::All(vec![]), None);
    let between = |low: &str, high: &str| vec![path(Is::GreaterOrEqual(text(low))), path(Is::LessOrEqual(text(high)))];
    check(&Filter::All(between("/etc/a", "/etc/c")), Some(&["/etc"]));
    check(&Filter::All(between("/etc/a", "/var/c")), Some(&["/"]));
    check(&Filter::All(between("", "/var/c")), None);
}

#[test]
fn or_needs_every_side() {
    check(&Filter::Any(vec![under("/etc"), at("/var/log")]), Some(&["/etc", "=/var/log"]));
    check(&Filter::Any(vec![under("/etc"), size()]), None);
    check(&Filter::Any(vec![]), Some(&[]));
    check(&Filter::Not(Box::new(under("/etc"))), None);
    check(&Filter::All(vec![Filter::Not(Box::new(under("/etc/ssh"))), under("/etc")]), Some(&["/etc"]));
}

#[test]
fn nested_roots_are_one() {
    check(
        &Filter::Any(vec![under("/etc/ssh"), at("/etc"), under("/etc"), under("/etc-old"), at("/etc/x")]),
        Some(&["/etc", "/etc-old"]),
    );
    check(&Filter::Any(vec![under("/home"), under("/"), at("/etc")]), Some(&["/"]));
    check(&Filter::Any(vec![at("/a"), at("/a/b")]), Some(&["=/a", "=/a/b"]));
}

#[test]
fn sets_and_networks_bound_too() {
    let named = path(Is::InSet("iocs".into()));
    check(&named, None);
    let sets = BTreeMap::from([("iocs".to_owned(), vec![text("/a"), text("/b")])]);
    let expected = vec![Root::At("/a".into()), Root::At("/b".into())];
    assert_eq!(roots_with(Some(&named), "path", &sets), Some(expected));
    let network = |text: &str| Filter::test("ip", Is::Under(Place::parse(text).unwrap()));
    let address = Filter::test("ip", Is::Equal(text("10.0.0.7")));
    let both = Filter::All(vec![network("10.0.0.0/8"), address]);
    assert_eq!(roots(Some(&both), "ip"), Some(vec![Root::At("10.0.0.7".into())]));
}

#[test]
fn a_bound_has_a_shape() {
    let is = |column: &str, constant: &str| Filter::test(column, Is::Equal(text(constant)));
    let all = |parts: &[Filter]| Filter::All(parts.to_vec());
    let any = |parts: &[Filter]| Filter::Any(parts.to_vec());
    const PATH: Keys = Keys::Column("path");
    const PROCESS: Keys = Keys::Any(&[Keys::Column("pid"), PATH]);
    const REACHED: Keys =
        Keys::All(&[Keys::Column("destination"), Keys::Any(&[Keys::Column("port"), Keys::Column("icmp")])]);
    for (keys, filter, expected) in [
        (PATH, all(&[]), Some("`path`")),
        (PATH, is("path", "/etc"), None),
        (PROCESS, all(&[]), Some("`pid` or `path`")),
        (PROCESS, is("size", "1"), Some("`pid` or `path`")),
        (PROCESS, is("pid", "1"), None),
        (PROCESS, all(&[is("path", "/etc"), is("size", "1")]), None),
        // Either side of an OR has to bound one and the same key.
        (PROCESS, any(&[is("path", "/etc"), is("pid", "1")]), Some("`pid` or `path`")),
        (REACHED, all(&[]), Some("`destination` and (`port` or `icmp`)")),
        (REACHED, is("port", "22"), Some("`destination`")),
        (REACHED, is("destination", "db"), Some("(`port` or `icmp`)")),
        (REACHED, all(&[is("icmp", "echo"), is("destination", "db")]), None),
        (Keys::All(&[]), all(&[]), None),
    ] {
        assert_eq!(missing(Some(&filter), &keys, &Sets::new()).as_deref(), expected, "{keys} in {filter}");
    }
    assert_eq!(missing(None, &PATH, &Sets::new()).as_deref(), Some("`path`"));
    assert_eq!(REACHED.to_string(), "`destination` and (`port` or `icmp`)");
    assert_eq!((REACHED.columns(), REACHED.column()), (vec!["destination", "port", "icmp"], None));
    assert_eq!((PATH.columns(), PATH.column()), (vec!["path"], Some("path")));
}

#[test]
fn what_is_shown_for_bytes_that_are_no_text_bounds_by_the_folder() {
    for (filter, expected) in [
        (at("/t/bad\u{fffd}"), Some(&["/t"][..])),
        (at("/t/bad\u{fffd}/x/y"), Some(&["/t"])),
        (at("/\u{fffd}"), Some(&["/"])),
        (at("\u{fffd}"), None),
        (under("/t/bad\u{fffd}/x"), Some(&["/t"])),
        (path(Is::In(vec![text("/a/b"), text("/t/\u{fffd}")])), Some(&["=/a/b", "/t"])),
        (like("/t/bad\u{fffd}", false), Some(&["/t"])),
        (like("/t/u/bad\u{fffd}/x%", false), Some(&["/t/u"])),
        (regex("^/t/bad\u{fffd}/x", false), Some(&["/t"])),
        (regex("^/t/bad\u{fffd}$", false), Some(&["/t"])),
        (Filter::All(vec![under("/t"), at("/t/u/bad\u{fffd}")]), Some(&["/t/u"])),
    ] {
        check(&filter, expected);
    }
}

#[test]
fn a_key_whose_values_themselves_are_asked_for() {
    const KEYS: Keys = Keys::Values("path");
    for (filter, named) in [
        (at("/t"), true),
        (Filter::test("path", Is::In(vec![text("a"), text("b")])), true),
        (Filter::Any(vec![at("/t"), under("/t")]), false),
        (Filter::All(vec![at("/t"), under("/t")]), true),
        (under("/t"), false),
        (like("/t/%", false), false),
        (size(), false),
    ] {
        assert_eq!(missing(Some(&filter), &KEYS, &Sets::new()).is_none(), named, "{filter:?}");
    }
    assert_eq!(missing(None, &KEYS, &Sets::new()).as_deref(), Some("`path`"));
}

#[test]
fn a_key_that_is_needed_unless_another_says_otherwise() {
    const KEYS: Keys = Keys::Unless { key: "port", column: "protocol", value: "icmp" };
    let protocol = |name: &str| Filter::test("protocol", Is::Equal(text(name)));
    let port = || Filter::test("port", Is::Equal(Value::Integer(80)));
    let tcp = || Filter::All(vec![protocol("tcp"), port()]);
    let any = |parts: Vec<Filter>| Filter::Any(parts);
    for (filter, bounded) in [
        (port(), true),
        (protocol("icmp"), true),
        (Filter::test("protocol", Is::In(vec![text("icmp"), text("icmp")])), true),
        (protocol("tcp"), false),
        (any(vec![protocol("icmp"), tcp()]), true),
        (Filter::All(vec![size(), any(vec![protocol("icmp"), tcp()])]), true),
        (any(vec![protocol("icmp"), protocol("tcp")]), false),
        (any(vec![protocol("icmp"), size()]), false),
        (Filter::Not(Box::new(protocol("tcp"))), false),
        (Filter::test("port", Is::Greater(Value::Integer(80))), false),
        (size(), false),
    ] {
        let words = missing(Some(&filter), &KEYS, &Sets::new());
        assert_eq!(words.is_none(), bounded, "{filter:?}");
        assert!(words.is_none_or(|words| words == "`port` (unless `protocol` = 'icmp')"));
    }
    assert!(missing(None, &KEYS, &Sets::new()).is_some());
    assert_eq!(KEYS.columns(), ["port"]);
}
