//! Joins in which rows of different hosts meet, though their author did not say that they should.
//!
//! A process number, a user's number or a path means something on its own host only. What equates `host` is found in the plan
//! before it is optimised, so that WITH, sub-queries and USING are seen through, and the names are the author's.

mod names;
mod trace;

use std::collections::BTreeSet;

use datafusion::common::Result;
use datafusion::logical_expr::LogicalPlan;

pub use names::crossed;

use crate::warning::Warning;

/// A warning for each join of endpoint tables that neither equates their hosts nor says that they may differ. `crossed` are the
/// relations that CROSS JOIN brings in.
pub fn warnings(plan: &LogicalPlan, crossed: &BTreeSet<String>) -> Result<Vec<Warning>> {
    let traced = trace::trace(plan, crossed)?;
    let mut warnings = Vec::new();
    for meeting in &traced.meetings {
        let stray = meeting.pairs().find(|(left, right)| traced.hosts.may_differ(*left, *right));
        let Some((left, right)) = stray else { continue };
        let warning = meeting.warning(left, right, &traced);
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(warnings)
}
