//! A scan that hangs on an earlier one of its action: it runs where that one found a row, for the values it found.

use serde::{Deserialize, Serialize};

use crate::limits;

/// Which scan must have found rows on this endpoint before this one runs, and which values it then keeps to.
///
/// The values (the *keys*) stay on the endpoint they were found on, and only narrow: rows of both scans travel as before.
/// A withheld column gives no keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DependsOn {
    /// Index of an earlier scan of the action.
    pub scan: u32,
    /// What has to be equal; may be nothing, then that scan only has to find a row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on: Vec<Pair>,
    /// The keys are the bound that the table needs: without them the scan does not run, and more of them than are taken
    /// is a trouble and a cut. Otherwise a set of keys that is too large is left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
}

/// A column of the dependent scan, and the column whose values it keeps to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    pub column: String,
    /// A column of the earlier scan's table.
    pub of: String,
}

impl DependsOn {
    /// What is wrong with it in the scan with this index, in words.
    pub(crate) fn check(&self, index: usize) -> Result<(), &'static str> {
        if usize::try_from(self.scan).map_or(true, |earlier| earlier >= index) {
            return Err("it depends on a scan that does not stand before it");
        }
        if self.on.len() > limits::DEPENDENCY_PAIRS_MAX {
            return Err("it depends on more columns than are allowed");
        }
        if self.required && self.on.is_empty() {
            return Err("it requires keys and says no column of them");
        }
        Ok(())
    }
}

impl std::fmt::Display for DependsOn {
    /// Shows the dependency in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "where scan {} finds rows", u64::from(self.scan) + 1)?;
        for (index, Pair { column, of }) in self.on.iter().enumerate() {
            write!(f, "{}{column} = its {of}", if index == 0 { ", for " } else { " AND " })?;
        }
        if self.required { f.write_str(", which bound it") } else { Ok(()) }
    }
}
