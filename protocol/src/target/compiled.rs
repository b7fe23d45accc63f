//! Targets made ready to be evaluated on many agents: each pattern is compiled once, and all of them together stay small.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

use super::{Facts, Mode, ServerWords, Target, is_own_fact, test_time};
use crate::action::Action;
use crate::filter::{Filter, Is, Test};
use crate::limits;
use crate::matcher::{self, TextMatcher};
use crate::value::Truth;

/// The first size that a pattern is tried with, in bytes, and then twice as much each time: it counts as the first that it
/// fits into.
const SIZE_MIN: usize = 1 << 10;

/// Patterns of targets are more than a server compiles for one action, and a guard before it weighs who signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the patterns in its targets are too large to be compiled: together they may have {max} bytes", max = limits::TARGET_BYTES_MAX)]
pub struct TooLarge;

/// One target, ready to be evaluated.
#[derive(Debug, Clone)]
pub struct Compiled(Arc<Node>);

#[derive(Debug)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test {
        column: String,
        /// `None` where the test does not fit text, or its pattern is none.
        text: Option<TextMatcher>,
        /// Kept for facts that are no texts.
        is: Option<Is>,
    },
}

impl Compiled {
    pub fn new(target: &Filter) -> Result<Compiled, TooLarge> {
        compile(target, &mut { limits::TARGET_BYTES_MAX }).map(|node| Compiled(Arc::new(node)))
    }

    /// Evaluates it on an agent's facts: see [`super::evaluate`].
    pub fn evaluate(&self, facts: &Facts, words: Option<&ServerWords>) -> Truth {
        match range(&self.0, facts, words) {
            (Truth::True, _) => Truth::True,
            (_, Truth::True) => Truth::Unknown,
            _ => Truth::False,
        }
    }
}

/// The targets of all scans of an action, each that is another compiled once.
#[derive(Debug, Clone)]
pub struct Targets {
    distinct: Vec<Compiled>,
    /// Of each scan; `None` is every agent.
    scans: Vec<Option<usize>>,
}

impl Targets {
    pub fn of(action: &Action) -> Result<Targets, TooLarge> {
        let mut left = limits::TARGET_BYTES_MAX;
        let (mut known, mut distinct): (Vec<&Filter>, Vec<Compiled>) = Default::default();
        let mut scans = Vec::with_capacity(action.scans.len());
        for target in action.scans.iter().map(|scan| scan.target.as_ref()) {
            let Some(target) = target else {
                scans.push(None);
                continue;
            };
            let place = known.iter().position(|known| *known == target);
            if place.is_none() {
                known.push(target);
                distinct.push(Compiled(Arc::new(compile(target, &mut left)?)));
            }
            scans.push(Some(place.unwrap_or(known.len() - 1)));
        }
        Ok(Targets { distinct, scans })
    }

    /// Those of one target.
    pub fn one(target: &Target) -> Result<Targets, TooLarge> {
        let distinct = target.iter().map(Compiled::new).collect::<Result<Vec<Compiled>, TooLarge>>()?;
        Ok(Targets { scans: vec![target.as_ref().map(|_| 0)], distinct })
    }

    /// Whether an agent is meant by any of the scans.
    pub fn any(&self, facts: &Facts, words: Option<&ServerWords>) -> Truth {
        if self.scans.contains(&None) {
            return Truth::True;
        }
        let mut any = Truth::False;
        for target in &self.distinct {
            any = any.or(target.evaluate(facts, words));
            if any == Truth::True {
                break;
            }
        }
        any
    }

    /// Whether it is meant by each of them, in their order.
    pub fn each(&self, facts: &Facts, words: Option<&ServerWords>) -> Vec<Truth> {
        let distinct: Vec<Truth> = self.distinct.iter().map(|target| target.evaluate(facts, words)).collect();
        self.scans.iter().map(|scan| scan.map_or(Truth::True, |place| distinct[place])).collect()
    }
}

/// Targets that a thread has evaluated last.
const LATEST_MAX: usize = 64;

thread_local! {
    static LATEST: RefCell<VecDeque<(Filter, Result<Compiled, TooLarge>)>> = const { RefCell::new(VecDeque::new()) };
}

/// A target compiled, which is done once where the same is asked of many agents one after the other.
pub(super) fn latest(target: &Filter) -> Result<Compiled, TooLarge> {
    LATEST.with_borrow_mut(|latest| {
        if let Some(place) = latest.iter().position(|(known, _)| known == target) {
            return latest[place].1.clone();
        }
        let compiled = Compiled::new(target);
        latest.truncate(LATEST_MAX - 1);
        latest.push_front((target.clone(), compiled.clone()));
        compiled
    })
}

fn compile(target: &Filter, left: &mut usize) -> Result<Node, TooLarge> {
    let mut parts = |parts: &[Filter]| parts.iter().map(|part| compile(part, left)).collect::<Result<Vec<Node>, _>>();
    Ok(match target {
        Filter::All(filters) => Node::All(parts(filters)?),
        Filter::Any(filters) => Node::Any(parts(filters)?),
        Filter::Not(inner) => Node::Not(Box::new(compile(inner, left)?)),
        Filter::Test(Test { column, is }) => {
            let is_time = matches!(column.as_str(), "started_at" | "heartbeat_at");
            let text = if is_time { None } else { compile_test(is, left)? };
            Node::Test { column: column.clone(), text, is: is_time.then(|| is.clone()) }
        }
    })
}

/// A test of text. What no pattern can be is no error: the test is unknown.
fn compile_test(is: &Is, left: &mut usize) -> Result<Option<TextMatcher>, TooLarge> {
    let (pattern, whole) = match is {
        Is::Like(pattern) => (pattern, true),
        Is::Matches(pattern) => (pattern, false),
        _ => return Ok(TextMatcher::new(is).ok().flatten()),
    };
    // Reading a pattern takes memory by its length, whatever comes of it.
    if pattern.pattern.len() > limits::TARGET_PATTERN_BYTES_MAX {
        return Err(TooLarge);
    }
    for size in std::iter::successors(Some(SIZE_MIN), |size| Some(size * 2)).take_while(|size| *size <= *left) {
        match matcher::compile_within(pattern, whole, size) {
            Ok(None) => {}
            Ok(Some(regex)) => {
                *left -= size;
                return Ok(Some(TextMatcher::Regex(regex)));
            }
            Err(_) => return Ok(None),
        }
    }
    Err(TooLarge)
}

/// The least and the greatest truth that a target can have over all words of the server that are not given.
fn range(target: &Node, facts: &Facts, words: Option<&ServerWords>) -> (Truth, Truth) {
    let fold = |parts: &[Node], start: Truth, combine: fn(Truth, Truth) -> Truth| {
        parts.iter().fold((start, start), |(least, greatest), part| {
            let (low, high) = range(part, facts, words);
            (combine(least, low), combine(greatest, high))
        })
    };
    match target {
        Node::All(parts) => fold(parts, Truth::True, Truth::and),
        Node::Any(parts) => fold(parts, Truth::False, Truth::or),
        Node::Not(inner) => {
            let (least, greatest) = range(inner, facts, words);
            (greatest.negate(), least.negate())
        }
        Node::Test { column, .. } if words.is_none() && is_own_fact(column) == Some(false) => {
            (Truth::False, Truth::True)
        }
        Node::Test { column, text, is } => {
            let truth = test(column, text.as_ref(), is.as_ref(), facts, words);
            (truth, truth)
        }
    }
}

fn test(
    column: &str,
    matcher: Option<&TextMatcher>,
    is: Option<&Is>,
    facts: &Facts,
    words: Option<&ServerWords>,
) -> Truth {
    let text = |value: Option<&str>| matcher.map_or(Truth::Unknown, |matcher| matcher.test(value));
    let time = |value| is.map_or(Truth::Unknown, |is| test_time(is, value));
    match column {
        "id" => text(Some(&facts.id)),
        "name" => text(Some(&facts.name)),
        "mode" => text(Some(Mode::as_str(facts.mode))),
        "os" => text(Some(&facts.os)),
        "arch" => text(Some(&facts.arch)),
        "os_version" => text(facts.os_version.as_deref()),
        "kernel" => text(facts.kernel.as_deref()),
        "version" => text(Some(&facts.version)),
        "started_at" => time(Some(facts.started_at)),
        // A list: true where one of them is.
        "addresses" => any(matcher, facts.addresses.iter().map(|address| address.to_canonical().to_string())),
        "features" => any(matcher, facts.features.iter()),
        "revoked_keys" => any(matcher, facts.revoked_keys.iter().map(|key| &key.0)),
        "status" => words.map_or(Truth::Unknown, |words| text(Some(words.status.as_str()))),
        "heartbeat_at" => words.map_or(Truth::Unknown, |words| time(Some(words.heartbeat_at))),
        "public_ip" => words
            .map_or(Truth::Unknown, |words| text(words.public_ip.map(|ip| ip.to_canonical().to_string()).as_deref())),
        column => match column.strip_prefix("tags.") {
            Some(key) => text(facts.tags.get(key).map(String::as_str)),
            None => Truth::Unknown,
        },
    }
}

fn any(matcher: Option<&TextMatcher>, values: impl Iterator<Item = impl AsRef<str>>) -> Truth {
    let Some(matcher) = matcher else { return Truth::Unknown };
    values.fold(Truth::False, |truth, value| truth.or(matcher.test(Some(value.as_ref()))))
}

#[cfg(test)]
mod tests {

    use jiff::Timestamp;

    use super::*;
    use crate::filter::Pattern;
    use crate::matcher::COMPILED;
    use crate::target::evaluate;

    fn facts(number: usize) -> Facts {
        Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "0".into(),
            ..Facts::of(format!("{number:064x}"), format!("web-{number}"))
        }
    }

    fn matches(column: &str, pattern: impl Into<String>) -> Filter {
        Filter::test(column, Is::Matches(Pattern { pattern: pattern.into(), ignore_case: false }))
    }

    fn like(pattern: &str) -> Filter {
        Filter::test("name", Is::Like(Pattern { pattern: pattern.into(), ignore_case: true }))
    }

    fn count(work: impl FnOnce()) -> usize {
        let before = COMPILED.get();
        work();
        COMPILED.get() - before
    }

    #[test]
    fn a_pattern_is_compiled_once_for_all_agents() {
        let target = Filter::Not(Box::new(Filter::All(vec![like("%web%"), matches("name", "-[0-4]")])));
        let mut meant = 0;
        let once = count(|| {
            let compiled = Compiled::new(&target).unwrap();
            for number in 0..10_000 {
                meant += usize::from(compiled.evaluate(&facts(number), None) == Truth::True);
            }
        });
        assert!((2..=12).contains(&once), "{once}: each pattern is tried with a few sizes");
        let mut again = 0;
        let whole = count(|| {
            for number in 0..10_000 {
                again += usize::from(evaluate(&target, &facts(number), None) == Truth::True);
            }
        });
        assert_eq!((again, whole, meant), (meant, once, 5 * 1111), "one agent after the other");
    }

    #[test]
    fn what_is_a_target_of_many_scans_is_compiled_once() {
        let scan: crate::scan::Scan = serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap();
        let window = crate::action::Window { from: Timestamp::UNIX_EPOCH, until: Timestamp::UNIX_EPOCH };
        let action = |targets: Vec<Target>| {
            let scans = targets.into_iter().map(|target| crate::scan::Scan { target, ..scan.clone() }).collect();
            Action::new("f".into(), uuid::Uuid::nil(), "s".into(), window, limits::Limits::default(), scans)
        };
        let (one, two) = (matches("name", "^web"), matches("name", "^db"));
        let many =
            action((0..1000).map(|number| Some(if number % 2 == 0 { one.clone() } else { two.clone() })).collect());
        let mut targets = None;
        let compiled = count(|| targets = Some(Targets::of(&many).unwrap()));
        let targets = targets.unwrap();
        assert!((2..=12).contains(&compiled), "{compiled}");
        let each = targets.each(&facts(1), None);
        assert_eq!((each.len(), &each[..3]), (1000, &[Truth::True, Truth::False, Truth::True][..]));
        assert_eq!(targets.any(&facts(1), None), Truth::True);
        let all = Targets::of(&action(vec![Some(two.clone()), None])).unwrap();
        assert_eq!(
            (all.any(&facts(1), None), all.each(&facts(1), None)),
            (Truth::True, vec![Truth::False, Truth::True])
        );
        assert_eq!(Targets::one(&Some(two)).unwrap().any(&facts(1), None), Truth::False);
        assert_eq!(Targets::one(&None).unwrap().any(&facts(1), None), Truth::True);
    }

    /// What a person writes fits, and as many of it as an action may hold; what takes megabytes does not, nor much of what is
    /// middling.
    #[test]
    fn patterns_are_small_together() {
        let everyday = ["web%", "%-prod-%", "_eb-1", "db\\_%", "host.example"];
        let many: Vec<Filter> = (0..limits::TARGET_PATTERNS_MAX).map(|number| like(everyday[number % 5])).collect();
        assert!(Compiled::new(&Filter::Any(many)).is_ok());
        for fits in ["^(web|db)-[0-9]+\\.example\\.com$", "\\w+-\\d{1,3}", "(?i)ubuntu|debian", "^.{1,20}$"] {
            assert!(Compiled::new(&matches("name", fits)).is_ok(), "{fits}");
        }
        let letters = "\\w".repeat(20);
        for large in ["(\\w{50}){50}".to_owned(), "x".repeat(limits::TARGET_PATTERN_BYTES_MAX + 1)] {
            assert!(matches!(Compiled::new(&matches("name", large.as_str())), Err(TooLarge)), "{large}");
            assert_eq!(evaluate(&matches("name", large.as_str()), &facts(1), None), Truth::Unknown);
        }
        let many = Filter::Any(vec![matches("name", letters.as_str()); 200]);
        assert!(matches!(Compiled::new(&many), Err(TooLarge)));
        // What is no pattern is not too large.
        assert!(Compiled::new(&matches("name", "(")).is_ok());
        assert_eq!(evaluate(&matches("name", "("), &facts(1), None), Truth::False);
    }
}
