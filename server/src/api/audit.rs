//! Who did what, and when: page by page, back to the beginning.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use canvass_protocol::api::{AuditLine, Role};
use serde::Deserialize;

use super::problem::Problem;
use super::{Caller, State};

/// Lines listed at once where it is not said.
pub const COUNT: u32 = 1000;
/// Lines listed at once, at most: some megabytes.
pub const COUNT_MAX: u32 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// The position of a line that is known: what was written before it is told.
    before: Option<i64>,
    #[serde(default = "count")]
    count: u32,
}

fn count() -> u32 {
    COUNT
}

/// `GET /v1/audit`
pub async fn list(
    shared: State,
    caller: Caller,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Vec<AuditLine>>, Problem> {
    caller.check(Role::Admin)?;
    let Query(Page { before, count }) = page.map_err(|error| Problem::bad(error.body_text()))?;
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(Problem::bad(format!("`count` is 1 to {COUNT_MAX}")));
    }
    let lines = shared.store.audit(before.unwrap_or(i64::MAX), count).await?.into_iter();
    let line = lines.map(|(position, line)| AuditLine {
        position,
        at: line.at,
        who: line.who,
        what: line.what,
        action: line.action,
        detail: line.detail,
    });
    Ok(Json(line.collect()))
}
