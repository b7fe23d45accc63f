//! The constants that filters compare columns with.

use serde::{Deserialize, Serialize};

/// One typed constant, as it stands in a signed action.
///
/// JSON: `{"text":"/etc"}`, `{"integer":22}`, `{"boolean":true}`, `{"float":0.5}`,
/// `{"timestamp_ns":1763764800000000000}` (nanoseconds since 1970, UTC).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    TimestampNs(i64),
}

impl std::fmt::Display for Value {
    /// Shows the constant as SQL would spell it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::TimestampNs(ns) => match jiff::Timestamp::from_nanosecond(i128::from(*ns)) {
                Ok(at) => write!(f, "'{at}'"),
                Err(_) => write!(f, "{ns} ns"),
            },
        }
    }
}

/// A truth of SQL's three-valued logic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truth {
    False,
    Unknown,
    True,
}

impl Truth {
    pub fn and(self, other: Truth) -> Truth {
        use Truth::{False, True, Unknown};
        match (self, other) {
            (False, _) | (_, False) => False,
            (True, True) => True,
            _ => Unknown,
        }
    }

    pub fn or(self, other: Truth) -> Truth {
        self.negate().and(other.negate()).negate()
    }

    pub fn negate(self) -> Truth {
        match self {
            Truth::False => Truth::True,
            Truth::Unknown => Truth::Unknown,
            Truth::True => Truth::False,
        }
    }
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Truth::True } else { Truth::False }
    }
}

impl From<Option<bool>> for Truth {
    fn from(truth: Option<bool>) -> Self {
        truth.map_or(Truth::Unknown, Truth::from)
    }
}
