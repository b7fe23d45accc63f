//! What type a column of texts has: a number only where every value stays spelt as it is.
//!
//! A hash of nothing but digits, a code with leading zeros or a version such as `1.10` would become another value as a
//! number, so a column that holds one stays text.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray, TimestampNanosecondArray,
};
use jiff::Timestamp;

/// Gives a column of texts the type that all of its values have; text where they have none in common.
pub fn of_texts(texts: StringArray) -> ArrayRef {
    if texts.null_count() == texts.len() {
        return Arc::new(texts);
    }
    if let Some(values) = all::<i64>(&texts, integer) {
        return Arc::new(Int64Array::from(values));
    }
    if let Some(values) = all(&texts, float) {
        return Arc::new(Float64Array::from(values));
    }
    if let Some(values) = all(&texts, truth) {
        return Arc::new(BooleanArray::from(values));
    }
    of_times(texts)
}

/// Like [`of_texts`], for texts that were written as such: only a time is more than text.
pub fn of_times(texts: StringArray) -> ArrayRef {
    match all(&texts, time).filter(|values| values.iter().any(Option::is_some)) {
        Some(values) => Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC")),
        None => Arc::new(texts),
    }
}

/// All values as `read` understands them; none where it does not understand one.
fn all<T>(texts: &StringArray, read: fn(&str) -> Option<T>) -> Option<Vec<Option<T>>> {
    // Most columns are text, and show it in their first values.
    texts.iter().flatten().take(1).all(|text| read(text).is_some()).then_some(())?;
    texts.iter().map(|text| text.map(|text| read(text).ok_or(())).transpose()).collect::<Result<_, _>>().ok()
}

fn integer(text: &str) -> Option<i64> {
    let number: i64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

fn float(text: &str) -> Option<f64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()).then_some(())?;
    let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
    // With and without `.0`: both are how a number of this kind is written.
    let same = number.to_string() == text || serde_json::Number::from_f64(number)?.to_string() == text;
    same.then_some(number)
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// A time as Canvass writes it; any other spelling stays text.
fn time(text: &str) -> Option<i64> {
    let at: Timestamp = text.parse().ok()?;
    (at.to_string() == text).then(|| i64::try_from(at.as_nanosecond()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_more_than_text_only_where_no_value_changes_its_spelling() {
        let cases: [(&[Option<&str>], &str); 22] = [
            (&[Some("1"), None, Some("-7")], "Int64"),
            (&[Some("007")], "Utf8"),
            (&[Some("1"), Some("007")], "Utf8"),
            (&[Some("+1")], "Utf8"),
            (&[Some("-0")], "Float64"),
            (&[Some(" 1")], "Utf8"),
            (&[Some("1_000")], "Utf8"),
            (&[Some("9223372036854775807")], "Int64"),
            (&[Some("9223372036854775808")], "Utf8"),
            (&[Some("1234567890123456789012345678901234567890123456789012345678901234")], "Utf8"),
            (&[Some("0.5"), Some("2")], "Float64"),
            (&[Some("1.0")], "Float64"),
            (&[Some("1.10"), Some("1.2")], "Utf8"),
            (&[Some("12e45678")], "Utf8"),
            (&[Some("inf")], "Utf8"),
            (&[Some("NaN"), Some("1")], "Utf8"),
            (&[Some("10.0.0.1")], "Utf8"),
            (&[Some("true"), Some("false"), None], "Boolean"),
            (&[Some("True")], "Utf8"),
            (&[Some("2026-11-01T10:00:00Z"), None], "Timestamp(ns, \"UTC\")"),
            (&[Some("2026-11-01")], "Utf8"),
            (&[None, None], "Utf8"),
        ];
        for (values, expected) in cases {
            let typed = of_texts(StringArray::from(values.to_vec()));
            assert_eq!(typed.data_type().to_string(), expected, "{values:?}");
        }
    }
}
