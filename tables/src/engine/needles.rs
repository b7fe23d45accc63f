//! Literals that a line must hold to match an expression: what many expressions are looked for by, all at once.

use std::collections::BTreeSet;

use canvass_protocol::limits::PATTERNS_MAX;
use regex_syntax::hir::{Class, Hir, HirKind};

/// A literal to look for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Needle {
    /// Without line ends; in lower case where case is ignored.
    pub bytes: Vec<u8>,
    /// ASCII letters are found in either case.
    pub fold: bool,
}

/// Literals of which a matching line holds one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Needles {
    pub needles: Vec<Needle>,
    /// Every line that holds one matches.
    pub exact: bool,
}

impl Needles {
    /// Bytes of the shortest.
    pub fn shortest(&self) -> usize {
        self.needles.iter().map(|needle| needle.bytes.len()).min().unwrap_or(0)
    }
}

/// Literals of one expression that come from joining parts, such as the four of `[ab]x[cd]`.
const JOINED_MAX: usize = 64;
/// Bytes of one expression's literals: of more, its own automaton decides whether it is too large.
const BYTES_MAX: usize = 64 << 10;
/// Of a literal that only tells where to look; more tells nothing more.
const CANDIDATE_BYTES_MAX: usize = 32;
/// Of a count such as `{16}`.
const REPEATED_MAX: u32 = 32;
/// A literal of less weight than this is met so often that looking for it saves nothing: two letters, at least one rare.
const WEIGHT_MIN: u32 = 3;
/// What English text, code and logs are mostly made of.
const COMMON: &[u8] = b" \tetaoinsrhldcu0=";

/// The literals that an expression is best found by; `None` where it has none that are worth it.
pub(super) fn of(hir: &Hir) -> Option<Needles> {
    let mut finder = Finder::default();
    finder.walk(hir);
    // What is all of the expression serves best, since it decides.
    let whole = finder.current.take_if(|whole| finder.exact && whole.shortest() > 1);
    let exact = whole.is_some();
    finder.finish();
    let best = whole.or_else(|| finder.best.filter(|best| best.weight() >= WEIGHT_MIN))?;
    let exact = exact && !(best.fold && best.cased);
    let mut needles = best.needles();
    if !exact {
        needles.iter_mut().for_each(|needle| needle.bytes.truncate(CANDIDATE_BYTES_MAX));
    }
    Some(Needles { needles, exact })
}

/// The texts that a part of an expression can be.
#[derive(Clone)]
struct Texts {
    texts: Vec<Vec<u8>>,
    /// Some letter may be in either case; each is in lower case then.
    fold: bool,
    /// Some letter must be in its own case.
    cased: bool,
}

impl Texts {
    fn empty() -> Texts {
        Texts { texts: vec![Vec::new()], fold: false, cased: false }
    }

    fn literal(bytes: &[u8]) -> Option<Texts> {
        let ended = bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        let cased = bytes.iter().any(u8::is_ascii_alphabetic);
        (!ended && bytes.len() <= BYTES_MAX).then(|| Texts { texts: vec![bytes.to_vec()], fold: false, cased })
    }

    /// The members of a small class: either in their own case, or without regard to it.
    fn class(class: &Class) -> Option<Texts> {
        let mut texts = BTreeSet::new();
        match class {
            Class::Unicode(class) => {
                let count: u64 = class.iter().map(|range| range.len() as u64).sum();
                if count > JOINED_MAX as u64 {
                    return None;
                }
                for member in class.iter().flat_map(|range| range.start()..=range.end()) {
                    texts.insert(member.encode_utf8(&mut [0; 4]).as_bytes().to_vec());
                }
            }
            Class::Bytes(class) => {
                if class.iter().map(regex_syntax::hir::ClassBytesRange::len).sum::<usize>() > JOINED_MAX {
                    return None;
                }
                texts.extend(class.iter().flat_map(|range| range.start()..=range.end()).map(|byte| vec![byte]));
            }
        }
        if texts.is_empty() || texts.contains(&b"\n"[..]) || texts.contains(&b"\r"[..]) {
            return None;
        }
        let is_letter = |text: &Vec<u8>| text[..].is_ascii() && text.iter().all(u8::is_ascii_alphabetic);
        let other = |text: &Vec<u8>| text.iter().map(|byte| byte ^ 0x20).collect::<Vec<_>>();
        let letters = texts.iter().filter(|text| is_letter(text)).count();
        let fold = letters > 0 && texts.iter().all(|text| !is_letter(text) || texts.contains(&other(text)));
        let texts: BTreeSet<Vec<u8>> =
            if fold { texts.iter().map(|text| text.to_ascii_lowercase()).collect() } else { texts };
        Some(Texts { texts: texts.into_iter().collect(), fold, cased: letters > 0 && !fold })
    }

    /// One after the other; `None` where that makes too many.
    fn then(&self, next: &Texts) -> Option<Texts> {
        let count = self.texts.len() * next.texts.len();
        let bytes = self.bytes() * next.texts.len() + next.bytes() * self.texts.len();
        if (count > JOINED_MAX && self.texts.len() > 1 && next.texts.len() > 1)
            || count > PATTERNS_MAX
            || bytes > BYTES_MAX
        {
            return None;
        }
        let join = |first: &Vec<u8>| next.texts.iter().map(|next| [&first[..], next].concat()).collect::<Vec<_>>();
        let texts = self.texts.iter().flat_map(join).collect();
        Some(Texts { texts, fold: self.fold || next.fold, cased: self.cased || next.cased })
    }

    /// Either; `None` where that makes too many.
    fn or(mut self, other: Texts) -> Option<Texts> {
        self.texts.extend(other.texts);
        self.fold |= other.fold;
        self.cased |= other.cased;
        (self.texts.len() <= PATTERNS_MAX && self.bytes() <= BYTES_MAX).then_some(self)
    }

    fn bytes(&self) -> usize {
        self.texts.iter().map(Vec::len).sum()
    }

    fn shortest(&self) -> usize {
        self.texts.iter().map(Vec::len).min().unwrap_or(0)
    }

    /// How rarely these are met: that of the commonest, less what many are met more often than one.
    fn weight(&self) -> u32 {
        let rarity = |byte: &u8| if COMMON.contains(&byte.to_ascii_lowercase()) { 1 } else { 2 };
        // Lines are drawn with one byte again and again, so that each counts once.
        let one = |text: &Vec<u8>| match text.len() {
            0 | 1 => 0,
            _ => text[..text.len().min(8)].iter().collect::<BTreeSet<_>>().into_iter().map(rarity).sum(),
        };
        self.texts.iter().map(one).min().unwrap_or(0)
    }

    /// How well these serve among others of the same expression.
    fn score(&self) -> (u32, usize) {
        (self.weight().saturating_sub(self.texts.len().ilog2()), usize::MAX - self.texts.len())
    }

    fn needles(self) -> Vec<Needle> {
        let fold = self.fold;
        let needle = |bytes: Vec<u8>| Needle { bytes: if fold { bytes.to_ascii_lowercase() } else { bytes }, fold };
        let needles: BTreeSet<Needle> = self.texts.into_iter().map(needle).collect();
        needles.into_iter().collect()
    }
}

/// All that a part can be; `None` where that is endless, too much or hangs on what is around it.
fn finite(hir: &Hir) -> Option<Texts> {
    match hir.kind() {
        HirKind::Empty => Some(Texts::empty()),
        HirKind::Literal(literal) => Texts::literal(&literal.0),
        HirKind::Class(class) => Texts::class(class),
        HirKind::Look(_) => None,
        HirKind::Capture(capture) => finite(&capture.sub),
        HirKind::Repetition(repetition) => match (repetition.min, repetition.max) {
            (0, Some(1)) => finite(&repetition.sub)?.or(Texts::empty()),
            (min, Some(max)) if min == max && max <= REPEATED_MAX => {
                let sub = finite(&repetition.sub)?;
                (0..min).try_fold(Texts::empty(), |texts, _| texts.then(&sub))
            }
            _ => None,
        },
        HirKind::Concat(parts) => parts.iter().try_fold(Texts::empty(), |texts, part| texts.then(&finite(part)?)),
        HirKind::Alternation(parts) => {
            let (first, rest) = parts.split_first()?;
            rest.iter().try_fold(finite(first)?, |texts, part| texts.or(finite(part)?))
        }
    }
}

/// Finds the best literals that any match goes through.
struct Finder {
    /// What the last parts joined can be; `None` after a part that can be anything.
    current: Option<Texts>,
    best: Option<Texts>,
    /// All parts so far are in `current`.
    exact: bool,
}

impl Default for Finder {
    fn default() -> Finder {
        Finder { current: Some(Texts::empty()), best: None, exact: true }
    }
}

impl Finder {
    fn walk(&mut self, hir: &Hir) {
        if let Some(texts) = finite(hir) {
            let joined = match &self.current {
                Some(current) => current.then(&texts),
                None => Some(texts.clone()),
            };
            if joined.is_none() {
                self.cut();
            } else if texts.texts.len() > 1 {
                self.offer(self.current.clone());
            }
            self.current = Some(joined.unwrap_or(texts));
            return;
        }
        match hir.kind() {
            HirKind::Look(_) => self.exact = false,
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.walk(part)),
            HirKind::Capture(capture) => self.walk(&capture.sub),
            HirKind::Repetition(repetition) if repetition.min > 0 => {
                self.cut();
                self.walk(&repetition.sub);
                self.cut();
            }
            HirKind::Alternation(parts) => {
                self.cut();
                self.current = branches(parts);
                self.cut();
            }
            _ => self.cut(),
        }
    }

    /// What comes next does not follow at once.
    fn cut(&mut self) {
        self.exact = false;
        self.finish();
    }

    fn finish(&mut self) {
        let texts = self.current.take();
        self.offer(texts);
    }

    fn offer(&mut self, texts: Option<Texts>) {
        let Some(texts) = texts else { return };
        if self.best.as_ref().is_none_or(|best| texts.score() > best.score()) {
            self.best = Some(texts);
        }
    }
}

/// The best of each branch, if all have some.
fn branches(parts: &[Hir]) -> Option<Texts> {
    let best = |part: &Hir| {
        let mut finder = Finder::default();
        finder.walk(part);
        finder.finish();
        finder.best
    };
    let (first, rest) = parts.split_first()?;
    rest.iter().try_fold(best(first)?, |texts, part| texts.or(best(part)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(regex: &str, expected: Option<(&[&str], bool)>) {
        let hir = regex_syntax::ParserBuilder::new().utf8(false).build().parse(regex).unwrap();
        let found = of(&hir).map(|found| {
            let text = |needle: &Needle| {
                let fold = if needle.fold { "i:" } else { "" };
                format!("{fold}{}", String::from_utf8_lossy(&needle.bytes))
            };
            (found.needles.iter().map(text).collect::<Vec<_>>(), found.exact)
        });
        let expected = expected.map(|(needles, exact)| (needles.iter().map(|&text| text.to_owned()).collect(), exact));
        assert_eq!(found, expected, "{regex}");
    }

    #[test]
    fn what_a_line_must_hold() {
        check("secret", Some((&["secret"], true)));
        check("(secret|token)", Some((&["secret", "token"], true)));
        check("gh[ps]_", Some((&["ghp_", "ghs_"], true)));
        check("AKIA[0-9A-Z]{16}", Some((&["AKIA"], false)));
        check("^key=", Some((&["key="], false)));
        check("[0-9]+-[0-9a-z]{32}\\.apps\\.example", Some((&[".apps.example"], false)));
        check("mongodb(\\+srv)?://[a-z]+", Some((&["mongodb+srv://", "mongodb://"], false)));
        check("a+bcx", Some((&["bcx"], false)));
        check(
            "(foox[0-9]+|bar[0-9])\\s",
            Some((&["bar0", "bar1", "bar2", "bar3", "bar4", "bar5", "bar6", "bar7", "bar8", "bar9", "foox"], false)),
        );
        check("(?i)admin", Some((&["i:admin"], true)));
        // Unicode knows two more letters that are k and s without regard to case.
        check("(?i)ski", Some((&["i:ski", "i:s\u{212a}i", "i:\u{17f}ki", "i:\u{17f}\u{212a}i"], true)));
        check("(?i-u)sky", Some((&["i:sky"], true)));
        check("a(?i)bx", Some((&["i:abx"], false)));
        check("(?-u)\\xff\\x00", Some((&["\u{fffd}\0"], true)));
        for regex in ["", "a", "a*", "[0-9]+", "x\\ny", "x\\r", "\\bthe?\\b", "(foo|[0-9]+)", "[^a]b", "(?s).", "^$"] {
            check(regex, None);
        }
    }
}
