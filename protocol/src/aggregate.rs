//! Groups and order computed on the endpoint: their shape on the wire, which is our own and not a query engine's.
//!
//! The answer of a scan with an aggregate has one row a group that the endpoint has seen. Its columns stand in this order:
//! the group's columns, each in its own type; the columns whose distinct values are counted, as if they were group columns
//! too, so that a row stands for a group and one value of each; and then for each other function
//!
//! - `count`: an integer, the rows of the group, or those in which the column is not NULL;
//! - `sum`: of the column's own type, NULL where every value is; a sum that overflows fails the scan;
//! - `min`, `max`: of the column's own type, NULLs left out;
//! - `avg`: two columns, the sum as a float and the count.
//!
//! Whoever reads answers adds counts and sums up, takes the least and the greatest, and counts the distinct values. A
//! group of a scan that was cut is not whole, and no limit of the scan cuts groups but those of [`crate::limits::Limits`].

use serde::{Deserialize, Serialize};

use crate::limits;

/// What becomes of the rows that a scan keeps, instead of their being sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Columns that tell groups apart; may be none, then there is one group.
    pub group_by: Vec<String>,
    pub functions: Vec<Call>,
}

/// One function over the rows of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    pub function: Function,
    /// Left out for a count of rows, and for that alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Function {
    Count,
    CountDistinct,
    Sum,
    Min,
    Max,
    Avg,
}

/// One column of the order in which a limit keeps rows. Text is ordered by its bytes, FALSE before TRUE.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderBy {
    pub column: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub descending: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nulls_first: bool,
}

impl Function {
    /// The function as SQL writes it, around its column.
    fn around(self, column: &str) -> String {
        match self {
            Function::Count => format!("count({column})"),
            Function::CountDistinct => format!("count(DISTINCT {column})"),
            Function::Sum => format!("sum({column})"),
            Function::Min => format!("min({column})"),
            Function::Max => format!("max({column})"),
            Function::Avg => format!("avg({column})"),
        }
    }
}

impl std::fmt::Display for Call {
    /// Shows the call as SQL would spell it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.function.around(self.column.as_deref().unwrap_or("*")))
    }
}

impl std::fmt::Display for Aggregate {
    /// Shows the functions and what they are grouped by, as SQL would spell them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let calls: Vec<String> = self.functions.iter().map(ToString::to_string).collect();
        f.write_str(&calls.join(", "))?;
        if self.group_by.is_empty() {
            return Ok(());
        }
        let gap = if calls.is_empty() { "" } else { " " };
        write!(f, "{gap}GROUP BY {}", self.group_by.join(", "))
    }
}

impl std::fmt::Display for OrderBy {
    /// Shows the order as SQL would spell it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let direction = if self.descending { " DESC" } else { "" };
        let nulls = if self.nulls_first { "FIRST" } else { "LAST" };
        write!(f, "{}{direction} NULLS {nulls}", self.column)
    }
}

impl Aggregate {
    /// What is wrong with it, in words.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.group_by.is_empty() && self.functions.is_empty() {
            return Err("it has neither a column nor a function");
        }
        if self.group_by.len() + self.functions.len() > limits::AGGREGATE_COLUMNS_MAX {
            return Err("it has more columns and functions than are allowed");
        }
        let lacks_column = |call: &Call| call.column.is_none() && call.function != Function::Count;
        if self.functions.iter().any(lacks_column) {
            return Err("a function other than `count` lacks its column");
        }
        Ok(())
    }
}
