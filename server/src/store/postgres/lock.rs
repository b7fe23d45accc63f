//! The lock that says which server uses a database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::postgres::PgListener;
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinHandle;
use url::Url;

use crate::store::{Result, StoreError};

/// What a server is told whose database another one uses.
pub const IN_USE: &str = "another server uses this database";
/// The lock's number: `canvass` in ASCII.
pub const NUMBER: i64 = 0x0063_616e_7661_7373;
/// A channel that nobody speaks on: waiting for its next word is waiting for the connection's end.
const CHANNEL: &str = "canvass_in_use";
/// How long the database is left alone before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// Held for as long as this value, on a connection of its own; the database lets go of it when the process ends, however it
/// ends.
pub struct Lock {
    lost: Arc<AtomicBool>,
    guard: JoinHandle<()>,
}

impl Lock {
    /// Takes the lock; an error where another server has it.
    pub async fn take(url: &Url) -> Result<Lock> {
        // A listener tries for long and then says that it did; this one says at once what is wrong.
        PgConnection::connect(url.as_str()).await?.close().await?;
        let mut connection = PgListener::connect(url.as_str()).await?;
        if !is_free(&mut connection).await? {
            return Err(StoreError::Failed(IN_USE.into()));
        }
        connection.listen(CHANNEL).await?;
        let lost = Arc::new(AtomicBool::new(false));
        let guard = tokio::spawn(guard(connection, lost.clone()));
        Ok(Lock { lost, guard })
    }

    /// Set once another server has taken the lock, after this one's connection was lost.
    pub fn lost(&self) -> Arc<AtomicBool> {
        self.lost.clone()
    }

    /// Lets go of it.
    pub fn release(&self) {
        self.guard.abort();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}

/// Takes the lock again whenever the database comes back, before anybody else does or never.
async fn guard(mut connection: PgListener, lost: Arc<AtomicBool>) {
    loop {
        while matches!(connection.try_recv().await, Ok(Some(_))) {}
        tracing::warn!("the database is lost");
        loop {
            match is_free(&mut connection).await {
                Ok(true) => break,
                Ok(false) => {
                    tracing::error!("{IN_USE} now; this one does nothing any more: end it");
                    lost.store(true, Ordering::Relaxed);
                    return;
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
        tracing::info!("the database is back");
    }
}

async fn is_free(connection: &mut PgListener) -> Result<bool> {
    let asked = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(NUMBER);
    Ok(asked.fetch_one(connection).await?)
}
