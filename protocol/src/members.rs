//! Members of a record that this version does not know: kept as they came, so that a record may grow.
//!
//! Only what agents say of themselves may have them (facts, and final records with what is in them). What is executed
//! stays strict.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::limits;

/// Unknown members by name; a name stands once only, here and in all that is inside.
///
/// Stands in a record with `#[serde(flatten)]`. Of more than [`limits::MEMBERS_BYTES_MAX`] nothing is kept: the signed
/// bytes hold it still.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Members(BTreeMap<String, Value>);

impl Members {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members: BTreeMap<String, Once> = crate::strict::map(deserializer)?;
        let members: BTreeMap<String, Value> = members.into_iter().map(|(name, Once(value))| (name, value)).collect();
        let bytes: usize = members.iter().map(|(name, value)| name.len() + size(value)).sum();
        Ok(if bytes > limits::MEMBERS_BYTES_MAX { Members::default() } else { Members(members) })
    }
}

/// What a value takes of memory, roughly: many small ones take more than their text.
fn size(value: &Value) -> usize {
    let inside: usize = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(size).sum(),
        Value::Object(members) => members.iter().map(|(name, value)| name.len() + size(value)).sum(),
    };
    size_of::<Value>() + inside
}

/// Any JSON in which no object has a member twice (serde_json's own keep the last).
struct Once(Value);

impl<'de> Deserialize<'de> for Once {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyOnce).map(Once)
    }
}

struct AnyOnce;

impl<'de> Visitor<'de> for AnyOnce {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, truth: bool) -> Result<Value, E> {
        Ok(truth.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Once(item)) = access.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some((name, Once(value))) = access.next_entry::<String, Once>()? {
            if members.contains_key(&name) {
                return Err(A::Error::custom(format!("duplicate member `{name}`")));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}
