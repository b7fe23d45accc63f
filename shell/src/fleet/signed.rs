//! Actions that others signed: found at the server, and believed where somebody signed them whom this desk knows.

use canvass_planner::error::Error;
use canvass_planner::fleet::Fleet;
use canvass_planner::past::{Page, PastFilter};
use canvass_protocol::action::Action;
use canvass_protocol::envelope::Envelope;
use uuid::Uuid;

use crate::key::{Signers, Store};
use crate::render::escape::visible;

/// The action that the start of an id means, by the server's list.
pub async fn resolve(wanted: &str, fleet: &dyn Fleet) -> Result<Uuid, Error> {
    let wanted = wanted.to_lowercase();
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    if wanted == "last" {
        // The newest of those that this person may see.
        let newest = fleet.actions(&PastFilter::default(), None).await?.items;
        let newest = newest.first().ok_or_else(|| Error::usage("nothing was asked before"))?;
        return Ok(newest.id);
    }
    let (mut ids, mut after) = (Vec::new(), None);
    // Two are enough to know that it means none.
    while ids.len() < 2 && !wanted.is_empty() {
        let Page { items, next } = fleet.actions(&PastFilter::of_prefix(&wanted), after.as_deref()).await?;
        ids.extend(items.into_iter().map(|action| action.id).filter(|id| id.to_string().starts_with(&wanted)));
        if next.is_none() || next == after {
            break;
        }
        after = next;
    }
    match ids.as_slice() {
        [id] => Ok(*id),
        [] => Err(Error::usage(format!("neither this machine nor the server knows an action `{wanted}`"))
            .hint("`SELECT id, statement FROM actions` lists them")),
        several => Err(Error::usage(format!("`{wanted}` begins the ids of {} actions", several.len()))
            .hint("write more of the id")),
    }
}

/// Reads an action that somebody signed whom this desk knows, and that is for this fleet.
pub fn verify(envelope: &Envelope, fleet: &str, keys: &Store) -> Result<Action, Error> {
    envelope.check_sizes().map_err(|error| Error::usage(error.to_string()))?;
    let signers = Signers::of(envelope.payload.as_bytes(), &envelope.signatures, keys);
    if signers.known.is_empty() {
        let why = signers.rejected.first().map_or("it is not signed", String::as_str);
        return Err(Error::usage(format!("nobody whom this machine knows has signed this action: {}", visible(why)))
            .hint("take in its author's certificate: `canvass key import FILE`"));
    }
    let action = action_of(envelope)?;
    if action.fleet != fleet {
        return Err(Error::usage(format!("the action is for fleet `{}`", visible(&action.fleet))));
    }
    Ok(action)
}

pub fn action_of(envelope: &Envelope) -> Result<Action, Error> {
    Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::usage(error.to_string()))
}
