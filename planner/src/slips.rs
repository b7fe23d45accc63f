//! What people type out of habit from other systems, refused with the spelling that works here.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, LimitClause, Query, TableFactor,
    UnaryOperator, Value, VisitMut, VisitorMut,
};

use crate::error::{Error, Span};
use crate::functions;
use crate::source::Source;

/// Refuses the first slip of a statement; returns what is legal and surely not meant, a sentence each.
pub fn check(statement: &mut Statement, text: &str) -> Result<Vec<String>, Error> {
    match statement {
        Statement::Statement(inner) => {
            let mut slips = Slips { source: Source::new(text), remarks: Vec::new() };
            match inner.visit(&mut slips) {
                ControlFlow::Continue(()) => Ok(slips.remarks),
                ControlFlow::Break(error) => Err(error),
            }
        }
        Statement::Explain(explain) => check(&mut explain.statement, text),
        _ => Ok(Vec::new()),
    }
}

struct Slips<'a> {
    source: Source<'a>,
    remarks: Vec<String>,
}

impl VisitorMut for Slips<'_> {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let limit = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit: Some(limit), .. }) => limit,
            _ => return ControlFlow::Continue(()),
        };
        if let Expr::UnaryOp { op: UnaryOperator::Minus, expr } = limit {
            return ControlFlow::Break(
                Error::usage(format!("LIMIT cannot be less than zero, and this is -{expr}"))
                    .hint("leave LIMIT out for all rows")
                    .at(self.source.find(&["limit", "-"]).or_else(|| self.source.find(&["limit"]))),
            );
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table { name, args: Some(args), .. } = factor else { return ControlFlow::Continue(()) };
        let typed = name.to_string();
        let lower = typed.to_lowercase();
        if !(lower.starts_with("read_") || lower.ends_with("_scan")) {
            return ControlFlow::Continue(());
        }
        let file = match args.args.first() {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value)))) => value.to_string(),
            _ => "'iocs.csv'".to_owned(),
        };
        ControlFlow::Break(
            Error::usage(format!("there is no function `{typed}`"))
                .hint(format!("a file stands after FROM by its name: FROM {file}"))
                .at(self.source.find(&[typed.as_str()])),
        )
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        match self.slip(expr) {
            Some(error) => ControlFlow::Break(error),
            None => ControlFlow::Continue(()),
        }
    }
}

impl Slips<'_> {
    fn slip(&mut self, expr: &Expr) -> Option<Error> {
        match expr {
            Expr::RLike { negated, expr, pattern, regexp } => {
                let word = if *regexp { "REGEXP" } else { "RLIKE" };
                let operator = if *negated { "!~" } else { "~" };
                let error = Error::usage(format!("{word} is not understood here"));
                Some(error.hint(format!("write {expr} {operator} {pattern}")).at(self.place(&[word])))
            }
            Expr::Substring { expr: text, substring_from: None, substring_for: None, shorthand, .. } => {
                let name = if *shorthand { "substr" } else { "substring" };
                let error = Error::usage(format!("`{name}` takes a text, where to begin, and how many characters"));
                Some(error.hint(format!("write {name}({text}, 1, 10)")).at(self.place(&[name])))
            }
            Expr::Function(call) => {
                let FunctionArguments::List(list) = &call.args else { return None };
                match list.args.as_slice() {
                    [
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(subject)),
                        FunctionArg::Unnamed(FunctionArgExpr::Expr(places @ Expr::Tuple(_))),
                    ] if call.name.to_string() == functions::UNDER => Some(
                        Error::usage("UNDER takes one place, or UNDER ANY several")
                            .hint(format!("write {subject} UNDER ANY {places}"))
                            .at(self.place(&["under"])),
                    ),
                    _ => None,
                }
            }
            Expr::Value(value) => match &value.value {
                Value::Placeholder(name) => Some(
                    Error::usage(format!("`{name}` stands for a value that nothing gives"))
                        .hint("write :name, and give it on the command line with -v name=value")
                        .at(self.place(&[name.as_str()])),
                ),
                _ => None,
            },
            Expr::BinaryOp { left, op: op @ (BinaryOperator::Eq | BinaryOperator::NotEq), right } => {
                let is_null = |expr: &Expr| matches!(expr, Expr::Value(value) if matches!(value.value, Value::Null));
                let other = match (is_null(left), is_null(right)) {
                    (false, true) => left,
                    (true, false) => right,
                    _ => return None,
                };
                let word = if *op == BinaryOperator::Eq { "IS NULL" } else { "IS NOT NULL" };
                self.remarks.push(format!("`{left} {op} {right}` is never true; write {other} {word}"));
                None
            }
            _ => None,
        }
    }

    fn place(&self, words: &[&str]) -> Option<Span> {
        self.source.find(words)
    }
}
