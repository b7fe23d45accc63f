//! What a table declares of a column, and the cells that its rows give.

use std::borrow::Cow;
use std::fs::File;

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
    /// The values an enumeration can take, for completion; empty where it is none.
    pub values: &'static [&'static str],
    /// Lower-case hexadecimal: constants of `=`, `<>` and IN match it in any case.
    pub hex: bool,
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
pub struct Content {
    pub file: File,
    /// What the file claims to hold, in bytes; 0 where it cannot say, as in /proc.
    pub size: u64,
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
        let info = ColumnInfo { name, kind, about, class: Class::Metadata, probe: false, values: &[], hex: false };
        Column { info, source: Source::Field(get) }
    }

    /// A column fetched from the host for rows that survived the cheap filters.
    pub const fn probe(
        name: &'static str,
        kind: Kind,
        about: &'static str,
        get: fn(&R, &Host) -> Result<Cell<'static>, Trouble>,
    ) -> Column<R> {
        let info = ColumnInfo { name, kind, about, class: Class::Metadata, probe: true, values: &[], hex: false };
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
        let info =
            ColumnInfo { name, kind: Kind::Text, about, class: Class::Metadata, probe: true, values: &[], hex: true };
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
            values: &[],
            hex: false,
        };
        Column { info, source: Source::Content(open) }
    }

    /// Marks the column as one that policy may withhold.
    pub const fn sensitive(mut self) -> Column<R> {
        self.info.class = Class::Sensitive;
        self
    }

    /// Marks the column as lower-case hexadecimal.
    pub const fn hex(mut self) -> Column<R> {
        self.info.hex = true;
        self
    }

    /// Names the values of an enumeration.
    pub const fn values(mut self, values: &'static [&'static str]) -> Column<R> {
        self.info.values = values;
        self
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
