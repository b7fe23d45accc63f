//! Actions: posted, shown, withdrawn.

use axum::Json;
use axum::http::StatusCode;
use canvass_protocol::action::Action as Signed;
use canvass_protocol::api::{ActionSummary, CommandSummary, Posted, Role};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::login::{Running, Withdrawal};
use canvass_protocol::target::{self, Targets, TooLarge};
use canvass_protocol::value::Truth;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::problem::{Body, Problem};
use super::{Caller, Id, State, past};
use crate::investigators::Investigator;
use crate::pump::Order;
use crate::store::Action;
use crate::store::page::Listed;

/// How often a withdrawal is tried beside others'.
const TRIES: usize = 5;

/// `POST /v1/actions`
pub async fn post(shared: State, caller: Caller, body: Body<Envelope>) -> Result<(StatusCode, Json<Posted>), Problem> {
    caller.check(Role::Hunt)?;
    let Body(envelope) = body;
    envelope.check_sizes().map_err(|error| Problem::bad(error.to_string()))?;
    let now = Timestamp::now();
    let signers = shared.investigators.verify(&envelope, now).await?;
    let signed = Signed::parse(envelope.payload.as_bytes()).map_err(|error| Problem::bad(error.to_string()))?;
    if signed.fleet != shared.fleet {
        return Err(Problem::bad(format!("the action is for fleet `{}`", signed.fleet)));
    }
    if signed.window.until <= now {
        return Err(Problem::bad(format!("the action expired at {}", signed.window.until)));
    }
    if signed.window.until.duration_since(now) > SignedDuration::from_secs(limits::STANDING_WINDOW_S_MAX) {
        let days = limits::STANDING_WINDOW_S_MAX / (24 * 3600);
        return Err(Problem::bad(format!("the action may be begun until {}", signed.window.until))
            .hint(format!("its window ends within {days} days")));
    }
    let (signed, targets, asked) = meant(&shared, signed, now).await?;
    let mut agents = asked;
    let action = Action {
        hash: envelope.hash(),
        id: signed.id,
        statement: signed.statements_sql(),
        investigator: caller.0.fingerprint.0.clone(),
        signers: signers.into_iter().map(|signer| signer.0).collect(),
        created_at: now,
        expires_at: signed.window.until,
        answers_until: signed.answers_until(),
        withdrawal: None,
        envelope,
    };
    let hash = action.hash;
    shared.note(&action.investigator, "post", Some(hash), shared.reached(&agents)).await?;
    let (done, posted) = oneshot::channel();
    let order = if shared.store.post(&action, &agents).await? {
        tracing::info!(action = %hash, id = %action.id, agents = agents.len(), "an action was posted");
        Order::Post { action: Box::new(action), targets, agents: agents.clone(), done }
    } else {
        // It was posted before, for those who were meant then, and may have been signed or withdrawn since.
        agents = shared.store.commands(hash).await?.into_iter().map(|command| command.agent).collect();
        let stored = shared.store.action(action.id).await?.ok_or_else(|| Problem::not_found("action"))?;
        Order::Again { action: Box::new(stored), done }
    };
    // Whatever happens to the order, the action is in the store, and a scheduler that starts finds it there.
    if shared.orders.send(order).await.is_ok() {
        let _ = posted.await;
    }
    Ok((StatusCode::CREATED, Json(Posted { id: signed.id, hash, asked: agents })))
}

/// An action with its targets and the ids of the agents that it means now: found where it keeps nobody else waiting.
async fn meant(shared: &State, action: Signed, now: Timestamp) -> Result<(Signed, Targets, Vec<String>), Problem> {
    let shared = shared.clone();
    let found = tokio::task::spawn_blocking(move || {
        let targets = Targets::of(&action)?;
        let asked = asked(&shared, &action, &targets, now);
        Ok::<_, TooLarge>((action, targets, asked))
    });
    let failed = |_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "whom the action means cannot be found");
    found.await.map_err(failed)?.map_err(|error| Problem::bad(error.to_string()))
}

fn asked(shared: &State, action: &Signed, targets: &Targets, now: Timestamp) -> Vec<String> {
    let target = action.target();
    let candidates = match target.as_ref().and_then(target::named) {
        Some(ids) => ids.into_iter().filter_map(|id| shared.inventory.get(id)).collect(),
        None => shared.inventory.all(),
    };
    let meant =
        candidates.into_iter().filter(|known| targets.any(&known.facts, Some(&known.words(now))) == Truth::True);
    meant.map(|known| known.agent.id.clone()).collect()
}

/// `GET /v1/actions/{id}`
pub async fn show(shared: State, caller: Caller, id: Id) -> Result<Json<ActionSummary>, Problem> {
    let action = find(&shared, &caller, id.0).await?;
    let listed = Listed {
        hash: action.hash,
        id: action.id,
        statement: action.statement,
        investigator: action.investigator,
        signers: action.signers,
        created_at: action.created_at,
        expires_at: action.expires_at,
        withdrawn: action.withdrawal.is_some(),
    };
    let summary = past::summaries(&shared, vec![listed]).await?.pop();
    summary.map(Json).ok_or_else(|| Problem::not_found("action"))
}

/// `GET /v1/actions/{id}/commands`
pub async fn commands(shared: State, caller: Caller, id: Id) -> Result<Json<Vec<CommandSummary>>, Problem> {
    let action = find(&shared, &caller, id.0).await?;
    let commands = shared.store.commands(action.hash).await?;
    Ok(Json(commands.into_iter().map(|command| past::command(action.id, command)).collect()))
}

/// `POST /v1/actions/{id}/withdrawal`
pub async fn withdraw(shared: State, caller: Caller, id: Id, body: Body<Envelope>) -> Result<StatusCode, Problem> {
    caller.check(Role::Hunt)?;
    let action = find(&shared, &caller, id.0).await?;
    let Body(envelope) = body;
    envelope.check_sizes().map_err(|error| Problem::bad(error.to_string()))?;
    shared.investigators.verify(&envelope, Timestamp::now()).await?;
    let withdrawal = Withdrawal::parse(envelope.payload.as_bytes()).map_err(|error| Problem::bad(error.to_string()))?;
    if withdrawal.fleet != shared.fleet || withdrawal.action != action.hash {
        return Err(Problem::bad("the withdrawal is of another action"));
    }
    shared.note(&caller.0.fingerprint.0, "withdraw", Some(action.hash), String::new()).await?;
    if !note_withdrawal(&shared, action, &envelope, withdrawal.running).await? {
        return Ok(StatusCode::NO_CONTENT);
    }
    let (done, withdrawn) = oneshot::channel();
    if shared.orders.send(Order::Withdraw { hash: withdrawal.action, withdrawal: envelope, done }).await.is_ok() {
        let _ = withdrawn.await;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Stores a withdrawal; false where it says no more than the one that is there. One that ends what runs takes the place of
/// one that lets it go on, and never the other way.
async fn note_withdrawal(
    shared: &State,
    mut action: Action,
    withdrawal: &Envelope,
    running: Running,
) -> Result<bool, Problem> {
    for _ in 0..TRIES {
        let before = action.withdrawal.as_ref();
        let known = before.and_then(|before| Withdrawal::parse(before.payload.as_bytes()).ok());
        if known.is_some_and(|known| known.running == Running::Ends || running == Running::GoesOn) {
            return Ok(false);
        }
        if shared.store.withdraw(action.hash, before, withdrawal).await? {
            return Ok(true);
        }
        // Somebody else withdrew it meanwhile.
        action = shared.store.action(action.id).await?.ok_or_else(|| Problem::not_found("action"))?;
    }
    Err(Problem::new(StatusCode::CONFLICT, "others withdraw the action at the same time").hint("try again"))
}

/// An action that the caller may see.
pub async fn find(shared: &State, caller: &Caller, id: Uuid) -> Result<Action, Problem> {
    caller.check(Role::Read)?;
    let action = shared.store.action(id).await?.filter(|action| may_see(&caller.0, action));
    action.ok_or_else(|| Problem::not_found("action"))
}

/// Statements are shown to those who posted or signed them, and to administrators.
fn may_see(investigator: &Investigator, action: &Action) -> bool {
    let own = &investigator.fingerprint.0;
    action.investigator == *own || action.signers.contains(own) || investigator.check(Role::Admin).is_ok()
}
