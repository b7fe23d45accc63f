//! The values that a scan is told, for those who are to sign it: how many, and their hash, or all of them.

use std::collections::BTreeMap;

use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::scan::Scan;
use canvass_protocol::sets::PatternSet;
use canvass_protocol::value::Value;
use sha2::{Digest as _, Sha256};

/// Values of a list that a filter in words shows; of a longer one it tells how many there are more.
const SHOWN_IN_WORDS: usize = 20;
/// Digits of a hash that people compare.
const HASH_DIGITS: usize = 16;

/// `1 value`, `7 values`.
pub fn count(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// All lists of a scan; `whole`, and where they are short, with each value in a line of its own.
pub fn all(scan: &Scan, whole: bool) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, values) in &scan.sets {
        let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
        list(&mut lines, &format!("set {name:<4}"), &shown, whole);
    }
    let mut long: BTreeMap<String, Vec<&[Value]>> = BTreeMap::new();
    for filter in scan.filter.iter().chain(&scan.target) {
        long_lists(filter, &mut long);
    }
    for (column, found) in &long {
        for values in found {
            let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
            list(&mut lines, &format!("list     of {column}:"), &shown, whole);
        }
    }
    for (name, set) in &scan.patterns {
        let case = if set.ignore_case { ", whatever their case" } else { "" };
        list(&mut lines, &format!("patterns {name}{case}:"), &set.patterns, whole);
    }
    lines.extend(blooms(scan));
    lines
}

fn list(lines: &mut Vec<String>, name: &str, values: &[String], whole: bool) {
    let mut hash = Sha256::new();
    for value in values {
        hash.update((value.len() as u64).to_be_bytes());
        hash.update(value);
    }
    let hash = hex::encode(hash.finalize());
    let whole = whole || values.len() <= SHOWN_IN_WORDS;
    let more = if whole { ":" } else { "" };
    lines.push(format!("  {name} {}, SHA-256 {}{more}", count(values.len(), "value"), &hash[..HASH_DIGITS]));
    if whole {
        lines.extend(values.iter().map(|value| format!("    {value}")));
    }
}

/// The lists of values that a filter in words does not show whole.
fn long_lists<'a>(filter: &'a Filter, found: &mut BTreeMap<String, Vec<&'a [Value]>>) {
    match filter {
        Filter::All(parts) | Filter::Any(parts) => parts.iter().for_each(|part| long_lists(part, found)),
        Filter::Not(inner) => long_lists(inner, found),
        Filter::Test(Test { column, is: Is::In(values) }) if values.len() > SHOWN_IN_WORDS => {
            found.entry(column.clone()).or_default().push(values);
        }
        Filter::Test(_) => {}
    }
}

/// The first patterns of each set, and how many there are more.
pub fn patterns(scan: &Scan) -> Vec<String> {
    let line = |(name, set): (&String, &PatternSet)| {
        let shown: Vec<&str> = set.patterns.iter().take(SHOWN_IN_WORDS).map(String::as_str).collect();
        let more = set.patterns.len().saturating_sub(SHOWN_IN_WORDS);
        let more = if more > 0 { format!(" … {more} more") } else { String::new() };
        let case = if set.ignore_case { ", whatever their case" } else { "" };
        format!("  patterns {name}: {}{more}{case}", shown.join(" | "))
    };
    scan.patterns.iter().map(line).chain(blooms(scan)).collect()
}

fn blooms(scan: &Scan) -> impl Iterator<Item = String> {
    scan.blooms.iter().map(|(name, bloom)| {
        let (bytes, hashes) = (bloom.bits.len(), bloom.hashes);
        format!("  filter {name}: a Bloom filter of {bytes} bytes and {hashes} hashes; its values cannot be seen")
    })
}
