//! One search for many literals at once, up to ten thousand of them.
//!
//! Few go into Teddy, which compares the first bytes of sixty-four literals with a vector of the block at a time. Of more,
//! and of those that ignore case, the block is looked at in steps: four bytes are looked up in a small table of the four
//! bytes that literals hold, as far apart as the shortest literal allows. What neither can take goes into an Aho-Corasick
//! automaton. All of them tell every place of every literal, also of those that overlap.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind, Span, packed};

use super::grams::Grams;
use super::needles::Needle;

/// Literals up to which Teddy is fastest, of whatever length.
const FEW_MAX: usize = 8;
/// Bytes of literals that are searched for in steps of five bytes and more.
const LONG: usize = 8;
/// Literals that Teddy takes.
const PACKED_MAX: usize = 64;
/// Literals up to which the automaton is one that takes a step a byte; of more it would not fit into the caches.
const DFA_MAX: usize = 256;

/// Literals, whom they are for, and how they are found.
pub(super) struct Search {
    needles: Vec<Wanted>,
    finders: Vec<Finder>,
    longest: usize,
}

/// A literal with those who look for it.
pub(super) struct Wanted {
    pub needle: Needle,
    pub owners: Vec<Owner>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    /// The test's index.
    pub test: usize,
    /// The literal decides; else it only tells a line to look at.
    pub exact: bool,
}

enum Finder {
    Packed {
        searcher: packed::Searcher,
        /// Of each literal searched for: itself, and those that begin with it, which a place of it may hide.
        beginning: Vec<Vec<usize>>,
    },
    Grams(Grams),
    Automaton {
        automaton: AhoCorasick,
        /// The automaton's literals.
        ids: Vec<usize>,
    },
}

impl Search {
    /// A search for literals, each for its owner.
    pub fn new(wanted: impl IntoIterator<Item = (Needle, Owner)>) -> Search {
        let mut owners: BTreeMap<Needle, Vec<Owner>> = BTreeMap::new();
        for (needle, owner) in wanted {
            let owners = owners.entry(needle).or_default();
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
        Search::of(owners.into_iter().map(|(needle, owners)| Wanted { needle, owners }).collect())
    }

    /// Takes literals in their order, none of them twice.
    fn of(needles: Vec<Wanted>) -> Search {
        let all: Vec<usize> = (0..needles.len()).collect();
        let longest = needles.iter().map(|wanted| wanted.needle.bytes.len()).max().unwrap_or(0);
        // Few go into one search; of more, long ones are sooner found by themselves, in long steps.
        let few = if all.len() <= FEW_MAX { packed(&needles, &all) } else { None };
        let finders = match few {
            Some(few) => vec![few],
            None => {
                let (long, short) = all.into_iter().partition(|&id| needles[id].needle.bytes.len() >= LONG);
                found_by(&needles, short).into_iter().chain(found_by(&needles, long)).collect()
            }
        };
        Search { needles, finders, longest }
    }

    /// The same for those who are still looking.
    pub fn only(&self, is_looking: impl Fn(Owner) -> bool) -> Search {
        let left = |wanted: &Wanted| {
            let owners: Vec<Owner> = wanted.owners.iter().copied().filter(|&owner| is_looking(owner)).collect();
            (!owners.is_empty()).then(|| Wanted { needle: wanted.needle.clone(), owners })
        };
        Search::of(self.needles.iter().filter_map(left).collect())
    }

    /// How many literals there are.
    pub fn len(&self) -> usize {
        self.needles.len()
    }

    /// Bytes of the longest literal.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Bytes in memory, as the searches themselves count them.
    #[cfg(test)]
    pub fn memory_bytes(&self) -> usize {
        let own: usize = self.needles.iter().map(Wanted::memory_bytes).sum();
        own + self.finders.iter().map(Finder::memory_bytes).sum::<usize>()
    }

    /// Visits every place of every literal, in no order that could be relied on, until `visit` has enough.
    pub fn each(&self, block: &[u8], visit: &mut Visit<'_>) {
        for finder in &self.finders {
            let flow = match finder {
                Finder::Packed { searcher, beginning } => self.each_packed(block, searcher, beginning, visit),
                Finder::Grams(grams) => grams.each(&self.needles, block, visit),
                Finder::Automaton { automaton, ids } => self.each_stepped(block, automaton, ids, visit),
            };
            if flow.is_break() {
                return;
            }
        }
    }

    fn each_packed(
        &self,
        block: &[u8],
        searcher: &packed::Searcher,
        beginning: &[Vec<usize>],
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let mut from = 0;
        while let Some(found) = searcher.find_in(block, Span { start: from, end: block.len() }) {
            for &id in &beginning[found.pattern().as_usize()] {
                if block[found.start()..].starts_with(&self.needles[id].needle.bytes) {
                    visit(&self.needles[id], found.start())?;
                }
            }
            from = found.start() + 1;
        }
        ControlFlow::Continue(())
    }

    fn each_stepped(
        &self,
        block: &[u8],
        automaton: &AhoCorasick,
        ids: &[usize],
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        for found in automaton.find_overlapping_iter(block) {
            let wanted = &self.needles[ids[found.pattern().as_usize()]];
            if wanted.needle.fold || block[found.range()] == wanted.needle.bytes {
                visit(wanted, found.start())?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The searches for literals of about the same length.
fn found_by(needles: &[Wanted], ids: Vec<usize>) -> Vec<Finder> {
    let length = |&id: &usize| needles[id].needle.bytes.len();
    let stepped = ids.iter().map(length).min().is_some_and(|shortest| shortest >= LONG);
    if !stepped && let Some(packed) = packed(needles, &ids) {
        return vec![packed];
    }
    let (looked_up, rest): (Vec<usize>, Vec<usize>) = ids.into_iter().partition(|id| length(id) >= Grams::SHORTEST);
    let rest = packed(needles, &rest).or_else(|| automaton(needles, rest));
    let grams = Grams::new(needles, &looked_up).map(Finder::Grams);
    let looked_up = grams.or_else(|| packed(needles, &looked_up)).or_else(|| automaton(needles, looked_up));
    rest.into_iter().chain(looked_up).collect()
}

/// Takes a literal and where it stands in the block.
pub(super) type Visit<'v> = dyn FnMut(&Wanted, usize) -> ControlFlow<()> + 'v;

impl Wanted {
    /// Whether the literal stands here.
    pub fn stands_at(&self, block: &[u8], start: usize) -> bool {
        let Needle { bytes, fold } = &self.needle;
        let here = block.get(start..).and_then(|rest| rest.get(..bytes.len()));
        here.is_some_and(|here| if *fold { here.eq_ignore_ascii_case(bytes) } else { here == bytes })
    }

    #[cfg(test)]
    fn memory_bytes(&self) -> usize {
        size_of::<Wanted>() + self.needle.bytes.len() + size_of_val(&self.owners[..])
    }
}

impl Finder {
    #[cfg(test)]
    fn memory_bytes(&self) -> usize {
        match self {
            Finder::Packed { searcher, .. } => searcher.memory_usage(),
            Finder::Grams(grams) => grams.memory_bytes(),
            Finder::Automaton { automaton, ids } => automaton.memory_usage() + size_of_val(&ids[..]),
        }
    }
}

/// Teddy over these literals, which are in order; `None` where it does not take them.
fn packed(needles: &[Wanted], ids: &[usize]) -> Option<Finder> {
    let mut beginning: Vec<Vec<usize>> = Vec::new();
    for &id in ids {
        let needle = &needles[id].needle;
        if needle.fold && needle.bytes.iter().any(u8::is_ascii_alphabetic) {
            return None;
        }
        // In order, what begins with a literal comes right after it.
        let full = beginning.len() == PACKED_MAX;
        match beginning.last_mut() {
            Some(last) if needle.bytes.starts_with(&needles[last[0]].needle.bytes) => last.push(id),
            _ if full => return None,
            _ => beginning.push(vec![id]),
        }
    }
    let mut builder = packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder();
    builder.extend(beginning.iter().map(|ids| &needles[ids[0]].needle.bytes));
    Some(Finder::Packed { searcher: builder.build()?, beginning })
}

/// `None` where there are none.
fn automaton(needles: &[Wanted], ids: Vec<usize>) -> Option<Finder> {
    if ids.is_empty() {
        return None;
    }
    let kind = if ids.len() <= DFA_MAX { AhoCorasickKind::DFA } else { AhoCorasickKind::ContiguousNFA };
    let automaton = AhoCorasick::builder()
        .match_kind(MatchKind::Standard)
        .kind(Some(kind))
        .ascii_case_insensitive(ids.iter().any(|&id| needles[id].needle.fold))
        .build(ids.iter().map(|&id| &needles[id].needle.bytes))
        .expect("an action has no room for more literals than an automaton can number");
    Some(Finder::Automaton { automaton, ids })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn search(needles: impl IntoIterator<Item = (String, bool)>) -> Search {
        let needle = |(text, fold): (String, bool)| Needle { bytes: text.into_bytes(), fold };
        Search::new(
            needles.into_iter().map(needle).enumerate().map(|(test, needle)| (needle, Owner { test, exact: true })),
        )
    }

    fn kinds(search: &Search) -> Vec<&'static str> {
        let kind = |finder: &Finder| match finder {
            Finder::Packed { .. } => "packed",
            Finder::Grams(_) => "grams",
            Finder::Automaton { .. } => "automaton",
        };
        search.finders.iter().map(kind).collect()
    }

    #[test]
    fn each_search_takes_what_it_is_good_at() {
        let many = |count: usize, prefix: &str| {
            let prefix = prefix.to_owned();
            (0..count).map(move |number| (format!("{prefix}{:08x}", number.wrapping_mul(2_654_435_761)), false))
        };
        assert_eq!(kinds(&search([])), [""; 0]);
        let short = (10..30).map(|number| (format!("ab{number}"), false));
        assert_eq!(kinds(&search(many(8, ""))), ["packed"]);
        assert_eq!(kinds(&search(short.clone())), ["packed"]);
        assert_eq!(kinds(&search(many(20, ""))), ["grams"]);
        assert_eq!(kinds(&search(many(200, "").chain(short))), ["packed", "grams"]);
        assert_eq!(kinds(&search(many(200, "").chain([("ab".to_owned(), false)]))), ["packed", "grams"]);
        assert_eq!(kinds(&search([("abcd".to_owned(), true), ("ab".to_owned(), true)])), ["automaton", "grams"]);
        let alike = (0..200).map(|count| (format!("{}b", "a".repeat(8 + count)), false));
        assert_eq!(kinds(&search(alike)), ["automaton"]);
    }

    #[test]
    fn ten_thousand_literals_take_little_memory() {
        // Of 64 bytes that have the first half in common, and of 64 that have nothing in common.
        let common = (0..10_000).map(|number| (format!("{:032}{:032x}", 0, number * 7919), false));
        let mixed = (0..10_000_u64).map(|number| {
            let words = (0..4).map(|word| (number * 4 + word).wrapping_mul(0x9e37_79b9_7f4a_7c15));
            (words.map(|word| format!("{word:016x}")).collect(), false)
        });
        let (common, mixed) = (search(common), search(mixed));
        assert!(common.memory_bytes() < 3 << 20, "{} bytes of {:?}", common.memory_bytes(), kinds(&common));
        assert!(mixed.memory_bytes() < 3 << 20, "{} bytes of {:?}", mixed.memory_bytes(), kinds(&mixed));
        // What an automaton takes at worst, were it asked for literals that share no beginning.
        let automaton = automaton(&mixed.needles, (0..mixed.len()).collect()).unwrap();
        assert!(automaton.memory_bytes() < 16 << 20, "{} bytes", automaton.memory_bytes());
        for (search, number) in [(&common, 9_999), (&mixed, 5_000)] {
            let needle = search.needles[number].needle.bytes.clone();
            let block = [b"some text before ", &needle[..], b" and after\n"].concat();
            let mut found = Vec::new();
            search.each(&block, &mut |wanted, start| {
                found.push((wanted.needle.bytes.clone(), start));
                ControlFlow::Continue(())
            });
            assert_eq!(found, [(needle, 17)]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Every place is told, and once, whatever overlaps.
        #[test]
        fn all_places_are_told(
            needles in proptest::collection::vec(("[ab]{1,3}|[abc]{4,9}|[a-d]{6,20}", any::<bool>()), 0..12),
            more in proptest::collection::vec("[a-d]{4,8}", 0..80),
            folds in any::<bool>(),
            block in "[abcdAB]{0,60}(\n[abcABCD]{0,60})?",
        ) {
            let needles = needles.into_iter().map(|(text, fold)| (text, fold && folds));
            let search = search(needles.chain(more.into_iter().map(|text| (text, false))));
            let mut found = Vec::new();
            search.each(block.as_bytes(), &mut |wanted, start| {
                found.push((start, wanted.needle.clone()));
                ControlFlow::Continue(())
            });
            found.sort();
            let mut expected = Vec::new();
            for start in 0..block.len() {
                let here = search.needles.iter().filter(|wanted| wanted.stands_at(block.as_bytes(), start));
                expected.extend(here.map(|wanted| (start, wanted.needle.clone())));
            }
            expected.sort();
            prop_assert_eq!(found, expected, "{:?}", kinds(&search));
        }
    }
}
