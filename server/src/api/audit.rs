//! Who did what, and when.

use axum::Json;
use canvass_protocol::api::{AuditLine, Role};

use super::problem::Problem;
use super::{Caller, State};

/// Lines listed at once.
const LISTED_MAX: u32 = 10_000;

/// `GET /v1/audit`
pub async fn list(shared: State, caller: Caller) -> Result<Json<Vec<AuditLine>>, Problem> {
    caller.check(Role::Admin)?;
    let lines = shared.store.audit(LISTED_MAX).await?.into_iter();
    let line = lines.map(|line| AuditLine {
        at: line.at,
        who: line.who,
        what: line.what,
        action: line.action,
        detail: line.detail,
    });
    Ok(Json(line.collect()))
}
