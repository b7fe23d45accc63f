//! Versions of apk: `1.2.3a_rc1_p2-r4`, numbers, one letter, suffixes, and the number of the build.

use std::cmp::Ordering;

use super::split_while;

/// Suffixes of what comes before a release, and then of what comes after; each sorts behind those before it.
const BEFORE: [&str; 4] = ["alpha", "beta", "pre", "rc"];
const AFTER: [&str; 5] = ["cvs", "svn", "git", "hg", "p"];

/// Kinds of parts; where one version has a part of a later kind or ends, it is the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Number,
    Letter,
    Suffix,
    SuffixNumber,
    Build,
    End,
}

type Part = (Kind, i128);

pub fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (parse(one)?, parse(other)?);
    for (left, right) in one.iter().zip(&other) {
        if left == right {
            continue;
        }
        if left.0 == right.0 {
            return Some(left.1.cmp(&right.1));
        }
        // A suffix of what comes before a release makes it older than the release, whatever else follows that.
        return Some(match (left, right) {
            ((Kind::Suffix, weight), _) if *weight < 0 => Ordering::Less,
            (_, (Kind::Suffix, weight)) if *weight < 0 => Ordering::Greater,
            _ => right.0.cmp(&left.0),
        });
    }
    Some(Ordering::Equal)
}

fn parse(text: &str) -> Option<Vec<Part>> {
    let (first, mut rest) = number(text.as_bytes())?;
    let mut parts = vec![(Kind::Number, first)];
    let last = |parts: &[Part]| parts.last().map_or(Kind::End, |part| part.0);
    loop {
        let (part, after) = match rest {
            [] => break,
            [b'.', after @ ..] if last(&parts) == Kind::Number => {
                // Zeros in front sort as in a fraction.
                let (zeros, digits) = split_while(after, |byte| *byte == b'0');
                if !zeros.is_empty() {
                    parts.push((Kind::Number, -i128::try_from(zeros.len()).ok()?));
                }
                match number(digits) {
                    Some((value, after)) => ((Kind::Number, value), after),
                    None if !zeros.is_empty() => ((Kind::Number, 0), digits),
                    None => return None,
                }
            }
            [letter @ b'a'..=b'z', after @ ..] if last(&parts) == Kind::Number => {
                ((Kind::Letter, i128::from(*letter)), after)
            }
            [b'_', after @ ..] if last(&parts) <= Kind::SuffixNumber => {
                let (word, after) = split_while(after, u8::is_ascii_lowercase);
                ((Kind::Suffix, suffix(word)?), after)
            }
            [b'0'..=b'9', ..] if last(&parts) == Kind::Suffix => {
                let (value, after) = number(rest)?;
                ((Kind::SuffixNumber, value), after)
            }
            [b'-', b'r', after @ ..] if last(&parts) < Kind::Build => {
                let (value, after) = number(after)?;
                ((Kind::Build, value), after)
            }
            _ => return None,
        };
        parts.push(part);
        rest = after;
    }
    parts.push((Kind::End, 0));
    Some(parts)
}

/// Where a suffix sorts: below zero before the release.
fn suffix(word: &[u8]) -> Option<i128> {
    let find = |known: &[&str]| known.iter().position(|known| known.as_bytes() == word);
    let weight = |place: usize| i128::try_from(place).ok();
    match find(&BEFORE) {
        Some(place) => Some(weight(place)? - weight(BEFORE.len())?),
        None => weight(find(&AFTER)?),
    }
}

/// A number at the beginning, and what follows it; longer ones than any version has are all alike.
fn number(bytes: &[u8]) -> Option<(i128, &[u8])> {
    let (digits, rest) = split_while(bytes, u8::is_ascii_digit);
    let add = |value: i128, digit: &u8| value.saturating_mul(10).saturating_add(i128::from(*digit - b'0'));
    (!digits.is_empty()).then(|| (digits.iter().fold(0, add), rest))
}
