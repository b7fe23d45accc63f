//! An action that was planned before, perhaps by another version: which of its scans each leaf of today's plan reads.
//!
//! A leaf reads the answers of a scan of the same table with the same filter. In which order a plan has its leaves, which
//! further columns it reads, and in which order a filter says things, is a version's own business.

use std::collections::{BTreeMap, BTreeSet};

use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::scan::Scan;
use canvass_protocol::target::Target;
use canvass_protocol::value::Value;

use crate::error::Error;

/// For each leaf of a plan the scan of the action that it reads.
pub fn place(leaves: &[Scan], scans: &[Scan]) -> Result<Vec<usize>, Error> {
    let mut places: Vec<Option<usize>> = vec![None; leaves.len()];
    let fits: Vec<Vec<Option<Fit>>> =
        leaves.iter().map(|leaf| scans.iter().map(|scan| fit(leaf, scan)).collect()).collect();
    let mut levels: Vec<Fit> = fits.iter().flatten().flatten().copied().collect();
    levels.sort_unstable_by(|a, b| b.cmp(a));
    levels.dedup();
    for level in levels {
        for leaf in 0..leaves.len() {
            if places[leaf].is_some() {
                continue;
            }
            let free = (0..scans.len()).filter(|scan| !places.contains(&Some(*scan)));
            let found: Vec<usize> = free.filter(|scan| fits[leaf][*scan] == Some(level)).collect();
            let targets: BTreeSet<String> = found.iter().map(|scan| target(&scans[*scan].target, false)).collect();
            if level.target == Likeness::None && targets.len() > 1 {
                return Err(other_plan(&leaves[leaf]));
            }
            places[leaf] = found.iter().find(|scan| **scan == leaf).or(found.first()).copied();
        }
    }
    let place = |(leaf, place): (usize, Option<usize>)| {
        let same = |fit: &Option<Fit>| *fit == Some(Fit { filter: Likeness::Same, target: Likeness::Same });
        // What was asked twice may be asked once, and what was asked once may be read twice.
        place.or_else(|| fits[leaf].iter().position(same)).ok_or_else(|| other_plan(&leaves[leaf]))
    };
    places.into_iter().enumerate().map(place).collect()
}

/// What a statement gives, compared with what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// The scans that were signed.
    These,
    /// The same scans, but that the desk of its author chose agents or values by what it knew.
    ThoseByAnotherInventory,
    Others,
}

/// Whether the leaves of a plan ask for what the scans of an action ask for, no more and no less.
pub fn compare(leaves: &[Scan], scans: &[Scan]) -> Gives {
    let Ok(places) = place(leaves, scans) else { return Gives::Others };
    let each_once = places.iter().collect::<BTreeSet<_>>().len() == scans.len() && places.len() == scans.len();
    let columns = |scan: &Scan| scan.columns.iter().cloned().collect::<BTreeSet<_>>();
    let mut gives = if each_once { Gives::These } else { Gives::Others };
    for (leaf, place) in leaves.iter().zip(places) {
        let scan = &scans[place];
        let same = columns(leaf) == columns(scan) && leaf.limit == scan.limit && leaf.options == scan.options;
        match fit(leaf, scan) {
            Some(Fit { filter: Likeness::Same, target: Likeness::Same }) if same => {}
            Some(Fit { target: Likeness::Same | Likeness::Alike, .. }) if same && gives != Gives::Others => {
                gives = Gives::ThoseByAnotherInventory;
            }
            _ => gives = Gives::Others,
        }
    }
    gives
}

fn other_plan(leaf: &Scan) -> Error {
    Error::usage(format!(
        "the statement of this action is planned otherwise by this version: nothing was asked that its scan of `{}` could read",
        leaf.table
    ))
    .hint("ask again, or use the version that asked")
}

/// How well a scan fits a leaf; the greater the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    filter: Likeness,
    target: Likeness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    None,
    /// But for values and agents that the desk chose by what it knew when it asked.
    Alike,
    Same,
}

/// How well a scan's answers serve a leaf; `None` where they do not.
fn fit(leaf: &Scan, scan: &Scan) -> Option<Fit> {
    let has_all = leaf.columns.iter().all(|column| scan.columns.contains(column));
    if leaf.table != scan.table || !has_all || leaf.aggregate != scan.aggregate || leaf.order != scan.order {
        return None;
    }
    let filter = match (rows(leaf, false) == rows(scan, false), rows(leaf, true) == rows(scan, true)) {
        (true, _) => Likeness::Same,
        (_, true) => Likeness::Alike,
        _ => return None,
    };
    let (leaf, scan) = (&leaf.target, &scan.target);
    let target = match (target(leaf, false) == target(scan, false), target(leaf, true) == target(scan, true)) {
        (true, _) => Likeness::Same,
        (_, true) => Likeness::Alike,
        _ => Likeness::None,
    };
    Some(Fit { filter, target })
}

/// A scan's filter in its normal form; `loosely` without the sets, by which the desk only narrows.
fn rows(scan: &Scan, loosely: bool) -> String {
    let leave_out = |test: &Test| loosely && matches!(test.is, Is::InSet(_));
    let form = Form { sets: &scan.sets, leave_out: &leave_out, coarse: true };
    scan.filter.as_ref().and_then(|filter| form.of(filter)).unwrap_or_else(truth)
}

/// A target in its normal form; `loosely` without the ids and the lists of names by which the desk chose agents.
fn target(target: &Target, loosely: bool) -> String {
    let leave_out = |test: &Test| loosely && test.column == "id";
    let form = Form { sets: &BTreeMap::new(), leave_out: &leave_out, coarse: false };
    let is_list =
        |part: &Filter| loosely && matches!(part, Filter::Test(Test { column, is: Is::In(_) }) if column == "name");
    let whole = match target {
        None => None,
        Some(Filter::All(parts)) => {
            form.of(&Filter::All(parts.iter().filter(|part| !is_list(part)).cloned().collect()))
        }
        Some(other) if is_list(other) => None,
        Some(other) => form.of(other),
    };
    whole.unwrap_or_else(truth)
}

fn truth() -> String {
    "all()".to_owned()
}

/// The normal form of a filter, as text: what means the same in three-valued logic is written the same.
struct Form<'a> {
    sets: &'a BTreeMap<String, Vec<Value>>,
    leave_out: &'a dyn Fn(&Test) -> bool,
    /// Whether an OR with something left out is left out, for it no longer says anything.
    coarse: bool,
}

impl Form<'_> {
    /// `None` where nothing is left.
    fn of(&self, filter: &Filter) -> Option<String> {
        match filter {
            Filter::All(_) => {
                let mut parts = BTreeSet::new();
                self.flatten(filter, true, &mut parts);
                Some(joined("all", parts))
            }
            Filter::Any(_) => {
                let mut parts = BTreeSet::new();
                let whole = self.flatten(filter, false, &mut parts);
                let said = whole || (!self.coarse && !parts.is_empty());
                said.then(|| joined("any", merged(parts)))
            }
            Filter::Not(inner) => match inner.as_ref() {
                Filter::Not(inner) => self.of(inner),
                Filter::Test(Test { column, is: Is::NotEqual(value) }) => {
                    self.of(&Filter::test(column.clone(), Is::Equal(value.clone())))
                }
                inner => self.of(inner).map(|inner| format!("not({inner})")),
            },
            Filter::Test(test) if (self.leave_out)(test) => None,
            Filter::Test(Test { column, is }) => Some(match is {
                Is::Equal(value) => one_of(column, std::slice::from_ref(value)),
                Is::NotEqual(value) => format!("not({})", one_of(column, std::slice::from_ref(value))),
                Is::In(values) => one_of(column, values),
                Is::InSet(set) => one_of(column, self.sets.get(set).map_or(&[], Vec::as_slice)),
                other => format!("{column} {}", json(other)),
            }),
        }
    }

    fn flatten_each(&self, filters: &[Filter], all: bool, parts: &mut BTreeSet<String>) -> bool {
        let mut whole = true;
        for filter in filters {
            whole &= self.flatten(filter, all, parts);
        }
        whole
    }

    /// Takes the operands of a run of one operator; says whether none was left out.
    fn flatten(&self, filter: &Filter, all: bool, parts: &mut BTreeSet<String>) -> bool {
        match filter {
            Filter::All(inner) if all => self.flatten_each(inner, all, parts),
            Filter::Any(inner) if !all => self.flatten_each(inner, all, parts),
            other => self.of(other).is_some_and(|part| {
                if part != truth() || !all {
                    parts.insert(part);
                }
                true
            }),
        }
    }
}

/// Between a column and the values it is compared with.
const IS_ONE_OF: &str = " in ";
/// Between values: JSON writes it otherwise.
const COMMA: &str = "\u{1}";

fn one_of(column: &str, values: &[Value]) -> String {
    list(column, values.iter().map(json).collect())
}

fn list(column: &str, values: BTreeSet<String>) -> String {
    format!("{column}{IS_ONE_OF}{}", values.into_iter().collect::<Vec<_>>().join(COMMA))
}

/// Lists of values of one column as one list.
fn merged(parts: BTreeSet<String>) -> BTreeSet<String> {
    let mut lists: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut merged = BTreeSet::new();
    for part in parts {
        match part.split_once(IS_ONE_OF) {
            Some((column, values)) if !column.contains(['(', ' ', '"']) => {
                lists.entry(column.to_owned()).or_default().extend(values.split(COMMA).map(str::to_owned));
            }
            _ => drop(merged.insert(part)),
        }
    }
    merged.extend(lists.into_iter().map(|(column, values)| list(&column, values)));
    merged
}

fn joined(operator: &str, parts: BTreeSet<String>) -> String {
    let mut parts: Vec<String> = parts.into_iter().collect();
    match parts.as_mut_slice() {
        [only] => std::mem::take(only),
        _ => format!("{operator}({})", parts.join(", ")),
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use canvass_protocol::filter::Pattern;

    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn is(column: &str, value: &str) -> Filter {
        Filter::test(column, Is::Equal(text(value)))
    }

    fn is_not(column: &str, value: &str) -> Filter {
        Filter::test(column, Is::NotEqual(text(value)))
    }

    fn one(column: &str, values: &[&str]) -> Filter {
        Filter::test(column, Is::In(values.iter().map(|value| text(value)).collect()))
    }

    fn in_set(column: &str) -> Filter {
        Filter::test(column, Is::InSet("1".into()))
    }

    fn like(pattern: &str) -> Filter {
        Filter::test("name", Is::Like(Pattern { pattern: pattern.into(), ignore_case: false }))
    }

    fn not(filter: Filter) -> Filter {
        Filter::Not(Box::new(filter))
    }

    fn all(parts: &[Filter]) -> Filter {
        Filter::All(parts.to_vec())
    }

    fn any(parts: &[Filter]) -> Filter {
        Filter::Any(parts.to_vec())
    }

    fn scan(table: &str, columns: &[&str], filter: Option<Filter>, target: Option<Filter>) -> Scan {
        Scan {
            table: table.into(),
            target,
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            filter,
            sets: BTreeMap::from([("1".to_owned(), vec![text("x")])]),
            ..Scan::default()
        }
    }

    #[test]
    fn what_means_the_same_is_the_same() {
        let (a, b, c) = (is("name", "a"), is("name", "b"), is("gid", "c"));
        let cases = [
            (all(&[a.clone(), c.clone()]), all(&[c.clone(), a.clone(), a.clone()]), true),
            (all(&[a.clone(), all(&[b.clone(), c.clone()])]), all(&[a.clone(), b.clone(), c.clone()]), true),
            (all(std::slice::from_ref(&a)), a.clone(), true),
            (any(&[a.clone(), b.clone(), c.clone()]), any(&[c.clone(), one("name", &["b", "a"])]), true),
            (any(&[a.clone(), one("name", &["b", "d"])]), one("name", &["d", "b", "a", "b"]), true),
            (not(not(a.clone())), a.clone(), true),
            (not(is_not("name", "a")), a.clone(), true),
            (not(a.clone()), is_not("name", "a"), true),
            (in_set("name"), is("name", "x"), true),
            (all(&[a.clone(), all(&[])]), a.clone(), true),
            (all(&[a.clone(), b.clone()]), any(&[a.clone(), b.clone()]), false),
            (any(&[]), all(&[]), false),
            (any(&[]), a.clone(), false),
            (a.clone(), b.clone(), false),
            (a.clone(), is("gid", "a"), false),
            (a.clone(), like("a"), false),
            (one("name", &["a|b"]), one("name", &["a", "b"]), false),
            (not(like("a%")), like("a%"), false),
        ];
        for (left, right, same) in cases {
            let of = |filter: &Filter| rows(&scan("users", &[], Some(filter.clone()), None), false);
            assert_eq!(of(&left) == of(&right), same, "{left:?}\n{right:?}");
        }
    }

    #[test]
    fn leaves_find_their_scans() {
        let (web, db) = (Some(is("name", "web-1")), Some(is("name", "db-1")));
        let by_id = |name: &str, id: &str| Some(all(&[is("name", name), not(one("id", &[id]))]));
        let root = || Some(is("name", "root"));
        let narrowed = |values: Filter| Some(all(&[is("name", "root"), values]));
        let users = |filter, target| scan("users", &["name", "uid"], filter, target);
        let groups = || scan("groups", &["name"], None, None);
        type Case = (&'static str, Vec<Scan>, Vec<Scan>, Option<Vec<usize>>);
        let cases: &[Case] = &[
            ("as it was", vec![users(None, None), groups()], vec![users(None, None), groups()], Some(vec![0, 1])),
            ("another order", vec![groups(), users(None, None)], vec![users(None, None), groups()], Some(vec![1, 0])),
            (
                "fewer columns are read",
                vec![scan("users", &["uid"], None, None)],
                vec![users(None, None)],
                Some(vec![0]),
            ),
            ("more columns are read", vec![scan("users", &["uid", "gid"], None, None)], vec![users(None, None)], None),
            (
                "by filter",
                vec![users(root(), None), users(None, None)],
                vec![users(None, None), users(root(), None)],
                Some(vec![1, 0]),
            ),
            (
                "by target",
                vec![users(None, db.clone()), users(None, web.clone())],
                vec![users(None, web.clone()), users(None, db.clone())],
                Some(vec![1, 0]),
            ),
            (
                "agents that were told apart by their ids",
                vec![users(None, db.clone()), users(None, web.clone())],
                vec![users(None, by_id("web-1", "b")), users(None, by_id("db-1", "c"))],
                Some(vec![1, 0]),
            ),
            (
                "values that the desk knew",
                vec![users(narrowed(one("uid", &["1"])), None)],
                vec![users(narrowed(in_set("uid")), None)],
                None,
            ),
            (
                "a set that the desk knew otherwise",
                vec![users(root(), None)],
                vec![users(narrowed(in_set("uid")), None)],
                Some(vec![0]),
            ),
            ("another filter", vec![users(root(), None)], vec![users(None, None)], None),
            ("another table", vec![groups()], vec![users(None, None)], None),
            ("read twice", vec![groups(), groups()], vec![groups()], Some(vec![0, 0])),
            ("asked twice, read once", vec![groups()], vec![groups(), groups()], Some(vec![0])),
            ("asked and not read", vec![], vec![groups()], Some(vec![])),
            (
                "the only one, whatever its target",
                vec![users(None, web.clone())],
                vec![users(None, Some(like("web-1")))],
                Some(vec![0]),
            ),
            (
                "one of two targets that it does not have",
                vec![users(None, web.clone())],
                vec![users(None, Some(like("web-1"))), users(None, db.clone())],
                None,
            ),
        ];
        for (about, leaves, scans, expected) in cases {
            assert_eq!(&place(leaves, scans).ok(), expected, "{about}");
        }
    }

    #[test]
    fn what_is_not_found_is_named() {
        let error = place(&[scan("users", &[], None, None)], &[]).unwrap_err();
        assert!(error.message.contains("planned otherwise by this version") && error.message.contains("`users`"));
    }
}
