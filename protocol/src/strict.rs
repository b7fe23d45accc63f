//! Strict JSON: what every signed payload is written in and read with.
//!
//! A payload begins `{"canvass":"<kind>/1",`; unknown and duplicate members are refused.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

/// What a payload was signed for; nothing signed as one kind serves as another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    #[serde(rename = "action/1")]
    Action,
    #[serde(rename = "login/1")]
    Login,
    #[serde(rename = "agent/1")]
    Agent,
    #[serde(rename = "withdraw/1")]
    Withdraw,
    #[serde(rename = "admit/1")]
    Admit,
    #[serde(rename = "heartbeat/1")]
    Heartbeat,
    #[serde(rename = "answer/1")]
    Answer,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Action => "action/1",
            Kind::Login => "login/1",
            Kind::Agent => "agent/1",
            Kind::Withdraw => "withdraw/1",
            Kind::Admit => "admit/1",
            Kind::Heartbeat => "heartbeat/1",
            Kind::Answer => "answer/1",
        }
    }
}

/// Why bytes are not a payload of the expected kind.
#[derive(Debug, thiserror::Error)]
pub enum StrictError {
    #[error("not a canvass `{expected}`: it begins `{found}`")]
    Kind { expected: &'static str, found: String },
    #[error("malformed `{kind}`: {reason}")]
    Json { kind: &'static str, reason: String },
}

impl StrictError {
    /// Whether the payload holds what only a later version can read: a member, a kind of test or of value.
    pub fn is_unknown(&self) -> bool {
        // The words that serde's derived decoders begin with; a test keeps them.
        let is_unknown = |reason: &str| reason.starts_with("unknown field") || reason.starts_with("unknown variant");
        matches!(self, StrictError::Json { reason, .. } if is_unknown(reason))
    }
}

/// Writes a payload; our own types always serialise.
pub fn to_bytes<T: Serialize>(payload: &T) -> Vec<u8> {
    serde_json::to_vec(payload).expect("wire types have text keys and finite numbers")
}

/// Reads a payload whose kind is checked before anything else.
pub fn from_bytes<T: DeserializeOwned>(kind: Kind, bytes: &[u8]) -> Result<T, StrictError> {
    let prefix = format!("{{\"canvass\":\"{}\",", kind.as_str());
    if !bytes.starts_with(prefix.as_bytes()) {
        let found: String = String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).chars().take(40).collect();
        return Err(StrictError::Kind { expected: kind.as_str(), found });
    }
    serde_json::from_slice(bytes).map_err(|error| StrictError::Json { kind: kind.as_str(), reason: error.to_string() })
}

/// Reads a map in which a key may stand once only (serde's own maps keep the last).
pub fn map<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Once<V>(PhantomData<V>);
    impl<'de, V: Deserialize<'de>> Visitor<'de> for Once<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some((key, value)) = access.next_entry::<String, V>()? {
                if map.contains_key(&key) {
                    return Err(A::Error::custom(format!("duplicate member `{key}`")));
                }
                map.insert(key, value);
            }
            Ok(map)
        }
    }
    deserializer.deserialize_map(Once(PhantomData))
}
