//! The functions behind UNDER, `~` and their kin, as the desk computes them.
//!
//! Each is defined by the same code that endpoints run ([`canvass_protocol::matcher`]), and a differential test keeps
//! the two equal.

use std::sync::Arc;

use canvass_protocol::filter::{Is, Pattern, Place};
use canvass_protocol::matcher::TextMatcher;
use canvass_protocol::value::Truth;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use crate::versions;
use crate::zone::AtTimeZone;

pub const MATCHES: &str = "matches";
pub const MATCHES_IGNORING_CASE: &str = "matches_ignoring_case";
pub const UNDER: &str = "under";
pub const EVERY_LINE: &str = "every_line";
/// LIKE on content, which is per line; LIKE itself would be simplified on the way.
pub const LINE_LIKE: &str = "line_like";
pub const LINE_LIKE_IGNORING_CASE: &str = "line_like_ignoring_case";
pub const IS_PRIVATE: &str = "is_private";
pub const IS_LOOPBACK: &str = "is_loopback";
pub const BYTES: &str = "bytes";
/// A test against a set that the scan carries; nobody types it.
pub const IN_SET: &str = "in_set";

/// All functions of ours.
pub fn all() -> Vec<Arc<ScalarUDF>> {
    let tests = [
        (MATCHES, 2),
        (MATCHES_IGNORING_CASE, 2),
        (UNDER, 2),
        (EVERY_LINE, 2),
        (LINE_LIKE, 2),
        (LINE_LIKE_IGNORING_CASE, 2),
        (IS_PRIVATE, 1),
        (IS_LOOPBACK, 1),
    ];
    let mut functions: Vec<_> =
        tests.iter().map(|(name, arity)| Arc::new(ScalarUDF::from(TextTest::new(name, *arity)))).collect();
    functions.push(Arc::new(ScalarUDF::from(Bytes { signature: texts(1) })));
    functions.push(Arc::new(ScalarUDF::from(AtTimeZone::default())));
    functions.extend(versions::functions());
    functions.push(Arc::new(ScalarUDF::from(Version { signature: Signature::nullary(Volatility::Immutable) })));
    functions
}

/// One of them by its name.
pub fn named(name: &str) -> Result<Arc<ScalarUDF>> {
    let function = all().into_iter().find(|function| function.name() == name);
    function.ok_or_else(|| DataFusionError::Internal(format!("no function {name}")))
}

/// What a call of one of our tests asks, where its right side is a constant.
///
/// `pattern` is the second argument; tests of one argument ignore it. `Err` says what is wrong with the constant.
pub fn test_of(function: &str, pattern: &str) -> Option<std::result::Result<Is, String>> {
    let regex = |ignore_case| Pattern { pattern: pattern.to_owned(), ignore_case };
    Some(Ok(match function {
        MATCHES => Is::Matches(regex(false)),
        MATCHES_IGNORING_CASE => Is::Matches(regex(true)),
        EVERY_LINE => Is::EveryLine(regex(false)),
        LINE_LIKE => Is::Like(regex(false)),
        LINE_LIKE_IGNORING_CASE => Is::Like(regex(true)),
        UNDER => match Place::parse(pattern) {
            Ok(place) => Is::Under(place),
            Err(error) => return Some(Err(format!("{error}: {}", error.hint))),
        },
        IS_PRIVATE => Is::Private,
        IS_LOOPBACK => Is::Loopback,
        IN_SET => Is::InSet(pattern.to_owned()),
        _ => return None,
    }))
}

/// Tests a column of a scan against the scan's set of this name.
pub fn in_set(column: Expr, set: &str) -> Expr {
    let signature = Signature::any(2, Volatility::Immutable);
    let function = Arc::new(ScalarUDF::from(InSet { signature }));
    Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![column, lit(set)]))
}

/// The mark of such a test in a plan; only endpoints carry it out.
#[derive(Debug, PartialEq, Eq, Hash)]
struct InSet {
    signature: Signature,
}

impl ScalarUDFImpl for InSet {
    fn name(&self) -> &str {
        IN_SET
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        exec_err!("a set is for endpoints to test against")
    }
}

fn texts(arity: usize) -> Signature {
    Signature::exact(vec![DataType::Utf8; arity], Volatility::Immutable)
}

/// A boolean test of text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct TextTest {
    name: &'static str,
    signature: Signature,
}

impl TextTest {
    fn new(name: &'static str, arity: usize) -> TextTest {
        TextTest { name, signature: texts(arity) }
    }

    fn matcher(&self, pattern: &str) -> Result<TextMatcher> {
        let is = match test_of(self.name, pattern) {
            Some(Ok(is)) => is,
            Some(Err(reason)) => return exec_err!("{reason}"),
            None => return exec_err!("`{}` is not a test", self.name),
        };
        match TextMatcher::new(&is) {
            Ok(Some(matcher)) => Ok(matcher),
            Ok(None) => exec_err!("`{}` can only be asked of content, on the endpoint", self.name),
            Err(error) => exec_err!("{error}"),
        }
    }
}

impl ScalarUDFImpl for TextTest {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (arrays, rows, constant) = arrays(&args)?;
        let subjects = arrays[0].as_string::<i32>();
        let patterns = arrays.get(1).map(AsArray::as_string::<i32>);
        // Patterns are constant but for odd statements, so the last one compiled is the one wanted.
        let mut compiled: Option<(&str, TextMatcher)> = None;
        let mut truths = Vec::with_capacity(rows);
        for row in 0..rows {
            let pattern = match patterns {
                None => "",
                Some(patterns) if patterns.is_null(row) => {
                    truths.push(None);
                    continue;
                }
                Some(patterns) => patterns.value(row),
            };
            if compiled.as_ref().is_none_or(|(last, _)| *last != pattern) {
                compiled = Some((pattern, self.matcher(pattern)?));
            }
            let subject = subjects.is_valid(row).then(|| subjects.value(row));
            truths.push(match compiled.as_ref().map(|(_, matcher)| matcher.test(subject)) {
                Some(Truth::True) => Some(true),
                Some(Truth::False) => Some(false),
                _ => None,
            });
        }
        give(Arc::new(BooleanArray::from(truths)), constant)
    }
}

/// A call's arguments as arrays, how many rows they have, and whether all of them are constants, which then have one.
pub(crate) fn arrays(args: &ScalarFunctionArgs) -> Result<(Vec<ArrayRef>, usize, bool)> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let rows = if constant { 1 } else { args.number_rows };
    Ok((args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<_>>()?, rows, constant))
}

/// `bytes('10MB')`: a size in words as a number.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bytes {
    signature: Signature,
}

impl ScalarUDFImpl for Bytes {
    fn name(&self) -> &str {
        BYTES
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if constant { 1 } else { args.number_rows })?;
        let sizes = array.as_string::<i32>().iter().map(|text| text.map(parse_size).transpose());
        let sizes = sizes.collect::<std::result::Result<Int64Array, String>>().map_err(DataFusionError::Execution)?;
        give(Arc::new(sizes), constant)
    }
}

/// `version()`: that of this program.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Version {
    signature: Signature,
}

impl ScalarUDFImpl for Version {
    fn name(&self) -> &'static str {
        "version"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let version = format!("canvass {}", env!("CARGO_PKG_VERSION"));
        Ok(ColumnarValue::Scalar(ScalarValue::Utf8(Some(version))))
    }
}

pub(crate) fn give(array: ArrayRef, constant: bool) -> Result<ColumnarValue> {
    if constant {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}

/// Reads a size in words: `1k`, `10 MB`, `1.5G`; k, M, G and T are powers of 1024.
pub fn parse_size(text: &str) -> std::result::Result<i64, String> {
    let wrong = || format!("`{text}` is not a size; write a number with k, M, G or T, such as '10M'");
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(trimmed.len());
    let unit = trimmed[digits..].trim().to_ascii_lowercase();
    let power = match unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        _ => return Err(wrong()),
    };
    let scale = 1024_i64.pow(power);
    if let Ok(whole) = trimmed[..digits].parse::<i64>() {
        return whole.checked_mul(scale).ok_or_else(wrong);
    }
    let number: f64 = trimmed[..digits].parse().map_err(|_| wrong())?;
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "a size with a fraction is rounded"
    )]
    let bytes = (number * scale as f64).round() as i64;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_in_words() {
        let cases = [
            ("0", Some(0)),
            ("1k", Some(1024)),
            ("10MB", Some(10 << 20)),
            ("10 MiB", Some(10 << 20)),
            ("1.5G", Some(3 << 29)),
            ("2T", Some(2 << 40)),
            ("9999999999999999T", None),
            ("k", None),
            ("1x", None),
            ("1.2.3k", None),
            ("", None),
            ("-1k", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_size(text).ok(), expected, "{text}");
        }
    }
}
