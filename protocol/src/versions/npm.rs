//! Versions of npm: semver, `1.2.3-rc.1+build`.

use std::cmp::Ordering;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{numbers, parts};

static PATTERN: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"(?x-u) ^ [v=\s]* (?<major>0|[1-9][0-9]*) \. (?<minor>0|[1-9][0-9]*) \. (?<patch>0|[1-9][0-9]*)
        (?: - (?<pre> (?: 0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]* ) (?: \. (?: 0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]* ) )* ) )?
        (?: \+ [0-9A-Za-z-]+ (?: \. [0-9A-Za-z-]+ )* )? \s* $";
    Regex::new(pattern).expect("the pattern is a constant, and a test uses it")
});

pub fn compare(one: &str, other: &str) -> Option<Ordering> {
    let (one, other) = (PATTERN.captures(one)?, PATTERN.captures(other)?);
    let group = |name: &str| numbers(text(&one, name).as_bytes(), text(&other, name).as_bytes());
    Some(group("major").then_with(|| group("minor")).then_with(|| group("patch")).then_with(|| before(&one, &other)))
}

fn text<'a>(captures: &'a Captures<'_>, name: &str) -> &'a str {
    captures.name(name).map_or("", |found| found.as_str())
}

/// Compares what comes before a release: numbers before words, fewer parts before more, all before the release.
fn before(one: &Captures<'_>, other: &Captures<'_>) -> Ordering {
    let (one, other) = (text(one, "pre"), text(other, "pre"));
    if one.is_empty() || other.is_empty() {
        return one.is_empty().cmp(&other.is_empty());
    }
    parts(one.split('.'), other.split('.'), Ordering::Less)
}
