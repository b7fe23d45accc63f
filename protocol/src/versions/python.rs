//! Versions of pip: PEP 440, in all its spellings.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{numbers, parts};

/// The pattern of PEP 440, appendix B.
static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?xi-u) ^ \s* v? (?: (?<epoch>[0-9]+) ! )? (?<release>[0-9]+ (?: \. [0-9]+ )*)
        (?: [-_.]? (?<pre>alpha|a|beta|b|preview|pre|c|rc) [-_.]? (?<pre_number>[0-9]+)? )?
        (?<post> - (?<post_bare>[0-9]+) | [-_.]? (?: post|rev|r ) [-_.]? (?<post_number>[0-9]+)? )?
        (?<dev> [-_.]? dev [-_.]? (?<dev_number>[0-9]+)? )?
        (?: \+ (?<local>[a-z0-9]+ (?: [-_.] [a-z0-9]+ )*) )? \s* $";
    Regex::new(pattern).expect("the pattern is a constant, and a test uses it")
});

/// What stands for a part that a version does not have.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Lowest,
    Present(u8),
    Highest,
}

pub fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (PATTERN.captures(one)?, PATTERN.captures(other)?);
    let group = |name: &str| numbers(digits(&one, name), digits(&other, name));
    let ranks = |rank: fn(&Captures<'_>) -> Rank| rank(&one).cmp(&rank(&other));
    let post = |captures: &Captures<'_>| {
        let bare = digits(captures, "post_bare");
        if bare.is_empty() { digits(captures, "post_number").to_vec() } else { bare.to_vec() }
    };
    let order = group("epoch")
        .then_with(|| release(&one, &other))
        .then_with(|| ranks(pre_rank))
        .then_with(|| group("pre_number"))
        .then_with(|| one.name("post").is_some().cmp(&other.name("post").is_some()))
        .then_with(|| numbers(&post(&one), &post(&other)))
        .then_with(|| one.name("dev").is_none().cmp(&other.name("dev").is_none()))
        .then_with(|| group("dev_number"))
        .then_with(|| local(&one, &other));
    Some(order)
}

fn digits<'a>(captures: &'a Captures<'_>, name: &str) -> &'a [u8] {
    captures.name(name).map_or(&[], |found| found.as_str().as_bytes())
}

/// Compares number by number; zeros at the end make no difference.
fn release(one: &Captures<'_>, other: &Captures<'_>) -> Ordering {
    let parts = |captures: &Captures<'_>| -> Vec<Vec<u8>> {
        digits(captures, "release").split(|byte| *byte == b'.').map(<[u8]>::to_vec).collect()
    };
    let (one, other) = (parts(one), parts(other));
    let at = |parts: &[Vec<u8>], place: usize| parts.get(place).cloned().unwrap_or_default();
    let orders = (0..one.len().max(other.len())).map(|place| numbers(&at(&one, place), &at(&other, place)));
    orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
}

/// A development release of nothing else comes before all of its version.
fn pre_rank(captures: &Captures<'_>) -> Rank {
    let kind = captures.name("pre").map(|kind| kind.as_str().to_ascii_lowercase());
    match kind.as_deref() {
        Some("a" | "alpha") => Rank::Present(0),
        Some("b" | "beta") => Rank::Present(1),
        Some(_) => Rank::Present(2),
        None if captures.name("post").is_none() && captures.name("dev").is_some() => Rank::Lowest,
        None => Rank::Highest,
    }
}

/// Compares the parts behind `+`: numbers are newer than words, and more parts newer than fewer.
fn local(one: &Captures<'_>, other: &Captures<'_>) -> Ordering {
    let text = |captures: &Captures<'_>| captures.name("local").map(|local| local.as_str().to_ascii_lowercase());
    let (Some(one), Some(other)) = (text(one), text(other)) else {
        return one.name("local").is_some().cmp(&other.name("local").is_some());
    };
    parts(one.split(['-', '_', '.']), other.split(['-', '_', '.']), Ordering::Greater)
}
