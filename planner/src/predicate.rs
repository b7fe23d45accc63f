//! The rules for predicates that hold before anything is optimised: content, sizes in words, patterns, places.

pub(crate) mod globs;
pub(crate) mod possible;
mod presence;

use std::sync::Arc;

use canvass_protocol::filter::Is;
use canvass_protocol::matcher::{self, TextMatcher};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema as _, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::functions::string::expr_fn::lower;
use datafusion::logical_expr::expr::{AggregateFunction, InList, InSubquery, Like, ScalarFunction};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, ExprSchemable as _, LogicalPlan, LogicalPlanBuilder, Operator, ScalarUDF,
};

use crate::catalog::{CONTENT, HEX};
use crate::error::{Error, locate};
use crate::functions;

/// Checks and completes the predicates of a plan that was just made from a statement.
pub fn check(plan: LogicalPlan, statement: &str) -> Result<LogicalPlan> {
    let checker = Checker { statement };
    plan.transform_down_with_subqueries(|plan| checker.node(plan)).map(|checked| checked.data)
}

struct Checker<'a> {
    statement: &'a str,
}

impl Checker<'_> {
    fn node(&self, plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
        let schema = merge_schema(&plan.inputs());
        let decides_rows = matches!(plan, LogicalPlan::Filter(_) | LogicalPlan::Join(_));
        let checked = plan.map_expressions(|expr| {
            let expr = expr.transform_up(|expr| self.complete(expr, &schema))?.data;
            self.check_content(&expr, &schema, decides_rows)?;
            Ok(Transformed::yes(expr))
        })?;
        checked.map_data(|plan| match plan {
            LogicalPlan::Filter(filter) => presence::require(filter).map(LogicalPlan::Filter),
            LogicalPlan::Join(mut join) => {
                for (left, right) in &mut join.on {
                    digits(left, right, &schema);
                }
                Ok(LogicalPlan::Join(join))
            }
            other => Ok(other),
        })
    }

    /// Rewrites what has a meaning of ours: LIKE on content, sizes in words; and reads constants that may be wrong.
    fn complete(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match possible::check(expr, schema, self.statement)? {
            Expr::Like(like) if is_content(&like.expr, schema) => self.line_like(like).map(Transformed::yes),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(op) => {
                let (mut left, mut right) = (self.in_words(*left, &right, schema)?, *right);
                right = self.in_words(right, &left, schema)?;
                digits(&mut left, &mut right, schema);
                self.check_kinds(&left, &right, schema)?;
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left: left.into(), op, right: right.into() })))
            }
            Expr::Between(Between { expr, negated, low, high }) => {
                let low: Box<Expr> = self.in_words(*low, &expr, schema)?.into();
                let high: Box<Expr> = self.in_words(*high, &expr, schema)?.into();
                self.check_kinds(&expr, &low, schema)?;
                self.check_kinds(&expr, &high, schema)?;
                Ok(Transformed::yes(Expr::Between(Between { expr, negated, low, high })))
            }
            Expr::InList(InList { expr, list, negated }) => {
                let list: Vec<Expr> =
                    list.into_iter().map(|item| self.in_words(item, &expr, schema)).collect::<Result<_>>()?;
                list.iter().try_for_each(|item| self.check_kinds(&expr, item, schema))?;
                Ok(Transformed::yes(Expr::InList(InList { expr, list, negated })))
            }
            Expr::InSubquery(test) => {
                let sub = test.subquery.subquery.schema();
                if let (Some(column), Ok(kind)) = (sub.columns().first(), test.expr.get_type(schema)) {
                    let other = Expr::Column(column.clone());
                    self.same_kind((&test.expr, kind), (&other, sub.field(0).data_type().clone()))?;
                }
                small_digits(test, schema).map(Expr::InSubquery).map(Transformed::yes)
            }
            Expr::ScalarFunction(call) => {
                self.check_constant(&call)?;
                self.check_lines(&call, schema)?;
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            }
            Expr::AggregateFunction(call) => {
                self.check_order(&call, schema)?;
                Ok(Transformed::no(Expr::AggregateFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    /// Text beside a number would be read as a number row by row, and fail at the first that is none.
    fn check_kinds(&self, one: &Expr, other: &Expr, schema: &DFSchema) -> Result<()> {
        let kind = |expr: &Expr| expr.get_type(schema).ok();
        match (kind(one), kind(other)) {
            (Some(a), Some(b)) => self.same_kind((one, a), (other, b)),
            _ => Ok(()),
        }
    }

    fn same_kind(&self, (one, a): (&Expr, DataType), (other, b): (&Expr, DataType)) -> Result<()> {
        let (text, number) = match (a == DataType::Utf8, b == DataType::Utf8) {
            (true, false) if b.is_numeric() => (one, other),
            (false, true) if a.is_numeric() => (other, one),
            _ => return Ok(()),
        };
        if matches!(text, Expr::Literal(..)) {
            return Ok(());
        }
        let name = |expr: &Expr| match expr {
            Expr::Column(column) => column.name.clone(),
            Expr::Literal(value, _) => value.to_string(),
            other => other.human_display().to_string(),
        };
        let (text, number) = (name(text), name(number));
        Err(Error::usage(format!("`{text}` is text and `{number}` is a number"))
            .hint("quote the value, or compare as text with …::text")
            .at(locate(self.statement, &text))
            .into())
    }

    /// `every_line` is about content, which has lines.
    fn check_lines(&self, call: &ScalarFunction, schema: &DFSchema) -> Result<()> {
        if call.func.name() != functions::EVERY_LINE || call.args.iter().any(|arg| is_content(arg, schema)) {
            return Ok(());
        }
        Err(Error::usage("`every_line` asks about the lines of content and of nothing else")
            .hint("write every_line(content, 'pattern'), or match other columns with ~")
            .at(locate(self.statement, functions::EVERY_LINE))
            .into())
    }

    /// What has parts is neither the smallest nor the greatest.
    fn check_order(&self, call: &AggregateFunction, schema: &DFSchema) -> Result<()> {
        let name = call.func.name();
        let has_parts =
            call.params.args.first().and_then(|arg| arg.get_type(schema).ok()).is_some_and(|k| k.is_nested());
        if !has_parts || !matches!(name, "min" | "max") {
            return Ok(());
        }
        Err(Error::usage(format!("`{name}` cannot compare values that have parts"))
            .hint("take one part, such as agent.name")
            .at(locate(self.statement, name))
            .into())
    }

    /// Reads a text constant as the column beside it means it: `'1k'` is a number beside a number of bytes, and
    /// hexadecimal digits have no case beside a hash.
    fn in_words(&self, constant: Expr, beside: &Expr, schema: &DFSchema) -> Result<Expr> {
        let Expr::Literal(value, _) = &constant else { return Ok(constant) };
        let Some(text) = value.try_as_str().flatten() else { return Ok(constant) };
        if has_mark(beside, schema, HEX) {
            return Ok(Expr::Literal(ScalarValue::Utf8(Some(text.to_ascii_lowercase())), None));
        }
        let number = beside.get_type(schema).is_ok_and(|kind| kind == DataType::Int64);
        if !number || text.trim().parse::<i64>().is_ok() {
            return Ok(constant);
        }
        let size = functions::parse_size(text)
            .map_err(|reason| DataFusionError::from(Error::usage(reason).at(locate(self.statement, text))))?;
        Ok(Expr::Literal(ScalarValue::Int64(Some(size)), None))
    }

    /// `content LIKE 'x%'` is about lines.
    fn line_like(&self, like: Like) -> Result<Expr> {
        let name = if like.case_insensitive { functions::LINE_LIKE_IGNORING_CASE } else { functions::LINE_LIKE };
        if like.escape_char.is_some_and(|escape| escape != '\\') {
            return Err(Error::usage("LIKE on content escapes with `\\` only").into());
        }
        let function: Arc<ScalarUDF> = functions::all()
            .into_iter()
            .find(|function| function.name() == name)
            .ok_or_else(|| DataFusionError::Internal(format!("no function {name}")))?;
        let call = Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![*like.expr, *like.pattern]));
        Ok(if like.negated { Expr::Not(Box::new(call)) } else { call })
    }

    /// A constant pattern, folder or network is read now, so that a wrong one is an error before anything is signed.
    fn check_constant(&self, call: &ScalarFunction) -> Result<()> {
        let is_size = call.func.name() == functions::BYTES;
        let Some(Expr::Literal(constant, _)) = call.args.get(usize::from(!is_size)) else { return Ok(()) };
        let Some(text) = constant.try_as_str().flatten() else { return Ok(()) };
        let span = || locate(self.statement, text);
        if is_size {
            return match functions::parse_size(text) {
                Ok(_) => Ok(()),
                Err(reason) => Err(Error::usage(reason).at(span()).into()),
            };
        }
        match functions::test_of(call.func.name(), text) {
            Some(Err(reason)) => {
                let (message, hint) = reason.split_once(": ").unwrap_or((&reason, ""));
                Err(Error::usage(message).hint(hint).at(span()).into())
            }
            Some(Ok(Is::EveryLine(pattern))) => {
                matcher::compile(&pattern).map(|_| ()).map_err(|error| bad_pattern(&error, span()))
            }
            Some(Ok(is)) => TextMatcher::new(&is).map(|_| ()).map_err(|error| bad_pattern(&error, span())),
            None => Ok(()),
        }
    }

    /// Content may stand first in a test of lines against a constant, in a predicate that decides rows; nowhere else.
    fn check_content(&self, expr: &Expr, schema: &DFSchema, decides_rows: bool) -> Result<()> {
        let mut misused = None;
        expr.apply(|expr| {
            if let Expr::ScalarFunction(call) = expr
                && decides_rows
                && is_line_test(call)
                && call.args.first().is_some_and(|subject| is_content(subject, schema))
            {
                return Ok(TreeNodeRecursion::Jump);
            }
            if let Expr::Column(column) | Expr::OuterReferenceColumn(_, column) = expr
                && is_content(expr, schema)
            {
                misused = Some(column.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        match misused {
            Some(column) => Err(content_error(&column, self.statement).into()),
            None => Ok(()),
        }
    }
}

/// Hexadecimal digits have no case: what stands beside a column of them is compared in small letters.
fn digits(left: &mut Expr, right: &mut Expr, schema: &DFSchema) {
    let is_digits = |expr: &Expr| has_mark(expr, schema, HEX);
    let is_text = |expr: &Expr| {
        !matches!(expr, Expr::Literal(..)) && expr.get_type(schema).is_ok_and(|kind| kind == DataType::Utf8)
    };
    match (is_digits(left), is_digits(right)) {
        (true, false) if is_text(right) => *right = lower(right.clone()),
        (false, true) if is_text(left) => *left = lower(left.clone()),
        _ => {}
    }
}

/// The same for what a sub-query gives.
fn small_digits(mut test: InSubquery, schema: &DFSchema) -> Result<InSubquery> {
    let plan = &test.subquery.subquery;
    let given = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let text = plan.schema().field(0).data_type() == &DataType::Utf8;
    if has_mark(&test.expr, schema, HEX) && text && !has_mark(&given, plan.schema(), HEX) {
        let name = plan.schema().field(0).name().clone();
        let small = LogicalPlanBuilder::from(Arc::clone(plan)).project([lower(given).alias(name)])?.build()?;
        test.subquery = test.subquery.with_plan(Arc::new(small));
    }
    Ok(test)
}

fn bad_pattern(error: &matcher::PatternError, span: Option<crate::error::Span>) -> DataFusionError {
    let reason = error.reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Error::usage(format!("bad regular expression `{}`", error.pattern)).hint(reason).at(span).into()
}

/// Says what to ask of content instead of what was asked.
pub(crate) fn content_error(column: &Column, statement: &str) -> Error {
    // What a computation gives has a name of DataFusion's making; content has that of its column.
    let name = if locate(statement, &column.name).is_some() { &column.name[..] } else { "content" };
    Error::usage(format!("`{name}` can be searched on the endpoint but never leaves it"))
        .hint(format!(
            "in WHERE, and against a constant, write {name} ~ 'pattern', {name} LIKE '%text%' or every_line({name}, 'pattern')"
        ))
        .at(locate(statement, name))
}

fn is_line_test(call: &ScalarFunction) -> bool {
    let constant = matches!(call.args.get(1), Some(Expr::Literal(constant, _)) if !constant.is_null());
    let names = [
        functions::MATCHES,
        functions::MATCHES_IGNORING_CASE,
        functions::EVERY_LINE,
        functions::LINE_LIKE,
        functions::LINE_LIKE_IGNORING_CASE,
    ];
    constant && names.contains(&call.func.name())
}

fn is_comparison(op: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn is_content(expr: &Expr, schema: &DFSchema) -> bool {
    has_mark(expr, schema, CONTENT)
}

/// Whether an expression is a column that its table marked so.
fn has_mark(expr: &Expr, schema: &DFSchema, (key, value): (&str, &str)) -> bool {
    let is_marked = |field: &FieldRef| field.metadata().get(key).is_some_and(|mark| mark == value);
    match expr {
        Expr::Column(column) => schema.field_from_column(column).is_ok_and(is_marked),
        Expr::OuterReferenceColumn(field, _) => is_marked(field),
        _ => false,
    }
}
