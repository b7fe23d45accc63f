//! One table's part of an action.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::filter::Filter;
use crate::target::Target;
use crate::value::Value;

/// What one table is asked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scan {
    pub table: String,
    /// Index of the statement that it is part of.
    #[serde(default, skip_serializing_if = "is_first")]
    pub statement: u32,
    /// The agents this scan is for, among those the action goes to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Target,
    /// Columns of the answer, in this order; may be none, then rows are counted.
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Enough rows of one endpoint; not a cut when reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Reserved: groups and sums computed on the endpoint. Refused until an agent knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Reserved>,
    /// Reserved: the order in which a limit keeps rows. Refused until an agent knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Reserved>,
    /// Long IN lists, by name, sent once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::strict::map")]
    pub sets: BTreeMap<String, Vec<Value>>,
    #[serde(default, skip_serializing_if = "Options::is_default")]
    pub options: Options,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_first(index: &u32) -> bool {
    *index == 0
}

/// How a scan reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Options {
    /// Content and hashes see inside gzip, xz, zstd and bzip2.
    #[serde(default)]
    pub decompress: bool,
    /// Folders behind links are entered.
    #[serde(default)]
    pub follow: bool,
}

impl Options {
    fn is_default(&self) -> bool {
        *self == Options::default()
    }
}

/// A member that the format keeps a place for; whatever it holds, this version refuses it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reserved(pub serde_json::Value);
