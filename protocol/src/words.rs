//! Filters in words, for those who are shown what will be asked: the explanation, the confirmation, the co-signer.

use std::fmt::{self, Display, Formatter};

use crate::filter::{Filter, Is, Pattern, Test, VersionTest};
use crate::value::Value;

impl Display for Filter {
    /// Shows the filter as SQL would spell it.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Filter::All(parts) if parts.is_empty() => f.write_str("true"),
            Filter::Any(parts) if parts.is_empty() => f.write_str("false"),
            Filter::All(parts) => join(f, parts, " AND "),
            Filter::Any(parts) => join(f, parts, " OR "),
            Filter::Not(inner) => write_negated(f, inner),
            Filter::Test(test) => write_test(f, test, false),
        }
    }
}

fn join(f: &mut Formatter<'_>, parts: &[Filter], connective: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(connective)?;
        }
        match part {
            Filter::All(inner) | Filter::Any(inner) if inner.len() > 1 => write!(f, "({part})")?,
            _ => write!(f, "{part}")?,
        }
    }
    Ok(())
}

fn write_negated(f: &mut Formatter<'_>, inner: &Filter) -> fmt::Result {
    match inner {
        Filter::Test(test) => write_test(f, test, true),
        other => write!(f, "NOT ({other})"),
    }
}

fn write_test(f: &mut Formatter<'_>, test: &Test, negated: bool) -> fmt::Result {
    let column = &test.column;
    let not = if negated { "NOT " } else { "" };
    // No arm takes what is left: whatever is asked is shown, and a new kind of test has to say how.
    match &test.is {
        Is::Equal(value) => write!(f, "{not}{column} = {value}"),
        Is::NotEqual(value) => write!(f, "{not}{column} <> {value}"),
        Is::Less(value) => write!(f, "{not}{column} < {value}"),
        Is::LessOrEqual(value) => write!(f, "{not}{column} <= {value}"),
        Is::Greater(value) => write!(f, "{not}{column} > {value}"),
        Is::GreaterOrEqual(value) => write!(f, "{not}{column} >= {value}"),
        Is::In(values) => {
            write!(f, "{column} {not}IN (")?;
            write_values(f, values)?;
            f.write_str(")")
        }
        Is::InSet(set) => write!(f, "{column} {not}IN set {set}"),
        Is::MatchesAny(set) => write!(f, "{column} {not}MATCHES ANY OF patterns {set}"),
        Is::InBloom(set) => write!(f, "{column} {not}IN Bloom filter {set}"),
        Is::Like(pattern) => {
            let like = if pattern.ignore_case { "ILIKE" } else { "LIKE" };
            write!(f, "{column} {not}{like} {}", quoted(&pattern.pattern))
        }
        Is::Matches(Pattern { pattern, ignore_case }) => {
            let negation = if negated { "!" } else { "" };
            let star = if *ignore_case { "*" } else { "" };
            write!(f, "{column} {negation}~{star} {}", quoted(pattern))
        }
        Is::EveryLine(pattern) => write!(f, "{not}every_line({column}, {})", quoted(&pattern.pattern)),
        Is::Under(place) => write!(f, "{column} {not}UNDER {}", quoted(&place.to_string())),
        Is::Null => write!(f, "{column} IS {not}NULL"),
        Is::Private => write!(f, "{not}is_private({column})"),
        Is::Loopback => write!(f, "{not}is_loopback({column})"),
        Is::Version(VersionTest { is, than, source }) => {
            write!(f, "{not}{}({column}, {}, '{source}')", is.function(), quoted(than))
        }
    }
}

/// Values shown before a long list is summed up.
const VALUES_SHOWN: usize = 20;

fn write_values(f: &mut Formatter<'_>, values: &[Value]) -> fmt::Result {
    for (index, value) in values.iter().take(VALUES_SHOWN).enumerate() {
        write!(f, "{}{value}", if index > 0 { ", " } else { "" })?;
    }
    match values.len().checked_sub(VALUES_SHOWN) {
        Some(more) if more > 0 => write!(f, " … {more} more"),
        _ => Ok(()),
    }
}

fn quoted(text: &str) -> String {
    Value::Text(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::{Place, VersionOrder};
    use crate::versions::Source;

    #[test]
    fn filters_read_as_sql() {
        let matches = |pattern: &str| Is::Matches(Pattern { pattern: pattern.into(), ignore_case: false });
        let under = |place: &str| Is::Under(Place::parse(place).unwrap());
        let cases = [
            (Filter::All(vec![]), "true"),
            (Filter::test("path", under("/etc")), "path UNDER '/etc'"),
            (Filter::Not(Box::new(Filter::test("content", matches("it's")))), "content !~ 'it''s'"),
            (
                Filter::All(vec![
                    Filter::Any(vec![Filter::test("path", under("/a")), Filter::test("path", under("/b"))]),
                    Filter::test("size", Is::Less(Value::Integer(1024))),
                ]),
                "(path UNDER '/a' OR path UNDER '/b') AND size < 1024",
            ),
            (Filter::Not(Box::new(Filter::test("exe", Is::Null))), "exe IS NOT NULL"),
        ];
        for (filter, expected) in cases {
            assert_eq!(filter.to_string(), expected);
        }
    }

    /// One of each kind, in words; no arm takes what is left, so that a new kind has to be here.
    #[test]
    fn every_kind_of_test_is_shown() {
        let pattern = |ignore_case| Pattern { pattern: "x".into(), ignore_case };
        let value = || Value::Integer(1);
        let version =
            || Is::Version(VersionTest { is: VersionOrder::Less, than: "1.0~rc1".into(), source: Source::Dpkg });
        let next = |is: &Is| match is {
            Is::Equal(_) => Some((Is::NotEqual(value()), "a <> 1")),
            Is::NotEqual(_) => Some((Is::Less(value()), "a < 1")),
            Is::Less(_) => Some((Is::LessOrEqual(value()), "a <= 1")),
            Is::LessOrEqual(_) => Some((Is::Greater(value()), "a > 1")),
            Is::Greater(_) => Some((Is::GreaterOrEqual(value()), "a >= 1")),
            Is::GreaterOrEqual(_) => Some((Is::In(vec![value(), Value::Integer(2)]), "a IN (1, 2)")),
            Is::In(_) => Some((Is::InSet("s".into()), "a IN set s")),
            Is::InSet(_) => Some((Is::MatchesAny("p".into()), "a MATCHES ANY OF patterns p")),
            Is::MatchesAny(_) => Some((Is::InBloom("b".into()), "a IN Bloom filter b")),
            Is::InBloom(_) => Some((Is::Like(pattern(true)), "a ILIKE 'x'")),
            Is::Like(_) => Some((Is::Matches(pattern(true)), "a ~* 'x'")),
            Is::Matches(_) => Some((Is::EveryLine(pattern(false)), "every_line(a, 'x')")),
            Is::EveryLine(_) => Some((Is::Under(Place::parse("10.0.0.0/8").unwrap()), "a UNDER '10.0.0.0/8'")),
            Is::Under(_) => Some((Is::Null, "a IS NULL")),
            Is::Null => Some((Is::Private, "is_private(a)")),
            Is::Private => Some((Is::Loopback, "is_loopback(a)")),
            Is::Loopback => Some((version(), "version_lt(a, '1.0~rc1', 'dpkg')")),
            Is::Version(_) => None,
        };
        let (mut is, mut expected) = (Is::Equal(value()), "a = 1");
        loop {
            assert_eq!(Filter::test("a", is.clone()).to_string(), expected);
            let Some(following) = next(&is) else { break };
            (is, expected) = following;
        }
    }
}
