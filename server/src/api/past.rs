//! What was asked before: actions and their commands, page by page, and only those that are wanted.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::{
    ACTION_STATES, ActionSummary, ActionsPage, CommandSummary, CommandsPage, LISTED_VALUES_MAX, Role,
};
use jiff::Timestamp;
use serde::Deserialize;
use uuid::Uuid;

use super::problem::Problem;
use super::{Caller, State};
use crate::scheduler;
use crate::store::Command;
use crate::store::page::{LISTED_BYTES_MAX, Listed, Mark, Wanted};

/// Actions listed at once, at most: each with its statement, and fewer where those are long.
pub const ACTIONS_MAX: u32 = 200;
/// Commands listed at once, at most: some megabytes.
pub const COMMANDS_MAX: u32 = 5000;

/// What narrows a list, and where it goes on. Lists of values have commas between them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// The `next` of the page before.
    after: Option<String>,
    count: Option<u32>,
    /// Ids of actions.
    id: Option<String>,
    /// What the ids of actions begin with.
    prefix: Option<String>,
    /// When the server took the actions, both included.
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    state: Option<String>,
    /// Ids of agents; of commands alone.
    agent: Option<String>,
}

/// `GET /v1/actions`
pub async fn actions(
    shared: State,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<ActionsPage>, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad(error.body_text()))?;
    if asked.agent.is_some() {
        return Err(Problem::bad("`agent` narrows commands, not actions"));
    }
    let (mut wanted, after, count) = asked.read(&caller, ACTIONS_MAX)?;
    let states = words(asked.state.as_deref(), "state", |word| {
        ACTION_STATES.iter().find(|state| **state == word).copied().ok_or_else(|| ACTION_STATES.join(", "))
    })?;
    if !states.is_empty() {
        let has = |state: &str| states.contains(&state);
        wanted.open = (states.as_slice() == ["open"]).then_some(true);
        wanted.withdrawn = if !has("withdrawn") { Some(false) } else { (states.len() == 1).then_some(true) };
    }
    let listed = shared.store.list_actions(&wanted, after.as_ref(), count).await?;
    // A page ends with its count, or with its bytes.
    let bytes: usize = listed.iter().map(|listed| listed.statement.len()).sum();
    let more = listed.len() == count as usize || i64::try_from(bytes).is_ok_and(|bytes| bytes >= LISTED_BYTES_MAX);
    let next = more.then(|| listed.last().map(|last| last.mark().to_string())).flatten();
    let mut actions = summaries(&shared, listed).await?;
    actions.retain(|action| states.is_empty() || states.contains(&action.state()));
    Ok(Json(ActionsPage { actions, next }))
}

/// `GET /v1/commands`
pub async fn commands(
    shared: State,
    caller: Caller,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<CommandsPage>, Problem> {
    let Query(asked) = asked.map_err(|error| Problem::bad(error.body_text()))?;
    let (mut wanted, after, count) = asked.read(&caller, COMMANDS_MAX)?;
    wanted.states = words(asked.state.as_deref(), "state", |word| {
        scheduler::State::parse(word).ok_or_else(|| scheduler::State::ALL.map(scheduler::State::as_str).join(", "))
    })?;
    wanted.agents = words(asked.agent.as_deref(), "agent", |word| Ok(word.to_owned()))?;
    let listed = shared.store.list_commands(&wanted, after.as_ref(), count).await?;
    let next = (listed.len() == count as usize).then(|| listed.last().map(|last| last.mark.to_string())).flatten();
    let commands = listed.into_iter().map(|listed| command(listed.action, listed.command)).collect();
    Ok(Json(CommandsPage { commands, next }))
}

impl Asked {
    /// Which are wanted of those that the caller may see: statements are shown to those who posted or signed them, and to
    /// administrators.
    fn read(&self, caller: &Caller, most: u32) -> Result<(Wanted, Option<Mark>, u32), Problem> {
        caller.check(Role::Read)?;
        let count = self.count.unwrap_or(most);
        if !(1..=most).contains(&count) {
            return Err(Problem::bad(format!("`count` is 1 to {most}")));
        }
        let after = self.after.as_deref().map(Mark::from_str).transpose();
        let after = after.map_err(|()| Problem::bad("`after` is the `next` of a page before"))?;
        let wanted = Wanted {
            signer: caller.check(Role::Admin).err().map(|_| caller.0.fingerprint.0.clone()),
            ids: words(self.id.as_deref(), "id", |word| Uuid::parse_str(word).map_err(|_| "UUIDs".to_owned()))?,
            prefix: self.prefix.clone(),
            since: self.since,
            until: self.until,
            ..Wanted::default()
        };
        Ok((wanted, after, count))
    }
}

/// The values of a list; `read` says of what is none of them which there are.
fn words<T>(list: Option<&str>, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Problem> {
    let Some(list) = list else { return Ok(Vec::new()) };
    let words: Vec<&str> = list.split(',').collect();
    if words.len() > LISTED_VALUES_MAX {
        return Err(Problem::bad(format!(
            "`{name}` has {} values; at most {LISTED_VALUES_MAX} are taken",
            words.len()
        )));
    }
    let read = |word| read(word).map_err(|known| Problem::bad(format!("`{name}` is a list of {known}")));
    words.into_iter().map(read).collect()
}

/// Actions with what became of them.
pub async fn summaries(shared: &State, actions: Vec<Listed>) -> Result<Vec<ActionSummary>, Problem> {
    let hashes: Vec<ActionHash> = actions.iter().map(|action| action.hash).collect();
    let mut tallies: HashMap<ActionHash, (BTreeMap<String, u64>, u64)> = HashMap::new();
    for tally in shared.store.tallies(&hashes).await? {
        let (states, rows) = tallies.entry(tally.action).or_default();
        states.insert(tally.state.as_str().to_owned(), tally.count);
        *rows = rows.saturating_add(tally.rows);
    }
    let summary = |action: Listed| {
        let (tally, rows) = tallies.remove(&action.hash).unwrap_or_default();
        ActionSummary {
            id: action.id,
            hash: action.hash,
            statement: action.statement,
            investigator: action.investigator,
            signers: action.signers,
            created_at: action.created_at,
            expires_at: action.expires_at,
            withdrawn: action.withdrawn,
            tally,
            rows,
        }
    };
    Ok(actions.into_iter().map(summary).collect())
}

/// One command of an action.
pub fn command(action: Uuid, command: Command) -> CommandSummary {
    CommandSummary {
        action,
        run: command.run,
        agent: command.agent,
        state: command.state.as_str().to_owned(),
        sent_at: command.sent_at,
        finished_at: command.finished_at,
        rows: command.totals.rows,
        bytes: command.totals.bytes,
        troubles: command.totals.troubles,
        reason: command.reason,
        code: command.code,
        cut: command.cut,
    }
}
