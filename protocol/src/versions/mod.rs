//! The order of versions, as each package manager has it.

mod apk;
mod dpkg;
mod npm;
mod python;
mod rpm;

use std::cmp::Ordering;
use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

/// A kind of packages, by its manager: the values of `packages.source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Dpkg,
    Rpm,
    Apk,
    Pip,
    Npm,
}

impl Source {
    pub const ALL: [Source; 5] = [Source::Dpkg, Source::Rpm, Source::Apk, Source::Pip, Source::Npm];

    pub fn as_str(self) -> &'static str {
        match self {
            Source::Dpkg => "dpkg",
            Source::Rpm => "rpm",
            Source::Apk => "apk",
            Source::Pip => "pip",
            Source::Npm => "npm",
        }
    }

    /// Finds a kind by its name.
    pub fn parse(name: &str) -> Option<Source> {
        Source::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Compares two versions of one kind; `None` where either is no version of that kind.
///
/// - dpkg: what dpkg refuses has no order (an empty part, an inner space, an epoch that is no number); what it only warns of has.
/// - rpm: any text is a version but an empty one. One without a release sorts before the same with one.
/// - apk: numbers, a letter, suffixes such as `_rc1`, and `-r` with a number.
/// - pip: what PEP 440 describes, in all its spellings.
/// - npm: three numbers and what semver lets follow; builds (`+…`) make no difference.
pub fn compare(one: &str, other: &str, source: Source) -> Option<Ordering> {
    match source {
        Source::Dpkg => dpkg::compare(one, other),
        Source::Rpm => rpm::compare(one, other),
        Source::Apk => apk::compare(one, other),
        Source::Pip => python::compare(one, other),
        Source::Npm => npm::compare(one, other),
    }
}

/// Compares two runs of digits of any length by what they count.
fn numbers(one: &[u8], other: &[u8]) -> Ordering {
    let (one, other) = (significant(one), significant(other));
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

/// Compares parts one after another, numbers by what they count and words by their bytes; `number` is how a number stands to a
/// word. What has more parts is greater where all others are alike.
fn parts<'a>(
    mut one: impl Iterator<Item = &'a str>,
    mut other: impl Iterator<Item = &'a str>,
    number: Ordering,
) -> Ordering {
    loop {
        let (left, right) = match (one.next(), other.next()) {
            (Some(left), Some(right)) => (left, right),
            (left, right) => return left.is_some().cmp(&right.is_some()),
        };
        let is_number = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        let order = match (is_number(left), is_number(right)) {
            (true, true) => numbers(left.as_bytes(), right.as_bytes()),
            (false, false) => left.cmp(right),
            (true, false) => number,
            (false, true) => number.reverse(),
        };
        if order.is_ne() {
            return order;
        }
    }
}

fn significant(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    digits.get(zeros..).unwrap_or_default()
}

/// Splits what some bytes begin with from the rest.
fn split_while(bytes: &[u8], belongs: impl Fn(&u8) -> bool) -> (&[u8], &[u8]) {
    let length = bytes.iter().take_while(|byte| belongs(byte)).count();
    bytes.split_at_checked(length).unwrap_or((bytes, &[]))
}
