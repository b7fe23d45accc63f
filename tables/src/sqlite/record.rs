//! Records: the values of one row, decoded where they are asked for.

use std::borrow::Cow;

use super::pager::Encoding;
use super::schema::{Column, Schema};

/// One value of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    Null,
    Integer(i64),
    Real(f64),
    /// U+FFFD stands for what is no text.
    Text(Cow<'a, str>),
    Blob(&'a [u8]),
}

/// One row, valid while it is visited.
pub struct Row<'a> {
    pub(super) rowid: i64,
    pub(super) schema: &'a Schema,
    pub(super) encoding: Encoding,
    pub(super) payload: &'a [u8],
    /// Of each value its serial type and where it begins.
    pub(super) values: &'a [(u64, usize)],
}

/// A number of one to nine bytes, seven bits in each but the last.
pub fn varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..9 {
        let byte = *bytes.get(*at)?;
        *at += 1;
        if index == 8 {
            return Some(value << 8 | u64::from(byte));
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Bytes of a value of a serial type; `None` for those that are reserved.
fn length(serial: u64) -> Option<usize> {
    match serial {
        0 | 8 | 9 => Some(0),
        1..=4 => usize::try_from(serial).ok(),
        5 => Some(6),
        6 | 7 => Some(8),
        10 | 11 => None,
        _ => usize::try_from((serial - 12) / 2).ok(),
    }
}

/// Finds the values of a record, at most `columns` of them.
pub fn values(payload: &[u8], columns: usize, values: &mut Vec<(u64, usize)>) -> Option<()> {
    values.clear();
    let mut at = 0;
    let header = usize::try_from(varint(payload, &mut at)?).ok()?;
    let types = payload.get(..header)?;
    let mut begins = header;
    while at < header && values.len() < columns {
        let serial = varint(types, &mut at)?;
        let ends = begins.checked_add(length(serial)?)?;
        payload.get(begins..ends)?;
        values.push((serial, begins));
        begins = ends;
    }
    Some(())
}

impl<'a> Row<'a> {
    pub fn rowid(&self) -> i64 {
        self.rowid
    }

    /// The value of a column, whose name's case does not matter; NULL where the table has no such column.
    pub fn value(&self, column: &str) -> Value<'a> {
        let known = self.schema.columns.iter().find(|known| known.name.eq_ignore_ascii_case(column));
        known.map_or(Value::Null, |column| self.value_of(column))
    }

    /// All values in the order of the columns.
    pub fn all(&self) -> impl Iterator<Item = Value<'a>> + '_ {
        self.schema.columns.iter().map(|column| self.value_of(column))
    }

    /// The column's number, where it is a whole one.
    pub fn integer(&self, column: &str) -> Option<i64> {
        match self.value(column) {
            Value::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// The column's text, where it is one.
    pub fn text(&self, column: &str) -> Option<Cow<'a, str>> {
        match self.value(column) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The column's bytes, where it is a blob.
    pub fn blob(&self, column: &str) -> Option<&'a [u8]> {
        match self.value(column) {
            Value::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }

    fn value_of(&self, column: &'a Column) -> Value<'a> {
        let Some(place) = column.place else { return Value::Null };
        // A row that was written before the column was added has none.
        let Some(&(serial, at)) = self.values.get(place) else { return column.default.value() };
        let value = self.decode(serial, at).unwrap_or(Value::Null);
        match value {
            Value::Null if column.is_rowid => Value::Integer(self.rowid),
            // Such a column keeps whole numbers as integers, to save space.
            Value::Integer(number) if column.is_real => Value::Real(number as f64),
            value => value,
        }
    }

    fn decode(&self, serial: u64, at: usize) -> Option<Value<'a>> {
        let bytes = self.payload.get(at..at.checked_add(length(serial)?)?)?;
        Some(match serial {
            0 => Value::Null,
            1..=6 => Value::Integer(integer(bytes)),
            7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            8 => Value::Integer(0),
            9 => Value::Integer(1),
            _ if serial.is_multiple_of(2) => Value::Blob(bytes),
            _ => Value::Text(self.decode_text(bytes)),
        })
    }

    fn decode_text(&self, bytes: &'a [u8]) -> Cow<'a, str> {
        let word: fn([u8; 2]) -> u16 = match self.encoding {
            Encoding::Utf8 => return String::from_utf8_lossy(bytes),
            Encoding::Utf16Le => u16::from_le_bytes,
            Encoding::Utf16Be => u16::from_be_bytes,
        };
        let words = bytes.chunks_exact(2).filter_map(|pair| pair.try_into().ok().map(word));
        let text = char::decode_utf16(words).map(|found| found.unwrap_or(char::REPLACEMENT_CHARACTER));
        Cow::Owned(text.collect())
    }
}

/// A signed number of up to eight bytes.
fn integer(bytes: &[u8]) -> i64 {
    let negative = bytes.first().is_some_and(|byte| *byte >= 0x80);
    bytes.iter().fold(if negative { -1 } else { 0 }, |value, byte| value << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_length() {
        let read = |bytes: &[u8]| {
            let mut at = 0;
            (varint(bytes, &mut at), at)
        };
        assert_eq!(read(&[]), (None, 0));
        assert_eq!(read(&[0x80]), (None, 1));
        assert_eq!(read(&[0x81, 0x00]), (Some(128), 2));
        assert_eq!(read(&[0xff; 9]), (Some(u64::MAX), 9));
        assert_eq!(integer(&[]), 0);
        assert_eq!(integer(&[0xff]), -1);
        assert_eq!(integer(&[0x80, 0, 0]), -8_388_608);
        assert_eq!(integer(&[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), i64::MAX);
    }

    #[test]
    fn records_that_promise_too_much() {
        let mut found = Vec::new();
        for payload in [&[][..], &[5], &[2, 10], &[2, 4, 0], &[2, 0x80], &[3, 13, 17, b'x']] {
            assert_eq!(values(payload, 9, &mut found), None, "{payload:?}");
        }
        assert_eq!(values(&[1], 9, &mut found), Some(()));
        assert!(found.is_empty());
        assert_eq!(values(&[3, 1, 15, 7, b'x'], 1, &mut found), Some(()));
        assert_eq!(found, [(1, 3)]);
    }
}
