//! Comma-separated files (RFC 4180): the first line names the columns.
//!
//! What stands between commas is NULL where nothing does, and empty text where two quotes do, as Canvass writes it.

use std::borrow::Cow;

use datafusion::arrow::array::{ArrayRef, StringBuilder};

use super::{Malformed, typing};

/// Reads a whole file into columns, each of the type that all of its values have.
pub fn read(text: &str) -> Result<Vec<(String, ArrayRef)>, Malformed> {
    let mut records = Records { rest: text, line: 1 };
    let mut fields = Vec::new();
    if records.next(&mut fields)?.is_none() {
        return Err(Malformed("it has no line that names the columns".to_owned()));
    }
    let names: Vec<String> = fields.iter().map(|name| name.as_deref().unwrap_or_default().to_owned()).collect();
    let mut columns: Vec<StringBuilder> = names.iter().map(|_| StringBuilder::new()).collect();
    while let Some(line) = records.next(&mut fields)? {
        if fields.len() != names.len() {
            let (has, wanted) = (count(fields.len()), names.len());
            return Err(Malformed(format!("line {line} has {has} and the first line names {wanted}")));
        }
        columns.iter_mut().zip(&fields).for_each(|(column, value)| column.append_option(value.as_deref()));
    }
    Ok(names.into_iter().zip(columns.iter_mut().map(|column| typing::of_texts(column.finish()))).collect())
}

fn count(fields: usize) -> String {
    if fields == 1 { "1 value".to_owned() } else { format!("{fields} values") }
}

/// The records of a file, one after another.
struct Records<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Records<'a> {
    /// Reads the next record and says on which line it begins; lines without a letter are passed over.
    fn next(&mut self, fields: &mut Vec<Option<Cow<'a, str>>>) -> Result<Option<usize>, Malformed> {
        fields.clear();
        while let Some(rest) = self.rest.strip_prefix("\r\n").or(self.rest.strip_prefix('\n')) {
            self.rest = rest;
            self.line += 1;
        }
        if self.rest.is_empty() {
            return Ok(None);
        }
        let begins = self.line;
        loop {
            fields.push(self.field()?);
            if let Some(rest) = self.rest.strip_prefix(',') {
                self.rest = rest;
                continue;
            }
            // Between a field and the next record stands at most one line end.
            let rest = self.rest.strip_prefix("\r\n").or(self.rest.strip_prefix('\n')).or(self.rest.strip_prefix('\r'));
            if let Some(rest) = rest {
                self.rest = rest;
                self.line += 1;
            }
            return Ok(Some(begins));
        }
    }

    fn field(&mut self) -> Result<Option<Cow<'a, str>>, Malformed> {
        let Some(quoted) = self.rest.strip_prefix('"') else {
            let end = self.rest.find([',', '\n', '\r']).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return Ok((!value.is_empty()).then_some(Cow::Borrowed(value)));
        };
        let begins = self.line;
        let mut value = Cow::Borrowed("");
        let mut rest = quoted;
        loop {
            let Some(end) = rest.find('"') else {
                return Err(Malformed(format!("a quote that line {begins} opens is never closed")));
            };
            let (piece, after) = (&rest[..end], &rest[end + 1..]);
            self.line += piece.matches('\n').count();
            // The first piece is lent, and only a value with quotes in it is put together.
            if value.is_empty() {
                value = Cow::Borrowed(piece);
            } else {
                value.to_mut().push_str(piece);
            }
            match after.strip_prefix('"') {
                Some(after) => {
                    value.to_mut().push('"');
                    rest = after;
                }
                None => {
                    self.rest = after;
                    break;
                }
            }
        }
        match self.rest.chars().next() {
            None | Some(',' | '\n' | '\r') => Ok(Some(value)),
            Some(_) => Err(Malformed(format!("line {} goes on after a closing quote", self.line))),
        }
    }
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
            ("a,b\n1,x\n", "a Int64: 1; b Utf8: x"),
            ("a,b\r\n1,x\r\n\r\n2,y", "a Int64: 1|2; b Utf8: x|y"),
            ("a\n", "a Utf8: "),
            ("a", "a Utf8: "),
            ("a,b\n,\"\"\n", "a Utf8: -; b Utf8: "),
            ("a,b\n\"x,\"\"y\"\"\",\"l1\nl2\"\n", "a Utf8: x,\"y\"; b Utf8: l1\nl2"),
            ("a\n\"\"\"\"\n", "a Utf8: \""),
            ("a\n\"\"\"x\"\n", "a Utf8: \"x"),
            ("a\n x \n", "a Utf8:  x "),
            ("a\nit\"s\n", "a Utf8: it\"s"),
            ("a,b\n1\n", "line 2 has 1 value and the first line names 2"),
            ("a,b\n\"x\ny\",2\n1,2,3\n", "line 4 has 3 values and the first line names 2"),
            ("a\n\"x\n", "a quote that line 2 opens is never closed"),
            ("a\n\"x\"y\n", "line 2 goes on after a closing quote"),
            ("\n\r\n", "it has no line that names the columns"),
            ("a,b,\n1,2,\n", "a Int64: 1; b Int64: 2;  Utf8: -"),
            ("é,ü\nß,漢\n", "é Utf8: ß; ü Utf8: 漢"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text:?}");
        }
    }
}
