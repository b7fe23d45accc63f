//! The tests of a row's content: what blocks of whole lines, and lines that no block holds, decide.

use std::cell::OnceCell;

use canvass_protocol::filter::Is;
use canvass_protocol::value::Truth;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Input, meta};

use super::lines::{LinePattern, search_together};

/// The content tests of a scan.
#[derive(Clone, Default)]
pub(crate) struct ContentTests {
    tests: Vec<ContentTest>,
    /// Finds whatever line could satisfy any test of those that have no quick search of their own; `None` where there are
    /// not two of them.
    together: Option<meta::Regex>,
}

#[derive(Clone)]
struct ContentTest {
    pattern: LinePattern,
    /// All lines have to match, instead of some.
    every: bool,
    automaton: OnceCell<Option<DFA>>,
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

    /// All tests are known: those that have no literal to look for go over a block together, while twenty literals one
    /// after the other are found sooner than all at once.
    pub fn combined(mut self) -> ContentTests {
        let slow = || self.tests.iter().filter(|test| test.is_slow());
        if slow().nth(1).is_some() {
            self.together = search_together(slow().map(|test| &test.pattern));
        }
        self
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// Notes what a block of whole lines decides, and returns whether it decided anything. `met` tells, for one content,
    /// whether its tests have to look for themselves because some have been decided.
    pub fn block(&self, block: &[u8], decided: &mut [Option<Truth>], met: &mut bool) -> bool {
        let nowhere = !*met && self.together.as_ref().is_some_and(|together| !together.is_match(block));
        let mut changed = false;
        for (decided, test) in decided.iter_mut().zip(&self.tests) {
            if decided.is_none() && !(nowhere && test.is_slow()) {
                *decided = test.block(block);
                changed |= decided.is_some();
                *met |= decided.is_some() && test.is_slow();
            }
        }
        changed
    }

    /// What the end of a content decides where no line has.
    pub fn at_end(&self, test: usize) -> Truth {
        self.tests[test].every.into()
    }
}

impl ContentTest {
    fn is_slow(&self) -> bool {
        !self.every && !self.pattern.is_accelerated()
    }

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

/// A line that is taken piece by piece, by all tests at once.
pub(super) struct LongLine<'a> {
    tests: &'a ContentTests,
    walks: Vec<Option<Walk<'a>>>,
}

impl<'a> LongLine<'a> {
    pub fn new(tests: &'a ContentTests, decided: &[Option<Truth>]) -> LongLine<'a> {
        let open =
            |(test, decided): (&'a ContentTest, &Option<Truth>)| if decided.is_none() { test.walk() } else { None };
        LongLine { tests, walks: tests.tests.iter().zip(decided).map(open).collect() }
    }

    /// Takes the next bytes of the line, which hold no line end.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.walks.iter_mut().flatten().for_each(|walk| walk.feed(bytes));
    }

    /// Notes what the line decides, and says what could not be tested.
    pub fn finish(self, terminated: bool, decided: &mut [Option<Truth>]) -> Option<String> {
        let mut trouble = None;
        for ((walk, test), decided) in self.walks.into_iter().zip(&self.tests.tests).zip(decided) {
            if decided.is_some() {
                continue;
            }
            match walk.and_then(|walk| walk.finish(terminated)) {
                Some(matched) if matched != test.every => *decided = Some((!test.every).into()),
                Some(_) => {}
                None => {
                    *decided = Some(Truth::Unknown);
                    trouble = Some(format!("a line is too long to be tested for `{}`", test.pattern.text));
                }
            }
        }
        trouble
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
