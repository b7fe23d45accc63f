//! The store in PostgreSQL. Whatever comes in numbers is one statement, whose lists travel as arrays.

pub mod lock;
mod take;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::StoredPart;
use canvass_protocol::envelope::Envelope;
use jiff::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, SqlSafeStr as _};
use tokio::sync::mpsc;
use url::Url;
use uuid::Uuid;

use self::lock::Lock;
use super::page::{LISTED_BYTES_MAX, Listed, ListedCommand, Mark, Wanted};
use super::rows::{self, envelope_text, to_count, to_i64, to_ns};
use super::{
    Action, Agent, Audit, Command, NewPart, PARTS_BYTES_MAX, Result, Revocation, Store, StoreError, Taken, Tally,
};
use crate::peers::{News, Peers};
use crate::scheduler::State;

/// Changes of the schema, in order. What is released is never edited.
const MIGRATIONS: [(i64, &str, &str); 9] = [
    (1, "first", include_str!("../../migrations/postgres/0001_first.sql")),
    (2, "signers", include_str!("../../migrations/postgres/0002_signers.sql")),
    (3, "servers", include_str!("../../migrations/postgres/0003_servers.sql")),
    (4, "commands", include_str!("../../migrations/postgres/0004_commands.sql")),
    (5, "runs", include_str!("../../migrations/postgres/0005_runs.sql")),
    (6, "cut", include_str!("../../migrations/postgres/0006_cut.sql")),
    (7, "stored_bytes", include_str!("../../migrations/postgres/0007_stored_bytes.sql")),
    (8, "approvals", include_str!("../../migrations/postgres/0008_approvals.sql")),
    (9, "revocations", include_str!("../../migrations/postgres/0009_revocations.sql")),
];

/// Connections of this server, beside the one that holds the lock.
const CONNECTIONS: u32 = 8;
/// How long one waits for a free one, or for the database to be there.
const PATIENCE: Duration = Duration::from_secs(10);

/// A store in a PostgreSQL database.
pub struct Postgres {
    pool: PgPool,
    /// Set where one server uses it at a time.
    _lock: Option<Lock>,
}

impl Postgres {
    /// Connects as the only server that uses the database, and brings the schema up to date.
    pub async fn open(url: &Url) -> Result<Postgres> {
        let lock = Lock::take(url).await?;
        let lost = lock.lost();
        let pool = pool()
            // Once another server uses the database, this one reads and writes nothing of it.
            .before_acquire(move |_, _| {
                let lost = lost.load(Ordering::Relaxed);
                Box::pin(async move { if lost { Err(sqlx::Error::Protocol(lock::IN_USE.into())) } else { Ok(true) } })
            })
            .connect(url.as_str())
            .await?;
        migrate(&pool).await?;
        Ok(Postgres { pool, _lock: Some(lock) })
    }

    /// Connects as one of several servers that share the database, and brings the schema up to date.
    pub async fn join(url: &Url) -> Result<(Postgres, Arc<Peers>, mpsc::Receiver<News>)> {
        let id = Peers::draw().map_err(|error| StoreError::Failed(format!("no random bytes: {error}")))?;
        let options = Peers::options(url, id)?;
        // A pool tries for long and then says that it did; this one says at once what is wrong.
        PgConnection::connect_with(&options).await?.close().await?;
        let pool = pool().connect_with(options.clone()).await?;
        migrate(&pool).await?;
        let (peers, news) = Peers::join(id, options, pool.clone()).await?;
        Ok((Postgres { pool, _lock: None }, peers, news))
    }
}

fn pool() -> PgPoolOptions {
    PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE)
}

async fn migrate(pool: &PgPool) -> Result<()> {
    let migrations = MIGRATIONS.map(|(version, name, sql)| {
        let sql = AssertSqlSafe(sql).into_sql_str();
        Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
    });
    Migrator::with_migrations(migrations.to_vec())
        .run(pool)
        .await
        .map_err(|error| StoreError::Failed(format!("the schema cannot be brought up to date: {error}")))?;
    Ok(())
}

#[async_trait]
impl Store for Postgres {
    async fn admit(&self, agents: &[Agent]) -> Result<()> {
        let approvals = agents.iter().map(|agent| agent.approval.as_ref().map(envelope_text));
        sqlx::query(
            "INSERT INTO agents (id, name, admitted, approval, statement, signature, heard_at, public_ip)
             SELECT DISTINCT ON (id) id, name, TRUE, approval, statement, signature, heard_at, public_ip
             FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[])
                AS new (id, name, statement, signature, heard_at, public_ip, approval)
             ORDER BY id, heard_at DESC
             ON CONFLICT (id) DO UPDATE SET approval = coalesce(excluded.approval, agents.approval)",
        )
        .bind(texts(agents, |agent| &agent.id))
        .bind(texts(agents, |agent| &agent.name))
        .bind(texts(agents, |agent| &agent.heartbeat.statement))
        .bind(texts(agents, |agent| &agent.heartbeat.signature))
        .bind(agents.iter().map(|agent| to_ns(agent.heard_at)).collect::<Vec<i64>>())
        .bind(ips(agents))
        .bind(approvals.collect::<Vec<Option<String>>>())
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn remove(&self, agent: &str) -> Result<bool> {
        let query = sqlx::query("DELETE FROM agents WHERE id = $1").bind(storable(agent));
        Ok(query.execute(&self.pool).await?.rows_affected() > 0)
    }

    async fn hear(&self, agents: &[Agent]) -> Result<()> {
        sqlx::query(
            "UPDATE agents SET name = heard.name, statement = heard.statement, signature = heard.signature,
                heard_at = heard.heard_at, public_ip = heard.public_ip
             FROM (
                SELECT DISTINCT ON (id) * FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
                    AS said (id, name, statement, signature, heard_at, public_ip)
                ORDER BY id, heard_at DESC
             ) AS heard
             WHERE agents.id = heard.id AND agents.heard_at <= heard.heard_at",
        )
        .bind(texts(agents, |agent| &agent.id))
        .bind(texts(agents, |agent| &agent.name))
        .bind(texts(agents, |agent| &agent.heartbeat.statement))
        .bind(texts(agents, |agent| &agent.heartbeat.signature))
        .bind(agents.iter().map(|agent| to_ns(agent.heard_at)).collect::<Vec<i64>>())
        .bind(ips(agents))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn agent(&self, id: &str) -> Result<Option<Agent>> {
        let query = sqlx::query("SELECT * FROM agents WHERE id = $1").bind(storable(id));
        query.fetch_optional(&self.pool).await?.as_ref().map(rows::agent).transpose()
    }

    async fn agents(&self) -> Result<Vec<Agent>> {
        let query = sqlx::query("SELECT * FROM agents ORDER BY name COLLATE \"C\", id COLLATE \"C\"");
        query.fetch_all(&self.pool).await?.iter().map(rows::agent).collect()
    }

    async fn post(&self, action: &Action, agents: &[String]) -> Result<bool> {
        let mut transaction = self.pool.begin().await?;
        let hash = action.hash.to_string();
        let posted = sqlx::query(
            "INSERT INTO actions (hash, id, envelope, statement, investigator, signers, created_at, expires_at,
                answers_until)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
        )
        .bind(&hash)
        .bind(action.id.to_string())
        .bind(envelope_text(&action.envelope))
        .bind(storable(&action.statement))
        .bind(storable(&action.investigator))
        .bind(action.signers.join(" "))
        .bind(to_ns(action.created_at))
        .bind(to_ns(action.expires_at))
        .bind(to_ns(action.answers_until))
        .execute(&mut *transaction)
        .await?;
        if posted.rows_affected() == 0 {
            let known: Option<String> = sqlx::query_scalar("SELECT hash FROM actions WHERE id = $1")
                .bind(action.id.to_string())
                .fetch_optional(&mut *transaction)
                .await?;
            return if known == Some(hash) { Ok(false) } else { Err(StoreError::Taken(action.id)) };
        }
        sqlx::query(COMMANDS).bind(&hash).bind(agents).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn ask(&self, hash: ActionHash, agents: &[String]) -> Result<()> {
        let more = format!("{COMMANDS} ON CONFLICT DO NOTHING");
        sqlx::query(AssertSqlSafe(more)).bind(hash.to_string()).bind(agents).execute(&self.pool).await?;
        Ok(())
    }

    async fn action(&self, id: Uuid) -> Result<Option<Action>> {
        let query = sqlx::query("SELECT * FROM actions WHERE id = $1").bind(id.to_string());
        query.fetch_optional(&self.pool).await?.as_ref().map(rows::action).transpose()
    }

    async fn envelope(&self, hash: ActionHash) -> Result<Option<Envelope>> {
        let query = sqlx::query_scalar("SELECT envelope FROM actions WHERE hash = $1").bind(hash.to_string());
        let text: Option<String> = query.fetch_optional(&self.pool).await?;
        text.as_deref().map(rows::to_envelope).transpose()
    }

    async fn list_actions(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<Listed>> {
        let query = format!(
            "SELECT * FROM
                (SELECT *, sum(length) OVER (ORDER BY created_at DESC, hash COLLATE \"C\") - length AS before FROM
                    (SELECT hash, id, statement, investigator, signers, created_at, expires_at,
                        withdrawal IS NOT NULL AS withdrawn, octet_length(statement)::bigint AS length
                     FROM actions WHERE {WANTED} AND created_at <= $9 AND (created_at < $9 OR hash COLLATE \"C\" > $10)
                     ORDER BY created_at DESC, hash COLLATE \"C\" LIMIT $11) AS next) AS counted
             WHERE before < $12 ORDER BY created_at DESC, hash COLLATE \"C\""
        );
        let query = bind_wanted(sqlx::query(AssertSqlSafe(query)), wanted);
        let query = query.bind(after.map_or(i64::MAX, |mark| mark.created_at));
        let query = query.bind(after.map(|mark| mark.hash.to_string()).unwrap_or_default()).bind(i64::from(count));
        query.bind(LISTED_BYTES_MAX).fetch_all(&self.pool).await?.iter().map(rows::listed).collect()
    }

    async fn tallies(&self, hashes: &[ActionHash]) -> Result<Vec<Tally>> {
        let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
        let query = sqlx::query(
            // What an older version stored may be any number, and a sum that is none fails.
            "SELECT action, state, count(*) AS count, sum(least(rows, $2))::bigint AS rows FROM commands
             WHERE action = ANY($1) GROUP BY action, state ORDER BY action COLLATE \"C\", state COLLATE \"C\"",
        );
        query.bind(hashes).bind(to_count(u64::MAX)).fetch_all(&self.pool).await?.iter().map(rows::tally).collect()
    }

    async fn list_commands(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<ListedCommand>> {
        let query = format!(
            "SELECT actions.id, actions.created_at, commands.* FROM actions JOIN commands ON commands.action = actions.hash
             WHERE {WANTED} AND created_at <= $9 AND (created_at < $9 OR hash COLLATE \"C\" > $10
                    OR hash = $10 AND (run < $15 OR run = $15 AND commands.agent COLLATE \"C\" > $12))
                AND ($13::text[] IS NULL OR commands.agent = ANY($13))
                AND ($14::text[] IS NULL OR commands.state = ANY($14))
             ORDER BY created_at DESC, hash COLLATE \"C\", run DESC, commands.agent COLLATE \"C\" LIMIT $11"
        );
        let query = bind_wanted(sqlx::query(AssertSqlSafe(query)), wanted);
        let query = query.bind(after.map_or(i64::MAX, |mark| mark.created_at));
        let query = query.bind(after.map(|mark| mark.hash.to_string()).unwrap_or_default()).bind(i64::from(count));
        let query = query.bind(after.map(|mark| mark.agent.clone()).unwrap_or_default());
        let agents: Vec<String> = wanted.agents.iter().map(|agent| storable(agent)).collect();
        let states: Vec<String> = wanted.states.iter().map(|state| state.as_str().to_owned()).collect();
        let query = query.bind(list_or_null(agents)).bind(list_or_null(states)).bind(after.map_or(0, |mark| mark.run));
        query.fetch_all(&self.pool).await?.iter().map(rows::listed_command).collect()
    }

    async fn open_actions(&self) -> Result<Vec<Action>> {
        let query = sqlx::query("SELECT * FROM actions WHERE NOT closed ORDER BY created_at, hash COLLATE \"C\"");
        query.fetch_all(&self.pool).await?.iter().map(rows::action).collect()
    }

    async fn commands(&self, hash: ActionHash) -> Result<Vec<Command>> {
        let query = sqlx::query("SELECT * FROM commands WHERE action = $1 ORDER BY run, agent COLLATE \"C\"");
        query.bind(hash.to_string()).fetch_all(&self.pool).await?.iter().map(rows::command).collect()
    }

    async fn sent(&self, hash: ActionHash, agents: &[String], at: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE commands SET state = 'sent', sent_at = $1
             WHERE action = $2 AND run = 0 AND state = 'waiting' AND agent = ANY($3)",
        )
        .bind(to_ns(at))
        .bind(hash.to_string())
        .bind(agents)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn settle(&self, hash: ActionHash, agents: &[String], state: State, at: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE commands SET state = $1, finished_at = $2
             WHERE action = $3 AND run = 0 AND state IN ('waiting', 'sent') AND agent = ANY($4)",
        )
        .bind(state.as_str())
        .bind(to_ns(at))
        .bind(hash.to_string())
        .bind(agents)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn cosign(&self, before: &Envelope, after: &Envelope, signers: &[String]) -> Result<bool> {
        let done = sqlx::query("UPDATE actions SET envelope = $1, signers = $2 WHERE hash = $3 AND envelope = $4")
            .bind(envelope_text(after))
            .bind(signers.join(" "))
            .bind(before.hash().to_string())
            .bind(envelope_text(before))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn reopen(&self, hash: ActionHash, agents: &[String]) -> Result<()> {
        sqlx::query(
            "UPDATE commands SET state = 'waiting', finished_at = NULL, reason = NULL, code = NULL
             WHERE action = $1 AND run = 0 AND state = 'refused' AND agent = ANY($2)",
        )
        .bind(hash.to_string())
        .bind(agents)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    async fn withdraw(&self, hash: ActionHash, before: Option<&Envelope>, withdrawal: &Envelope) -> Result<bool> {
        let query = "UPDATE actions SET withdrawal = $1 WHERE hash = $2 AND withdrawal IS NOT DISTINCT FROM $3";
        let done = sqlx::query(query)
            .bind(envelope_text(withdrawal))
            .bind(hash.to_string())
            .bind(before.map(envelope_text))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn close(&self, hash: ActionHash) -> Result<()> {
        sqlx::query("UPDATE actions SET closed = TRUE WHERE hash = $1")
            .bind(hash.to_string())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn take(&self, parts: &[NewPart], at: Timestamp) -> Result<Vec<Taken>> {
        let mut transaction = self.pool.begin().await?;
        let taken = take::take(&mut transaction, parts, at).await?;
        transaction.commit().await?;
        Ok(taken)
    }

    async fn parts(&self, hash: ActionHash, after: i64, count: u32) -> Result<Vec<StoredPart>> {
        let query = sqlx::query(
            "SELECT position, run, agent, statement, signature, body FROM
                (SELECT *, sum(bytes) OVER (ORDER BY position) - bytes AS before FROM
                    (SELECT *, (octet_length(statement) + octet_length(body))::bigint AS bytes FROM parts
                     WHERE action = $1 AND position > $2 ORDER BY position LIMIT $3) AS next) AS counted
             WHERE before < $4 ORDER BY position",
        );
        let query = query.bind(hash.to_string()).bind(after).bind(i64::from(count)).bind(PARTS_BYTES_MAX);
        query.fetch_all(&self.pool).await?.iter().map(rows::part).collect()
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<bool> {
        let query = "INSERT INTO revocations (key, certificate, armor, posted_by, at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
        let done = sqlx::query(query)
            .bind(&revocation.key.0)
            .bind(&revocation.certificate.0)
            .bind(&revocation.armor)
            .bind(&revocation.posted_by)
            .bind(to_ns(revocation.at))
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn revocations(&self, count: usize) -> Result<Vec<Revocation>> {
        let query = sqlx::query("SELECT * FROM revocations ORDER BY at, key COLLATE \"C\" LIMIT $1");
        query.bind(to_i64(count as u64)).fetch_all(&self.pool).await?.iter().map(rows::revocation).collect()
    }

    async fn note(&self, line: &Audit) -> Result<()> {
        sqlx::query("INSERT INTO audit (at, who, what, action, detail) VALUES ($1, $2, $3, $4, $5)")
            .bind(to_ns(line.at))
            .bind(storable(&line.who))
            .bind(&line.what)
            .bind(line.action.map(|hash| hash.to_string()))
            .bind(storable(&line.detail))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn audit(&self, before: i64, count: u32) -> Result<Vec<(i64, Audit)>> {
        let query = sqlx::query("SELECT * FROM audit WHERE position < $1 ORDER BY position DESC LIMIT $2");
        query.bind(before).bind(i64::from(count)).fetch_all(&self.pool).await?.iter().map(rows::audit).collect()
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        let count: i64 = sqlx::query_scalar(
            "WITH gone AS (DELETE FROM actions WHERE closed AND answers_until < $1 RETURNING hash),
                commands_gone AS (DELETE FROM commands USING gone WHERE commands.action = gone.hash)
             SELECT count(*) FROM gone",
        )
        .bind(to_ns(before))
        .fetch_one(&self.pool)
        .await?;
        Ok(count.unsigned_abs())
    }
}

/// Commands of an action in one statement: its hash, and the agents' ids.
const COMMANDS: &str =
    "INSERT INTO commands (action, agent, state) SELECT $1, agent, 'waiting' FROM UNNEST($2::text[]) AS asked (agent)";

/// Which actions are wanted; its parameters are those of [`bind_wanted`].
const WANTED: &str = "($1::text IS NULL OR investigator = $1 OR position($1 IN signers) > 0)
    AND ($2::text[] IS NULL OR id = ANY($2))
    AND ($3::text IS NULL OR id COLLATE \"C\" >= $3 AND id COLLATE \"C\" < $4)
    AND created_at >= $5 AND created_at <= $6 AND ($7::boolean IS NULL OR (NOT closed) = $7)
    AND ($8::boolean IS NULL OR (withdrawal IS NOT NULL) = $8)";

/// A query of this database with its values.
type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

fn bind_wanted<'q>(query: Query<'q>, wanted: &Wanted) -> Query<'q> {
    let ids: Vec<String> = wanted.ids.iter().map(ToString::to_string).collect();
    let (first, end) = wanted.prefix_bounds().map(|(first, end)| (storable(&first), storable(&end))).unzip();
    query
        .bind(wanted.signer.clone())
        .bind(list_or_null(ids))
        .bind(first)
        .bind(end)
        .bind(wanted.since.map_or(i64::MIN, to_ns))
        .bind(wanted.until.map_or(i64::MAX, to_ns))
        .bind(wanted.open)
        .bind(wanted.withdrawn)
}

fn list_or_null(texts: Vec<String>) -> Option<Vec<String>> {
    (!texts.is_empty()).then_some(texts)
}

/// One text of each of these agents.
fn texts(agents: &[Agent], get: fn(&Agent) -> &str) -> Vec<String> {
    agents.iter().map(|agent| storable(get(agent))).collect()
}

fn ips(agents: &[Agent]) -> Vec<Option<String>> {
    agents.iter().map(|agent| Some(agent.public_ip?.to_string())).collect()
}

/// PostgreSQL's texts hold no NUL, and one in a name or a reason must not keep a whole batch out.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}
