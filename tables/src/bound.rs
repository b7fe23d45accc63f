//! Where a filter says to look: the search roots that a predicate on a path implies.

use std::collections::BTreeMap;

use canvass_protocol::filter::{Filter, Is, Pattern, Place, Test};
use canvass_protocol::value::Value;
use ipnet::IpNet;
use regex_syntax::hir::Look;
use regex_syntax::hir::literal::Extractor;

use crate::table::Keys;

/// A place that a scan has to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// This path alone.
    At(String),
    /// This folder and everything below it.
    Under(String),
}

/// The named sets of a scan.
pub type Sets = BTreeMap<String, Vec<Value>>;

/// What stands in a path for bytes that are no UTF-8. Names of other bytes are shown alike, so such a text is searched for by
/// what is shown, below the folder that holds it.
const REPLACEMENT: char = '\u{fffd}';

/// Pairs of roots that an AND is worth comparing; beyond, its shorter side is as good a bound.
const PAIRS_MAX: usize = 1 << 20;

/// The smallest set of roots outside which no row can satisfy `filter`; `None` where the column is not bounded.
///
/// Understands `=`, `IN`, `UNDER`, `LIKE 'prefix%'`, `~ '^prefix'` and BETWEEN, under AND and OR, in any order. The
/// same function refuses a statement at the desk and plans the walk on the endpoint. A test against a named set bounds
/// nothing here, because the set is not at hand; see [`roots_with`].
pub fn roots(filter: Option<&Filter>, column: &str) -> Option<Vec<Root>> {
    roots_with(filter, column, &Sets::new())
}

/// Like [`roots`], for a scan that has named sets.
pub fn roots_with(filter: Option<&Filter>, column: &str, sets: &Sets) -> Option<Vec<Root>> {
    places(filter?, column, sets).map(outermost)
}

/// What a filter leaves unbounded of what a table needs, in words such as `` `pid` or `path` ``; `None` where nothing.
pub fn missing(filter: Option<&Filter>, keys: &Keys, sets: &Sets) -> Option<String> {
    let one = |part: &Keys| {
        let words = missing(filter, part, sets)?;
        Some(if matches!(part, Keys::All(_) | Keys::Any(_)) { format!("({words})") } else { words })
    };
    match keys {
        Keys::Column(column) => roots_with(filter, column, sets).is_none().then(|| format!("`{column}`")),
        Keys::Values(column) => {
            let roots = filter.and_then(|filter| places(filter, column, sets));
            let named = roots.is_some_and(|roots| roots.iter().all(|root| matches!(root, Root::At(_))));
            (!named).then(|| keys.to_string())
        }
        Keys::Unless { key, column, value } => {
            let bounded = filter.is_some_and(|filter| is_bounded_unless(filter, key, (column, value), sets));
            (!bounded).then(|| keys.to_string())
        }
        Keys::All(parts) => {
            let lacking: Vec<String> = parts.iter().filter_map(one).collect();
            (!lacking.is_empty()).then(|| lacking.join(" and "))
        }
        Keys::Any(parts) => {
            let lacking: Vec<String> = parts.iter().map(one).collect::<Option<_>>()?;
            (!lacking.is_empty()).then(|| lacking.join(" or "))
        }
    }
}

/// Whether `key` is bounded in every branch of a filter that lets the other column be something else than its value.
fn is_bounded_unless(filter: &Filter, key: &str, other: (&str, &str), sets: &Sets) -> bool {
    let (column, value) = other;
    let is_value = |root: &Root| matches!(root, Root::At(at) if at == value);
    let in_part = |part: &Filter| is_bounded_unless(part, key, other, sets);
    places(filter, key, sets).is_some()
        || places(filter, column, sets).is_some_and(|roots| roots.iter().all(is_value))
        || match filter {
            Filter::All(parts) => parts.iter().any(in_part),
            Filter::Any(parts) => parts.iter().all(in_part),
            Filter::Not(_) | Filter::Test(_) => false,
        }
}

/// Like [`roots_with`], but roots that lie in other roots are kept: one that passes through a link shows more.
pub fn places_with(filter: Option<&Filter>, column: &str, sets: &Sets) -> Option<Vec<Root>> {
    let mut roots = places(filter?, column, sets)?;
    roots.sort();
    roots.dedup();
    Some(roots)
}

/// The filter without those parts of its outermost AND that hold for every row in its own roots, which are the only
/// rows that a table with a bound gives.
pub(crate) fn within_roots(filter: &Filter, column: &str, sets: &Sets) -> Filter {
    let Some(roots) = places(filter, column, sets) else { return filter.clone() };
    let needed = |part: &&Filter| !holds_in(part, &roots, column, sets);
    match filter {
        Filter::All(parts) => Filter::All(parts.iter().filter(needed).cloned().collect()),
        other if needed(&other) => other.clone(),
        _ => Filter::All(Vec::new()),
    }
}

/// Whether a part of a filter holds for whatever lies in `roots`.
fn holds_in(part: &Filter, roots: &[Root], column: &str, sets: &Sets) -> bool {
    if !is_exact(part, column, sets) {
        return false;
    }
    let Some(places) = places(part, column, sets) else { return false };
    places.len().saturating_mul(roots.len()) <= PAIRS_MAX
        && roots.iter().all(|root| places.iter().any(|place| place.holds(root)))
}

/// Whether the places of a part are what it says, no more.
fn is_exact(part: &Filter, column: &str, sets: &Sets) -> bool {
    match part {
        Filter::Any(parts) => parts.iter().all(|part| is_exact(part, column, sets)),
        Filter::Test(test) if test.column == column => match &test.is {
            Is::Equal(value) => names_one(value),
            Is::In(values) => values.iter().all(names_one),
            Is::InSet(name) => sets.get(name).is_some_and(|values| values.iter().all(names_one)),
            Is::Under(Place::Folder(folder)) => !folder.contains(REPLACEMENT),
            Is::Under(Place::Network(_)) => true,
            _ => false,
        },
        Filter::All(_) | Filter::Not(_) | Filter::Test(_) => false,
    }
}

/// Whether a path is what it says: a text with U+FFFD may be how another name is shown, and a number is no path.
fn names_one(value: &Value) -> bool {
    matches!(value, Value::Text(text) if !text.contains(REPLACEMENT))
}

impl Root {
    pub fn path(&self) -> &str {
        match self {
            Root::At(path) | Root::Under(path) => path,
        }
    }

    /// Whether all that `other` holds lies here.
    pub fn holds(&self, other: &Root) -> bool {
        match self {
            Root::At(_) => self == other,
            Root::Under(place) if place.starts_with('/') => is_under(other.path(), place),
            Root::Under(network) => match (network_of(network), network_of(other.path())) {
                (Some(network), Some(other)) => network.contains(&other),
                _ => self == other,
            },
        }
    }
}

/// The network that a text names; an address is a network of its own.
fn network_of(text: &str) -> Option<IpNet> {
    match Place::parse(text) {
        Ok(Place::Network(network)) => Some(network),
        _ => None,
    }
}

/// Whether `path` is `folder` or lies below it.
pub(crate) fn is_under(path: &str, folder: &str) -> bool {
    let rest = path.strip_prefix(folder.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || path == folder
}

fn places(filter: &Filter, column: &str, sets: &Sets) -> Option<Vec<Root>> {
    match filter {
        Filter::All(parts) => {
            let bounded = parts.iter().filter_map(|part| places(part, column, sets));
            bounded.chain(between(parts, column)).reduce(common)
        }
        Filter::Any(parts) => {
            let all = parts.iter().map(|part| places(part, column, sets)).collect::<Option<Vec<_>>>()?;
            Some(all.into_iter().flatten().collect())
        }
        Filter::Not(_) => None,
        Filter::Test(test) if test.column == column => of_test(test, sets),
        Filter::Test(_) => None,
    }
}

fn of_test(test: &Test, sets: &Sets) -> Option<Vec<Root>> {
    match &test.is {
        Is::Equal(value) => at_each(std::slice::from_ref(value)),
        Is::In(values) => at_each(values),
        Is::InSet(name) => at_each(sets.get(name)?),
        Is::Under(Place::Folder(folder)) if folder.contains(REPLACEMENT) => under_prefix(folder).map(|root| vec![root]),
        Is::Under(Place::Folder(folder)) => Some(vec![Root::Under(folder.clone())]),
        Is::Under(Place::Network(network)) => Some(vec![Root::Under(network.to_string())]),
        Is::Like(pattern) => of_like(pattern),
        Is::Matches(pattern) => of_regex(pattern),
        _ => None,
    }
}

fn at_each(values: &[Value]) -> Option<Vec<Root>> {
    let at = |value: &Value| match value {
        Value::Text(text) => at_path(text),
        Value::Integer(number) => Some(Root::At(number.to_string())),
        _ => None,
    };
    values.iter().map(at).collect()
}

fn at_path(path: &str) -> Option<Root> {
    if path.contains(REPLACEMENT) { under_prefix(path) } else { Some(Root::At(path.to_owned())) }
}

/// The last whole folder of a prefix that is known to the byte; none where there is no prefix at all.
fn under_prefix(prefix: &str) -> Option<Root> {
    let prefix = prefix.split(REPLACEMENT).next().unwrap_or_default();
    if prefix.is_empty() {
        return None;
    }
    let folder = if prefix.starts_with('/') { prefix.rfind('/').map_or("", |end| &prefix[..end]) } else { "" };
    Some(Root::Under(if folder.is_empty() { "/".to_owned() } else { folder.to_owned() }))
}

fn of_like(pattern: &Pattern) -> Option<Vec<Root>> {
    let mut prefix = String::new();
    let mut characters = pattern.pattern.chars();
    let mut whole = true;
    while let Some(character) = characters.next() {
        let literal = match character {
            '%' | '_' => {
                whole = false;
                break;
            }
            '\\' => characters.next().unwrap_or('\\'),
            other => other,
        };
        // Letters that have two cases end what is known of the start.
        if pattern.ignore_case && !is_caseless(literal) {
            whole = false;
            break;
        }
        prefix.push(literal);
    }
    if whole {
        return at_path(&prefix).map(|root| vec![root]);
    }
    under_prefix(&prefix).map(|root| vec![root])
}

/// Whether ignoring case makes no difference: true of ASCII without letters, assumed of nothing else.
fn is_caseless(character: char) -> bool {
    character.is_ascii() && !character.is_ascii_alphabetic()
}

fn of_regex(pattern: &Pattern) -> Option<Vec<Root>> {
    let mut builder = regex_syntax::ParserBuilder::new();
    let parsed = builder.case_insensitive(pattern.ignore_case).build().parse(&pattern.pattern).ok()?;
    let properties = parsed.properties();
    if !properties.look_set_prefix().contains(Look::Start) {
        return None;
    }
    let ends = properties.look_set_suffix().contains(Look::End);
    let prefixes = Extractor::new().extract(&parsed);
    let starts = prefixes.literals()?.iter().map(|literal| {
        let bytes = literal.as_bytes();
        let valid = match std::str::from_utf8(bytes) {
            Ok(text) => text,
            // A literal can be cut within a character.
            Err(error) => std::str::from_utf8(&bytes[..error.valid_up_to()]).unwrap_or(""),
        };
        (valid.to_owned(), ends && literal.is_exact() && valid.len() == bytes.len())
    });
    let starts: Vec<(String, bool)> = starts.collect();
    let starts = if ignores_case(pattern) { caseless(starts) } else { starts };
    starts.into_iter().map(|(start, whole)| if whole { at_path(&start) } else { under_prefix(&start) }).collect()
}

/// Whether some part of a pattern is matched in any case.
fn ignores_case(pattern: &Pattern) -> bool {
    let flags = pattern.pattern.split("(?").skip(1).map(|rest| rest.split([':', ')', '-', '<']).next().unwrap_or(""));
    pattern.ignore_case || flags.into_iter().any(|flags| flags.contains('i'))
}

/// Starts that differ in the case of their letters become one, which ends where they differ: no folder is looked for under
/// names that nobody gave it.
fn caseless(starts: Vec<(String, bool)>) -> Vec<(String, bool)> {
    let mut alike: BTreeMap<String, (String, bool)> = BTreeMap::new();
    for (start, whole) in starts {
        match alike.get_mut(&start.to_lowercase()) {
            None => {
                alike.insert(start.to_lowercase(), (start, whole));
            }
            Some((common, known)) => {
                let same = common.char_indices().zip(start.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
                common.truncate(same.unwrap_or(common.len().min(start.len())));
                *known = false;
            }
        }
    }
    alike.into_values().collect()
}

/// What a lower and an upper limit among the parts of an AND have in common at their start.
fn between(parts: &[Filter], column: &str) -> Option<Vec<Root>> {
    let mut limits = [None, None];
    for part in parts {
        let Filter::Test(Test { column: name, is }) = part else { continue };
        let (side, value) = match is {
            Is::Greater(value) | Is::GreaterOrEqual(value) => (0, value),
            Is::Less(value) | Is::LessOrEqual(value) => (1, value),
            _ => continue,
        };
        if let (true, Value::Text(text)) = (name == column, value) {
            limits[side] = Some(text.as_str());
        }
    }
    let [Some(low), Some(high)] = limits else { return None };
    let same = low.char_indices().zip(high.chars()).find(|((_, a), b)| a != b).map(|((at, _), _)| at);
    under_prefix(&low[..same.unwrap_or(low.len().min(high.len()))]).map(|root| vec![root])
}

/// What lies in both of two sets of roots.
fn common(one: Vec<Root>, other: Vec<Root>) -> Vec<Root> {
    if one.len().saturating_mul(other.len()) > PAIRS_MAX {
        return if one.len() <= other.len() { one } else { other };
    }
    let mut both = Vec::new();
    for a in &one {
        for b in &other {
            if a.holds(b) {
                both.push(b.clone());
            } else if b.holds(a) {
                both.push(a.clone());
            }
        }
    }
    both.sort();
    both.dedup();
    both
}

/// Drops roots that lie in others.
fn outermost(mut roots: Vec<Root>) -> Vec<Root> {
    // With `/` sorted before all else, a folder comes directly before all that lies in it.
    roots.sort_by_cached_key(|root| (root.path().replace('/', "\0"), matches!(root, Root::At(_))));
    let mut kept: Vec<Root> = Vec::new();
    for root in roots {
        if !kept.last().is_some_and(|last| last.holds(&root)) {
            kept.push(root);
        }
    }
    kept
}
