//! What an agent can do, as its facts list it: words of a kind and a name, such as `table:files`.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::limits;

/// The feature of an agent that has this table.
pub fn table(name: &str) -> String {
    format!("table:{name}")
}

/// Reads a bounded list, in order and each once, whoever wrote it.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut features = Vec::<String>::deserialize(deserializer)?;
    if features.len() > limits::FEATURES_MAX {
        let (count, max) = (features.len(), limits::FEATURES_MAX);
        return Err(D::Error::custom(format!("{count} features; at most {max} are allowed")));
    }
    if let Some(long) = features.iter().find(|feature| feature.len() > limits::FEATURE_BYTES_MAX) {
        let (bytes, max) = (long.len(), limits::FEATURE_BYTES_MAX);
        return Err(D::Error::custom(format!("a feature has {bytes} bytes; at most {max} are allowed")));
    }
    features.sort_unstable();
    features.dedup();
    Ok(features)
}
