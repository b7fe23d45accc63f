//! What targets, places and patterns mean: tables of cases for the one evaluator of desk, server and agent.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use canvass_protocol::filter::{Filter, Is, Pattern, Place, VersionOrder};
use canvass_protocol::matcher::{TextMatcher, is_loopback, is_private};
use canvass_protocol::target::{Facts, ServerWords, Status, evaluate, named};
use canvass_protocol::value::{Truth, Value};
use canvass_protocol::versions::Source;
use common::{at, facts, pattern, version};

const TRUE: Truth = Truth::True;
const FALSE: Truth = Truth::False;
const UNKNOWN: Truth = Truth::Unknown;

fn text(text: &str) -> Value {
    Value::Text(text.into())
}

fn equal(column: &str, value: &str) -> Filter {
    Filter::test(column, Is::Equal(text(value)))
}

fn not(filter: Filter) -> Filter {
    Filter::Not(Box::new(filter))
}

fn words() -> ServerWords {
    ServerWords { status: Status::Online, heartbeat_at: at("2026-11-21T11:59:30Z"), public_ip: None }
}

#[test]
fn some_targets_name_whom_they_mean() {
    let ids = |ids: &[&str]| Filter::test("id", Is::In(ids.iter().map(|id| text(id)).collect()));
    for (target, expected) in [
        (equal("id", "a"), Some(vec!["a"])),
        (ids(&["b", "a", "b"]), Some(vec!["a", "b"])),
        (ids(&[]), Some(vec![])),
        (Filter::All(vec![equal("os", "linux"), equal("id", "a")]), Some(vec!["a"])),
        (Filter::Any(vec![equal("id", "b"), ids(&["a", "b"])]), Some(vec!["a", "b"])),
        (Filter::Any(vec![]), Some(vec![])),
        // Others can be meant too.
        (Filter::Any(vec![equal("id", "b"), equal("os", "linux")]), None),
        (not(equal("id", "a")), None),
        (Filter::test("id", Is::NotEqual(text("a"))), None),
        (Filter::test("id", Is::Like(pattern("a%"))), None),
        (Filter::test("id", Is::Equal(Value::Integer(1))), None),
        (equal("name", "a"), None),
        (Filter::All(vec![]), None),
    ] {
        assert_eq!(named(&target).map(Vec::from_iter), expected, "{target:?}");
        // Whoever is not named is not meant.
        let nobody = Facts { id: "c".into(), ..facts() };
        assert!(expected.is_none() || evaluate(&target, &nobody, Some(&words())) == FALSE, "{target:?}");
    }
}

#[test]
fn own_facts() {
    let started = |is: fn(Value) -> Is, time: &str| {
        Filter::test("started_at", is(Value::TimestampNs(i64::try_from(at(time).as_nanosecond()).unwrap())))
    };
    let network = |text: &str| Filter::test("addresses", Is::Under(Place::parse(text).unwrap()));
    let id = facts().id;
    for (target, expected) in [
        (equal("id", &id), TRUE),
        (equal("name", "web-1"), TRUE),
        (equal("name", "WEB-1"), FALSE),
        (equal("mode", "daemon"), TRUE),
        (equal("os", "linux"), TRUE),
        (equal("os", "macos"), FALSE),
        (not(equal("os", "macos")), TRUE),
        (Filter::test("os", Is::In(vec![text("macos"), text("linux")])), TRUE),
        (Filter::test("os", Is::In(Vec::new())), FALSE),
        (not(Filter::test("os", Is::In(Vec::new()))), TRUE),
        (Filter::test("name", Is::Like(pattern("web-%"))), TRUE),
        (Filter::test("name", Is::Matches(pattern("^db-"))), FALSE),
        (Filter::test("version", Is::Less(text("0.2"))), TRUE),
        (Filter::test("os_version", Is::Null), FALSE),
        // Tags, as far as the agent carries them.
        (equal("tags.team", "shop"), TRUE),
        (equal("tags.team", "lab"), FALSE),
        (Filter::test("tags.team", Is::Null), FALSE),
        (Filter::test("tags.zone", Is::Null), TRUE),
        (not(Filter::test("tags.zone", Is::Null)), FALSE),
        // NULL is neither equal nor unequal, and what is not true is not asked.
        (equal("tags.zone", "eu"), FALSE),
        (not(equal("tags.zone", "eu")), FALSE),
        (Filter::test("kernel", Is::NotEqual(text("6.1"))), FALSE),
        (Filter::test("kernel", Is::Null), TRUE),
        // Unknown inside is still unknown, not false: OR and NOT over it follow SQL.
        (Filter::Any(vec![equal("tags.zone", "eu"), equal("os", "linux")]), TRUE),
        (not(Filter::All(vec![equal("tags.zone", "eu"), equal("os", "macos")])), TRUE),
        (not(Filter::All(vec![equal("tags.zone", "eu"), equal("os", "linux")])), FALSE),
        // Addresses: one of them is enough.
        (network("10.0.0.0/8"), TRUE),
        (network("192.168.0.0/16"), FALSE),
        (network("fe80::/10"), TRUE),
        (equal("addresses", "10.1.2.3"), TRUE),
        (Filter::test("addresses", Is::Private), TRUE),
        (Filter::test("addresses", Is::Loopback), FALSE),
        (started(Is::Less, "2026-11-20T08:30:01Z"), TRUE),
        (started(Is::GreaterOrEqual, "2026-11-20T08:30:00Z"), TRUE),
        (started(Is::Equal, "2026-11-20T08:30:00.000000001Z"), FALSE),
        (started(|value| Is::In(vec![value]), "2026-11-20T08:30:00Z"), TRUE),
        // What does not fit is not true, nor is its opposite.
        (Filter::test("os", Is::Equal(Value::Integer(1))), FALSE),
        (not(Filter::test("os", Is::Equal(Value::Integer(1)))), FALSE),
        (not(Filter::test("os", Is::InSet("x".into()))), FALSE),
        (not(Filter::test("os", Is::EveryLine(pattern("x")))), FALSE),
        (not(Filter::test("os", Is::Matches(pattern("(")))), FALSE),
        (not(equal("started_at", "2026")), FALSE),
        (equal("shoe_size", "44"), FALSE),
        (not(equal("shoe_size", "44")), FALSE),
        (not(equal("tags", "shop")), FALSE),
        (Filter::All(Vec::new()), TRUE),
        (Filter::Any(Vec::new()), FALSE),
    ] {
        assert_eq!(evaluate(&target, &facts(), None), expected, "{target:?}");
        assert_eq!(evaluate(&target, &facts(), Some(&words())), expected, "with the server's words: {target:?}");
    }
    let bare = Facts { addresses: Vec::new(), ..facts() };
    assert_eq!(evaluate(&network("10.0.0.0/8"), &bare, None), FALSE);
    assert_eq!(evaluate(&not(network("10.0.0.0/8")), &bare, None), TRUE);
    let mapped = Facts { addresses: vec!["::ffff:10.1.2.3".parse().unwrap()], ..facts() };
    assert_eq!(evaluate(&equal("addresses", "10.1.2.3"), &mapped, None), TRUE);
}

#[test]
fn the_servers_words() {
    let online = || equal("status", "online");
    let ip = || Filter::test("public_ip", Is::Under(Place::parse("203.0.113.0/24").unwrap()));
    let heard = Filter::test("heartbeat_at", Is::Greater(Value::TimestampNs(0)));
    for (target, without, with) in [
        (online(), UNKNOWN, TRUE),
        (not(online()), UNKNOWN, FALSE),
        (equal("status", "offline"), UNKNOWN, FALSE),
        (heard, UNKNOWN, TRUE),
        (ip(), UNKNOWN, FALSE),
        (not(ip()), UNKNOWN, FALSE),
        (Filter::test("public_ip", Is::Null), UNKNOWN, TRUE),
        // Whatever the server says, an agent of another system is not meant.
        (Filter::All(vec![online(), equal("os", "macos")]), FALSE, FALSE),
        (Filter::All(vec![online(), equal("os", "linux")]), UNKNOWN, TRUE),
        (Filter::Any(vec![online(), equal("os", "linux")]), TRUE, TRUE),
        (Filter::Any(vec![not(online()), equal("os", "macos")]), UNKNOWN, FALSE),
        // An agent without the tag is not meant either, whatever the server says.
        (Filter::All(vec![online(), equal("tags.zone", "eu")]), FALSE, FALSE),
        (Filter::All(vec![online(), not(equal("tags.zone", "eu"))]), FALSE, FALSE),
        (not(Filter::Any(vec![not(online()), equal("tags.zone", "eu")])), FALSE, FALSE),
    ] {
        assert_eq!(evaluate(&target, &facts(), None), without, "{target:?}");
        assert_eq!(evaluate(&target, &facts(), Some(&words())), with, "with the server's words: {target:?}");
    }
}

#[test]
fn truths() {
    let all = [FALSE, UNKNOWN, TRUE];
    for (i, left) in all.into_iter().enumerate() {
        assert_eq!(left.negate(), all[2 - i]);
        for (j, right) in all.into_iter().enumerate() {
            assert_eq!(left.and(right), all[i.min(j)]);
            assert_eq!(left.or(right), all[i.max(j)]);
        }
    }
}

#[test]
fn an_evaluation_stops_where_the_rest_cannot_matter() {
    let target =
        Filter::Any(vec![equal("a", "1"), Filter::All(vec![equal("b", "1"), equal("c", "1")]), equal("d", "1")]);
    let mut asked = Vec::new();
    let truth = target.evaluate(&mut |test| {
        asked.push(test.column.clone());
        Truth::from(test.column == "d")
    });
    assert_eq!((truth, asked.concat()), (TRUE, "abd".into()));
    assert_eq!(target.size(), (3, 4));
}

#[test]
fn places_are_parsed() {
    for (written, expected) in [
        ("/", "/"),
        ("//", "/"),
        ("/home", "/home"),
        ("/home/", "/home"),
        ("/home//x/./y/", "/home/x/y"),
        ("/home/..x", "/home/..x"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("FE80::/10", "fe80::/10"),
        ("::1", "::1/128"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
    ] {
        let place = Place::parse(written).unwrap();
        assert_eq!(place.to_string(), expected, "{written}");
        place.check().unwrap();
        assert_eq!(serde_json::from_slice::<Place>(&serde_json::to_vec(&place).unwrap()).unwrap(), place);
    }
    for (written, hint) in [
        ("10.0.0.1/8", "host bits are set; the network is '10.0.0.0/8'"),
        ("fe80::1/10", "host bits are set; the network is 'fe80::/10'"),
        ("::ffff:10.0.0.1/104", "host bits are set; the network is '10.0.0.0/8'"),
        ("/home/../etc", "a folder is written without `..`"),
        ("/..", "a folder is written without `..`"),
        ("10.0.0.0/33", "write a folder such as '/home' or a network such as '10.0.0.0/8'"),
        ("10.0/8", "write a folder such as '/home' or a network such as '10.0.0.0/8'"),
        ("home", "write a folder such as '/home' or a network such as '10.0.0.0/8'"),
        ("~/x", "write a folder such as '/home' or a network such as '10.0.0.0/8'"),
        ("", "write a folder such as '/home' or a network such as '10.0.0.0/8'"),
    ] {
        let error = Place::parse(written).unwrap_err();
        assert_eq!(error.hint, hint, "{written}");
        assert_eq!(error.to_string(), format!("`{written}` is neither an absolute folder nor a network"));
    }
}

#[test]
fn places_hold() {
    let (yes, no) = (Some(true), Some(false));
    for (place, value, expected) in [
        ("/home", "/home", yes),
        ("/home", "/home/", yes),
        ("/home", "/home/ada/.ssh", yes),
        ("/home", "/home2", no),
        ("/home", "/home2/x", no),
        ("/home", "/", no),
        ("/home", "/etc/home", no),
        ("/home", "home", no),
        ("/home/", "/home/ada", yes),
        ("/", "/etc", yes),
        ("/", "etc", no),
        ("10.0.0.0/8", "10.255.0.1", yes),
        ("10.0.0.0/8", "11.0.0.1", no),
        ("10.0.0.0/8", "::ffff:10.0.0.1", yes),
        ("::ffff:10.0.0.0/104", "10.0.0.1", yes),
        ("10.0.0.7", "10.0.0.7", yes),
        ("10.0.0.7", "10.0.0.8", no),
        ("fe80::/10", "fe80::1", yes),
        ("fe80::/10", "10.0.0.1", no),
        ("::/0", "::1", yes),
        ("::/0", "10.0.0.1", no),
        ("0.0.0.0/0", "::1", no),
        ("10.0.0.0/8", "10.0.0.0/8", None),
        ("10.0.0.0/8", "", None),
        ("10.0.0.0/8", "web-1", None),
    ] {
        assert_eq!(Place::parse(place).unwrap().holds(value), expected, "{value} under {place}");
    }
}

#[test]
fn like() {
    for (like, value, expected) in [
        ("", "", true),
        ("", "a", false),
        ("%", "", true),
        ("%%", "a\nb", true),
        ("abc", "abc", true),
        ("abc", "xabc", false),
        ("abc", "abcx", false),
        ("abc", "ABC", false),
        ("a%", "abc", true),
        ("a%", "ba", false),
        ("%c", "abc", true),
        ("%c", "abcd", false),
        ("%b%", "abc", true),
        ("%b%", "ac", false),
        ("a%c", "ac", true),
        ("a%c", "abbc", true),
        ("a%c", "abbcd", false),
        ("a_c", "abc", true),
        ("a_c", "ac", false),
        ("a_c", "aßc", true),
        ("_", "", false),
        ("%_", "", false),
        ("%_", "\n", true),
        ("_%", "x", true),
        // Line ends are characters like others, and no end of the value.
        ("a%c", "a\nb\nc", true),
        ("a_c", "a\nc", true),
        ("abc", "abc\n", false),
        ("%abc", "abc\n", false),
        ("abc%", "\nabc", false),
        // Escapes.
        ("100\\%", "100%", true),
        ("100\\%", "1000", false),
        ("\\%%", "%x", true),
        ("\\%%", "x", false),
        ("%\\%", "10%", true),
        ("%\\%", "10", false),
        ("a\\_c", "a_c", true),
        ("a\\_c", "abc", false),
        ("a\\\\%", "a\\b", true),
        ("a\\bc", "abc", true),
        ("a\\", "a\\", true),
        // Nothing of a regular expression's own meaning remains.
        ("a.c", "abc", false),
        ("(a|b)*", "a", false),
        ("(a|b)*", "(a|b)*", true),
        ("^a$", "a", false),
        ("[a]", "[a]", true),
    ] {
        let matcher = TextMatcher::new(&Is::Like(pattern(like))).unwrap().unwrap();
        assert_eq!(matcher.test(Some(value)), Truth::from(expected), "{value:?} LIKE {like:?}");
        assert_eq!(matcher.test(None), UNKNOWN);
    }
    let ignoring = Is::Like(Pattern { pattern: "%ÄB%".into(), ignore_case: true });
    assert_eq!(TextMatcher::new(&ignoring).unwrap().unwrap().test(Some("xäbx")), TRUE);
}

#[test]
fn text_tests() {
    let (low, high) = (text("b"), text("b"));
    for (is, value, expected) in [
        (Is::Null, None, TRUE),
        (Is::Null, Some(""), FALSE),
        (Is::Equal(low.clone()), None, UNKNOWN),
        (Is::NotEqual(low.clone()), Some("a"), TRUE),
        (Is::NotEqual(low.clone()), None, UNKNOWN),
        (Is::Less(low.clone()), Some("a"), TRUE),
        (Is::Less(low.clone()), Some("b"), FALSE),
        (Is::LessOrEqual(low.clone()), Some("b"), TRUE),
        (Is::Greater(high.clone()), Some("ba"), TRUE),
        (Is::Greater(high.clone()), Some("Z"), FALSE),
        (Is::GreaterOrEqual(high), Some("b"), TRUE),
        (Is::In(vec![text("a"), low]), Some("b"), TRUE),
        (Is::In(Vec::new()), None, UNKNOWN),
        (Is::Matches(pattern("^b")), Some("a\nb"), FALSE),
        (Is::Matches(pattern("b")), Some("abc"), TRUE),
        (Is::Under(Place::parse("/a").unwrap()), None, UNKNOWN),
        (Is::Under(Place::parse("::/0").unwrap()), Some("no address"), UNKNOWN),
        (Is::Private, Some("no address"), UNKNOWN),
        (Is::Loopback, Some("127.0.0.53"), TRUE),
        (version(VersionOrder::Less, "2.4", Source::Dpkg), Some("2.4~rc1"), TRUE),
        (version(VersionOrder::Less, "2.4", Source::Dpkg), Some("1:1"), FALSE),
        (version(VersionOrder::LessOrEqual, "1.0", Source::Pip), Some("v1"), TRUE),
        (version(VersionOrder::Equal, "1.0.0+a", Source::Npm), Some("1.0.0+b"), TRUE),
        (version(VersionOrder::Greater, "1.0-r1", Source::Apk), Some("1.0-r10"), TRUE),
        (version(VersionOrder::GreaterOrEqual, "1.0", Source::Rpm), Some("1.0~beta"), FALSE),
        (version(VersionOrder::Less, "1", Source::Dpkg), Some("no version"), UNKNOWN),
        (version(VersionOrder::Less, "no version", Source::Npm), Some("1.0.0"), UNKNOWN),
        (version(VersionOrder::Less, "1", Source::Dpkg), None, UNKNOWN),
    ] {
        let matcher = TextMatcher::new(&is).unwrap().unwrap();
        assert_eq!(matcher.test(value), expected, "{value:?} {is:?}");
    }
    for unfit in [Is::Equal(Value::Integer(1)), Is::InSet("x".into()), Is::EveryLine(pattern("x"))] {
        assert!(TextMatcher::new(&unfit).unwrap().is_none(), "{unfit:?}");
    }
    let error = TextMatcher::new(&Is::Matches(pattern("a(b"))).unwrap_err();
    assert!(error.to_string().starts_with("bad regular expression `a(b`"), "{error}");
    assert!(TextMatcher::new(&Is::Matches(pattern(r"(\w{1000}){1000}"))).is_err());
}

#[test]
fn kinds_of_addresses() {
    for (address, private, loopback) in [
        ("10.0.0.1", true, false),
        ("172.16.0.1", true, false),
        ("172.32.0.1", false, false),
        ("192.168.1.1", true, false),
        ("169.254.1.1", true, false),
        ("127.0.0.1", true, true),
        ("127.255.0.1", true, true),
        ("8.8.8.8", false, false),
        ("::1", true, true),
        ("::ffff:127.0.0.1", true, true),
        ("::ffff:10.0.0.1", true, false),
        ("::ffff:8.8.8.8", false, false),
        ("fd00::1", true, false),
        ("fe80::1", true, false),
        ("2001:db8::1", false, false),
        ("::", false, false),
    ] {
        let parsed = address.parse().unwrap();
        assert_eq!((is_private(parsed), is_loopback(parsed)), (private, loopback), "{address}");
    }
}
