//! All content tests of a row, decided in one read of bounded memory.

use std::cell::OnceCell;
use std::io::{self, Read};

use canvass_protocol::filter::Is;
use canvass_protocol::value::Truth;
use regex_automata::Input;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};

use super::Watch;
use super::lines::LinePattern;
use crate::host::reason;

/// Bytes of one read.
const BLOCK_BYTES: usize = 128 << 10;
/// The longest line held in memory; a longer one is taken byte by byte.
const LINE_BYTES_MAX: usize = 1 << 20;

/// The content tests of one column.
#[derive(Default)]
pub(crate) struct ContentTests {
    tests: Vec<ContentTest>,
}

struct ContentTest {
    pattern: LinePattern,
    /// All lines have to match, instead of some.
    every: bool,
    automaton: OnceCell<Option<DFA>>,
}

/// What one read told.
pub(crate) struct Outcome {
    pub truths: Vec<Truth>,
    pub trouble: Option<String>,
}

impl ContentTests {
    /// Compiles a test and tells its index; what is not a question about lines is refused.
    pub fn add(&mut self, is: &Is) -> Result<usize, String> {
        let (pattern, every) = match is {
            Is::Matches(pattern) => (LinePattern::regex(pattern)?, false),
            Is::Like(pattern) => (LinePattern::like(pattern)?, false),
            Is::EveryLine(pattern) => (LinePattern::regex(pattern)?, true),
            _ => return Err("content answers only regular expressions, LIKE and every_line".to_owned()),
        };
        self.tests.push(ContentTest { pattern, every, automaton: OnceCell::new() });
        Ok(self.tests.len() - 1)
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// Reads to the end, or until all is decided; what stays open after an error is unknown.
    pub fn run(&self, file: &mut dyn Read, watch: &Watch<'_>, buffer: &mut Vec<u8>) -> Outcome {
        let decided = vec![None; self.tests.len()];
        let mut reading = Reading { tests: &self.tests, file, watch, buffer, filled: 0, decided, trouble: None };
        let ended = match reading.run() {
            Ok(ended) => ended,
            Err(error) => {
                reading.trouble = Some(reason(&error));
                false
            }
        };
        let truth = |(decided, test): (&Option<Truth>, &ContentTest)| match decided {
            Some(truth) => *truth,
            None if ended => test.every.into(),
            None => Truth::Unknown,
        };
        let truths = reading.decided.iter().zip(&self.tests).map(truth).collect();
        Outcome { truths, trouble: reading.trouble }
    }
}

struct Reading<'a> {
    tests: &'a [ContentTest],
    file: &'a mut dyn Read,
    watch: &'a Watch<'a>,
    /// What was read and not yet tested is `buffer[..filled]`.
    buffer: &'a mut Vec<u8>,
    filled: usize,
    decided: Vec<Option<Truth>>,
    trouble: Option<String>,
}

impl Reading<'_> {
    /// Returns whether the end was reached.
    fn run(&mut self) -> io::Result<bool> {
        if self.buffer.len() < BLOCK_BYTES {
            self.buffer.resize(BLOCK_BYTES, 0);
        }
        while !self.is_decided() {
            if self.filled == self.buffer.len() {
                if self.buffer.len() < LINE_BYTES_MAX {
                    self.buffer.resize(self.buffer.len() * 2, 0);
                } else if !self.long_line()? {
                    return Ok(false);
                }
                continue;
            }
            let Some(count) = self.read()? else { return Ok(false) };
            if count == 0 {
                self.test(self.filled);
                return Ok(true);
            }
            let seen = self.filled;
            self.filled += count;
            if let Some(end) = memchr::memrchr(b'\n', &self.buffer[seen..self.filled]) {
                self.test(seen + end + 1);
                self.drop_front(seen + end + 1);
            }
        }
        Ok(true)
    }

    fn is_decided(&self) -> bool {
        self.decided.iter().all(Option::is_some)
    }

    /// Reads into the free end of the buffer; `None` where the scan is over.
    fn read(&mut self) -> io::Result<Option<usize>> {
        loop {
            if self.watch.is_over() {
                return Ok(None);
            }
            match self.file.read(&mut self.buffer[self.filled..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(Some),
            }
        }
    }

    /// Tests the whole lines that lie before `end`.
    fn test(&mut self, end: usize) {
        let block = &self.buffer[..end];
        for (decided, test) in self.decided.iter_mut().zip(self.tests) {
            if decided.is_none() {
                *decided = test.block(block);
            }
        }
    }

    fn drop_front(&mut self, count: usize) {
        self.buffer.copy_within(count..self.filled, 0);
        self.filled -= count;
    }

    /// Takes a line that fills the buffer, and the rest of it as it is read; returns whether the scan goes on.
    fn long_line(&mut self) -> io::Result<bool> {
        let tests = self.tests;
        let mut walks: Vec<_> = tests.iter().map(ContentTest::walk).collect();
        let terminated = loop {
            let end = memchr::memchr(b'\n', &self.buffer[..self.filled]);
            let line = &self.buffer[..end.unwrap_or(self.filled)];
            walks.iter_mut().flatten().for_each(|walk| walk.feed(line));
            if let Some(end) = end {
                self.drop_front(end + 1);
                break true;
            }
            self.filled = 0;
            match self.read()? {
                None => return Ok(false),
                Some(0) => break false,
                Some(count) => self.filled = count,
            }
        };
        for (index, walk) in walks.into_iter().enumerate() {
            let matched = walk.and_then(|walk| walk.finish(terminated));
            let test = &tests[index];
            if self.decided[index].is_some() {
                continue;
            }
            match matched {
                Some(matched) if matched != test.every => self.decided[index] = Some((!test.every).into()),
                Some(_) => {}
                None => {
                    self.decided[index] = Some(Truth::Unknown);
                    self.trouble = Some(format!("a line is too long to be tested for `{}`", test.pattern.text));
                }
            }
        }
        // Lines that were read along with the end of the long one are tested like any other.
        if let Some(end) = memchr::memrchr(b'\n', &self.buffer[..self.filled]) {
            self.test(end + 1);
            self.drop_front(end + 1);
        }
        Ok(true)
    }
}

impl ContentTest {
    /// What a block of whole lines decides, if anything.
    fn block(&self, block: &[u8]) -> Option<Truth> {
        if self.every {
            (!self.pattern.matches_every(block)).then_some(Truth::False)
        } else {
            self.pattern.matches_some(block).then_some(Truth::True)
        }
    }

    fn walk(&self) -> Option<Walk<'_>> {
        let dfa = self.automaton.get_or_init(|| self.pattern.automaton()).as_ref()?;
        let mut cache = dfa.create_cache();
        let state = dfa.start_state_forward(&mut cache, &Input::new(b"")).ok()?;
        Some(Walk { dfa, cache, state, matched: None, lost: false, carriage_return: false })
    }
}

/// One automaton on its way along a long line.
struct Walk<'a> {
    dfa: &'a DFA,
    cache: Cache,
    state: LazyStateID,
    matched: Option<bool>,
    /// The automaton gave up: a Unicode word boundary beside a byte that is not ASCII.
    lost: bool,
    /// A `\r` was met that belongs to the line only if no `\n` follows.
    carriage_return: bool,
}

impl Walk<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.matched.is_some() || self.lost {
                return;
            }
            if std::mem::take(&mut self.carriage_return) {
                self.step(b'\r');
            }
            if byte == b'\r' {
                self.carriage_return = true;
            } else {
                self.step(byte);
            }
        }
    }

    fn step(&mut self, byte: u8) {
        match self.dfa.next_state(&mut self.cache, self.state, byte) {
            Ok(state) => self.enter(state),
            Err(_) => self.lost = true,
        }
    }

    fn enter(&mut self, state: LazyStateID) {
        self.state = state;
        if state.is_tagged() {
            if state.is_match() {
                self.matched = Some(true);
            } else if state.is_dead() {
                self.matched = Some(false);
            } else if state.is_quit() {
                self.lost = true;
            }
        }
    }

    /// Whether the line matched; `None` where that cannot be told.
    fn finish(mut self, terminated: bool) -> Option<bool> {
        if self.carriage_return && !terminated && self.matched.is_none() && !self.lost {
            self.step(b'\r');
        }
        if self.matched.is_none() && !self.lost {
            match self.dfa.next_eoi_state(&mut self.cache, self.state) {
                Ok(state) => self.enter(state),
                Err(_) => self.lost = true,
            }
        }
        if self.lost { None } else { Some(self.matched.unwrap_or(false)) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use canvass_protocol::filter::Pattern;
    use canvass_protocol::limits::Limits;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern { pattern: text.to_owned(), ignore_case: false }
    }

    fn run(is: &Is, bytes: &[u8]) -> (Truth, Option<String>) {
        let mut tests = ContentTests::default();
        tests.add(is).unwrap();
        let stop = AtomicBool::new(false);
        let outcome = tests.run(&mut &bytes[..], &Watch::new(&Limits::default(), &stop), &mut Vec::new());
        (outcome.truths[0], outcome.trouble)
    }

    #[test]
    fn lines_end_as_documented() {
        for (text, bytes, some, every) in [
            ("^a$", &b"a\n"[..], true, true),
            ("^a$", b"a\r\n", true, true),
            ("^a$", b"a", true, true),
            ("^a$", b"a\r", false, false),
            ("^a$", b"b\na", true, false),
            ("a", b"", false, true),
            ("^$", b"", false, true),
            ("^$", b"\n", true, true),
            ("^$", b"a\n", false, false),
            ("^$", b"a\n\n", true, false),
            ("^$", b"\r\n", true, true),
            ("^$", b"\r\r\n", false, false),
            ("a\\nb", b"a\nb\n", false, false),
            ("a\\s*b", b"a\nb\n", false, false),
            ("(?s)a.b", b"a\nb", false, false),
            ("a[^x]b", b"a\rb\n", true, true),
            ("(?-u)\\xff", b"\x00\xff\x00", true, true),
            ("\\Aa", b"b\na\n", true, false),
            ("b\\z", b"b\r\na\n", true, false),
        ] {
            assert_eq!(run(&Is::Matches(pattern(text)), bytes).0, some.into(), "{text} in {bytes:?}");
            assert_eq!(run(&Is::EveryLine(pattern(text)), bytes).0, every.into(), "every {text} in {bytes:?}");
        }
    }

    #[test]
    fn lines_longer_than_memory_are_tested() {
        let long = |end: &[u8]| [b"head", vec![b'x'; 3 << 20].as_slice(), end].concat();
        for (text, end, expected) in [
            ("^head", &b"tail"[..], true),
            ("tail$", b"tail", true),
            ("tail$", b"tail\r\nmore\n", true),
            ("tail$", b"tail\r", false),
            ("^headx*tail$", b"tail\n", true),
            ("^tail", b"tail\n", false),
            ("^next$", b"\nnext\r\n", true),
            ("^$", b"\n\n", true),
            ("xtail", b"\ntail", false),
        ] {
            assert_eq!(run(&Is::Matches(pattern(text)), &long(end)).0, expected.into(), "{text} {end:?}");
        }
        assert_eq!(run(&Is::EveryLine(pattern("x")), &long(b"\nxx\n")).0, Truth::True);
        assert_eq!(run(&Is::EveryLine(pattern("x")), &long(b"\nyy\n")).0, Truth::False);
        assert_eq!(run(&Is::Like(pattern("head%tail")), &long(b"tail\n")).0, Truth::True);
        let (truth, trouble) = run(&Is::Matches(pattern("\\bword\\b")), &long("é".as_bytes()));
        assert_eq!(truth, Truth::Unknown);
        assert!(trouble.unwrap().contains("too long"));
    }

    #[test]
    fn a_read_error_leaves_unknown_what_was_not_decided() {
        struct Broken(bool);
        impl Read for Broken {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::other("gone"));
                }
                buffer[..2].copy_from_slice(b"a\n");
                Ok(2)
            }
        }
        let mut tests = ContentTests::default();
        tests.add(&Is::Matches(pattern("a"))).unwrap();
        tests.add(&Is::Matches(pattern("b"))).unwrap();
        let stop = AtomicBool::new(false);
        let outcome = tests.run(&mut Broken(false), &Watch::new(&Limits::default(), &stop), &mut Vec::new());
        assert_eq!(outcome.truths, [Truth::True, Truth::Unknown]);
        assert_eq!(outcome.trouble.as_deref(), Some("gone"));
    }
}
