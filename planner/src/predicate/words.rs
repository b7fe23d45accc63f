//! Text constants as the column beside them means them: sizes in words, times.

use std::sync::Arc;

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::common::ScalarValue;

use crate::error::Error;
use crate::functions::parse_size;

/// What a column of numbers counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Other,
}

/// Reads the text beside a number. Sizes in words are for what counts bytes, or may do so; none where the text is a plain number.
pub fn number(text: &str, unit: Option<Unit>, name: &str) -> Result<Option<ScalarValue>, Error> {
    if text.trim().parse::<i64>().is_ok() {
        return Ok(None);
    }
    if unit == Some(Unit::Other) {
        let hint = match name {
            "uid" | "effective_uid" | "gid" => "write a number, or compare the column that holds the name",
            _ => "write a number; sizes such as '10M' are for columns that count bytes",
        };
        return Err(Error::usage(format!("`{name}` is a number, and `{text}` is none")).hint(hint));
    }
    match parse_size(text) {
        Ok(size) => Ok(Some(ScalarValue::Int64(Some(size)))),
        Err(reason) => Err(Error::usage(reason)),
    }
}

/// Reads the text beside a moment; without a zone it is UTC.
pub fn moment(text: &str, zone: Option<Arc<str>>) -> Result<ScalarValue, Error> {
    let wrong = |message: String, hint: &str| Error::usage(message).hint(hint);
    match string_to_timestamp_nanos(&with_seconds(text.trim())) {
        Ok(at_ns) => Ok(ScalarValue::TimestampNanosecond(Some(at_ns), zone)),
        Err(error) if error.to_string().contains("nanoseconds") => Err(wrong(
            format!("`{text}` is too far away; times reach from 1677-09-21 to 2262-04-11"),
            "write a time within them, or leave the condition out",
        )),
        Err(_) => Err(wrong(
            format!("`{text}` is not a time"),
            "write year-month-day, as in '2026-11-27' or '2026-11-27 10:00', or now() - interval '1 day'",
        )),
    }
}

/// `2026-11-27 10:00` with the seconds that the reader insists on.
fn with_seconds(text: &str) -> String {
    let Some(time) = text.get(11..) else { return text.to_owned() };
    let digits = time.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(time.len());
    if digits == 5 && time.as_bytes()[2] == b':' {
        let (minutes, zone) = time.split_at(digits);
        return format!("{}{minutes}:00{zone}", &text[..11]);
    }
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_people_write_them() {
        let cases = [
            ("2026-11-27", Some("2026-11-27T00:00:00Z")),
            ("2026-11-27 10:00", Some("2026-11-27T10:00:00Z")),
            ("2026-11-27T10:00Z", Some("2026-11-27T10:00:00Z")),
            ("2026-11-27 10:00+02:00", Some("2026-11-27T08:00:00Z")),
            ("2026-11-27 10:00:30.5", Some("2026-11-27T10:00:30.5Z")),
            ("yesterday", None),
            ("27/11/2026", None),
            ("9999-12-31", None),
            ("2026-11-27 1é:00", None),
            ("", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|text| text.parse::<jiff::Timestamp>().unwrap().as_nanosecond());
            let read = match moment(text, None) {
                Ok(ScalarValue::TimestampNanosecond(Some(ns), None)) => Some(i128::from(ns)),
                _ => None,
            };
            assert_eq!(read, expected, "{text}");
        }
    }
}
