//! Versions of rpm: `epoch:version-release`, where `~` sorts before everything and `^` just behind what it follows.

use std::cmp::Ordering;

use super::{numbers, split_while};

/// Without a release, a version is one as well.
struct Version<'a> {
    epoch: &'a [u8],
    version: &'a [u8],
    release: Option<&'a [u8]>,
}

pub fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (parse(one)?, parse(other)?);
    let release = || match (one.release, other.release) {
        (Some(one), Some(other)) => part(one, other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    };
    Some(numbers(one.epoch, other.epoch).then_with(|| part(one.version, other.version)).then_with(release))
}

fn parse(text: &str) -> Option<Version<'_>> {
    let (digits, rest) = split_while(text.as_bytes(), u8::is_ascii_digit);
    let (epoch, rest) = match rest {
        [b':', rest @ ..] => (digits, rest),
        _ => (&[][..], text.as_bytes()),
    };
    let (version, release) = match rest.iter().rposition(|byte| *byte == b'-') {
        Some(at) => (rest.get(..at)?, Some(rest.get(at + 1..)?)),
        None => (rest, None),
    };
    (!version.is_empty()).then_some(Version { epoch, version, release })
}

/// Compares segments of letters or of digits; what is neither only separates.
fn part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    let separates = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'~' | b'^');
    while !one.is_empty() || !other.is_empty() {
        one = split_while(one, separates).1;
        other = split_while(other, separates).1;
        match (one, other) {
            ([b'~', rest @ ..], [b'~', other_rest @ ..]) | ([b'^', rest @ ..], [b'^', other_rest @ ..]) => {
                (one, other) = (rest, other_rest);
                continue;
            }
            ([b'~', ..], _) | ([], [b'^', ..]) => return Ordering::Less,
            (_, [b'~', ..]) | ([b'^', ..], []) => return Ordering::Greater,
            ([b'^', ..], _) => return Ordering::Less,
            (_, [b'^', ..]) => return Ordering::Greater,
            ([], _) | (_, []) => break,
            _ => {}
        }
        let is_number = one.first().is_some_and(u8::is_ascii_digit);
        let belongs = |byte: &u8| if is_number { byte.is_ascii_digit() } else { byte.is_ascii_alphabetic() };
        let (segment, rest) = split_while(one, belongs);
        let (other_segment, other_rest) = split_while(other, belongs);
        // Numbers are newer than letters.
        if other_segment.is_empty() {
            return if is_number { Ordering::Greater } else { Ordering::Less };
        }
        let order = if is_number { numbers(segment, other_segment) } else { segment.cmp(other_segment) };
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    one.is_empty().cmp(&other.is_empty()).reverse()
}
