//! A store whose writes are watched, so that whoever asks hears the truth: a server that cannot write is not well.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::StoredPart;
use canvass_protocol::envelope::Envelope;
use jiff::Timestamp;
use uuid::Uuid;

use super::page::{Listed, ListedCommand, Mark, Wanted};
use super::{Action, Agent, Audit, Command, NewPart, Result, Revocation, Store, StoreError, Taken, Tally};
use crate::metrics::Metrics;
use crate::scheduler::State;

/// Whether the latest write failed, and why.
pub struct Writes {
    failing: Mutex<Option<Failing>>,
    metrics: Arc<Metrics>,
}

/// Writes that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failing {
    /// The first that did, after one that did not.
    pub since: Timestamp,
    /// Whether the latest did for want of room.
    pub full: bool,
}

impl Writes {
    pub fn new(metrics: Arc<Metrics>) -> Writes {
        Writes { failing: Mutex::default(), metrics }
    }

    /// Since when writes fail; `None` where the latest was done.
    pub fn failing(&self) -> Option<Failing> {
        self.lock().clone()
    }

    fn note(&self, failed: Option<&StoreError>) {
        let full = match failed {
            None => {
                if self.lock().take().is_some() {
                    tracing::info!("the store is written to again");
                    self.metrics.store_writes(true);
                }
                return;
            }
            Some(StoreError::Full(_)) => true,
            Some(StoreError::Failed(_)) => false,
            // It was in order, and what it was given was not.
            Some(StoreError::Refused(_) | StoreError::Corrupt(_) | StoreError::Taken(_)) => return,
        };
        let mut failing = self.lock();
        let since = failing.as_ref().map_or_else(Timestamp::now, |failing| failing.since);
        *failing = Some(Failing { since, full });
        self.metrics.store_writes(false);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store, and what became of its writes.
pub struct Watched {
    store: Arc<dyn Store>,
    writes: Arc<Writes>,
}

impl Watched {
    pub fn new(store: Arc<dyn Store>, writes: Arc<Writes>) -> Watched {
        Watched { store, writes }
    }

    /// Of a write that changes something wherever it is done.
    fn wrote<T>(&self, done: Result<T>) -> Result<T> {
        self.writes.note(done.as_ref().err());
        done
    }

    /// Of one that may find nothing to change, which proves nothing.
    fn may_have_written<T>(&self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            self.writes.note(done.as_ref().err());
        }
        done
    }
}

#[async_trait]
impl Store for Watched {
    async fn hear(&self, agents: &[Agent]) -> Result<()> {
        self.wrote(self.store.hear(agents).await)
    }

    async fn admit(&self, agents: &[Agent]) -> Result<()> {
        self.wrote(self.store.admit(agents).await)
    }

    async fn remove(&self, agent: &str) -> Result<bool> {
        self.may_have_written(self.store.remove(agent).await)
    }

    async fn agent(&self, id: &str) -> Result<Option<Agent>> {
        self.store.agent(id).await
    }

    async fn agents(&self) -> Result<Vec<Agent>> {
        self.store.agents().await
    }

    async fn post(&self, action: &Action, agents: &[String]) -> Result<bool> {
        self.may_have_written(self.store.post(action, agents).await)
    }

    async fn ask(&self, hash: ActionHash, agents: &[String]) -> Result<()> {
        self.may_have_written(self.store.ask(hash, agents).await)
    }

    async fn action(&self, id: Uuid) -> Result<Option<Action>> {
        self.store.action(id).await
    }

    async fn envelope(&self, hash: ActionHash) -> Result<Option<Envelope>> {
        self.store.envelope(hash).await
    }

    async fn list_actions(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<Listed>> {
        self.store.list_actions(wanted, after, count).await
    }

    async fn tallies(&self, hashes: &[ActionHash]) -> Result<Vec<Tally>> {
        self.store.tallies(hashes).await
    }

    async fn list_commands(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<ListedCommand>> {
        self.store.list_commands(wanted, after, count).await
    }

    async fn open_actions(&self) -> Result<Vec<Action>> {
        self.store.open_actions().await
    }

    async fn commands(&self, hash: ActionHash) -> Result<Vec<Command>> {
        self.store.commands(hash).await
    }

    async fn sent(&self, hash: ActionHash, agents: &[String], at: Timestamp) -> Result<()> {
        self.may_have_written(self.store.sent(hash, agents, at).await)
    }

    async fn settle(&self, hash: ActionHash, agents: &[String], state: State, at: Timestamp) -> Result<()> {
        self.may_have_written(self.store.settle(hash, agents, state, at).await)
    }

    async fn cosign(&self, before: &Envelope, after: &Envelope, signers: &[String]) -> Result<bool> {
        self.may_have_written(self.store.cosign(before, after, signers).await)
    }

    async fn reopen(&self, hash: ActionHash, agents: &[String]) -> Result<()> {
        self.may_have_written(self.store.reopen(hash, agents).await)
    }

    async fn withdraw(&self, hash: ActionHash, before: Option<&Envelope>, withdrawal: &Envelope) -> Result<bool> {
        self.may_have_written(self.store.withdraw(hash, before, withdrawal).await)
    }

    async fn close(&self, hash: ActionHash) -> Result<()> {
        self.may_have_written(self.store.close(hash).await)
    }

    async fn take(&self, parts: &[NewPart], at: Timestamp) -> Result<Vec<Taken>> {
        let taken = self.store.take(parts, at).await;
        if taken.as_ref().is_ok_and(|taken| taken.contains(&Taken::Stored)) {
            self.wrote(taken)
        } else {
            self.may_have_written(taken)
        }
    }

    async fn parts(&self, hash: ActionHash, after: i64, count: u32) -> Result<Vec<StoredPart>> {
        self.store.parts(hash, after, count).await
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<bool> {
        self.may_have_written(self.store.revoke(revocation).await)
    }

    async fn revocations(&self, count: usize) -> Result<Vec<Revocation>> {
        self.store.revocations(count).await
    }

    async fn note(&self, line: &Audit) -> Result<()> {
        self.wrote(self.store.note(line).await)
    }

    async fn audit(&self, before: i64, count: u32) -> Result<Vec<(i64, Audit)>> {
        self.store.audit(before, count).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        self.may_have_written(self.store.purge(before).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::Sqlite;

    fn line() -> Audit {
        Audit { at: Timestamp::UNIX_EPOCH, who: "AB".into(), what: "post".into(), action: None, detail: "x".into() }
    }

    #[tokio::test]
    async fn writes_that_fail_are_told_until_one_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.sqlite");
        let metrics = Arc::new(Metrics::new());
        let writes = Arc::new(Writes::new(metrics.clone()));
        let store = Watched::new(Arc::new(Sqlite::open(&path).await.unwrap()), writes.clone());
        let failed = |count: u64| {
            let text = metrics.text(&crate::metrics::Levels::default());
            let line =
                |name: &str, value: u64| text.lines().any(|line| line == format!("canvass_server_{name} {value}"));
            let failing = u64::from(writes.failing().is_some());
            assert!(line("store_writes_failed_total", count) && line("store_failing", failing), "{count}:\n{text}");
        };
        store.note(&line()).await.unwrap();
        assert_eq!(writes.failing(), None);
        failed(0);
        let other = sqlx::SqlitePool::connect(path.to_str().unwrap()).await.unwrap();
        sqlx::query("ALTER TABLE audit RENAME TO away").execute(&other).await.unwrap();
        store.note(&line()).await.unwrap_err();
        let first = writes.failing().unwrap();
        assert!(!first.full);
        // What changes nothing may be done by a store that cannot write.
        store.close(ActionHash([0; 32])).await.unwrap();
        store.note(&line()).await.unwrap_err();
        assert_eq!(writes.failing(), Some(first), "since the first of them");
        failed(2);
        sqlx::query("ALTER TABLE away RENAME TO audit").execute(&other).await.unwrap();
        store.note(&line()).await.unwrap();
        assert_eq!(writes.failing(), None);
        failed(2);
    }
}
