//! JSON files: one object a line, or one list of objects; a member that a row lacks is NULL.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use datafusion::arrow::json::ReaderBuilder;
use datafusion::arrow::json::reader::infer_json_schema_from_iterator;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Malformed, typing};

/// Reads a whole file into columns, in the order in which its rows bring them up.
pub fn read(text: &str) -> Result<Vec<(String, ArrayRef)>, Malformed> {
    let rows = rows(text).map_err(|error| Malformed(in_words(&error)))?;
    if rows.is_empty() {
        return Err(Malformed("it has no rows, and without one nobody knows its columns".to_owned()));
    }
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut columns: Vec<(&str, Vec<Option<&RawValue>>)> = Vec::new();
    for (index, Row(members)) in rows.iter().enumerate() {
        for (name, value) in members {
            let place = *places.entry(name).or_insert_with(|| {
                columns.push((name, Vec::new()));
                columns.len() - 1
            });
            let values = &mut columns[place].1;
            if values.len() > index {
                return Err(Malformed(format!("row {} has `{name}` twice", index + 1)));
            }
            values.resize(index, None);
            values.push(Some(value).filter(|value| value.get() != "null").copied());
        }
    }
    if columns.is_empty() {
        return Err(Malformed("its rows have no columns".to_owned()));
    }
    let column = |(name, mut values): (&str, Vec<_>)| {
        values.resize(rows.len(), None);
        Ok((name.to_owned(), typed(&values)?))
    };
    columns.into_iter().map(column).collect()
}

fn rows(text: &str) -> serde_json::Result<Vec<Row<'_>>> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text);
    }
    serde_json::Deserializer::from_str(text).into_iter().collect()
}

/// `invalid type: string "x", expected a row at line 3 column 4`: what is wrong, and on which line.
fn in_words(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let what = message.rfind(" at line ").map_or(&message[..], |end| &message[..end]);
    let what = if error.is_data() { "a row is not an object" } else { what };
    format!("line {}: {what}", error.line())
}

/// The members of one object, in their order, with values as they are written.
struct Row<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Row<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Row<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            members.push((name, value));
        }
        Ok(Row(members))
    }
}

/// A member's name, lent where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// A column of the type that all of its values have; text where they have none in common.
fn typed(values: &[Option<&RawValue>]) -> Result<ArrayRef, Malformed> {
    let all = |first: fn(u8) -> bool| {
        values.iter().flatten().all(|value| value.get().as_bytes().first().is_some_and(|byte| first(*byte)))
    };
    let raw = || values.iter().map(|value| value.map(RawValue::get));
    if all(|byte| byte == b'"') {
        return Ok(typing::of_times(texts(values)?));
    }
    if all(|byte| byte == b't' || byte == b'f') {
        return Ok(Arc::new(raw().map(|value| value.map(|text| text == "true")).collect::<BooleanArray>()));
    }
    if all(|byte| byte == b'-' || byte.is_ascii_digit()) {
        return Ok(numbers(&raw().collect::<Vec<_>>()));
    }
    if all(|byte| byte == b'{' || byte == b'[')
        && let Some(nested) = nested(values)
    {
        return Ok(nested);
    }
    Ok(Arc::new(texts(values)?))
}

/// Strings without their quotes, everything else as it is written.
fn texts(values: &[Option<&RawValue>]) -> Result<StringArray, Malformed> {
    let text = |value: &RawValue| -> Result<String, Malformed> {
        let raw = value.get();
        if !raw.starts_with('"') {
            return Ok(raw.to_owned());
        }
        serde_json::from_str(raw).map_err(|_| Malformed(format!("{raw} is not text")))
    };
    values.iter().map(|value| value.map(text).transpose()).collect()
}

/// Integers where all are; else floats, unless one of them would become another number.
fn numbers(raw: &[Option<&str>]) -> ArrayRef {
    let integers = raw.iter().map(|text| text.map(str::parse::<i64>).transpose()).collect::<Result<Int64Array, _>>();
    if let Ok(integers) = integers {
        return Arc::new(integers);
    }
    let float = |text: &str| -> Option<f64> {
        let number: f64 = text.parse().ok().filter(|number: &f64| number.is_finite())?;
        let whole = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
        (!whole || format!("{number:.0}") == text).then_some(number)
    };
    let floats = raw.iter().map(|text| text.map(|text| float(text).ok_or(())).transpose());
    match floats.collect::<Result<Float64Array, ()>>() {
        Ok(floats) => Arc::new(floats),
        Err(()) => Arc::new(raw.iter().copied().collect::<StringArray>()),
    }
}

/// Lists and structs with the types of their parts; none where the rows disagree on them.
fn nested(values: &[Option<&RawValue>]) -> Option<ArrayRef> {
    let row = |value: &Option<&RawValue>| -> Option<Value> {
        let value: Value = value.map_or(Some(Value::Null), |raw| serde_json::from_str(raw.get()).ok())?;
        Some(Value::Object([("value".to_owned(), value)].into_iter().collect()))
    };
    let rows: Vec<Value> = values.iter().map(row).collect::<Option<_>>()?;
    let schema = infer_json_schema_from_iterator(rows.iter().map(Ok)).ok()?;
    let builder = ReaderBuilder::new(Arc::new(schema)).with_coerce_primitive(true).with_batch_size(rows.len());
    let mut decoder = builder.build_decoder().ok()?;
    decoder.serialize(&rows).ok()?;
    let batch = decoder.flush().ok()??;
    let column = batch.column_by_name("value")?;
    (column.len() == values.len()).then(|| column.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Array as _;
    use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

    /// Columns as `name type: value|value`, NULL as `-`; or what is wrong.
    fn shown(text: &str) -> String {
        match read(text) {
            Err(Malformed(reason)) => reason,
            Ok(columns) => {
                let column = |(name, values): &(String, ArrayRef)| {
                    let options = FormatOptions::new().with_null("-");
                    let formatter = ArrayFormatter::try_new(values, &options).unwrap();
                    let cells: Vec<String> = (0..values.len()).map(|row| formatter.value(row).to_string()).collect();
                    format!("{name} {}: {}", values.data_type(), cells.join("|"))
                };
                columns.iter().map(column).collect::<Vec<_>>().join("; ")
            }
        }
    }

    #[test]
    fn files_are_read_as_they_are_written() {
        let cases = [
            ("{\"b\":1,\"a\":\"x\"}\n{\"a\":\"y\"}\n", "b Int64: 1|-; a Utf8: x|y"),
            ("[{\"a\":1},\n {\"b\":true}]", "a Int64: 1|-; b Boolean: -|true"),
            ("{\n \"a\": \"007\"\n}", "a Utf8: 007"),
            ("{\"a\":18446744073709551615}", "a Utf8: 18446744073709551615"),
            ("{\"a\":1.5}\n{\"a\":2}", "a Float64: 1.5|2.0"),
            ("{\"a\":9007199254740993}\n{\"a\":0.5}", "a Utf8: 9007199254740993|0.5"),
            ("{\"a\":1}\n{\"a\":\"x\"}\n{\"a\":null}", "a Utf8: 1|x|-"),
            ("{\"a\":\"2026-11-01T10:00:00Z\"}", "a Timestamp(ns, \"UTC\"): 2026-11-01T10:00:00Z"),
            ("{\"a\":[1,2]}\n{\"a\":[]}\n{}", "a List(Int64): [1, 2]|[]|-"),
            ("{\"a\":{\"x\":\"y\"}}", "a Struct(\"x\": Utf8): {x: y}"),
            ("{\"a\":{\"x\":1}}\n{\"a\":[1]}", "a Utf8: {\"x\":1}|[1]"),
            ("{\"a\":\"\\u00e9\\n\"}", "a Utf8: é\n"),
            ("{\"a\\u0062\":1}", "ab Int64: 1"),
            ("{\"a\":1,\"a\":2}", "row 1 has `a` twice"),
            ("[]", "it has no rows, and without one nobody knows its columns"),
            (" \n", "it has no rows, and without one nobody knows its columns"),
            ("{}", "its rows have no columns"),
            ("{\"a\":1}\n\"x\"\n", "line 2: a row is not an object"),
            ("[1]", "line 1: a row is not an object"),
            ("{\"a\":1}\n{\"a\":\n", "line 3: EOF while parsing a value"),
            ("{\"a\":1}\n{\"a\":nope}\n", "line 2: expected ident"),
            ("[{\"a\":1}] x", "line 1: trailing characters"),
            ("{\"a\":\"\\ud800\"}", "\"\\ud800\" is not text"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_nests_deeply_is_text() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(shown(&deep).starts_with("a Utf8: [[["));
    }
}
