//! The tests of a row's content: what blocks of whole lines, and lines that no block holds, decide.
//!
//! Two tests or more that have literals to be found by are looked for in one search. A place of a literal decides its test
//! where the expression is nothing but literals, and tells one line to be tested where it is more.

use std::cell::OnceCell;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use canvass_protocol::filter::Is;
use canvass_protocol::value::Truth;
use regex_automata::hybrid::dfa::DFA;
use regex_automata::meta;

use super::lines::{LinePattern, search_together};
use super::needles::Needles;
use super::search::{Owner, Search, Wanted};

/// Lines that a literal may have told in vain before its test looks for itself, in one content.
const VAIN_MAX: u32 = 256;
/// Places of literals whose tests are decided, after which the rest is searched for alone, in one content: so many, and so
/// many more for each literal, as making another search costs about as much.
const IDLE_MAX: usize = 1024;
const IDLE_MAX_EACH: usize = 16;

/// Bytes that a literal needs to be searched for together with others: less makes all of them slower to find.
const JOINED_MIN: usize = 3;
/// Tests with shorter ones that each look for themselves; more are no slower together.
const TINY_MAX: usize = 8;

/// The content tests of a scan.
#[derive(Clone, Default)]
pub(crate) struct ContentTests {
    tests: Vec<ContentTest>,
    /// Finds the literals of all tests that have some, for all workers; `None` where there are not two expressions.
    search: Option<Arc<Search>>,
    /// Finds whatever line could satisfy any test of those that have no quick search of their own; `None` where there are
    /// not two of them.
    together: Option<meta::Regex>,
}

#[derive(Clone)]
struct ContentTest {
    /// Any of them will do. There are several only where all are nothing but literals, and none where the search decides.
    patterns: Vec<LinePattern>,
    /// All lines have to match, instead of some.
    every: bool,
    way: Way,
    automaton: OnceCell<Option<DFA>>,
}

/// How a test finds its lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The search of all literals decides.
    Decided,
    /// The search of all literals tells which lines to test.
    Told,
    /// Looks for itself where the slow ones together have found something.
    Together,
    Alone,
}

/// What the tests have met in one content.
#[derive(Default)]
pub(super) struct Met {
    /// The common search of slow tests has found something, so each looks for itself.
    slow: bool,
    /// A search for what is still open, and places that the last one found for nobody.
    narrowed: Option<Search>,
    idle: usize,
    /// Of each test: the line of the block that was tested last, and how many were in vain.
    lines: Vec<(Range<usize>, u32)>,
}

impl ContentTests {
    /// Compiles a test and tells its index; what is not a question about lines is refused.
    pub fn add(&mut self, is: &Is) -> Result<usize, String> {
        self.add_or_join(is, &mut None)
    }

    /// As [`ContentTests::add`], of tests of which any will do: those that are nothing but literals become one test.
    pub fn add_or_join(&mut self, is: &Is, joined: &mut Option<usize>) -> Result<usize, String> {
        let (pattern, every) = match is {
            Is::Matches(pattern) => (LinePattern::regex(pattern)?, false),
            Is::Like(pattern) => (LinePattern::like(pattern)?, false),
            Is::EveryLine(pattern) => (LinePattern::regex(pattern)?, true),
            _ => return Err("content answers only regular expressions, LIKE and every_line".to_owned()),
        };
        if !every && pattern.is_literal() {
            match *joined {
                Some(test) => {
                    self.tests[test].patterns.push(pattern);
                    return Ok(test);
                }
                None => *joined = Some(self.tests.len()),
            }
        }
        let (way, automaton) = (Way::Alone, OnceCell::new());
        self.tests.push(ContentTest { patterns: vec![pattern], every, way, automaton });
        Ok(self.tests.len() - 1)
    }

    /// All tests are known: those that have literals go over a block in one search, and so do those that have none.
    pub fn combined(mut self) -> ContentTests {
        // How long the shortest literal of a test is, where it has some to be found by.
        let shortest = |test: usize| {
            let ContentTest { patterns, every, .. } = &self.tests[test];
            let each = patterns.iter().map(|one| one.needles.as_ref().map_or(0, Needles::shortest));
            if *every { 0 } else { each.min().unwrap_or(0) }
        };
        let (mut found, tiny): (Vec<usize>, Vec<usize>) =
            (0..self.tests.len()).filter(|&test| shortest(test) > 0).partition(|&test| shortest(test) >= JOINED_MIN);
        if tiny.len() > TINY_MAX || tiny.iter().any(|&test| self.tests[test].patterns.len() > 1) {
            found.extend(tiny);
        }
        if found.iter().map(|&test| self.tests[test].patterns.len()).sum::<usize>() > 1 {
            self.search = Some(Arc::new(self.search_for(&found)));
            for test in found {
                let test = &mut self.tests[test];
                let decided = test.patterns.iter().all(LinePattern::is_literal);
                test.way = if decided { Way::Decided } else { Way::Told };
                if decided {
                    test.patterns = Vec::new();
                }
            }
        }
        for test in self.tests.iter_mut().filter(|test| test.way == Way::Alone && !test.every) {
            if !test.patterns.iter().all(LinePattern::is_accelerated) {
                test.way = Way::Together;
            }
        }
        let slow = || self.tests.iter().filter(|test| test.way == Way::Together);
        if slow().nth(1).is_some() {
            self.together = search_together(slow().flat_map(|test| &test.patterns));
        }
        self
    }

    fn search_for(&mut self, tests: &[usize]) -> Search {
        let mut wanted = Vec::new();
        for &test in tests {
            for needles in self.tests[test].patterns.iter_mut().filter_map(|pattern| pattern.needles.as_mut()) {
                let owner = Owner { test, exact: needles.exact };
                wanted.extend(std::mem::take(&mut needles.needles).into_iter().map(|needle| (needle, owner)));
            }
        }
        Search::new(wanted)
    }

    pub fn len(&self) -> usize {
        self.tests.len()
    }

    /// Notes what a block of whole lines decides, and returns whether it decided anything.
    pub(super) fn block(&self, block: &[u8], decided: &mut [Option<Truth>], met: &mut Met) -> bool {
        let mut changed = self.search.as_ref().is_some_and(|search| self.searched(search, block, decided, met));
        let nowhere = !met.slow && self.together.as_ref().is_some_and(|together| !together.is_match(block));
        for (index, (decided, test)) in decided.iter_mut().zip(&self.tests).enumerate() {
            let looks = match test.way {
                Way::Decided => false,
                Way::Told => met.is_in_vain(index),
                Way::Together => !nowhere,
                Way::Alone => true,
            };
            if looks && decided.is_none() {
                *decided = test.block(block);
                changed |= decided.is_some();
                met.slow |= decided.is_some() && test.way == Way::Together;
            }
        }
        changed
    }

    /// Notes what the literals in a block decide.
    fn searched(&self, all: &Search, block: &[u8], decided: &mut [Option<Truth>], met: &mut Met) -> bool {
        let is_open = |test: usize, decided: &[Option<Truth>], met: &Met| {
            let way = self.tests[test].way;
            decided[test].is_none() && (way == Way::Decided || way == Way::Told && !met.is_in_vain(test))
        };
        let mut open = (0..self.tests.len()).filter(|&test| is_open(test, decided, met)).count();
        if open == 0 {
            return false;
        }
        let (mut changed, narrowed) = (false, met.narrowed.take());
        let search = narrowed.as_ref().unwrap_or(all);
        met.lines.iter_mut().for_each(|(tested, _)| *tested = 0..0);
        search.each(block, &mut |wanted: &Wanted, start| {
            let mut idle = true;
            for &Owner { test, exact } in &wanted.owners {
                if !is_open(test, decided, met) {
                    continue;
                }
                idle = false;
                if exact || self.is_line(test, block, start, met) {
                    decided[test] = Some(Truth::True);
                    changed = true;
                }
                open -= usize::from(!is_open(test, decided, met));
            }
            met.idle += usize::from(idle);
            if open == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        met.narrowed = if open > 0 && met.idle > IDLE_MAX + IDLE_MAX_EACH * search.len() {
            met.idle = 0;
            Some(search.only(|owner| is_open(owner.test, decided, met)))
        } else {
            narrowed
        };
        changed
    }

    /// Whether the line around a place matches, if that was not the last one asked.
    fn is_line(&self, test: usize, block: &[u8], at: usize, met: &mut Met) -> bool {
        met.lines.resize(self.tests.len(), (0..0, 0));
        let (tested, vain) = &mut met.lines[test];
        // Places come in no order, since literals of one test may be of several searches.
        if tested.contains(&at) {
            return false;
        }
        for pattern in &self.tests[test].patterns {
            let (matches, line) = pattern.matches_around(block, at);
            if matches {
                return true;
            }
            *tested = line;
        }
        *vain += 1;
        false
    }

    /// What the end of a content decides where no line has.
    pub fn at_end(&self, test: usize) -> Truth {
        self.tests[test].every.into()
    }

    pub(super) fn search(&self) -> Option<&Search> {
        self.search.as_deref()
    }

    /// Whether the search of literals decides a test.
    pub(super) fn is_decided_by_search(&self, test: usize) -> bool {
        self.tests[test].way == Way::Decided
    }

    /// A test's automaton for lines that are not held in memory; `None` where there is none.
    pub(super) fn automaton(&self, test: usize) -> Option<&DFA> {
        let ContentTest { patterns, automaton, .. } = &self.tests[test];
        automaton.get_or_init(|| patterns.first().and_then(LinePattern::automaton)).as_ref()
    }

    /// A test's expression.
    pub(super) fn text(&self, test: usize) -> &str {
        self.tests[test].patterns.first().map_or("", |pattern| &pattern.text)
    }
}

impl ContentTest {
    /// What a block of whole lines decides, if anything.
    fn block(&self, block: &[u8]) -> Option<Truth> {
        if self.every {
            (!self.patterns.iter().all(|pattern| pattern.matches_every(block))).then_some(Truth::False)
        } else {
            self.patterns.iter().any(|pattern| pattern.matches_some(block)).then_some(Truth::True)
        }
    }
}

impl Met {
    /// Whether a test's literals have told too many lines in vain.
    fn is_in_vain(&self, test: usize) -> bool {
        self.lines.get(test).is_some_and(|(_, vain)| *vain >= VAIN_MAX)
    }
}

#[cfg(test)]
mod tests;
