//! Tests of [`super`].
#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

use canvass_protocol::filter::Pattern;

use super::*;

fn text(column: &str, value: &str) -> Filter {
    Filter::test(column, Is::Equal(Value::Text(value.into())))
}

fn number(column: &str, value: i64) -> Filter {
    Filter::test(column, Is::Equal(Value::Integer(value)))
}

fn to(destination: &str, parts: Vec<Filter>) -> Filter {
    Filter::All([text("destination", destination)].into_iter().chain(parts).collect())
}

fn like(column: &str, pattern: &str) -> Filter {
    Filter::test(column, Is::Like(Pattern { pattern: pattern.into(), ignore_case: false }))
}

/// What a filter asks for, as `tcp a:80 x1`, and the troubles.
fn shown(filter: &Filter) -> (Vec<String>, Vec<String>) {
    let sets = Sets::from([("ports".to_owned(), vec![Value::Integer(80), Value::Integer(443)])]);
    let (asked, troubles) = asked(Some(filter), &sets);
    let show = |asked: &Asked| {
        let port = asked.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("{} {}{port} x{}", asked.protocol.name(), asked.destination, asked.count)
    };
    (asked.iter().map(show).collect(), troubles.into_iter().collect())
}

fn check(filter: &Filter, expected: &[&str]) {
    assert_eq!(shown(filter), (expected.iter().map(ToString::to_string).collect(), Vec::new()), "{filter:?}");
}

#[test]
fn what_is_named_is_asked() {
    check(&to("a", vec![text("protocol", "tcp"), number("port", 80)]), &["tcp a:80 x1"]);
    check(&to("a", vec![text("protocol", "udp"), number("port", 53), number("count", 2)]), &["udp a:53 x2"]);
    check(&to("a", vec![text("protocol", "icmp")]), &["icmp a x3"]);
    check(&to("a", vec![number("port", 443)]), &["tcp a:443 x1"]);
    check(&to("a", Vec::new()), &["icmp a x3"]);
    let both = Filter::test("destination", Is::In(vec![Value::Text("b".into()), Value::Text("a".into())]));
    let ports = Filter::test("port", Is::InSet("ports".into()));
    check(&Filter::All(vec![ports, both]), &["tcp a:80 x1", "tcp a:443 x1", "tcp b:80 x1", "tcp b:443 x1"]);
    check(&to("a", vec![text("protocol", "icmp"), Filter::test("reachable", Is::Null)]), &["icmp a x3"]);
}

#[test]
fn branches_are_not_mixed() {
    let one = to("a", vec![number("port", 80)]);
    let other = to("b", vec![text("protocol", "icmp")]);
    check(&Filter::Any(vec![one, other]), &["tcp a:80 x1", "icmp b x3"]);
    let tcp = Filter::All(vec![text("protocol", "tcp"), number("port", 80)]);
    let branches = Filter::Any(vec![text("protocol", "icmp"), tcp]);
    check(&to("a", vec![branches]), &["tcp a:80 x1", "icmp a x3"]);
}

#[test]
fn what_no_row_can_be_is_not_asked() {
    check(&to("a", vec![text("destination", "b"), text("protocol", "icmp")]), &[]);
    check(&to("a", vec![text("protocol", "icmp"), number("port", 80)]), &[]);
    check(&to("a", vec![text("protocol", "sctp"), number("port", 80)]), &[]);
    check(&to("a", vec![number("port", 65536)]), &[]);
    check(&to("a", vec![number("port", 80), Filter::test("port", Is::NotEqual(Value::Integer(80)))]), &[]);
    check(&to("a", vec![number("port", 80), Filter::Not(Box::new(text("destination", "a")))]), &[]);
    check(&to("a", vec![number("port", 80), Filter::test("port", Is::NotEqual(Value::Integer(81)))]), &["tcp a:80 x1"]);
    check(&Filter::Any(Vec::new()), &[]);
}

#[test]
fn what_is_missing_is_said() {
    for (filter, asked, trouble) in [
        (
            like("destination", "web%"),
            &[][..],
            "a destination has to be named with = or IN, whatever else is said of it",
        ),
        (to("a", vec![text("protocol", "tcp")]), &[], "tcp needs a port that is named with = or IN: add `port = …`"),
        (
            to("a", vec![text("protocol", "udp"), Filter::test("port", Is::Less(Value::Integer(9)))]),
            &[],
            "udp needs a port that is named with = or IN: add `port = …`",
        ),
        (
            to("a", vec![Filter::test("port", Is::Less(Value::Integer(9)))]),
            &[],
            "icmp needs a port that is named with = or IN: add `port = …`",
        ),
        (to("a", vec![number("port", 80), number("count", 11)]), &[], "`count` can be 1 to 10"),
        (to("a", vec![number("port", 80), number("count", -1)]), &[], "`count` can be 1 to 10"),
        (
            to("a", vec![number("port", 80), like("protocol", "%p")]),
            &["tcp a:80 x1"],
            "no protocol is named with = or IN, so tcp alone was tried",
        ),
        (
            to("a", vec![text("protocol", "icmp"), Filter::test("count", Is::Greater(Value::Integer(1)))]),
            &["icmp a x3"],
            "no count is named with = or IN, so 3 by icmp was taken",
        ),
    ] {
        assert_eq!(shown(&filter), (asked.iter().map(ToString::to_string).collect(), vec![trouble.to_owned()]));
    }
}

#[test]
fn too_much_is_not_asked_at_all() {
    let many = |count: i64| Filter::test("port", Is::In((1..=count).map(Value::Integer).collect()));
    assert_eq!(shown(&to("a", vec![many(100)])).0.len(), 100);
    let (asked, troubles) = shown(&to("a", vec![many(101)]));
    assert!(asked.is_empty());
    assert!(troubles[0].starts_with("the question names 101 combinations"), "{troubles:?}");
    let (asked, troubles) = shown(&to("a", vec![many(60_000)]));
    assert_eq!(
        (asked.len(), troubles),
        (0, vec!["the question names too many combinations, so none was tried".into()])
    );
    let counts = Filter::test("count", Is::In((1..=200).map(Value::Integer).collect()));
    assert_eq!(shown(&to("a", vec![many(200), counts])).0.len(), 0);
}
