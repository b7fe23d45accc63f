//! Servers that share a PostgreSQL database: which of them leads, to which each agent has its line, and what another wrote.
//!
//! Nothing here is asked for again and again. Locks that live as long as a server's connection say who leads and who is
//! there, and waiting for one is waiting for its holder's end; triggers in the database tell what was written.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use serde::Deserialize;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool, Row as _};
use tokio::sync::mpsc;
use url::Url;

use crate::scheduler::{Progress, State};
use crate::store::postgres::lock::{IN_USE, NUMBER};
use crate::store::{Action, Agent, Command, Result, StoreError, rows};

/// The channel of the triggers' words.
const CHANNEL: &str = "canvass";
/// The lock of the server that leads.
const LEADS: i64 = NUMBER + 1;
/// The first half of the locks of servers that are there; the second is the server's number.
const IS_THERE: i32 = 0x0063_6176;
/// News that wait for the pump.
const NEWS_MAX: usize = 16;
/// How long the database is left alone before it is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What became of the servers that share a database.
pub enum News {
    /// This one leads from now on.
    Leads,
    /// It leads no more.
    Follows,
    /// Another one has ended.
    Ended,
    /// Words may have been missed.
    Missed,
    /// Another one wrote something.
    Changed(Box<Changes>),
}

/// What other servers wrote.
#[derive(Debug, Default)]
pub struct Changes {
    pub agents: BTreeSet<String>,
    /// Agents whose line is another one, or none any more.
    pub lines: BTreeSet<String>,
    pub actions: BTreeSet<ActionHash>,
    /// Actions with new parts or other commands, and the agents among them that said their last word.
    pub answers: BTreeMap<ActionHash, BTreeSet<String>>,
    /// Whether there are more revocations.
    pub revocations: bool,
}

/// A word of the database's triggers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Word {
    /// Who wrote it: the name of a server's connections.
    by: String,
    #[serde(default)]
    agents: BTreeSet<String>,
    #[serde(default)]
    lines: BTreeSet<String>,
    action: Option<ActionHash>,
    answers: Option<ActionHash>,
    #[serde(default)]
    concluded: BTreeSet<String>,
    #[serde(default)]
    revocations: bool,
}

impl Changes {
    fn add(&mut self, word: Word) {
        self.agents.extend(word.agents);
        self.lines.extend(word.lines);
        self.actions.extend(word.action);
        self.revocations |= word.revocations;
        if let Some(hash) = word.answers {
            self.answers.entry(hash).or_default().extend(word.concluded);
        }
    }

    fn is_empty(&self) -> bool {
        let Changes { agents, lines, actions, answers, revocations } = self;
        agents.is_empty() && lines.is_empty() && actions.is_empty() && answers.is_empty() && !revocations
    }
}

/// This server among those that share its database.
pub struct Peers {
    /// Drawn anew whenever it starts.
    id: i32,
    options: PgConnectOptions,
    pool: PgPool,
    leads_at_first: bool,
    news: mpsc::Sender<News>,
    /// Servers whose end is waited for.
    watched: Arc<Mutex<BTreeSet<i32>>>,
}

impl Peers {
    /// A server's number, which nobody else has.
    pub fn draw() -> std::result::Result<i32, getrandom::Error> {
        Ok(i32::try_from(getrandom::u32()? >> 1).unwrap_or_default())
    }

    /// How a server connects: under a name of its own, and so that the database finds within half a minute that the machine
    /// of a server has ended.
    pub fn options(url: &Url, id: i32) -> Result<PgConnectOptions> {
        let options: PgConnectOptions = url.as_str().parse()?;
        let keepalives = [("tcp_keepalives_idle", 10), ("tcp_keepalives_interval", 5), ("tcp_keepalives_count", 3)];
        Ok(options.application_name(&name(id)).options(keepalives))
    }

    /// Joins the servers of a database whose schema is up to date; an error where one uses it that shares nothing.
    pub async fn join(id: i32, options: PgConnectOptions, pool: PgPool) -> Result<(Arc<Peers>, mpsc::Receiver<News>)> {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let listener = be_there(&options, id).await?;
        let mut candidate = listener_of(&options).await?;
        let leads_at_first: bool =
            sqlx::query_scalar("SELECT pg_try_advisory_lock($1)").bind(LEADS).fetch_one(&mut candidate).await?;
        tokio::spawn(listen(listener, options.clone(), id, news.clone()));
        tokio::spawn(campaign(candidate, leads_at_first, options.clone(), news.clone()));
        let watched = Arc::default();
        Ok((Arc::new(Peers { id, options, pool, leads_at_first, news, watched }), receiver))
    }

    pub fn id(&self) -> i32 {
        self.id
    }

    /// Whether it led when it joined; afterwards its news say so.
    pub fn leads_at_first(&self) -> bool {
        self.leads_at_first
    }

    /// The database's fleet, which is the wanted one where no server has named it before.
    pub async fn fleet(&self, wanted: &str) -> Result<String> {
        sqlx::query("INSERT INTO settings (name, value) VALUES ('fleet', $1) ON CONFLICT DO NOTHING")
            .bind(wanted)
            .execute(&self.pool)
            .await?;
        Ok(sqlx::query_scalar("SELECT value FROM settings WHERE name = 'fleet'").fetch_one(&self.pool).await?)
    }

    /// Waits for another server's end, and then says so.
    pub fn watch(&self, server: i32) {
        let is_new = self.watched.lock().unwrap_or_else(PoisonError::into_inner).insert(server);
        if server == self.id || !is_new {
            return;
        }
        let (options, news, watched) = (self.options.clone(), self.news.clone(), self.watched.clone());
        tokio::spawn(async move {
            while end_of(&options, server).await.is_err() && !news.is_closed() {
                tokio::time::sleep(PAUSE).await;
            }
            watched.lock().unwrap_or_else(PoisonError::into_inner).remove(&server);
            let _ = news.send(News::Ended).await;
        });
    }

    /// These agents have their lines to this server from now on.
    pub async fn arrived(&self, agents: &[String]) -> Result<()> {
        sqlx::query(
            "INSERT INTO lines (agent, server) SELECT agent, $2 FROM UNNEST($1::text[]) AS come (agent)
             ON CONFLICT (agent) DO UPDATE SET server = excluded.server",
        )
        .bind(agents)
        .bind(self.id)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// These have none any more, where it was to this server.
    pub async fn left(&self, agents: &BTreeSet<String>) -> Result<()> {
        sqlx::query("DELETE FROM lines WHERE agent = ANY($1) AND server = $2")
            .bind(list(agents))
            .bind(self.id)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All lines: agents, and the numbers of their servers.
    pub async fn lines(&self) -> Result<Vec<(String, i32)>> {
        Ok(sqlx::query_as("SELECT agent, server FROM lines").fetch_all(&self.pool).await?)
    }

    /// The lines of these agents, where they have one.
    pub async fn lines_of(&self, agents: &BTreeSet<String>) -> Result<BTreeMap<String, i32>> {
        if agents.is_empty() {
            return Ok(BTreeMap::new());
        }
        let query = sqlx::query_as("SELECT agent, server FROM lines WHERE agent = ANY($1)");
        let lines: Vec<(String, i32)> = query.bind(list(agents)).fetch_all(&self.pool).await?;
        Ok(lines.into_iter().collect())
    }

    /// Ends the lines of servers that are no more; returns whose they were.
    pub async fn abandoned(&self) -> Result<Vec<String>> {
        let query = sqlx::query_scalar(
            "DELETE FROM lines WHERE server NOT IN (
                SELECT objid::bigint::int FROM pg_locks WHERE locktype = 'advisory' AND classid = $1::bigint::oid
                    AND objsubid = 2 AND granted AND mode = 'ExclusiveLock'
                    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
             ) RETURNING agent",
        );
        Ok(query.bind(i64::from(IS_THERE)).fetch_all(&self.pool).await?)
    }

    /// These agents as they are stored.
    pub async fn agents(&self, ids: &BTreeSet<String>) -> Result<Vec<Agent>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query("SELECT * FROM agents WHERE id = ANY($1)").bind(list(ids));
        query.fetch_all(&self.pool).await?.iter().map(rows::agent).collect()
    }

    /// An action, and whether it is closed.
    pub async fn action(&self, hash: ActionHash) -> Result<Option<(Action, bool)>> {
        let query = sqlx::query("SELECT * FROM actions WHERE hash = $1").bind(hash.to_string());
        let row = query.fetch_optional(&self.pool).await?;
        row.map(|row| Ok((rows::action(&row)?, row.try_get("closed")?))).transpose()
    }

    /// How far an action is; `None` where it is closed.
    pub async fn progress(&self, hash: ActionHash) -> Result<Option<Progress>> {
        let query = sqlx::query_as(
            "SELECT state, count(*) FROM commands WHERE action = $1
                AND EXISTS (SELECT FROM actions WHERE hash = $1 AND NOT closed) GROUP BY state",
        );
        let counts: Vec<(String, i64)> = query.bind(hash.to_string()).fetch_all(&self.pool).await?;
        if counts.is_empty() {
            let closed: Option<bool> = sqlx::query_scalar("SELECT closed FROM actions WHERE hash = $1")
                .bind(hash.to_string())
                .fetch_optional(&self.pool)
                .await?;
            return Ok((closed == Some(false)).then(Progress::default));
        }
        let count = |(word, count): (String, i64)| Some((State::parse(&word)?, usize::try_from(count).ok()?));
        Ok(Some(Progress::of(counts.into_iter().filter_map(count))))
    }

    /// These agents' commands of an action.
    pub async fn commands(&self, hash: ActionHash, agents: &BTreeSet<String>) -> Result<Vec<Command>> {
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        let query = sqlx::query("SELECT * FROM commands WHERE action = $1 AND agent = ANY($2)");
        let rows = query.bind(hash.to_string()).bind(list(agents)).fetch_all(&self.pool).await?;
        rows.iter().map(rows::command).collect()
    }
}

fn list(ids: &BTreeSet<String>) -> Vec<&str> {
    ids.iter().map(String::as_str).collect()
}

/// The name that a server's connections go by, and its words.
fn name(id: i32) -> String {
    format!("canvass-server {id:08x}")
}

/// A connection that says when it is lost, instead of making itself anew.
async fn listener_of(options: &PgConnectOptions) -> Result<PgListener> {
    let pool = PgPoolOptions::new().max_connections(1).max_lifetime(None).idle_timeout(None);
    let mut listener = PgListener::connect_with(&pool.connect_with(options.clone()).await?).await?;
    listener.ignore_pool_close_event(true);
    listener.eager_reconnect(false);
    Ok(listener)
}

/// A connection that holds the locks of a server that is there, and hears the triggers' words.
async fn be_there(options: &PgConnectOptions, id: i32) -> Result<PgListener> {
    let mut listener = listener_of(options).await?;
    let shared: bool =
        sqlx::query_scalar("SELECT pg_try_advisory_lock_shared($1)").bind(NUMBER).fetch_one(&mut listener).await?;
    if !shared {
        return Err(StoreError::Failed(IN_USE.into()));
    }
    sqlx::query("SELECT pg_advisory_lock($1, $2)").bind(IS_THERE).bind(id).execute(&mut listener).await?;
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Hands over what other servers write, for as long as anybody takes it.
async fn listen(mut listener: PgListener, options: PgConnectOptions, id: i32, news: mpsc::Sender<News>) {
    let own = name(id);
    while !news.is_closed() {
        let heard = tokio::select! {
            heard = listener.try_recv() => heard,
            () = news.closed() => return,
        };
        let Ok(Some(first)) = heard else {
            tracing::warn!("the database is lost");
            listener = loop {
                tokio::time::sleep(PAUSE).await;
                match be_there(&options, id).await {
                    Ok(listener) => break listener,
                    Err(_) if news.is_closed() => return,
                    Err(error) => tracing::warn!(%error, "the database cannot be used"),
                }
            };
            tracing::info!("the database is back");
            let _ = news.send(News::Missed).await;
            continue;
        };
        // One look at the database serves for all that it has told by now.
        let mut changes = Changes::default();
        let mut next = Some(first);
        while let Some(notification) = next {
            match serde_json::from_str::<Word>(notification.payload()) {
                Ok(word) if word.by == own => {}
                Ok(word) => changes.add(word),
                Err(error) => tracing::warn!(%error, "the database says what cannot be read"),
            }
            next = listener.next_buffered();
        }
        if !changes.is_empty() {
            let _ = news.send(News::Changed(Box::new(changes))).await;
        }
    }
}

/// Leads whenever the server that does has ended, until the connection is lost.
async fn campaign(mut candidate: PgListener, mut leads: bool, options: PgConnectOptions, news: mpsc::Sender<News>) {
    loop {
        if !leads {
            let lock = sqlx::query("SELECT pg_advisory_lock($1)").bind(LEADS);
            let elected = tokio::select! {
                done = candidate.execute(lock) => done.is_ok(),
                () = news.closed() => return,
            };
            if elected && news.send(News::Leads).await.is_err() {
                return;
            }
            leads = elected;
        }
        while leads {
            leads = tokio::select! {
                heard = candidate.try_recv() => matches!(heard, Ok(Some(_))),
                () = news.closed() => return,
            };
            if !leads {
                let _ = news.send(News::Follows).await;
            }
        }
        candidate = loop {
            tokio::time::sleep(PAUSE).await;
            match listener_of(&options).await {
                Ok(candidate) => break candidate,
                Err(_) if news.is_closed() => return,
                Err(_) => {}
            }
        };
    }
}

/// Returns when a server has ended.
async fn end_of(options: &PgConnectOptions, server: i32) -> Result<()> {
    let mut connection = PgConnection::connect_with(options).await?;
    let lock = sqlx::query("SELECT pg_advisory_lock_shared($1, $2)").bind(IS_THERE).bind(server);
    connection.execute(lock).await?;
    Ok(connection.close().await?)
}
