//! What a table declares of a column, and the cells that its rows give.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::net::IpAddr;

use arrow::datatypes::{DataType, TimeUnit};
use canvass_protocol::answer::Trouble;

use crate::engine::Algorithm;
use crate::host::Host;

/// The type of a column, as the investigator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Float,
    Boolean,
    /// Nanoseconds since 1970, UTC.
    Timestamp,
    /// Bytes that never leave the endpoint; only predicates may name such a column.
    Content,
}

impl Kind {
    /// The Arrow type of the column's values.
    pub fn data_type(self) -> DataType {
        match self {
            Kind::Text | Kind::Content => DataType::Utf8,
            Kind::Integer => DataType::Int64,
            Kind::Float => DataType::Float64,
            Kind::Boolean => DataType::Boolean,
            Kind::Timestamp => DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into())),
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Integer => "integer",
            Kind::Float => "float",
            Kind::Boolean => "boolean",
            Kind::Timestamp => "timestamp",
            Kind::Content => "content",
        }
    }
}

/// Who may see a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Returned.
    Metadata,
    /// Returned only where the agent's policy lets the signers see it; otherwise NULL before any filter.
    Sensitive,
    /// Never returned.
    Content,
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Metadata => "metadata",
            Class::Sensitive => "sensitive",
            Class::Content => "content",
        }
    }
}

/// What the values of a column look like, beyond their type. A constant that looks otherwise is refused before anybody is
/// asked, because no row could ever equal it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Whatever its type holds.
    Any,
    /// One of these: an enumeration.
    OneOf(&'static [&'static str]),
    /// Lower-case hexadecimal: so many digits, or any number of whole bytes.
    Hex(Option<usize>),
    /// An address, as [`std::net::IpAddr`] writes it.
    Ip,
    /// The number of a port.
    Port,
    /// Permission bits: four octal digits.
    Octal,
    /// Type and permissions as ls prints them: ten letters.
    Mode,
    /// A path from the root on.
    Path,
    /// A number of bytes: constants may be sizes in words, such as '10M'.
    Bytes,
}

/// Letters of `ls -l` by their place in a mode; `-` is one everywhere.
const MODE_LETTERS: [&str; 10] = ["dlpsbc", "r", "w", "xsS", "r", "w", "xsS", "r", "w", "xtT"];

impl Form {
    /// Whether a text can be a value of such a column.
    pub fn fits(self, text: &str) -> bool {
        match self {
            Form::Any | Form::Bytes => true,
            Form::OneOf(values) => values.contains(&text),
            Form::Hex(digits) => {
                digits.map_or(text.len().is_multiple_of(2), |digits| text.len() == digits)
                    && text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
            }
            Form::Ip => text.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().to_string() == text),
            Form::Port => text.parse::<u16>().is_ok(),
            Form::Octal => text.len() == 4 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7')),
            Form::Mode => {
                text.len() == MODE_LETTERS.len()
                    && text.chars().zip(MODE_LETTERS).all(|(letter, known)| letter == '-' || known.contains(letter))
            }
            Form::Path => text.starts_with('/'),
        }
    }
}

/// What the planner, the shell and the manual know of a column.
#[derive(Debug, Clone, Copy)]
pub struct ColumnInfo {
    pub name: &'static str,
    pub kind: Kind,
    /// One sentence with its unit, without a final stop.
    pub about: &'static str,
    pub class: Class,
    /// Costs a trip to the host: read only for rows that survived, and left out of `*`.
    pub probe: bool,
    /// May hold secrets: an agent's policy needs an entry of its own for it.
    pub secret: bool,
    /// What its values look like, beyond their type.
    pub form: Form,
}

impl ColumnInfo {
    /// The values an enumeration can take, for completion; empty where it is none.
    pub fn values(&self) -> &'static [&'static str] {
        match self.form {
            Form::OneOf(values) => values,
            _ => &[],
        }
    }

    /// Whether it is lower-case hexadecimal: constants of `=`, `<>` and IN match it in any case.
    pub fn hex(&self) -> bool {
        matches!(self.form, Form::Hex(_))
    }
}

/// One value of one row.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Unknown.
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Nanoseconds since 1970, UTC.
    Timestamp(i64),
}

/// Where a column's cells come from.
pub enum Source<R> {
    /// Read from the row in hand.
    Field(for<'a> fn(&'a R) -> Cell<'a>),
    /// Fetched from the host, only where wanted.
    Probe(fn(&R, &Host) -> Result<Cell<'static>, Trouble>),
    /// The bytes to match; `None` where there is nothing that can be read as content. A table has one such column at
    /// most.
    Content(fn(&R, &Host) -> Result<Option<Content>, Trouble>),
    /// A digest of the content column's bytes, taken in the read that decides its tests.
    Digest(Algorithm),
}

/// Bytes that can be matched and digested, from their beginning.
pub enum Content {
    File {
        file: File,
        /// What the file claims to hold, in bytes; 0 where it cannot say, as in /proc.
        size: u64,
    },
    /// What is no file of its own, such as a part of one.
    Stream(Box<dyn Stream>),
}

/// Bytes that can be read more than once.
pub trait Stream {
    /// Begins at the beginning. A reader that has nothing to give for long says [`std::io::ErrorKind::Interrupted`] now and then,
    /// so that whoever reads can see whether the scan is over.
    fn begin(&self) -> Box<dyn Read + '_>;
}

/// A column of rows of type `R`: what is known of it and where it comes from.
pub struct Column<R> {
    pub info: ColumnInfo,
    pub source: Source<R>,
}

impl<R> Column<R> {
    /// A column read from the row in hand.
    pub const fn field(
        name: &'static str,
        kind: Kind,
        about: &'static str,
        get: for<'a> fn(&'a R) -> Cell<'a>,
    ) -> Column<R> {
        let info =
            ColumnInfo { name, kind, about, class: Class::Metadata, probe: false, secret: false, form: Form::Any };
        Column { info, source: Source::Field(get) }
    }

    /// A column fetched from the host for rows that survived the cheap filters.
    pub const fn probe(
        name: &'static str,
        kind: Kind,
        about: &'static str,
        get: fn(&R, &Host) -> Result<Cell<'static>, Trouble>,
    ) -> Column<R> {
        let info =
            ColumnInfo { name, kind, about, class: Class::Metadata, probe: true, secret: false, form: Form::Any };
        Column { info, source: Source::Probe(get) }
    }

    /// A column that costs one quick call to the host, and is cheap enough to be part of `*`.
    pub const fn read(
        name: &'static str,
        kind: Kind,
        about: &'static str,
        get: fn(&R, &Host) -> Result<Cell<'static>, Trouble>,
    ) -> Column<R> {
        let mut column = Column::probe(name, kind, about, get);
        column.info.probe = false;
        column
    }

    /// A digest of the table's content column, in lower-case hexadecimal.
    pub const fn digest(name: &'static str, about: &'static str, algorithm: Algorithm) -> Column<R> {
        let form = Form::Hex(Some(algorithm.hex_digits()));
        let info =
            ColumnInfo { name, kind: Kind::Text, about, class: Class::Metadata, probe: true, secret: false, form };
        Column { info, source: Source::Digest(algorithm) }
    }

    /// A column of bytes that predicates may ask about and nobody may see.
    pub const fn content(
        name: &'static str,
        about: &'static str,
        open: fn(&R, &Host) -> Result<Option<Content>, Trouble>,
    ) -> Column<R> {
        let info = ColumnInfo {
            name,
            kind: Kind::Content,
            about,
            class: Class::Content,
            probe: true,
            secret: false,
            form: Form::Any,
        };
        Column { info, source: Source::Content(open) }
    }

    /// Marks the column as one whose values may be secrets, such as passwords in a process's memory: nobody sees it or asks about
    /// it but where an agent's policy has an entry of its own for it.
    pub const fn secret(mut self) -> Column<R> {
        self.info.secret = true;
        if !matches!(self.info.class, Class::Content) {
            self.info.class = Class::Sensitive;
        }
        self
    }

    /// Marks the column as one that policy may withhold.
    pub const fn sensitive(mut self) -> Column<R> {
        self.info.class = Class::Sensitive;
        self
    }

    /// Says what its values look like.
    pub const fn form(mut self, form: Form) -> Column<R> {
        self.info.form = form;
        self
    }

    /// Marks the column as lower-case hexadecimal, of whole bytes.
    pub const fn hex(self) -> Column<R> {
        self.form(Form::Hex(None))
    }

    /// Names the values of an enumeration.
    pub const fn values(self, values: &'static [&'static str]) -> Column<R> {
        self.form(Form::OneOf(values))
    }
}

impl From<i64> for Cell<'_> {
    fn from(number: i64) -> Self {
        Cell::Integer(number)
    }
}

impl From<u32> for Cell<'_> {
    fn from(number: u32) -> Self {
        Cell::Integer(number.into())
    }
}

impl From<u64> for Cell<'_> {
    /// Numbers past `i64::MAX` are unknown rather than wrong.
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or(Cell::Null, Cell::Integer)
    }
}

impl From<bool> for Cell<'_> {
    fn from(truth: bool) -> Self {
        Cell::Boolean(truth)
    }
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Cell::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Cell<'_> {
    fn from(text: String) -> Self {
        Cell::Text(Cow::Owned(text))
    }
}

impl<'a, T: Into<Cell<'a>>> From<Option<T>> for Cell<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Cell::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::Form;

    #[test]
    fn forms_and_what_fits_them() {
        let cases: [(Form, &[&str], &[&str]); 8] = [
            (Form::Any, &["", "x"], &[]),
            (Form::OneOf(&["tcp", "udp"]), &["tcp"], &["TCP", "", "tcp "]),
            (Form::Hex(Some(4)), &["00ff"], &["00f", "00fff", "00FF", "00fg", "", "é0"]),
            (Form::Hex(None), &["", "00ff", "00"], &["0", "0x"]),
            (
                Form::Ip,
                &["10.0.0.1", "fe80::1", "::"],
                &["10.0.0", "FE80::1", "::ffff:10.0.0.1", "10.0.0.0/8", "fe80::0:1"],
            ),
            (Form::Port, &["0", "65535"], &["65536", "-1", "ssh"]),
            (Form::Octal, &["0644", "4755"], &["644", "0888", "00644"]),
            (
                Form::Mode,
                &["-rw-r--r--", "drwxrwxrwt", "-rwsr-Sr-T"],
                &["rw-r--r--", "0644", "-rw-r--r--.", "xrw-r--r--"],
            ),
        ];
        for (form, fitting, others) in cases {
            fitting.iter().for_each(|text| assert!(form.fits(text), "{form:?} {text}"));
            others.iter().for_each(|text| assert!(!form.fits(text), "{form:?} {text}"));
        }
    }
}
