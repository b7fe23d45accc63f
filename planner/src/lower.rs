//! Predicates on their way down: what of a statement's WHERE an endpoint can decide, and what the inventory can.
//!
//! A predicate is lowered whole or not at all; what is lowered is exact, because the differential test
//! (`planner/tests/differential.rs`) keeps DataFusion's answer and the endpoint's equal for every form below.

use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::value::Value;
use canvass_protocol::versions::Source;
use canvass_tables::Table;
use canvass_tables::column::Kind;
use datafusion::common::{Column, ScalarValue};
use datafusion::logical_expr::expr::{InList, Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::catalog::{AGENT, HOST};
use crate::{functions, versions};

/// A predicate that need not be applied at the desk.
#[derive(Debug, Clone, PartialEq)]
pub enum Lowered {
    /// Decides rows, on the endpoint.
    Filter(Filter),
    /// Decides endpoints, by the inventory and again by the agent.
    Target(Filter),
}

/// Lowers a predicate over an endpoint table; `None` leaves it to the desk.
pub fn lower(expr: &Expr, table: &dyn Table) -> Option<Lowered> {
    let mut lowering = Lowering { table, sides: None };
    let filter = lowering.filter(expr)?;
    match lowering.sides? {
        Side::Row => Some(Lowered::Filter(filter)),
        Side::Agent => Some(Lowered::Target(filter)),
    }
}

/// What a predicate is about; one that is about both stays at the desk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Row,
    Agent,
}

struct Lowering<'a> {
    table: &'a dyn Table,
    sides: Option<Side>,
}

impl Lowering<'_> {
    fn filter(&mut self, expr: &Expr) -> Option<Filter> {
        match expr {
            Expr::Alias(alias) => self.filter(&alias.expr),
            Expr::BinaryExpr(BinaryExpr { op: Operator::And, .. }) => {
                Some(Filter::All(self.chain(expr, Operator::And)?))
            }
            Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }) => Some(Filter::Any(self.chain(expr, Operator::Or)?)),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => self.comparison(left, *op, right),
            Expr::Not(inner) => Some(Filter::Not(Box::new(self.filter(inner)?))),
            Expr::IsNull(inner) => self.test(inner, |_| Some(Is::Null)),
            Expr::IsNotNull(inner) => Some(Filter::Not(Box::new(self.test(inner, |_| Some(Is::Null))?))),
            Expr::InList(list) => self.in_list(list),
            Expr::Like(like) => self.like(like),
            Expr::Between(between) => {
                let low = self.comparison(&between.expr, Operator::GtEq, &between.low)?;
                let high = self.comparison(&between.expr, Operator::LtEq, &between.high)?;
                Some(negate_if(between.negated, Filter::All(vec![low, high])))
            }
            Expr::ScalarFunction(call) if !is_field_access(call) => self.call(call),
            Expr::Column(_) | Expr::ScalarFunction(_) => {
                self.test(expr, |kind| (kind == Kind::Boolean).then_some(Is::Equal(Value::Boolean(true))))
            }
            _ => None,
        }
    }

    /// The operands of a run of AND or OR, left to right. Runs are long (thousands of indicators) but seldom deep, so they
    /// are walked with a stack of our own.
    fn chain(&mut self, expr: &Expr, run: Operator) -> Option<Vec<Filter>> {
        let mut parts = Vec::new();
        let mut stack = vec![expr];
        while let Some(expr) = stack.pop() {
            match expr {
                Expr::BinaryExpr(BinaryExpr { left, op, right }) if *op == run => stack.extend([&**right, &**left]),
                other => parts.push(self.filter(other)?),
            }
        }
        Some(parts)
    }

    fn comparison(&mut self, left: &Expr, op: Operator, right: &Expr) -> Option<Filter> {
        let (subject, op, constant) = match (left, right) {
            (subject, Expr::Literal(constant, _)) => (subject, op, constant),
            (Expr::Literal(constant, _), subject) => (subject, op.swap()?, constant),
            _ => return None,
        };
        self.test(subject, |kind| {
            let value = value(constant, kind)?;
            Some(match op {
                Operator::Eq => Is::Equal(value),
                Operator::NotEq => Is::NotEqual(value),
                Operator::Lt => Is::Less(value),
                Operator::LtEq => Is::LessOrEqual(value),
                Operator::Gt => Is::Greater(value),
                Operator::GtEq => Is::GreaterOrEqual(value),
                _ => return None,
            })
        })
    }

    fn in_list(&mut self, list: &InList) -> Option<Filter> {
        let test = self.test(&list.expr, |kind| {
            let values = list.list.iter().map(|item| match item {
                Expr::Literal(constant, _) => value(constant, kind),
                _ => None,
            });
            Some(Is::In(values.collect::<Option<_>>()?))
        })?;
        Some(negate_if(list.negated, test))
    }

    fn like(&mut self, like: &Like) -> Option<Filter> {
        let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = like.pattern.as_ref() else { return None };
        let pattern = match like.escape_char {
            None | Some('\\') => pattern.clone(),
            Some(escape) => escaped(pattern, escape)?,
        };
        let pattern = Pattern { pattern, ignore_case: like.case_insensitive };
        let test = self.test(&like.expr, |kind| (kind == Kind::Text).then_some(Is::Like(pattern)))?;
        Some(negate_if(like.negated, test))
    }

    fn call(&mut self, call: &ScalarFunction) -> Option<Filter> {
        if versions::order_of(call.func.name()).is_some() {
            let table = self.table;
            let holds_sources = |column: &Column| {
                let info = table.column(&column.name);
                info.is_some_and(|info| {
                    Source::ALL.iter().map(|source| source.as_str()).eq(info.values().iter().copied())
                })
            };
            let on_text = |subject: &Expr, is| self.test(subject, |kind| (kind == Kind::Text).then_some(is));
            return versions::lower(call, on_text, holds_sources);
        }
        let pattern = match call.args.get(1) {
            None => "",
            Some(Expr::Literal(ScalarValue::Utf8(Some(pattern)), _)) => pattern,
            Some(_) => return None,
        };
        let is = functions::test_of(call.func.name(), pattern)?.ok()?;
        let on_content = matches!(is, Is::Matches(_) | Is::Like(_) | Is::EveryLine(_));
        let on_text = !matches!(is, Is::EveryLine(_));
        let in_set = matches!(is, Is::InSet(_));
        self.test(call.args.first()?, |kind| {
            let fits = in_set || (kind == Kind::Text && on_text) || (kind == Kind::Content && on_content);
            fits.then_some(is)
        })
    }

    /// A test of whatever `subject` names, if it names a column or a fact that `is` accepts.
    fn test(&mut self, subject: &Expr, is: impl FnOnce(Kind) -> Option<Is>) -> Option<Filter> {
        let (side, column, kind) = self.subject(subject)?;
        let test = Filter::test(column, is(kind)?);
        if *self.sides.get_or_insert(side) != side {
            return None;
        }
        Some(test)
    }

    fn subject(&self, subject: &Expr) -> Option<(Side, String, Kind)> {
        match subject {
            Expr::Column(column) if column.name == HOST => Some((Side::Agent, "name".into(), Kind::Text)),
            Expr::Column(column) => {
                let column = self.table.column(&column.name)?;
                Some((Side::Row, column.name.to_owned(), column.kind))
            }
            Expr::ScalarFunction(call) if is_field_access(call) => {
                let path = agent_path(subject)?;
                match path.iter().map(String::as_str).collect::<Vec<_>>()[..] {
                    ["tags", key] => Some((Side::Agent, format!("tags.{key}"), Kind::Text)),
                    ["started_at" | "heartbeat_at"] => Some((Side::Agent, path[0].clone(), Kind::Timestamp)),
                    [
                        "tags" | "addresses" | "features" | "revoked_keys" | "location" | "certified_by"
                        | "policy_sha256",
                    ] => None,
                    [_] => Some((Side::Agent, path[0].clone(), Kind::Text)),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn is_field_access(call: &ScalarFunction) -> bool {
    call.func.name() == "get_field"
}

/// The names under `agent` that nested field accesses walk: `get_field(agent, 'tags', 'team')` is `tags`, `team`.
fn agent_path(expr: &Expr) -> Option<Vec<String>> {
    match expr {
        Expr::Column(column) if column.name == AGENT => Some(Vec::new()),
        Expr::ScalarFunction(call) if is_field_access(call) => {
            let mut path = agent_path(call.args.first()?)?;
            for name in &call.args[1..] {
                let Expr::Literal(ScalarValue::Utf8(Some(name)), _) = name else { return None };
                path.push(name.clone());
            }
            Some(path)
        }
        _ => None,
    }
}

fn value(constant: &ScalarValue, kind: Kind) -> Option<Value> {
    Some(match (kind, constant) {
        (Kind::Text, ScalarValue::Utf8(Some(text))) => Value::Text(text.clone()),
        (Kind::Integer, ScalarValue::Int64(Some(number))) => Value::Integer(*number),
        (Kind::Float, ScalarValue::Float64(Some(number))) if number.is_finite() => Value::Float(*number),
        (Kind::Boolean, ScalarValue::Boolean(Some(truth))) => Value::Boolean(*truth),
        (Kind::Timestamp, ScalarValue::TimestampNanosecond(Some(ns), _)) => Value::TimestampNs(*ns),
        _ => return None,
    })
}

/// A LIKE pattern with another escape character, written with `\\`; none where nothing follows the escape.
pub(crate) fn escaped(pattern: &str, escape: char) -> Option<String> {
    let mut rewritten = String::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        let literal = if character == escape { Some(characters.next()?) } else { None };
        match literal.unwrap_or(character) {
            plain @ ('%' | '_') if literal.is_none() => rewritten.push(plain),
            meant @ ('%' | '_' | '\\') => rewritten.extend(['\\', meant]),
            meant => rewritten.push(meant),
        }
    }
    Some(rewritten)
}

fn negate_if(negated: bool, filter: Filter) -> Filter {
    if negated { Filter::Not(Box::new(filter)) } else { filter }
}
