//! Versions of dpkg: `epoch:upstream-revision`, where `~` sorts before everything, the end included.

use std::cmp::Ordering;

use super::{numbers, split_while};

struct Version<'a> {
    epoch: u32,
    upstream: &'a [u8],
    revision: &'a [u8],
}

pub fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (parse(one)?, parse(other)?);
    let parts = part(one.upstream, other.upstream).then_with(|| part(one.revision, other.revision));
    Some(one.epoch.cmp(&other.epoch).then(parts))
}

fn parse(text: &str) -> Option<Version<'_>> {
    let text = text.trim_matches(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b');
    if text.is_empty() || text.contains(|letter: char| letter.is_ascii_whitespace() || letter == '\x0b') {
        return None;
    }
    let (epoch, rest) = match text.split_once(':') {
        // Numbers are read as C reads them: with a sign.
        Some((epoch, rest)) => (epoch.parse().ok().filter(|epoch| *epoch <= i32::MAX.unsigned_abs())?, rest),
        None => (0, text),
    };
    let (upstream, revision) = match rest.rsplit_once('-') {
        Some((_, "")) => return None,
        Some((upstream, revision)) => (upstream, revision),
        None => (rest, ""),
    };
    let version = Version { epoch, upstream: upstream.as_bytes(), revision: revision.as_bytes() };
    (!upstream.is_empty()).then_some(version)
}

/// Compares letters and numbers by turns.
fn part(mut one: &[u8], mut other: &[u8]) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (letters, rest) = split_while(one, |byte| !byte.is_ascii_digit());
        let (other_letters, other_rest) = split_while(other, |byte| !byte.is_ascii_digit());
        for place in 0..letters.len().max(other_letters.len()) {
            let order = weight(letters.get(place)).cmp(&weight(other_letters.get(place)));
            if order.is_ne() {
                return order;
            }
        }
        let (digits, rest) = split_while(rest, u8::is_ascii_digit);
        let (other_digits, other_rest) = split_while(other_rest, u8::is_ascii_digit);
        let order = numbers(digits, other_digits);
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

/// Where a letter sorts; a number or the end count as nothing.
fn weight(letter: Option<&u8>) -> i32 {
    match letter {
        None => 0,
        Some(b'~') => -1,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(other.cast_signed()) + 256,
    }
}
