//! A scan's filter, compiled against a table's columns: typed, ordered by cost, three-valued.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::sync::Arc;

use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::limits::{FILTER_DEPTH_MAX, FILTER_TESTS_MAX};
use canvass_protocol::matcher::{Comparison, TextMatcher};
use canvass_protocol::scan::Scan;
use canvass_protocol::value::{Truth, Value};

use crate::column::{Cell, ColumnInfo, Kind, Source};
use crate::engine::cells::Cells;
use crate::engine::{ContentTests, ScanError};
use crate::table::Declared;

/// A filter ready to run; each worker of a scan has a copy, so that none waits for another's automata.
#[derive(Clone)]
pub(crate) struct Program {
    node: Node,
    /// The tests that one read of a row's content decides.
    pub content: ContentTests,
}

#[derive(Clone)]
enum Node {
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    Test { column: usize, cost: u8, matcher: Matcher },
    Content { column: usize, test: usize },
}

/// One test of one cell.
#[derive(Clone)]
enum Matcher {
    Null,
    Text(TextMatcher),
    Integer(Comparison, Number),
    IntegerIn(Arc<HashSet<i64>>),
    Float(Comparison, f64),
    FloatIn(Vec<f64>),
    Boolean(Comparison, bool),
    BooleanIn(Vec<bool>),
    Timestamp(Comparison, i64),
    TimestampIn(Arc<HashSet<i64>>),
}

#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Float(f64),
}

/// What a test costs that has to read the row's content: more than all else.
const CONTENT_COST: u8 = 3;

impl Program {
    /// Compiles a filter; what does not fit its column is an error, whatever desk it came from.
    pub fn compile<R>(filter: &Filter, table: &Declared<R>, scan: &Scan) -> Result<Program, ScanError> {
        let (depth, tests) = filter.size();
        if depth > FILTER_DEPTH_MAX || tests > FILTER_TESTS_MAX {
            let column = scan.table.clone();
            return Err(ScanError::BadTest { column, reason: "the filter is too deep or too long".to_owned() });
        }
        let mut compiler = Compiler { table, scan, content: ContentTests::default() };
        let node = compiler.node(filter)?;
        Ok(Program { node, content: compiler.content.combined() })
    }

    /// The filter's truth for the row in hand; `None` while it hangs on content that has not been read.
    pub fn evaluate<R>(&self, row: &R, cells: &mut Cells<'_, R>) -> Option<Truth> {
        self.node.evaluate(row, cells)
    }

    /// Visits the index of each column that is tested.
    pub fn for_each_column(&self, visit: &mut dyn FnMut(usize)) {
        self.node.for_each_column(visit);
    }
}

impl Node {
    fn evaluate<R>(&self, row: &R, cells: &mut Cells<'_, R>) -> Option<Truth> {
        match self {
            Node::All(parts) => {
                let mut truth = Some(Truth::True);
                for part in parts {
                    match (truth, part.evaluate(row, cells)) {
                        (_, Some(Truth::False)) => return Some(Truth::False),
                        (Some(before), Some(now)) => truth = Some(before.and(now)),
                        _ => truth = None,
                    }
                }
                truth
            }
            Node::Any(parts) => {
                let mut truth = Some(Truth::False);
                for part in parts {
                    match (truth, part.evaluate(row, cells)) {
                        (_, Some(Truth::True)) => return Some(Truth::True),
                        (Some(before), Some(now)) => truth = Some(before.or(now)),
                        _ => truth = None,
                    }
                }
                truth
            }
            Node::Not(inner) => inner.evaluate(row, cells).map(Truth::negate),
            Node::Test { column, matcher, .. } => cells.with(row, *column, |cell| matcher.test(cell)),
            Node::Content { column, test } => cells.content(*column, *test),
        }
    }

    /// The test of content that it is.
    fn content(&self) -> Option<usize> {
        match self {
            Node::Content { test, .. } => Some(*test),
            _ => None,
        }
    }

    fn cost(&self) -> u8 {
        match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().map(Node::cost).max().unwrap_or(0),
            Node::Not(inner) => inner.cost(),
            Node::Test { cost, .. } => *cost,
            Node::Content { .. } => CONTENT_COST,
        }
    }

    fn for_each_column(&self, visit: &mut dyn FnMut(usize)) {
        match self {
            Node::All(parts) | Node::Any(parts) => parts.iter().for_each(|part| part.for_each_column(visit)),
            Node::Not(inner) => inner.for_each_column(visit),
            Node::Test { column, .. } | Node::Content { column, .. } => visit(*column),
        }
    }
}

/// The test of content that others of the same list have joined.
#[derive(Default)]
struct Joined {
    column: Option<usize>,
    test: Option<usize>,
}

struct Compiler<'a, R: 'static> {
    table: &'a Declared<R>,
    scan: &'a Scan,
    content: ContentTests,
}

impl<R> Compiler<'_, R> {
    fn node(&mut self, filter: &Filter) -> Result<Node, ScanError> {
        Ok(match filter {
            Filter::All(parts) => Node::All(self.parts(parts, false)?),
            Filter::Any(parts) => Node::Any(self.parts(parts, true)?),
            Filter::Not(inner) => Node::Not(Box::new(self.node(inner)?)),
            Filter::Test(test) => self.test(test, &mut Joined::default())?,
        })
    }

    /// The parts, cheapest first; equals keep their order. Tests of content of which any will do, or none must, may become
    /// one, so that a list of ten thousand is not gone through for each file.
    fn parts(&mut self, parts: &[Filter], any: bool) -> Result<Vec<Node>, ScanError> {
        let mut joined = Joined::default();
        let mut nodes = Vec::with_capacity(parts.len());
        for part in parts {
            let known = joined.test;
            let (node, test) = match part {
                Filter::Test(test) if any => {
                    let node = self.test(test, &mut joined)?;
                    let content = node.content();
                    (node, content)
                }
                Filter::Not(inner) if !any && let Filter::Test(test) = &**inner => {
                    let node = self.test(test, &mut joined)?;
                    let content = node.content();
                    (Node::Not(Box::new(node)), content)
                }
                part => (self.node(part)?, None),
            };
            if test.is_none() || test != known {
                nodes.push(node);
            }
        }
        nodes.sort_by_key(Node::cost);
        Ok(nodes)
    }

    fn test(&mut self, test: &Test, joined: &mut Joined) -> Result<Node, ScanError> {
        let table = self.table;
        let position = table.columns.iter().position(|column| column.info.name == test.column);
        let column = position
            .ok_or_else(|| ScanError::UnknownColumn { table: self.scan.table.clone(), column: test.column.clone() })?;
        let declared = &table.columns[column];
        let bad = |reason: String| ScanError::BadTest { column: test.column.clone(), reason };
        if declared.info.kind == Kind::Content {
            let same = joined.column.is_none_or(|known| known == column);
            let test = if same {
                joined.column = Some(column);
                self.content.add_or_join(&test.is, &mut joined.test)
            } else {
                self.content.add(&test.is)
            };
            let test = test.map_err(bad)?;
            return Ok(Node::Content { column, test });
        }
        let resolved;
        let is = match &test.is {
            Is::InSet(name) => {
                let set = self.scan.sets.get(name).ok_or_else(|| bad(format!("the scan has no set `{name}`")))?;
                resolved = Is::In(set.clone());
                &resolved
            }
            is => is,
        };
        let cost = match declared.source {
            Source::Field(_) => 0,
            Source::Probe(_) => 1 + u8::from(declared.info.probe),
            Source::Content(_) | Source::Digest(_) => CONTENT_COST,
        };
        let matcher = matcher(&declared.info, is).map_err(bad)?;
        Ok(Node::Test { column, cost, matcher })
    }
}

fn matcher(info: &ColumnInfo, is: &Is) -> Result<Matcher, String> {
    if matches!(is, Is::Null) {
        return Ok(Matcher::Null);
    }
    let unfit = || format!("the test does not fit a column of type {}", info.kind.as_str());
    match info.kind {
        Kind::Text => text_matcher(info, is)?.ok_or_else(unfit),
        Kind::Integer => integer_matcher(is).ok_or_else(unfit),
        Kind::Float => float_matcher(is).ok_or_else(unfit),
        Kind::Boolean => boolean_matcher(is).ok_or_else(unfit),
        Kind::Timestamp => timestamp_matcher(is).ok_or_else(unfit),
        Kind::Content => Err(unfit()),
    }
}

fn text_matcher(info: &ColumnInfo, is: &Is) -> Result<Option<Matcher>, String> {
    let lower = |value: &Value| match value {
        Value::Text(text) => Value::Text(text.to_ascii_lowercase()),
        other => other.clone(),
    };
    let lowered = match is {
        Is::Equal(value) if info.hex() => Some(Is::Equal(lower(value))),
        Is::NotEqual(value) if info.hex() => Some(Is::NotEqual(lower(value))),
        Is::In(values) if info.hex() => Some(Is::In(values.iter().map(lower).collect())),
        _ => None,
    };
    let matcher = TextMatcher::new(lowered.as_ref().unwrap_or(is)).map_err(|error| error.to_string())?;
    Ok(matcher.map(Matcher::Text))
}

fn integer_matcher(is: &Is) -> Option<Matcher> {
    let number = |value: &Value| match value {
        Value::Integer(number) => Some(Number::Integer(*number)),
        Value::Float(number) => Some(Number::Float(*number)),
        _ => None,
    };
    match (is.comparison(), is) {
        (Some((comparison, value)), _) => number(value).map(|number| Matcher::Integer(comparison, number)),
        (None, Is::In(values)) => {
            let numbers = values.iter().map(number).collect::<Option<Vec<_>>>()?;
            Some(Matcher::IntegerIn(Arc::new(numbers.into_iter().filter_map(whole).collect())))
        }
        _ => None,
    }
}

/// The integer that a number is, if it is one.
fn whole(number: Number) -> Option<i64> {
    match number {
        Number::Integer(number) => Some(number),
        // Between these bounds every whole float is an i64, exactly.
        Number::Float(float) => (float.fract() == 0.0 && (-TWO_63..TWO_63).contains(&float)).then_some(float as i64),
    }
}

const TWO_63: f64 = 9_223_372_036_854_775_808.0;

fn float_matcher(is: &Is) -> Option<Matcher> {
    let number = |value: &Value| match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    match (is.comparison(), is) {
        (Some((comparison, value)), _) => number(value).map(|number| Matcher::Float(comparison, number)),
        (None, Is::In(values)) => values.iter().map(number).collect::<Option<_>>().map(Matcher::FloatIn),
        _ => None,
    }
}

fn boolean_matcher(is: &Is) -> Option<Matcher> {
    let truth = |value: &Value| match value {
        Value::Boolean(truth) => Some(*truth),
        _ => None,
    };
    match (is.comparison(), is) {
        (Some((comparison, value)), _) => truth(value).map(|truth| Matcher::Boolean(comparison, truth)),
        (None, Is::In(values)) => values.iter().map(truth).collect::<Option<_>>().map(Matcher::BooleanIn),
        _ => None,
    }
}

fn timestamp_matcher(is: &Is) -> Option<Matcher> {
    let at = |value: &Value| match value {
        Value::TimestampNs(at) => Some(*at),
        _ => None,
    };
    match (is.comparison(), is) {
        (Some((comparison, value)), _) => at(value).map(|at| Matcher::Timestamp(comparison, at)),
        (None, Is::In(values)) => {
            values.iter().map(at).collect::<Option<_>>().map(|times| Matcher::TimestampIn(Arc::new(times)))
        }
        _ => None,
    }
}

impl Matcher {
    fn test(&self, cell: &Cell<'_>) -> Truth {
        if let Cell::Null = cell {
            return if matches!(self, Matcher::Null) { Truth::True } else { Truth::Unknown };
        }
        match (self, cell) {
            (Matcher::Null, _) => Truth::False,
            (Matcher::Text(matcher), Cell::Text(text)) => matcher.test(Some(text)),
            (Matcher::Integer(comparison, constant), Cell::Integer(number)) => {
                comparison.holds(order(*number, *constant)).into()
            }
            (Matcher::IntegerIn(constants), Cell::Integer(number)) => constants.contains(number).into(),
            (Matcher::Float(comparison, constant), Cell::Float(number)) => {
                comparison.holds(number.total_cmp(constant)).into()
            }
            (Matcher::FloatIn(constants), Cell::Float(number)) => {
                constants.iter().any(|constant| number.total_cmp(constant).is_eq()).into()
            }
            (Matcher::Boolean(comparison, constant), Cell::Boolean(truth)) => {
                comparison.holds(truth.cmp(constant)).into()
            }
            (Matcher::BooleanIn(constants), Cell::Boolean(truth)) => constants.contains(truth).into(),
            (Matcher::Timestamp(comparison, constant), Cell::Timestamp(at)) => {
                comparison.holds(at.cmp(constant)).into()
            }
            (Matcher::TimestampIn(constants), Cell::Timestamp(at)) => constants.contains(at).into(),
            _ => Truth::Unknown,
        }
    }
}

/// Compares without rounding the integer; NaN is above all numbers, as Arrow has it.
fn order(number: i64, constant: Number) -> Ordering {
    let float = match constant {
        Number::Integer(constant) => return number.cmp(&constant),
        Number::Float(float) => float,
    };
    if float.is_nan() {
        return if float.is_sign_positive() { Ordering::Less } else { Ordering::Greater };
    }
    if float >= TWO_63 {
        return Ordering::Less;
    }
    if float < -TWO_63 {
        return Ordering::Greater;
    }
    let below = float.floor();
    // `below` is a whole number within i64, so the cast is exact.
    number.cmp(&(below as i64)).then(if float > below { Ordering::Less } else { Ordering::Equal })
}
