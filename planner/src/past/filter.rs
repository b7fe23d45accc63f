//! What WHERE says of the past that can be asked of whoever remembers it, so that an old action is found without reading all
//! the others. Whoever answers may give more than that: the filter is applied at the desk again.

use std::collections::BTreeSet;

use canvass_protocol::api::{ActionSummary, LISTED_VALUES_MAX};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, Like, Operator};
use datafusion::scalar::ScalarValue;
use jiff::Timestamp;
use uuid::Uuid;

/// Bounds on actions or commands; what is `None` is not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PastFilter {
    /// Ids of actions.
    pub ids: Option<BTreeSet<Uuid>>,
    /// What the ids of actions begin with.
    pub prefix: Option<String>,
    /// When actions were taken, both included.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub states: Option<BTreeSet<String>>,
    pub agents: Option<BTreeSet<String>>,
    pub hosts: Option<BTreeSet<String>>,
}

impl PastFilter {
    /// The actions whose ids begin so.
    pub fn of_prefix(prefix: &str) -> PastFilter {
        PastFilter { prefix: Some(prefix.to_owned()), ..PastFilter::default() }
    }

    /// Whether nothing can be within the bounds.
    pub fn is_empty(&self) -> bool {
        let none = |texts: &Option<BTreeSet<String>>| texts.as_ref().is_some_and(BTreeSet::is_empty);
        self.ids.as_ref().is_some_and(BTreeSet::is_empty)
            || none(&self.states)
            || none(&self.agents)
            || none(&self.hosts)
            || self.since.zip(self.until).is_some_and(|(since, until)| since > until)
    }

    /// Whether an action is within the bounds that are about actions.
    pub fn keeps(&self, action: &ActionSummary) -> bool {
        self.ids.as_ref().is_none_or(|ids| ids.contains(&action.id))
            && self.prefix.as_ref().is_none_or(|prefix| action.id.to_string().starts_with(prefix))
            && self.since.is_none_or(|since| since <= action.created_at)
            && self.until.is_none_or(|until| action.created_at <= until)
    }

    /// Adds a predicate of WHERE as far as it is one of these; says whether it is.
    pub fn add(&mut self, predicate: &Expr) -> bool {
        match predicate {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                let (left, right) = (self.add(left), self.add(right));
                left || right
            }
            // DataFusion makes a short list after IN one of these.
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => {
                alternatives(predicate).is_some_and(|(column, texts)| self.among(&column, texts))
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), Expr::Literal(value, _)) => self.compare(&column.name, *op, value),
                (Expr::Literal(value, _), Expr::Column(column)) => {
                    op.swap().is_some_and(|op| self.compare(&column.name, op, value))
                }
                _ => false,
            },
            Expr::InList(InList { expr, list, negated: false }) => {
                let Expr::Column(column) = expr.as_ref() else { return false };
                let texts: Option<Vec<String>> = list.iter().map(literal_text).collect();
                texts.is_some_and(|texts| self.among(&column.name, texts))
            }
            Expr::Like(Like { negated: false, expr, pattern, escape_char: None, case_insensitive: false }) => {
                let (Expr::Column(column), Some(pattern)) = (expr.as_ref(), literal_text(pattern)) else {
                    return false;
                };
                matches!(column.name.as_str(), "id" | "action") && self.like(&pattern)
            }
            _ => false,
        }
    }

    fn compare(&mut self, column: &str, op: Operator, value: &ScalarValue) -> bool {
        if column == "created_at" {
            return time(value).is_some_and(|at| self.bound(op, at));
        }
        let text = value.try_as_str().flatten().map(str::to_owned);
        op == Operator::Eq && text.is_some_and(|text| self.among(column, vec![text]))
    }

    fn bound(&mut self, op: Operator, at: Timestamp) -> bool {
        let (from, to) = match op {
            Operator::Eq => (true, true),
            Operator::Gt | Operator::GtEq => (true, false),
            Operator::Lt | Operator::LtEq => (false, true),
            _ => return false,
        };
        if from {
            self.since = self.since.max(Some(at));
        }
        if to {
            self.until = Some(self.until.map_or(at, |until| until.min(at)));
        }
        true
    }

    fn among(&mut self, column: &str, texts: Vec<String>) -> bool {
        if texts.len() > LISTED_VALUES_MAX {
            return false;
        }
        match column {
            "id" | "action" => {
                // Ids are compared as texts, and another spelling of one is none.
                let id = |text: &String| text.parse::<Uuid>().ok().filter(|id| id.to_string() == *text);
                narrow(&mut self.ids, texts.iter().filter_map(id).collect());
            }
            "state" => narrow(&mut self.states, texts.into_iter().collect()),
            "agent" => narrow(&mut self.agents, texts.into_iter().collect()),
            "host" => narrow(&mut self.hosts, texts.into_iter().collect()),
            _ => return false,
        }
        true
    }

    fn like(&mut self, pattern: &str) -> bool {
        // The beginning of an id, and then anything.
        let Some(prefix) = pattern.strip_suffix('%') else { return false };
        let plain = !prefix.is_empty()
            && prefix.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if !plain || self.prefix.as_ref().is_some_and(|known| known.len() >= prefix.len()) {
            return plain;
        }
        self.prefix = Some(prefix.to_owned());
        true
    }
}

/// The column and the texts of an OR of equalities, where they are of one column.
fn alternatives(predicate: &Expr) -> Option<(String, Vec<String>)> {
    match predicate {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((column, mut texts), (other, more)) = (alternatives(left)?, alternatives(right)?);
            texts.extend(more);
            (column == other).then_some((column, texts))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(column), value) | (value, Expr::Column(column)) => {
                Some((column.name.clone(), vec![literal_text(value)?]))
            }
            _ => None,
        },
        _ => None,
    }
}

fn narrow<T: Ord>(known: &mut Option<BTreeSet<T>>, mut wanted: BTreeSet<T>) {
    if let Some(known) = known {
        wanted.retain(|one| known.contains(one));
    }
    *known = Some(wanted);
}

fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
        _ => None,
    }
}

fn time(value: &ScalarValue) -> Option<Timestamp> {
    match value {
        ScalarValue::TimestampNanosecond(Some(ns), _) => Timestamp::from_nanosecond(i128::from(*ns)).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{col, lit};

    use super::*;

    const ID: &str = "01939c1e-0000-7000-8000-000000000001";
    const OTHER: &str = "01939c1e-0000-7000-8000-000000000002";

    fn at(second: i64) -> Expr {
        let ns = second * 1_000_000_000;
        Expr::Literal(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())), None)
    }

    fn moment(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    fn texts(texts: &[&str]) -> Option<BTreeSet<String>> {
        Some(texts.iter().map(|text| (*text).to_owned()).collect())
    }

    #[test]
    fn what_can_be_asked_is_asked() {
        let none = PastFilter::default;
        let id = Some(BTreeSet::from([ID.parse::<Uuid>().unwrap()]));
        let ids = |filter: PastFilter| PastFilter { ids: id.clone(), ..filter };
        let cases: Vec<(Vec<Expr>, Option<PastFilter>)> = vec![
            (vec![col("id").eq(lit(ID))], Some(ids(none()))),
            (vec![lit(ID).eq(col("action"))], Some(ids(none()))),
            (vec![col("id").in_list(vec![lit(ID), lit(OTHER)], false), col("id").eq(lit(ID))], Some(ids(none()))),
            (vec![col("id").eq(lit("ID"))], Some(PastFilter { ids: Some(BTreeSet::new()), ..none() })),
            (vec![col("id").eq(lit(ID.to_uppercase()))], Some(PastFilter { ids: Some(BTreeSet::new()), ..none() })),
            (vec![col("id").like(lit("0193%"))], Some(PastFilter::of_prefix("0193"))),
            (vec![col("id").like(lit("0193%")), col("id").like(lit("01939%"))], Some(PastFilter::of_prefix("01939"))),
            (vec![col("id").like(lit("01939%")), col("id").like(lit("0193%"))], Some(PastFilter::of_prefix("01939"))),
            (vec![col("state").eq(lit("open"))], Some(PastFilter { states: texts(&["open"]), ..none() })),
            (
                vec![col("host").in_list(vec![lit("a"), lit("b")], false).and(col("agent").eq(lit("c")))],
                Some(PastFilter { hosts: texts(&["a", "b"]), agents: texts(&["c"]), ..none() }),
            ),
            (
                vec![col("created_at").gt(at(5)), col("created_at").gt_eq(at(3)), at(9).gt(col("created_at"))],
                Some(PastFilter { since: moment(5), until: moment(9), ..none() }),
            ),
            (vec![col("created_at").eq(at(5))], Some(PastFilter { since: moment(5), until: moment(5), ..none() })),
            (vec![col("id").like(lit("%93%"))], None),
            (vec![col("id").like(lit("0_9%"))], None),
            (vec![col("id").like(lit("%"))], None),
            (vec![col("state").like(lit("o%"))], None),
            (vec![col("id").not_eq(lit(ID))], None),
            (vec![col("id").in_list(vec![lit(ID)], true)], None),
            (vec![col("id").eq(lit(ID)).or(col("host").eq(lit("a")))], None),
            (vec![col("id").eq(col("host"))], None),
            (vec![col("rows").gt(lit(5))], None),
            (vec![col("statement").eq(lit("SELECT 1"))], None),
        ];
        for (predicates, expected) in cases {
            let mut filter = none();
            let mut pushed = false;
            for predicate in &predicates {
                pushed |= filter.add(predicate);
            }
            assert_eq!((pushed, &filter), (expected.is_some(), &expected.unwrap_or_default()), "{predicates:?}");
        }
        let many = col("host").in_list((0..=LISTED_VALUES_MAX).map(|number| lit(number.to_string())).collect(), false);
        assert!(!none().add(&many), "more than an address holds");
    }

    #[test]
    fn bounds_that_nothing_meets_ask_nobody() {
        for predicates in [
            vec![col("id").eq(lit("x"))],
            vec![col("state").eq(lit("open")), col("state").eq(lit("expired"))],
            vec![col("created_at").gt(at(5)), col("created_at").lt(at(3))],
        ] {
            let mut filter = PastFilter::default();
            predicates.iter().for_each(|predicate| assert!(filter.add(predicate)));
            assert!(filter.is_empty(), "{predicates:?}");
        }
        assert!(!PastFilter::default().is_empty());
    }
}
