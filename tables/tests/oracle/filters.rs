//! Random predicates over the columns of `files`, with `/ROOT` and `#n` for what only a built tree knows.

use canvass_protocol::filter::{Filter, Is, Pattern, Place, Test};
use canvass_protocol::value::Value;
use proptest::prelude::*;
use proptest::sample::select;

use crate::naive::{HASHES, digest};
use crate::trees::Built;

const ROOT: &str = "/ROOT";

fn a_name() -> impl Strategy<Value = &'static str> {
    select(
        &["a", "a", "b", "b", "c", "ab", "A", "a b", ".a", "a.b", "new\nline", "é", "bad\u{fffd}", "\u{212a}", "none"]
            [..],
    )
}

/// A path that can be typed: below the root, three folders deep at most.
fn a_path() -> impl Strategy<Value = String> {
    proptest::collection::vec(select(&["a", "a", "b", "b", "c", "ab", "a b", "é", "a.b"][..]), 0..4)
        .prop_map(|names| names.iter().fold(ROOT.to_owned(), |path, name| format!("{path}/{name}")))
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn pattern(pattern: String, ignore_case: bool) -> Pattern {
    Pattern { pattern, ignore_case }
}

fn compared(operator: u8, value: Value) -> Is {
    match operator % 6 {
        0 => Is::Equal(value),
        1 => Is::NotEqual(value),
        2 => Is::Less(value),
        3 => Is::LessOrEqual(value),
        4 => Is::Greater(value),
        _ => Is::GreaterOrEqual(value),
    }
}

fn a_like() -> impl Strategy<Value = Pattern> {
    let token = select(&["a", "b", "%", "%", "_", "é", "\\%", "\\_", "\\\\", "k", "A", ".", " ", "aa", "\n"][..]);
    (proptest::collection::vec(token, 0..5), any::<bool>()).prop_map(|(parts, case)| pattern(parts.concat(), case))
}

/// Regular expressions for text; what does not compile is left out.
fn a_text_regex() -> impl Strategy<Value = Pattern> {
    let token = select(
        &[
            "a", "b", ".", "^", "$", "[ab]", "[^a]", "a*", "b+", "(a|é)", "\\s", "\\w", "k", "/", "\\b", "(?s:.)",
            "\\.", "",
        ][..],
    );
    let whole = proptest::collection::vec(token, 0..5).prop_map(|parts| parts.concat());
    (whole, any::<bool>()).prop_filter_map("a regular expression", |(whole, case)| {
        regex::Regex::new(&whole).ok().map(|_| pattern(whole, case))
    })
}

/// Regular expressions for bytes, with all that looks at lines' ends.
fn a_content_regex() -> impl Strategy<Value = Pattern> {
    const TOKENS: &[&str] = &[
        "a",
        "b",
        "A",
        "k",
        "é",
        ".",
        "^",
        "$",
        "^",
        "$",
        "[ab]",
        "[^a]",
        "[^\\n]",
        "a*",
        "b+",
        "a?",
        "b*?",
        "(a|b)",
        "(ab|é|)",
        "\\s",
        "\\S",
        "\\w",
        "\\W",
        "\\r",
        "\\n",
        "\\r?\\n",
        "\\x00",
        "(?-u:\\xff)",
        "(?-u:[\\x80-\\xff])",
        "(?-u:.)",
        "\\b",
        "\\B",
        "(?-u:\\b)",
        "\\A",
        "\\z",
        "(?m)",
        "(?s)",
        "(?i)",
        "(?R)",
        "(?m:^)",
        "(?m:$)",
        "a{2,}",
        "(?s:.)",
        "(?i:K)",
        "[[:^alpha:]]",
        "\\.",
        " ",
        "\\b{start}",
        "\\b{end-half}",
        "",
    ];
    let whole = proptest::collection::vec(select(TOKENS), 0..6).prop_map(|parts| parts.concat());
    (whole, any::<bool>()).prop_filter_map("a regular expression", |(whole, case)| {
        regex::bytes::Regex::new(&whole).ok().map(|_| pattern(whole, case))
    })
}

fn a_text_test(column: &'static str) -> impl Strategy<Value = Filter> {
    prop_oneof![
        (a_name(), any::<u8>()).prop_map(|(name, operator)| compared(operator, text(name))),
        proptest::collection::vec(a_name().prop_map(text), 0..4).prop_map(Is::In),
        a_like().prop_map(Is::Like),
        a_text_regex().prop_map(Is::Matches),
        Just(Is::Null),
    ]
    .prop_map(move |is| Filter::test(column, is))
}

fn a_path_test() -> impl Strategy<Value = Filter> {
    let ends = select(&["", "%", "/%", "_", "/a%", "%b"][..]);
    let tails = select(&["", "/", ".*", "$", "[^/]*$", "/a", "/.*b"][..]);
    prop_oneof![
        4 => a_path().prop_map(|path| Is::Under(Place::Folder(path))),
        2 => (a_path(), any::<bool>()).prop_map(|(path, equal)| if equal { Is::Equal(text(path)) } else { Is::NotEqual(text(path)) }),
        2 => proptest::collection::vec(a_path().prop_map(text), 0..4).prop_map(Is::In),
        2 => (a_path(), ends).prop_map(|(path, end)| Is::Like(pattern(format!("{path}{end}"), false))),
        2 => (a_path(), tails).prop_map(|(path, tail)| Is::Matches(pattern(format!("^{path}{tail}"), false))),
        1 => a_path().prop_map(|path| Is::GreaterOrEqual(text(path))),
        1 => a_text_regex().prop_filter("no anchor", |it| !it.pattern.contains('^')).prop_map(Is::Matches),
        1 => Just(Is::Null),
    ]
    .prop_map(|is| Filter::test("path", is))
}

fn a_between() -> impl Strategy<Value = Filter> {
    (a_path(), a_path()).prop_map(|(low, high)| {
        Filter::All(vec![
            Filter::test("path", Is::GreaterOrEqual(text(low))),
            Filter::test("path", Is::LessOrEqual(text(high))),
        ])
    })
}

fn a_number_test(column: &'static str, numbers: std::ops::Range<i64>) -> impl Strategy<Value = Filter> {
    prop_oneof![
        5 => (numbers.clone(), any::<u8>()).prop_map(|(number, operator)| compared(operator, Value::Integer(number))),
        1 => (numbers.clone(), any::<u8>()).prop_map(|(number, operator)| compared(operator, Value::Float(number as f64 / 2.0))),
        2 => proptest::collection::vec(numbers.prop_map(Value::Integer), 0..4).prop_map(Is::In),
        1 => Just(Is::Null),
    ]
    .prop_map(move |is| Filter::test(column, is))
}

fn a_type_test() -> impl Strategy<Value = Filter> {
    let kind = || select(&["file", "directory", "link", "fifo", "socket"][..]).prop_map(text);
    prop_oneof![
        (kind(), any::<bool>()).prop_map(|(kind, equal)| if equal { Is::Equal(kind) } else { Is::NotEqual(kind) }),
        proptest::collection::vec(kind(), 0..3).prop_map(Is::In),
    ]
    .prop_map(|is| Filter::test("type", is))
}

fn a_mode_test() -> impl Strategy<Value = Filter> {
    let permissions = || select(&["0644", "4755", "7777", "0400", "1777"][..]);
    prop_oneof![
        permissions().prop_map(|bits| Filter::test("permissions", Is::Equal(text(bits)))),
        permissions().prop_map(|bits| Filter::test("permissions", Is::Greater(text(bits)))),
        select(&["^-", "[sS]", "t$", "^.rwx", "^d"][..])
            .prop_map(|regex| Filter::test("mode", Is::Matches(pattern(regex.to_owned(), false)))),
    ]
}

fn a_content_test() -> impl Strategy<Value = Filter> {
    prop_oneof![
        5 => a_content_regex().prop_map(Is::Matches),
        2 => a_content_regex().prop_map(Is::EveryLine),
        3 => a_like().prop_map(Is::Like),
    ]
    .prop_map(|is| Filter::test("content", is))
}

fn a_hash_test() -> impl Strategy<Value = Filter> {
    let value = || {
        (0usize..8, any::<bool>()).prop_map(|(file, upper)| text(format!("{}{file}", if upper { "^" } else { "#" })))
    };
    let is = prop_oneof![
        (value(), any::<bool>()).prop_map(|(value, equal)| if equal { Is::Equal(value) } else { Is::NotEqual(value) }),
        proptest::collection::vec(value(), 0..4).prop_map(Is::In),
        select(&["^[0-7]", "f$", "^.*00", "(ab|cd)"][..])
            .prop_map(|regex| Is::Matches(pattern(regex.to_owned(), false))),
        Just(Is::Null),
    ];
    (select(HASHES), is).prop_map(|(column, is)| Filter::test(column, is))
}

fn a_test() -> impl Strategy<Value = Filter> {
    prop_oneof![
        6 => a_content_test(),
        3 => a_hash_test(),
        3 => a_path_test(),
        1 => a_between(),
        2 => a_text_test("name"),
        1 => a_text_test("target"),
        1 => a_text_test("directory"),
        1 => a_text_test("path_hex"),
        2 => a_number_test("depth", -1..6),
        2 => a_number_test("size", 0..24),
        1 => a_number_test("links", 1..4),
        2 => a_type_test(),
        1 => a_mode_test(),
    ]
}

fn a_filter() -> impl Strategy<Value = Filter> {
    a_test().prop_recursive(4, 16, 4, |inner| {
        prop_oneof![
            3 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::All),
            3 => proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Any),
            2 => inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

/// Where to look: mostly all of the tree, at times some places in it.
fn a_bound() -> impl Strategy<Value = Filter> {
    let whole = Just(Filter::test("path", Is::Under(Place::Folder(ROOT.to_owned()))));
    let place = prop_oneof![
        4 => a_path().prop_map(|path| Is::Under(Place::Folder(path))),
        2 => a_path().prop_map(|path| Is::Equal(text(path))),
        1 => proptest::collection::vec(a_path().prop_map(text), 1..4).prop_map(Is::In),
        1 => a_path().prop_map(|path| Is::Like(pattern(format!("{path}/%"), false))),
        1 => a_path().prop_map(|path| Is::Matches(pattern(format!("^{path}/"), false))),
    ]
    .prop_map(|is| Filter::test("path", is));
    prop_oneof![
        4 => whole,
        2 => proptest::collection::vec(place.clone(), 1..5).prop_map(Filter::Any),
        1 => place,
    ]
}

/// Whole questions, bounded and written in some order: a filter and its negation, or two bounded ones in one.
pub fn questions() -> impl Strategy<Value = Vec<Filter>> {
    let bounded = |bound: &Filter, filter: Filter, first: bool| {
        Filter::All(if first { vec![bound.clone(), filter] } else { vec![filter, bound.clone()] })
    };
    let one = || (a_bound(), a_filter(), any::<bool>());
    prop_oneof![
        6 => one().prop_map(move |(bound, filter, first)| {
            let negated = Filter::Not(Box::new(filter.clone()));
            vec![bounded(&bound, filter, first), bounded(&bound, negated, first)]
        }),
        1 => (one(), one()).prop_map(move |(one, other)| {
            let parts = [one, other].map(|(bound, filter, first)| bounded(&bound, filter, first));
            vec![Filter::Any(parts.to_vec())]
        }),
    ]
}

/// The same filter for a tree that stands: its root for `/ROOT`, the hashes of its files for `#n` and, in upper case, `^n`.
pub fn resolved(filter: &Filter, built: &Built) -> Filter {
    let root = built.root.to_str().unwrap();
    match filter {
        Filter::All(parts) => Filter::All(parts.iter().map(|part| resolved(part, built)).collect()),
        Filter::Any(parts) => Filter::Any(parts.iter().map(|part| resolved(part, built)).collect()),
        Filter::Not(inner) => Filter::Not(Box::new(resolved(inner, built))),
        Filter::Test(Test { column, is }) => {
            let hash = |number: &str| {
                let file = number.parse::<usize>().unwrap() % built.contents.len().max(1);
                built.contents.get(file).map_or_else(|| "none".to_owned(), |bytes| digest(column, bytes))
            };
            let word = |word: &str| match (HASHES.contains(&column.as_str()), word.split_at_checked(1)) {
                (true, Some(("#", number))) => hash(number),
                (true, Some(("^", number))) => hash(number).to_uppercase(),
                _ => word.replace(ROOT, root),
            };
            let value = |value: &Value| match value {
                Value::Text(text) => Value::Text(word(text)),
                other => other.clone(),
            };
            let patterned = |it: &Pattern| pattern(it.pattern.replace(ROOT, root), it.ignore_case);
            let is = match is {
                Is::Equal(it) => Is::Equal(value(it)),
                Is::NotEqual(it) => Is::NotEqual(value(it)),
                Is::Less(it) => Is::Less(value(it)),
                Is::LessOrEqual(it) => Is::LessOrEqual(value(it)),
                Is::Greater(it) => Is::Greater(value(it)),
                Is::GreaterOrEqual(it) => Is::GreaterOrEqual(value(it)),
                Is::In(values) => Is::In(values.iter().map(value).collect()),
                Is::Like(it) => Is::Like(patterned(it)),
                Is::Matches(it) => Is::Matches(patterned(it)),
                Is::Under(Place::Folder(folder)) => Is::Under(Place::Folder(folder.replace(ROOT, root))),
                other => other.clone(),
            };
            Filter::test(column, is)
        }
    }
}
