//! Expressions of a plan as their author would write them.

use std::collections::HashMap;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{AggregateFunction, InList, Like, ScalarFunction, WindowFunction};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};

use crate::functions;

/// Values of a list that are shown.
const VALUES_SHOWN: usize = 5;

/// How to name columns.
pub struct Words {
    /// What the optimiser computes early, by the name it gave it.
    pub extracted: HashMap<String, Expr>,
    /// What the statement calls tables that it names once.
    pub aliases: HashMap<String, String>,
    /// Whether a column needs its table's name.
    pub qualified: bool,
}

impl Words {
    pub fn list(&self, expressions: &[Expr]) -> String {
        expressions.iter().map(|expr| self.of(expr)).collect::<Vec<_>>().join(", ")
    }

    /// Whether an expression hands on what is there: a column, or a field of `agent`.
    pub fn passes(&self, expr: &Expr) -> bool {
        match expr {
            Expr::Column(_) => true,
            Expr::Alias(alias) => self.passes(&alias.expr),
            Expr::ScalarFunction(call) if call.func.name() == "get_field" => {
                call.args.first().is_some_and(|subject| self.passes(subject))
            }
            _ => false,
        }
    }

    pub fn of(&self, expr: &Expr) -> String {
        if let Some((left, op, right)) = operation(expr) {
            return format!("{} {op} {}", self.operand(left, op), self.operand(right, op));
        }
        match expr {
            Expr::Alias(alias) => self.of(&alias.expr),
            Expr::Column(column) => match (self.extracted.get(&column.name), &column.relation) {
                (Some(extracted), _) => self.of(extracted),
                (None, Some(relation)) if self.qualified && !is_made_up(relation.table()) => {
                    let table = self.aliases.get(relation.table()).map_or(relation.table(), String::as_str);
                    format!("{table}.{}", column.name)
                }
                _ => column.name.replace("count(Int64(1))", "count(*)"),
            },
            Expr::Literal(value, _) => literal(value),
            Expr::Not(inner) => match inner.as_ref() {
                Expr::ScalarFunction(call) => self.call(call, true),
                other => format!("NOT ({})", self.of(other)),
            },
            Expr::Negative(inner) => format!("-{}", self.of(inner)),
            Expr::IsNull(inner) => format!("{} IS NULL", self.of(inner)),
            Expr::IsNotNull(inner) => format!("{} IS NOT NULL", self.of(inner)),
            Expr::IsTrue(inner) => format!("{} IS TRUE", self.of(inner)),
            Expr::IsNotTrue(inner) => format!("{} IS NOT TRUE", self.of(inner)),
            Expr::IsFalse(inner) => format!("{} IS FALSE", self.of(inner)),
            Expr::IsNotFalse(inner) => format!("{} IS NOT FALSE", self.of(inner)),
            Expr::Between(Between { expr, negated, low, high }) => {
                format!("{} {}BETWEEN {} AND {}", self.of(expr), not(*negated), self.of(low), self.of(high))
            }
            Expr::InList(InList { expr, list, negated }) => {
                let shown = self.list(&list[..list.len().min(VALUES_SHOWN)]);
                let more = match list.len().saturating_sub(VALUES_SHOWN) {
                    0 => String::new(),
                    more => format!(" … {more} more"),
                };
                format!("{} {}IN ({shown}{more})", self.of(expr), not(*negated))
            }
            Expr::Like(Like { negated, expr, pattern, case_insensitive, .. }) => {
                let like = if *case_insensitive { "ILIKE" } else { "LIKE" };
                format!("{} {}{like} {}", self.of(expr), not(*negated), self.of(pattern))
            }
            // What the planner casts to compare is no step of the author's.
            Expr::Cast(cast) => self.of(&cast.expr),
            Expr::TryCast(cast) => self.of(&cast.expr),
            Expr::ScalarFunction(call) => self.call(call, false),
            Expr::AggregateFunction(AggregateFunction { func, params }) => {
                let distinct = if params.distinct { "DISTINCT " } else { "" };
                let one = matches!(params.args.as_slice(), [Expr::Literal(ScalarValue::Int64(Some(1)), _)]);
                let all = params.args.is_empty() || one && func.name() == "count";
                let args = if all { "*".to_owned() } else { self.list(&params.args) };
                let filter = params.filter.as_ref().map(|filter| format!(" FILTER (WHERE {})", self.of(filter)));
                format!("{}({distinct}{args}){}", func.name(), filter.unwrap_or_default())
            }
            Expr::WindowFunction(window) => self.window(window),
            Expr::ScalarSubquery(_) => "(the sub-query)".to_owned(),
            Expr::InSubquery(test) => format!("{} {}IN (the sub-query)", self.of(&test.expr), not(test.negated)),
            Expr::Exists(exists) => format!("{}EXISTS (the sub-query)", not(exists.negated)),
            other => other.human_display().to_string(),
        }
    }

    /// An operand, in parentheses where it binds less than what stands around it.
    fn operand(&self, expr: &Expr, around: Operator) -> String {
        match expr {
            _ if operation(expr).is_some_and(|(_, op, _)| op.precedence() < around.precedence()) => {
                format!("({})", self.of(expr))
            }
            Expr::Alias(alias) => self.operand(&alias.expr, around),
            Expr::Cast(cast) => self.operand(&cast.expr, around),
            other => self.of(other),
        }
    }

    fn call(&self, call: &ScalarFunction, negated: bool) -> String {
        let name = call.func.name();
        let infix = |word: &str| match call.args.as_slice() {
            [subject, pattern] => Some(format!("{} {word} {}", self.of(subject), self.of(pattern))),
            _ => None,
        };
        let operator = match (name, negated) {
            (functions::UNDER, false) => infix("UNDER"),
            (functions::UNDER, true) => infix("NOT UNDER"),
            (functions::MATCHES, false) => infix("~"),
            (functions::MATCHES, true) => infix("!~"),
            (functions::MATCHES_IGNORING_CASE, false) => infix("~*"),
            (functions::MATCHES_IGNORING_CASE, true) => infix("!~*"),
            _ => None,
        };
        if let Some(operator) = operator {
            return operator;
        }
        let words = match (name, call.args.as_slice()) {
            ("get_field", [subject, path @ ..]) => {
                let mut text = self.of(subject);
                for (depth, part) in path.iter().enumerate() {
                    match part {
                        // The keys of a map are any text; they stand below the map, never first.
                        Expr::Literal(ScalarValue::Utf8(Some(field)), _) if depth == 0 && !text.ends_with("tags") => {
                            text = format!("{text}.{field}");
                        }
                        key => text = format!("{text}[{}]", self.of(key)),
                    }
                }
                text
            }
            (_, args) => format!("{name}({})", self.list(args)),
        };
        format!("{}{words}", not(negated))
    }

    fn window(&self, window: &WindowFunction) -> String {
        let params = &window.params;
        let mut over = Vec::new();
        if !params.partition_by.is_empty() {
            over.push(format!("PARTITION BY {}", self.list(&params.partition_by)));
        }
        if !params.order_by.is_empty() {
            let order = params
                .order_by
                .iter()
                .map(|sort| format!("{}{}", self.of(&sort.expr), if sort.asc { "" } else { " DESC" }));
            over.push(format!("ORDER BY {}", order.collect::<Vec<_>>().join(", ")));
        }
        format!("{}({}) OVER ({})", window.fun.name(), self.list(&params.args), over.join(" "))
    }
}

/// Whether the optimiser, or the plan of EXCEPT, calls a relation so.
pub fn is_made_up(relation: &str) -> bool {
    relation.starts_with("__") || matches!(relation, "left" | "right")
}

/// An operator between two operands; checked arithmetic is a function of the operator's name.
fn operation(expr: &Expr) -> Option<(&Expr, Operator, &Expr)> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => Some((left, *op, right)),
        Expr::ScalarFunction(call) => {
            let op = match call.func.name() {
                "+" => Operator::Plus,
                "-" => Operator::Minus,
                "*" => Operator::Multiply,
                "/" => Operator::Divide,
                "%" => Operator::Modulo,
                _ => return None,
            };
            match call.args.as_slice() {
                [left, right] => Some((left, op, right)),
                _ => None,
            }
        }
        _ => None,
    }
}

fn not(negated: bool) -> &'static str {
    if negated { "NOT " } else { "" }
}

/// A constant as SQL spells it.
fn literal(value: &ScalarValue) -> String {
    match value {
        value if value.is_null() => "NULL".to_owned(),
        ScalarValue::Utf8(Some(text)) => format!("'{}'", text.replace('\'', "''")),
        ScalarValue::TimestampNanosecond(Some(ns), _) => match jiff::Timestamp::from_nanosecond(i128::from(*ns)) {
            Ok(at) => format!("'{at}'"),
            Err(_) => value.to_string(),
        },
        other => other.to_string(),
    }
}
