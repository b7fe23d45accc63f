//! The rules for predicates that hold before anything is optimised: content, sizes in words, patterns, places.

mod compare;
pub mod constants;
pub(crate) mod globs;
mod grouping;
mod not_in;
mod one_row;
pub(crate) mod possible;
mod presence;
mod words;

use canvass_protocol::filter::{Is, Pattern};
use canvass_protocol::matcher::{self, PatternError, TextMatcher};
use canvass_tables::engine;
use datafusion::arrow::datatypes::{DataType, FieldRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema as _, Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::{AggregateFunction, Like, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Between, Expr, ExprSchemable as _, LogicalPlan, Operator};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use self::words::Unit;
use crate::catalog::{BYTES, CONTENT, COUNT, HEX};
use crate::error::{Error, locate, locate_text};
use crate::zone::{self, Zone};
use crate::{functions, lower, versions};

/// Aggregates that are the same in whatever order the rows come.
const ORDERLESS: &[&str] = &[
    "count",
    "min",
    "max",
    "sum",
    "avg",
    "mean",
    "median",
    "bool_and",
    "bool_or",
    "bit_and",
    "bit_or",
    "bit_xor",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "approx_distinct",
    "approx_median",
    "any_value",
];

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
        let is_filter = matches!(plan, LogicalPlan::Filter(_));
        // A plan knows the columns of those below it by name.
        let names = NamePreserver::new(&plan);
        let checked = plan.map_expressions(|expr| {
            let expr = if is_filter { not_in::mind_nulls(expr, &schema)? } else { expr };
            let expr = self.completed(expr, &names, &schema)?;
            self.check_content(&expr, &schema, decides_rows)?;
            Ok(Transformed::yes(expr))
        })?;
        checked.map_data(|plan| match plan {
            LogicalPlan::Filter(filter) => presence::require(one_row::stay_above(filter)?).map(LogicalPlan::Filter),
            LogicalPlan::Join(mut join) => {
                for (left, right) in &mut join.on {
                    self.check_kinds(left, right, &schema)?;
                    (*left, *right) = compare::digits(left.clone(), right.clone(), &schema);
                }
                Ok(LogicalPlan::Join(join))
            }
            LogicalPlan::Aggregate(aggregate) => grouping::keep_apart(aggregate),
            other => Ok(other),
        })
    }

    fn completed(&self, expr: Expr, names: &NamePreserver, schema: &DFSchema) -> Result<Expr> {
        if let Expr::GroupingSet(_) = expr {
            return expr.map_children(|key| self.completed(key, names, schema).map(Transformed::yes)).data();
        }
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| self.complete(expr, schema))?.data;
        Ok(name.restore(expr))
    }

    /// Rewrites what has a meaning of ours: LIKE on content, sizes in words; and reads constants that may be wrong.
    fn complete(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match possible::check(expr, schema, self.statement)? {
            Expr::Like(like) => self.like(like, schema).map(Transformed::yes),
            Expr::BinaryExpr(binary) if compares(binary.op) => self.comparison(binary, schema),
            Expr::Between(Between { expr, negated, low, high }) => {
                let (_, low) = self.compare(*expr.clone(), *low, schema)?;
                let (_, high) = self.compare(*expr.clone(), *high, schema)?;
                Ok(Transformed::yes(Expr::Between(Between { expr, negated, low: low.into(), high: high.into() })))
            }
            Expr::InList(list) => self.in_list(list, schema),
            Expr::Case(case) => self.case(case, schema),
            Expr::InSubquery(test) => self.in_subquery(test, schema),
            Expr::SetComparison(test) => self.set_comparison(test, schema),
            Expr::SimilarTo(_) => Err(Error::usage("SIMILAR TO is not understood here")
                .hint("write a regular expression: name ~ '^(a|b).*$'")
                .at(locate(self.statement, "similar"))
                .into()),
            Expr::ScalarFunction(call) => self.call(call, schema).map(Transformed::yes),
            Expr::AggregateFunction(mut call) => {
                self.check_order(&call, schema)?;
                // DataFusion 55 fails where an order is asked of what does not depend on one.
                if ORDERLESS.contains(&call.func.name()) {
                    call.params.order_by.clear();
                }
                Ok(Transformed::yes(Expr::AggregateFunction(call)))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    /// Functions that test, and functions that compare their arguments.
    fn call(&self, mut call: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
        match call.func.name() {
            "greatest" | "least" | "coalesce" | "nvl" | "nvl2" | "ifnull" => {
                for pair in call.args.windows(2) {
                    self.check_kinds(&pair[0], &pair[1], schema)?;
                }
            }
            "nullif" if call.args.len() == 2 => {
                let (_, other) = self.compare(call.args[0].clone(), call.args[1].clone(), schema)?;
                call.args[1] = other;
            }
            functions::MATCHES if call.args.first().is_some_and(|subject| has_mark(subject, schema, HEX)) => {
                call.func = functions::named(functions::MATCHES_IGNORING_CASE)?;
            }
            _ => {}
        }
        if functions::test_of(call.func.name(), "").is_some() || versions::order_of(call.func.name()).is_some() {
            call.args = call.args.into_iter().map(folded).collect::<Result<_>>()?;
        }
        versions::complete(&mut call, schema, self.statement)?;
        self.check_constant(&call, schema)?;
        self.check_lines(&call, schema)?;
        Ok(Expr::ScalarFunction(call))
    }

    /// `content LIKE 'x%'` is about lines, hexadecimal digits have no case, and `\\` is what escapes.
    fn like(&self, mut like: Like, schema: &DFSchema) -> Result<Expr> {
        *like.pattern = folded(*like.pattern)?;
        if let Some(escape) = like.escape_char.take().filter(|escape| *escape != '\\') {
            let Expr::Literal(ScalarValue::Utf8(Some(pattern)), _) = like.pattern.as_ref() else {
                return Err(Error::usage("LIKE … ESCAPE takes a constant pattern")
                    .hint("write the pattern with `\\`, which escapes without ESCAPE")
                    .at(locate(self.statement, "escape"))
                    .into());
            };
            let Some(escaped) = lower::escaped(pattern, escape) else {
                return Err(Error::usage(format!(
                    "the pattern `{pattern}` ends with `{escape}`, which escapes nothing"
                ))
                .hint(format!("write `{escape}{escape}` for the character itself"))
                .at(locate(self.statement, pattern))
                .into());
            };
            *like.pattern = Expr::Literal(ScalarValue::Utf8(Some(escaped)), None);
        }
        if is_content(&like.expr, schema) {
            return line_like(like);
        }
        like.case_insensitive |= has_mark(&like.expr, schema, HEX);
        Ok(Expr::Like(like))
    }

    /// Text beside a number would be read as a number row by row, and fail at the first that is none.
    fn check_kinds(&self, one: &Expr, other: &Expr, schema: &DFSchema) -> Result<()> {
        let kind = |expr: &Expr| expr.get_type(schema).ok();
        match (kind(one), kind(other)) {
            (Some(a), Some(b)) => self.same_kind((one, a), (other, b)),
            _ => Ok(()),
        }
    }

    /// Says that values of two classes are never compared.
    fn never_equal(&self, (one, this): (&Expr, &str), (other, that): (&Expr, &str)) -> Result<()> {
        let (one, other) = (name_of(one), name_of(other));
        let hint = match (this, that) {
            ("a time", _) | (_, "a time") => {
                "write a time in quotes, such as '2026-11-01 10:00:00', or now() - interval '2 days'"
            }
            _ => "write true, false, or the comparison that is meant",
        };
        Err(Error::usage(format!("`{one}` is {this} and `{other}` is {that}"))
            .hint(hint)
            .at(locate(self.statement, &other).or_else(|| locate(self.statement, &one)))
            .into())
    }

    fn same_kind(&self, (one, a): (&Expr, DataType), (other, b): (&Expr, DataType)) -> Result<()> {
        if let (Some(this), Some(that)) = (class(&a), class(&b))
            && this != that
        {
            return self.never_equal((one, this), (other, that));
        }
        let (text, number) = match (a == DataType::Utf8, b == DataType::Utf8) {
            (true, false) if b.is_numeric() => (one, other),
            (false, true) if a.is_numeric() => (other, one),
            _ => return Ok(()),
        };
        if matches!(text, Expr::Literal(..)) {
            return Ok(());
        }
        let (text, number) = (name_of(text), name_of(number));
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
        let meant = match beside.get_type(schema) {
            Ok(DataType::Int64) => words::number(text, unit(beside, schema)?, &name_of(beside)),
            Ok(DataType::Timestamp(TimeUnit::Nanosecond, zone)) => words::moment(text, zone).map(Some),
            _ => Ok(None),
        };
        let meant = meant.map_err(|error| DataFusionError::from(error.at(locate_text(self.statement, text))))?;
        Ok(meant.map_or(constant, |value| Expr::Literal(value, None)))
    }

    /// A constant pattern, folder or network is read now, so that a wrong one is an error before anything is signed.
    fn check_constant(&self, call: &ScalarFunction, schema: &DFSchema) -> Result<()> {
        let is_size = call.func.name() == functions::BYTES;
        let Some(Expr::Literal(constant, _)) = call.args.get(usize::from(!is_size)) else { return Ok(()) };
        let Some(text) = constant.try_as_str().flatten() else { return Ok(()) };
        let span = || locate_text(self.statement, text);
        if is_size {
            return match functions::parse_size(text) {
                Ok(_) => Ok(()),
                Err(reason) => Err(Error::usage(reason).at(span()).into()),
            };
        }
        match call.func.name() {
            zone::AT_TIME_ZONE => return Zone::parse(text).map(drop).map_err(|error| error.at(span()).into()),
            // Flags such as 'i' change what a pattern finds and not whether it is one.
            name if name.starts_with("regexp_") => {
                let pattern = Pattern { pattern: text.to_owned(), ignore_case: false };
                return matcher::compile(&pattern).map(drop).map_err(|error| bad_pattern(&error, span()));
            }
            _ => {}
        }
        // Content is bytes, and a pattern may ask for such as are no text.
        let lines =
            |pattern: &Pattern| engine::check_line_pattern(pattern).map_err(|error| bad_pattern(&error, span()));
        match functions::test_of(call.func.name(), text) {
            Some(Err(reason)) => {
                let (message, hint) = reason.split_once(": ").unwrap_or((&reason, ""));
                Err(Error::usage(message).hint(hint).at(span()).into())
            }
            Some(Ok(Is::EveryLine(pattern))) => lines(&pattern),
            Some(Ok(Is::Matches(pattern))) if call.args.first().is_some_and(|subject| is_content(subject, schema)) => {
                lines(&pattern)
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

/// What kind of value it is, where values of another kind are never compared with it.
fn class(kind: &DataType) -> Option<&'static str> {
    match kind {
        DataType::Boolean => Some("true or false"),
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => Some("a time"),
        kind if kind.is_numeric() => Some("a number"),
        _ => None,
    }
}

fn name_of(expr: &Expr) -> String {
    match expr {
        Expr::Column(column) => column.name.clone(),
        Expr::Literal(value, _) => value.to_string(),
        other => other.human_display().to_string(),
    }
}

/// `content LIKE 'x%'` as a test of lines.
fn line_like(like: Like) -> Result<Expr> {
    let name = if like.case_insensitive { functions::LINE_LIKE_IGNORING_CASE } else { functions::LINE_LIKE };
    let call = ScalarFunction::new_udf(functions::named(name)?, vec![*like.expr, *like.pattern]);
    let call = Expr::ScalarFunction(call);
    Ok(if like.negated { Expr::Not(Box::new(call)) } else { call })
}

/// A constant that is computed (`'a' || 'b'`), computed now: only a plain one can be asked of endpoints.
fn folded(expr: Expr) -> Result<Expr> {
    let computes = |part: &Expr| {
        matches!(
            part,
            Expr::Literal(..) | Expr::ScalarFunction(_) | Expr::BinaryExpr(_) | Expr::Cast(_) | Expr::Alias(_)
        )
    };
    if matches!(expr, Expr::Literal(..)) || expr.exists(|part| Ok(!computes(part)))? {
        return Ok(expr);
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let computed = simplifier.coerce(expr.clone(), &DFSchema::empty()).and_then(|expr| simplifier.simplify(expr));
    Ok(match computed {
        Ok(computed @ Expr::Literal(..)) => computed,
        _ => expr,
    })
}

fn bad_pattern(error: &PatternError, span: Option<crate::error::Span>) -> DataFusionError {
    let reason = error.reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
    Error::usage(format!("bad regular expression `{}`", error.pattern)).hint(reason).at(span).into()
}

/// Says what to ask of content instead of what was asked.
fn content_error(column: &Column, statement: &str) -> Error {
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

/// What the columns of an expression count; none where no table of ours says so.
fn unit(expr: &Expr, schema: &DFSchema) -> Result<Option<Unit>> {
    let mut unit = None;
    expr.apply(|part| {
        if has_mark(part, schema, BYTES) {
            unit = Some(Unit::Bytes);
            return Ok(TreeNodeRecursion::Stop);
        }
        if has_mark(part, schema, COUNT) {
            unit = Some(Unit::Other);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(unit)
}

/// Whether an operator compares its two sides, NULL with NULL too.
fn compares(op: Operator) -> bool {
    is_comparison(op) || matches!(op, Operator::IsDistinctFrom | Operator::IsNotDistinctFrom)
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
