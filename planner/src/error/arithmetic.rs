//! Numbers, times and truth values where others were expected, and results that do not fit.

use datafusion::arrow::error::ArrowError;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::{Error, Span, in_our_words, tidy};
use crate::arithmetic::SUM_OVERFLOW;
use crate::source::Source;

/// What DataFusion says of the two sides of an operator, whose types do not fit.
pub fn from_types(message: &str, statement: &str) -> Option<Error> {
    let rest = ["Cannot infer common argument type for comparison operation ", "Cannot coerce arithmetic expression "]
        .iter()
        .find_map(|prefix| message.split(*prefix).nth(1))?;
    let rest = in_our_words(rest.split(" to valid types").next().unwrap_or(rest));
    let (left, op, right) = sides(&rest)?;
    let (span, constant) = operand(statement, op);
    let constant = constant.unwrap_or_default();
    let is_number = |kind: &str| matches!(kind, "integer" | "float" | "number");
    let error = |message: &str, hint: String| Some(Error::usage(message).hint(hint).at(span));
    let arithmetic = matches!(op, "+" | "-");
    match (left, right) {
        ("timestamp", kind) | (kind, "timestamp") if is_number(kind) && arithmetic => {
            let seconds = if constant.is_empty() { "60" } else { constant.as_str() };
            error("a time and a number cannot be added up", format!("say what it counts: interval '{seconds} seconds'"))
        }
        ("timestamp", "text") | ("text", "timestamp") if arithmetic => {
            let text = if constant.is_empty() { "'1 day'" } else { constant.as_str() };
            error("a time and a text cannot be added up", format!("write interval {text}"))
        }
        ("timestamp", kind) | (kind, "timestamp") if is_number(kind) => {
            let seconds = if constant.is_empty() { "1700000000" } else { constant.as_str() };
            error(
                "a time and a number cannot be compared",
                format!("write '2026-11-27 10:00', now() - interval '1 day', or to_timestamp({seconds})"),
            )
        }
        ("boolean", kind) | (kind, "boolean") if is_number(kind) => {
            error("a truth value and a number cannot be compared", "write true or false".to_owned())
        }
        ("boolean", "text") | ("text", "boolean") => {
            error("a truth value and a text cannot be compared", "write true or false, without quotes".to_owned())
        }
        _ => error(
            &format!("{left} {op} {right} is not understood here"),
            "cast one side, as in x::text or x::bigint".to_owned(),
        ),
    }
}

/// `timestamp > integer`, in our words.
fn sides(text: &str) -> Option<(&str, &str, &str)> {
    let operators = [" <> ", " != ", " >= ", " <= ", " = ", " > ", " < ", " + ", " - ", " * ", " / ", " % "];
    operators.iter().find_map(|op| {
        let (left, right) = text.split_once(op)?;
        Some((kind(left), op.trim(), kind(right)))
    })
}

fn kind(word: &str) -> &str {
    match word.trim() {
        "Int8" | "Int16" | "Int32" | "UInt8" | "UInt16" | "UInt32" | "UInt64" => "integer",
        "Float32" => "float",
        word if word.starts_with("Timestamp(") => "timestamp",
        word => word,
    }
}

/// The constant behind an operator, or the operator, and the constant's letters.
fn operand(statement: &str, op: &str) -> (Option<Span>, Option<String>) {
    let source = Source::new(statement);
    let words: Vec<_> = source.words().map(|(_, token)| token).collect();
    let is_op = |typed: &str| typed == op || (op == "!=" && typed == "<>");
    let constant = |token: &Token| matches!(token, Token::Number(..) | Token::SingleQuotedString(_));
    let pair = words.windows(2).find(|pair| is_op(source.slice(pair[0])) && constant(&pair[1].token));
    match pair {
        Some(pair) => (Some(source.span(pair[1], pair[1])), Some(source.slice(pair[1]).to_owned())),
        None => (source.find(&[op]), None),
    }
}

/// What arrow could not compute.
pub fn from_arrow(error: &ArrowError, statement: &str) -> Error {
    let source = Source::new(statement);
    match error {
        ArrowError::DivideByZero => {
            let zeros = [["/", "0"], ["%", "0"], ["/", "0.0"], ["%", "0.0"]];
            let zero = zeros.iter().find_map(|zero| source.find(zero));
            Error::usage("division by zero").hint("leave such rows out, or write nullif(divisor, 0) for NULL").at(zero)
        }
        ArrowError::ArithmeticOverflow(message) => {
            let operation = message.split("Overflow happened on: ").nth(1).unwrap_or(message).trim();
            // A sign is a word of its own.
            let words = operation.split_whitespace().flat_map(|word| match word.strip_prefix('-') {
                Some(rest) if !rest.is_empty() => vec!["-", rest],
                _ => vec![word],
            });
            let words: Vec<&str> = words.collect();
            let hint = if operation.contains(['.', 'e']) { FLOATS } else { WIDER };
            Error::usage(format!("`{operation}` does not fit its type")).hint(hint).at(source.find(&words))
        }
        ArrowError::CastError(message) => cast(message, &source),
        other => Error::usage(tidy(&other.to_string())),
    }
}

/// What to write instead of an integer that does not fit.
const WIDER: &str = "integers have 64 bits; cast one side to double, as in size::double";

/// What floats can hold.
const FLOATS: &str = "floats reach to about 1.8e308";

/// A sum that does not fit.
pub fn from_sum(message: &str) -> Option<Error> {
    let sum = message.split(SUM_OVERFLOW).nth(1)?;
    let error = Error::usage(format!("the sum {} does not fit an integer", sum.trim()));
    Some(error.hint("integers have 64 bits; write sum(x::double)"))
}

/// `Cannot cast string 'abc' to value of Int64 type`, `Can't cast value 300 to type Int8`.
fn cast(message: &str, source: &Source<'_>) -> Error {
    let words = in_our_words(message);
    if let Some((value, rest)) = words.split_once("Cannot cast string '").and_then(|(_, rest)| rest.split_once('\'')) {
        let kind = rest.trim_start_matches(" to value of ").trim_end_matches(" type");
        return Error::usage(format!("`{value}` cannot be read as {}", article(kind)))
            .hint("leave such rows out, or write try_cast(x AS type) for NULL")
            .at(source.find_text(value));
    }
    if let Some((value, kind)) =
        words.split_once("Can't cast value ").and_then(|(_, rest)| rest.split_once(" to type "))
    {
        return Error::usage(format!("`{value}` does not fit {}", article(kind)))
            .hint("leave such rows out, or write try_cast(x AS type) for NULL")
            .at(source.find(&[value]));
    }
    Error::usage(tidy(message))
}

fn article(kind: &str) -> String {
    let kind = kind.trim().trim_end_matches('.');
    let kind = kind.strip_prefix('U').filter(|rest| rest.starts_with("Int")).unwrap_or(kind);
    match kind.strip_prefix("Int") {
        Some(bits) => format!("an integer of {bits} bits"),
        None if kind.starts_with(['a', 'e', 'i', 'o', 'u']) => format!("an {kind}"),
        None => format!("a {kind}"),
    }
}
