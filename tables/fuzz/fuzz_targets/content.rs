//! All tests of a content, decided in one read, against asking each line by itself.
#![no_main]

use std::fs::File;
use std::io::{Seek as _, Write as _};

use arbitrary::Arbitrary;
use canvass_protocol::filter::{Is, Pattern};
use canvass_protocol::limits::REGEX_BYTES_MAX;
use canvass_protocol::value::Truth;
use libfuzzer_sys::fuzz_target;
use regex::bytes::{Regex, RegexBuilder};
use rustix::fs::MemfdFlags;
use sha2::{Digest as _, Sha256};

#[derive(Arbitrary, Debug)]
struct Case {
    tests: Vec<Test>,
    content: Vec<u8>,
    /// Where a read ends: after so many bytes, in turn.
    cuts: Vec<u8>,
    any: bool,
    sized: bool,
}

#[derive(Arbitrary, Debug)]
struct Test {
    kind: Kind,
    tokens: Vec<u8>,
    ignore_case: bool,
    negated: bool,
}

#[derive(Arbitrary, Debug, Clone, Copy, PartialEq)]
enum Kind {
    Matches,
    Like,
    Every,
}

/// What patterns are made of.
const TOKENS: [&str; 64] = [
    "a", "b", "A", "ab", "é", "É", "ſ", "k", "0", "_", " ", ".", "*", "+", "?", "|", "(", ")", "(?:", "[", "]", "[^",
    "[^a]", "-", "^", "$", "\\b", "\\B", "\\A", "\\z", "\\s", "\\S", "\\w", "\\W", "\\d", "\\n", "\\r", "\\\\", "\\",
    "\n", "\r", "%", "(?m)", "(?s)", "(?R)", "(?i)", "(?u)", "(?-u)", "(?-u:\\xff)", "(?-u:.)", "\\xff", "\\pL",
    "{2}", "{0,2}", "{3,}", "*?", "+?", "\\b{start}", "\\b{end}", "\\b{start-half}", "(?mR)", "(?x)", "aaaa", "xyz",
];

/// What contents are made of, beside bytes as they come.
const PIECES: [&[u8]; 16] = [
    b"a", b"b", b"A", b"ab", b"\n", b"\r\n", b"\r", b"\n\n", "é".as_bytes(), "É".as_bytes(), b"\xff", b"\0", b" ",
    b"aaaa", b"xyz", b"\xc3",
];

impl Test {
    fn is(&self) -> Is {
        let text = self.tokens.iter().map(|&token| TOKENS[usize::from(token) % TOKENS.len()]).collect();
        let pattern = Pattern { pattern: text, ignore_case: self.ignore_case };
        match self.kind {
            Kind::Matches => Is::Matches(pattern),
            Kind::Like => Is::Like(pattern),
            Kind::Every => Is::EveryLine(pattern),
        }
    }
}

/// Answers for one line, in the plainest way.
enum Line {
    Regex(Regex),
    Like { pattern: Vec<char>, ignore_case: bool },
}

impl Line {
    fn new(is: &Is) -> Option<Line> {
        match is {
            Is::Like(pattern) => {
                Some(Line::Like { pattern: pattern.pattern.chars().collect(), ignore_case: pattern.ignore_case })
            }
            Is::Matches(pattern) | Is::EveryLine(pattern) => RegexBuilder::new(&pattern.pattern)
                .case_insensitive(pattern.ignore_case)
                .size_limit(REGEX_BYTES_MAX)
                .dfa_size_limit(REGEX_BYTES_MAX)
                .build()
                .ok()
                .map(Line::Regex),
            _ => None,
        }
    }

    fn matches(&self, line: &[u8]) -> bool {
        match self {
            Line::Regex(regex) => regex.is_match(line),
            Line::Like { pattern, ignore_case } => like(pattern, line, *ignore_case),
        }
    }
}

/// LIKE over bytes: `%` is any bytes, `_` one character, `\` takes what follows as it is.
fn like(pattern: &[char], line: &[u8], ignore_case: bool) -> bool {
    let one = |character: char, rest: &[char]| {
        let literal = regex::escape(character.encode_utf8(&mut [0; 4]));
        let regex = RegexBuilder::new(&format!("^{literal}")).case_insensitive(ignore_case).build().unwrap();
        regex.find(line).is_some_and(|found| like(rest, &line[found.end()..], ignore_case))
    };
    match pattern {
        [] => line.is_empty(),
        ['%', rest @ ..] => (0..=line.len()).any(|from| like(rest, &line[from..], ignore_case)),
        ['_', rest @ ..] => {
            let regex = Regex::new("^(?s:.)").unwrap();
            regex.find(line).is_some_and(|found| like(rest, &line[found.end()..], ignore_case))
        }
        ['\\', character, rest @ ..] => one(*character, rest),
        [character, rest @ ..] => one(*character, rest),
    }
}

/// The lines of a content, without their ends.
fn lines(content: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = content.split(|&byte| byte == b'\n').collect();
    let last = lines.pop().filter(|last| !last.is_empty());
    let mut lines: Vec<&[u8]> = lines.iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
    lines.extend(last);
    lines
}

/// The filter: all tests, or any of them, some negated.
fn judge(case: &Case, truths: &[Option<Truth>]) -> Option<Truth> {
    let ready = if case.any { Truth::True } else { Truth::False };
    let told = truths.iter().zip(&case.tests).map(|(truth, test)| {
        truth.map(|truth| if test.negated { truth.negate() } else { truth })
    });
    let told: Vec<Option<Truth>> = told.collect();
    if told.contains(&Some(ready)) {
        return Some(ready);
    }
    let told = told.into_iter().collect::<Option<Vec<_>>>()?;
    Some(told.into_iter().fold(ready.negate(), |so_far, truth| if case.any { so_far.or(truth) } else { so_far.and(truth) }))
}

/// Members of gzip, each of which ends a read.
fn in_pieces(content: &[u8], cuts: &[u8]) -> Vec<u8> {
    let mut cuts = cuts.iter().cycle();
    let mut packed = Vec::new();
    let mut rest = content;
    loop {
        let length = cuts.next().map_or(rest.len(), |&cut| usize::from(cut)).min(rest.len());
        let (piece, more) = rest.split_at(length);
        let mut encoder = flate2::write::GzEncoder::new(packed, flate2::Compression::none());
        encoder.write_all(piece).unwrap();
        packed = encoder.finish().unwrap();
        rest = more;
        if rest.is_empty() {
            return packed;
        }
    }
}

fn file(bytes: &[u8]) -> File {
    let mut file = File::from(rustix::fs::memfd_create("content", MemfdFlags::empty()).unwrap());
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fuzz_target!(|case: Case| {
    if case.tests.is_empty() || case.tests.len() > 4 || case.tests.iter().any(|test| test.tokens.len() > 12) {
        return;
    }
    let content: Vec<u8> = case.content.iter().flat_map(|&byte| match byte {
        0..192 => PIECES[usize::from(byte) % PIECES.len()].to_vec(),
        _ => vec![byte.wrapping_mul(5)],
    }).collect();
    if content.len() > 4096 || case.cuts.iter().all(|&cut| cut == 0) {
        return;
    }
    let tests: Vec<Is> = case.tests.iter().map(Test::is).collect();
    let naive: Option<Vec<Line>> = tests.iter().map(Line::new).collect();
    let mut judged = |truths: &[Option<Truth>]| judge(&case, truths);
    for packed in [false, true] {
        let bytes = if packed { in_pieces(&content, &case.cuts) } else { content.clone() };
        if !packed && bytes.starts_with(b"\x1f\x8b") {
            continue;
        }
        let size = if case.sized { bytes.len() as u64 } else { 0 };
        let told = canvass_tables::engine::fuzzing::read(&tests, file(&bytes), size, packed.then_some(8 << 20), &mut judged);
        let Some(naive) = &naive else {
            assert!(told.is_err(), "what the regex crate refuses is refused");
            return;
        };
        let told = told.unwrap_or_else(|error| panic!("{tests:?} refused: {error}"));
        let expected: Vec<Truth> = naive.iter().zip(&case.tests).map(|(naive, test)| {
            let lines = lines(&content);
            if test.kind == Kind::Every {
                lines.iter().all(|line| naive.matches(line)).into()
            } else {
                lines.iter().any(|line| naive.matches(line)).into()
            }
        }).collect();
        let unknown = told.truths.contains(&Some(Truth::Unknown));
        assert_eq!(unknown, told.trouble.is_some(), "{:?}", told.trouble);
        for ((told, expected), test) in told.truths.iter().zip(&expected).zip(&tests) {
            if let Some(told) = told.filter(|&told| told != Truth::Unknown) {
                assert_eq!(told, *expected, "{test:?}, packed: {packed}");
            }
        }
        let passes = judge(&case, &told.truths);
        if !unknown {
            let expected: Vec<Option<Truth>> = expected.into_iter().map(Some).collect();
            assert_eq!(passes, judge(&case, &expected), "packed: {packed}");
        }
        let sha256 = Sha256::digest(&content).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        // A row that does not pass may have been hashed as far as it was in doubt.
        if passes == Some(Truth::True) {
            assert_eq!(told.sha256, Some(sha256), "packed: {packed}");
        }
    }
});
