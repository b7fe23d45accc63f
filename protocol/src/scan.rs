//! One table's part of an action.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::aggregate::{Aggregate, OrderBy};
use crate::dependency::DependsOn;
use crate::filter::Filter;
use crate::sets::{Bloom, PatternSet};
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
    /// The earlier scan that has to find rows first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depends_on: Option<DependsOn>,
    /// Columns of the answer, in this order; may be none, then rows are counted.
    pub columns: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Enough rows of one endpoint; not a cut when reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Groups computed on the endpoint; then `columns` is empty, and the aggregate says what the answer holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregate: Option<Aggregate>,
    /// The order in which the limit keeps rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub order: Vec<OrderBy>,
    /// Long IN lists, by name, sent once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::strict::map")]
    pub sets: BTreeMap<String, Vec<Value>>,
    /// Long lists of patterns, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::strict::map")]
    pub patterns: BTreeMap<String, PatternSet>,
    /// Bloom filters over longer lists, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "crate::strict::map")]
    pub blooms: BTreeMap<String, Bloom>,
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
