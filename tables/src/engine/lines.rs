//! Patterns over the lines of a file: how LIKE and regular expressions are compiled for bytes.

use std::cell::OnceCell;
use std::ops::Range;

use canvass_protocol::filter::Pattern;
use canvass_protocol::limits::REGEX_BYTES_MAX;
use regex::bytes::{Regex, RegexBuilder};
use regex_automata::hybrid::dfa::DFA;
use regex_automata::meta;
use regex_automata::nfa::thompson;
use regex_syntax::hir::{self, Class, Hir, HirKind, Look};

use super::needles::{self, Needles};

/// What the states of one expression may take while a long line is walked along; beyond, they are made anew.
const CACHE_BYTES: usize = 128 << 10;

/// A pattern that decides of one line, and what makes it fast.
#[derive(Clone)]
pub(super) struct LinePattern {
    pub text: String,
    ignore_case: bool,
    /// Literals by which it can be found together with others.
    pub needles: Option<Needles>,
    /// Decides; its haystack is one line without its end. Where literals decide, it is compiled when it is needed.
    exact: OnceCell<Regex>,
    /// Finds in a block of lines whatever line could match; `None` where it would find too much to be of use.
    coarse: OnceCell<Option<Coarse>>,
}

/// An expression that, searched in a block of lines, matches within each line that the original matches alone.
#[derive(Clone)]
struct Coarse {
    widened: Hir,
    regex: meta::Regex,
}

/// One search for whatever line could match any of the patterns; `None` where it would find too much to be of use.
pub(super) fn search_together<'a>(patterns: impl Iterator<Item = &'a LinePattern>) -> Option<meta::Regex> {
    let all = patterns.map(|pattern| Some(pattern.coarse()?.widened.clone())).collect::<Option<Vec<_>>>()?;
    build(&Hir::alternation(all))
}

impl LinePattern {
    /// Compiles a regular expression.
    pub fn regex(pattern: &Pattern) -> Result<LinePattern, String> {
        LinePattern::new(&pattern.pattern, pattern.pattern.clone(), pattern.ignore_case)
    }

    /// Compiles a LIKE pattern over the whole line.
    pub fn like(pattern: &Pattern) -> Result<LinePattern, String> {
        LinePattern::new(&pattern.pattern, like_to_regex(&pattern.pattern), pattern.ignore_case)
    }

    fn new(written: &str, regex: String, ignore_case: bool) -> Result<LinePattern, String> {
        let needles = parse(&regex, ignore_case).and_then(|parsed| needles::of(&parsed));
        let (exact, coarse) = (OnceCell::new(), OnceCell::new());
        let pattern = LinePattern { text: regex, ignore_case, needles, exact, coarse };
        if !pattern.is_literal() {
            let compiled = pattern.compile();
            let compiled = compiled.map_err(|error| format!("bad regular expression `{written}`: {error}"))?;
            let _ = pattern.exact.set(compiled);
        }
        Ok(pattern)
    }

    /// Whether a line matches that holds one of its literals, and no other.
    pub fn is_literal(&self) -> bool {
        self.needles.as_ref().is_some_and(|needles| needles.exact)
    }

    fn compile(&self) -> Result<Regex, regex::Error> {
        RegexBuilder::new(&self.text)
            .case_insensitive(self.ignore_case)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
    }

    fn exact(&self) -> &Regex {
        self.exact.get_or_init(|| self.compile().expect("literals of so few bytes compile"))
    }

    fn coarse(&self) -> Option<&Coarse> {
        let found = || parse(&self.text, self.ignore_case).and_then(|parsed| coarse(&parsed));
        self.coarse.get_or_init(found).as_ref()
    }

    /// Whether one line, without its end, matches.
    pub fn matches(&self, line: &[u8]) -> bool {
        self.exact().is_match(line)
    }

    /// Whether the search in a block leaps from literal to literal.
    pub fn is_accelerated(&self) -> bool {
        self.coarse().is_some_and(|coarse| coarse.regex.is_accelerated())
    }

    /// Whether some line of a block of whole lines matches.
    pub fn matches_some(&self, block: &[u8]) -> bool {
        let Some(coarse) = self.coarse() else {
            return lines(block).any(|line| self.matches(line));
        };
        let mut from = 0;
        while from < block.len() {
            let input = regex_automata::Input::new(block).span(from..block.len());
            let Some(half) = coarse.regex.search_half(&input) else { return false };
            // The match is not empty and crosses no line end, so its last byte tells its line.
            let last = half.offset().saturating_sub(1).max(from);
            let start = memchr::memrchr(b'\n', &block[from..last]).map_or(from, |at| from + at + 1);
            let end = memchr::memchr(b'\n', &block[last..]).map_or(block.len(), |at| last + at + 1);
            if lines(&block[start..end]).any(|line| self.matches(line)) {
                return true;
            }
            from = end;
        }
        false
    }

    /// Whether the line around a place in a block of whole lines matches, and where it stands, its end included.
    pub fn matches_around(&self, block: &[u8], at: usize) -> (bool, Range<usize>) {
        let start = memchr::memrchr(b'\n', &block[..at]).map_or(0, |end| end + 1);
        let end = memchr::memchr(b'\n', &block[at..]).map_or(block.len(), |end| at + end + 1);
        (lines(&block[start..end]).any(|line| self.matches(line)), start..end)
    }

    /// Whether every line of a block of whole lines matches.
    pub fn matches_every(&self, block: &[u8]) -> bool {
        lines(block).all(|line| self.matches(line))
    }

    /// An automaton that takes a line byte by byte, for lines that are not held in memory; `None` where there is none.
    pub fn automaton(&self) -> Option<DFA> {
        let syntax = regex_automata::util::syntax::Config::new().utf8(false).case_insensitive(self.ignore_case);
        DFA::builder()
            .configure(
                DFA::config().unicode_word_boundary(true).skip_cache_capacity_check(true).cache_capacity(CACHE_BYTES),
            )
            .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(REGEX_BYTES_MAX)))
            .syntax(syntax)
            .build(&self.text)
            .ok()
    }
}

/// The lines of a block, without their ends.
fn lines(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some(end) = memchr::memchr(b'\n', rest) else {
            return Some(std::mem::take(&mut rest));
        };
        let line = &rest[..end];
        rest = &rest[end + 1..];
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    })
}

/// Translates LIKE for bytes: `%` spans whatever bytes there are, `_` one character; `\` escapes.
fn like_to_regex(pattern: &str) -> String {
    let mut regex = String::from("^");
    let mut characters = pattern.chars().peekable();
    if pattern.starts_with('%') {
        // What may begin anywhere needs no anchor, and finds its literals faster without.
        regex.clear();
        while characters.next_if_eq(&'%').is_some() {}
    }
    let mut open_end = pattern.is_empty();
    while let Some(character) = characters.next() {
        match character {
            '%' if characters.peek().is_none() => return regex,
            '%' => {
                if characters.peek() != Some(&'%') {
                    regex.push_str("(?s-u:.)*?");
                }
            }
            '_' => regex.push_str("(?s:.)"),
            '\\' => regex.push_str(&regex::escape(characters.next().unwrap_or('\\').encode_utf8(&mut [0; 4]))),
            other => regex.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
        open_end = true;
    }
    // A pattern of nothing but `%` matches every line.
    if open_end {
        regex.push('$');
    }
    regex
}

fn parse(regex: &str, ignore_case: bool) -> Option<Hir> {
    let mut builder = regex_syntax::ParserBuilder::new();
    builder.utf8(false).case_insensitive(ignore_case).build().parse(regex).ok()
}

fn coarse(original: &Hir) -> Option<Coarse> {
    let widened = widen(original);
    if widened.properties().minimum_len().is_none_or(|length| length == 0) {
        return None;
    }
    Some(Coarse { regex: build(&widened)?, widened })
}

fn build(hir: &Hir) -> Option<meta::Regex> {
    let config = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(REGEX_BYTES_MAX))
        .which_captures(thompson::WhichCaptures::Implicit);
    meta::Builder::new().configure(config).build_from_hir(hir).ok()
}

/// Keeps matches within a line and widens what looks at a line's end; a line's start can be told exactly.
fn widen(original: &Hir) -> Hir {
    match original.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) if literal.0.contains(&b'\n') => Hir::fail(),
        HirKind::Literal(literal) => Hir::literal(literal.0.clone()),
        HirKind::Class(Class::Unicode(class)) => {
            let mut class = class.clone();
            class.difference(&hir::ClassUnicode::new([hir::ClassUnicodeRange::new('\n', '\n')]));
            Hir::class(Class::Unicode(class))
        }
        HirKind::Class(Class::Bytes(class)) => {
            let mut class = class.clone();
            class.difference(&hir::ClassBytes::new([hir::ClassBytesRange::new(b'\n', b'\n')]));
            Hir::class(Class::Bytes(class))
        }
        HirKind::Look(Look::Start | Look::StartLF) => Hir::look(Look::StartLF),
        HirKind::Look(Look::End | Look::EndLF | Look::StartCRLF | Look::EndCRLF) => Hir::empty(),
        // Both sides of a line are line ends or nothing, which are the same to a word boundary.
        HirKind::Look(look) => Hir::look(*look),
        HirKind::Repetition(repetition) => {
            Hir::repetition(hir::Repetition { sub: Box::new(widen(&repetition.sub)), ..repetition.clone() })
        }
        HirKind::Capture(capture) => widen(&capture.sub),
        HirKind::Concat(parts) => Hir::concat(parts.iter().map(widen).collect()),
        HirKind::Alternation(parts) => Hir::alternation(parts.iter().map(widen).collect()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn like_is_of_the_whole_line() {
        for (pattern, line, expected) in [
            ("abc", "abc", true),
            ("abc", "xabc", false),
            ("abc", "abcx", false),
            ("%abc", "xabc", true),
            ("%abc", "abcx", false),
            ("abc%", "abcx", true),
            ("%b%", "abc", true),
            ("a%c", "abbc", true),
            ("a%%c", "ac", true),
            ("a_c", "aéc", true),
            ("a_c", "ac", false),
            ("%", "", true),
            ("%%", "x", true),
            ("", "", true),
            ("", "x", false),
            (r"a\%", "a%", true),
            (r"a\%", "ab", false),
            (r"a\", r"a\", true),
            ("a.c", "abc", false),
            ("ABC", "abc", false),
        ] {
            let pattern_ = Pattern { pattern: pattern.to_owned(), ignore_case: false };
            assert_eq!(LinePattern::like(&pattern_).unwrap().matches(line.as_bytes()), expected, "{pattern} {line}");
        }
        let binary = Pattern { pattern: "%key%end".to_owned(), ignore_case: true };
        assert!(LinePattern::like(&binary).unwrap().matches(b"\xff\xfeKEY\x00\xffEND"));
    }

    proptest! {
        /// Searching whole blocks finds exactly what asking line by line finds.
        #[test]
        fn the_coarse_search_loses_and_adds_nothing(
            pattern in "(\\^|\\\\b|\\(\\?m\\)\\^|\\(\\?R\\)|\\(\\?m\\))?[ab.\\[\\]\\\\s^]{1,4}(\\$|\\\\r|\\\\n|\\\\b|\\\\B|\\\\z)?",
            block in proptest::collection::vec(proptest::sample::select(b"aab \r\n\n\xff".to_vec()), 0..40),
        ) {
            let pattern = Pattern { pattern, ignore_case: false };
            if let Ok(compiled) = LinePattern::regex(&pattern) {
                let by_line = lines(&block).any(|line| compiled.matches(line));
                prop_assert_eq!(compiled.matches_some(&block), by_line, "{:?} in {:?}", pattern, block);
            }
        }
    }
}
