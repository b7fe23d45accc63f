//! A line that is not held in memory, and is tested piece by piece.

use std::ops::ControlFlow;

use canvass_protocol::value::Truth;
use regex_automata::Input;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};

use super::content::ContentTests;
use super::search::Search;

/// Tests that walk along a line at once; of more, nothing is known. Each has a cache of states that grows with what it meets.
const WALKS_MAX: usize = 64;

/// A line that is taken piece by piece, by all tests at once.
pub(super) struct LongLine<'a> {
    tests: &'a ContentTests,
    walks: Vec<Option<Walk<'a>>>,
    literals: Option<Literals<'a>>,
}

/// The literals that decide, on their way along a long line.
struct Literals<'a> {
    search: &'a Search,
    /// The end of what was searched, in which a literal may begin.
    tail: Vec<u8>,
    /// Of each test: a literal of it was found.
    found: Vec<bool>,
}

impl<'a> LongLine<'a> {
    pub fn new(tests: &'a ContentTests, decided: &[Option<Truth>]) -> LongLine<'a> {
        let mut room = WALKS_MAX;
        let open = |(test, decided): (usize, &Option<Truth>)| match (decided, tests.is_decided_by_search(test)) {
            (None, false) if room > 0 => {
                room -= 1;
                tests.automaton(test).and_then(Walk::new)
            }
            _ => None,
        };
        let searched = |(test, decided): (usize, &Option<Truth>)| decided.is_none() && tests.is_decided_by_search(test);
        let search = tests.search().filter(|_| decided.iter().enumerate().any(searched));
        let literals = search.map(|search| Literals { search, tail: Vec::new(), found: vec![false; decided.len()] });
        LongLine { tests, walks: decided.iter().enumerate().map(open).collect(), literals }
    }

    /// Takes the next bytes of the line, which hold no line end.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.walks.iter_mut().flatten().for_each(|walk| walk.feed(bytes));
        if let Some(literals) = &mut self.literals {
            literals.feed(bytes);
        }
    }

    /// Notes what the line decides, and says what could not be tested.
    pub fn finish(self, terminated: bool, decided: &mut [Option<Truth>]) -> Option<String> {
        let mut trouble = None;
        for (test, (walk, decided)) in self.walks.into_iter().zip(decided).enumerate() {
            if decided.is_some() {
                continue;
            }
            let matched = match &self.literals {
                Some(literals) if self.tests.is_decided_by_search(test) => Some(literals.found[test]),
                _ => walk.and_then(|walk| walk.finish(terminated)),
            };
            let every = self.tests.at_end(test) == Truth::True;
            match matched {
                Some(matched) if matched != every => *decided = Some((!every).into()),
                Some(_) => {}
                None => {
                    *decided = Some(Truth::Unknown);
                    trouble = Some(format!("a line is too long to be tested for `{}`", self.tests.text(test)));
                }
            }
        }
        trouble
    }
}

impl Literals<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        let reach = self.search.longest().saturating_sub(1);
        // What lies across the end of the last piece, then what lies in this one.
        let mut across = std::mem::take(&mut self.tail);
        across.extend_from_slice(&bytes[..bytes.len().min(reach)]);
        self.look(&across);
        self.look(bytes);
        if bytes.len() < reach {
            across.drain(..across.len().saturating_sub(reach));
            self.tail = across;
        } else {
            self.tail = bytes[bytes.len() - reach..].to_vec();
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        let Literals { search, found, .. } = self;
        search.each(bytes, &mut |wanted, _| {
            wanted.owners.iter().filter(|owner| owner.exact).for_each(|owner| found[owner.test] = true);
            ControlFlow::Continue(())
        });
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

impl<'a> Walk<'a> {
    fn new(dfa: &'a DFA) -> Option<Walk<'a>> {
        let mut cache = dfa.create_cache();
        let state = dfa.start_state_forward(&mut cache, &Input::new(b"")).ok()?;
        Some(Walk { dfa, cache, state, matched: None, lost: false, carriage_return: false })
    }

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
        // The `\r` before it may have decided.
        if self.matched.is_some() || self.lost {
            return;
        }
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
