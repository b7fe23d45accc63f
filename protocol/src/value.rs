//! The constants that filters compare columns with.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// One typed constant, as it stands in a signed action.
///
/// JSON: `{"text":"/etc"}`, `{"integer":22}`, `{"boolean":true}`, `{"float":0.5}`,
/// `{"timestamp_ns":1763764800000000000}` (nanoseconds since 1970, UTC), `{"bytes":"dead"}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Text(String),
    Integer(i64),
    /// Finite: JSON has no other numbers.
    Float(#[serde(deserialize_with = "exact_float")] f64),
    Boolean(bool),
    /// Nanoseconds since 1970-01-01T00:00:00Z.
    TimestampNs(i64),
    /// Bytes that may be no text, hexadecimal.
    Bytes(#[serde(with = "hex::serde")] Vec<u8>),
}

impl std::fmt::Display for Value {
    /// Shows the constant as SQL would spell it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Value::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::TimestampNs(ns) => match jiff::Timestamp::from_nanosecond(i128::from(*ns)) {
                Ok(at) => write!(f, "'{at}'"),
                Err(_) => write!(f, "{ns} ns"),
            },
            Value::Bytes(bytes) => write!(f, "x'{}'", hex::encode(bytes)),
        }
    }
}

/// Reads a number to the last bit: the endpoint compares with what the desk signed (serde_json alone may be one off).
fn exact_float<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let text = Box::<RawValue>::deserialize(deserializer)?;
    match text.get().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        _ => Err(D::Error::custom(format!(
            "`{}` is not a finite number",
            text.get().chars().take(40).collect::<String>()
        ))),
    }
}

/// A truth of SQL's three-valued logic.
///
/// Ordered False < Unknown < True: AND is the lesser and OR the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    False,
    Unknown,
    True,
}

impl Truth {
    pub fn and(self, other: Truth) -> Truth {
        self.min(other)
    }

    pub fn or(self, other: Truth) -> Truth {
        self.max(other)
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
