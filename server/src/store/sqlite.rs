//! The embedded store: one SQLite file.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::StoredPart;
use canvass_protocol::envelope::Envelope;
use jiff::Timestamp;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection as _, SqlSafeStr as _, SqliteConnection, SqlitePool};
use uuid::Uuid;

use super::page::{LISTED_BYTES_MAX, Listed, ListedCommand, Mark, Wanted};
use super::rows::{self, envelope_text, to_count, to_i64, to_ns};
use super::{
    Action, Agent, Audit, Command, Conclusion, NewPart, PARTS_BYTES_MAX, Result, Revocation, Store, StoreError, Taken,
    Tally,
};
use crate::scheduler::State;

/// Changes of the schema, in order. What is released is never edited.
const MIGRATIONS: [(i64, &str, &str); 8] = [
    (1, "first", include_str!("../../migrations/sqlite/0001_first.sql")),
    (2, "signers", include_str!("../../migrations/sqlite/0002_signers.sql")),
    (3, "judged", include_str!("../../migrations/sqlite/0003_judged.sql")),
    (4, "runs", include_str!("../../migrations/sqlite/0004_runs.sql")),
    (5, "cut", include_str!("../../migrations/sqlite/0005_cut.sql")),
    (6, "stored_bytes", include_str!("../../migrations/sqlite/0006_stored_bytes.sql")),
    (7, "approvals", include_str!("../../migrations/sqlite/0007_approvals.sql")),
    (8, "revocations", include_str!("../../migrations/sqlite/0008_revocations.sql")),
];

/// Connections that read at once.
const READERS: u32 = 4;
/// How long one waits for another process that writes.
const BUSY: Duration = Duration::from_secs(30);

/// A store in a SQLite file: one connection writes, others read beside it.
pub struct Sqlite {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl Sqlite {
    /// Opens the file, makes it where it is missing, and brings its schema up to date.
    pub async fn open(path: &Path) -> Result<Sqlite> {
        super::private::keep(path).map_err(|error| StoreError::Failed(format!("`{}`: {error}", path.display())))?;
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // What an agent was told is taken outlives a crash of the machine.
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            // SQLite ends a transaction itself where the disk is full, which sqlx does not see: such a connection would refuse
            // every later transaction.
            .before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
            .connect_with(options.clone())
            .await?;
        let migrations = MIGRATIONS.map(|(version, name, sql)| {
            let sql = AssertSqlSafe(sql).into_sql_str();
            Migration::new(version, Cow::Borrowed(name), MigrationType::Simple, sql, false)
        });
        Migrator::with_migrations(migrations.to_vec())
            .run(&writer)
            .await
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        let reader = SqlitePoolOptions::new().max_connections(READERS).connect_with(options.read_only(true)).await?;
        Ok(Sqlite { writer, reader })
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn admit(&self, agents: &[Agent]) -> Result<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for agent in agents {
            sqlx::query(
                "INSERT INTO agents (id, name, admitted, approval, statement, signature, heard_at, public_ip)
                 VALUES (?, ?, TRUE, ?, ?, ?, ?, ?)
                 ON CONFLICT (id) DO UPDATE SET approval = coalesce(excluded.approval, agents.approval)",
            )
            .bind(&agent.id)
            .bind(&agent.name)
            .bind(agent.approval.as_ref().map(envelope_text))
            .bind(&agent.heartbeat.statement)
            .bind(&agent.heartbeat.signature)
            .bind(to_ns(agent.heard_at))
            .bind(agent.public_ip.map(|ip| ip.to_string()))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn remove(&self, agent: &str) -> Result<bool> {
        let done = sqlx::query("DELETE FROM agents WHERE id = ?").bind(agent).execute(&self.writer).await?;
        Ok(done.rows_affected() > 0)
    }

    async fn hear(&self, agents: &[Agent]) -> Result<()> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        for agent in agents {
            sqlx::query(
                "UPDATE agents SET name = ?2, statement = ?3, signature = ?4, heard_at = ?5, public_ip = ?6
                 WHERE id = ?1 AND heard_at <= ?5",
            )
            .bind(&agent.id)
            .bind(&agent.name)
            .bind(&agent.heartbeat.statement)
            .bind(&agent.heartbeat.signature)
            .bind(to_ns(agent.heard_at))
            .bind(agent.public_ip.map(|ip| ip.to_string()))
            .execute(&mut *transaction)
            .await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn agent(&self, id: &str) -> Result<Option<Agent>> {
        let row = sqlx::query("SELECT * FROM agents WHERE id = ?").bind(id).fetch_optional(&self.reader).await?;
        row.as_ref().map(rows::agent).transpose()
    }

    async fn agents(&self) -> Result<Vec<Agent>> {
        let query = sqlx::query("SELECT * FROM agents ORDER BY name, id");
        query.fetch_all(&self.reader).await?.iter().map(rows::agent).collect()
    }

    async fn post(&self, action: &Action, agents: &[String]) -> Result<bool> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let hash = action.hash.to_string();
        let known: Option<String> = sqlx::query_scalar("SELECT hash FROM actions WHERE id = ?")
            .bind(action.id.to_string())
            .fetch_optional(&mut *transaction)
            .await?;
        match known {
            Some(known) if known == hash => return Ok(false),
            Some(_) => return Err(StoreError::Taken(action.id)),
            None => {}
        }
        sqlx::query(
            "INSERT INTO actions (hash, id, envelope, statement, investigator, signers, created_at, expires_at,
                answers_until)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&hash)
        .bind(action.id.to_string())
        .bind(envelope_text(&action.envelope))
        .bind(&action.statement)
        .bind(&action.investigator)
        .bind(action.signers.join(" "))
        .bind(to_ns(action.created_at))
        .bind(to_ns(action.expires_at))
        .bind(to_ns(action.answers_until))
        .execute(&mut *transaction)
        .await?;
        sqlx::query(ADD_COMMANDS).bind(&hash).bind(list(agents)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(true)
    }

    async fn ask(&self, hash: ActionHash, agents: &[String]) -> Result<()> {
        sqlx::query(ADD_COMMANDS).bind(hash.to_string()).bind(list(agents)).execute(&self.writer).await?;
        Ok(())
    }

    async fn action(&self, id: Uuid) -> Result<Option<Action>> {
        let query = sqlx::query("SELECT * FROM actions WHERE id = ?").bind(id.to_string());
        query.fetch_optional(&self.reader).await?.as_ref().map(rows::action).transpose()
    }

    async fn envelope(&self, hash: ActionHash) -> Result<Option<Envelope>> {
        let query = sqlx::query_scalar("SELECT envelope FROM actions WHERE hash = ?").bind(hash.to_string());
        let text: Option<String> = query.fetch_optional(&self.reader).await?;
        text.as_deref().map(rows::to_envelope).transpose()
    }

    async fn list_actions(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<Listed>> {
        let query = format!(
            "SELECT * FROM
                (SELECT *, sum(length) OVER (ORDER BY created_at DESC, hash) - length AS before FROM
                    (SELECT hash, id, statement, investigator, signers, created_at, expires_at,
                        withdrawal IS NOT NULL AS withdrawn, length(CAST(statement AS BLOB)) AS length
                     FROM actions WHERE {WANTED} AND created_at <= ?9 AND (created_at < ?9 OR hash > ?10)
                     ORDER BY created_at DESC, hash LIMIT ?11))
             WHERE before < ?12 ORDER BY created_at DESC, hash"
        );
        let query = bind_wanted(sqlx::query(AssertSqlSafe(query)), wanted);
        let query = query.bind(after.map_or(i64::MAX, |mark| mark.created_at));
        let query = query.bind(after.map(|mark| mark.hash.to_string()).unwrap_or_default()).bind(count);
        query.bind(LISTED_BYTES_MAX).fetch_all(&self.reader).await?.iter().map(rows::listed).collect()
    }

    async fn tallies(&self, hashes: &[ActionHash]) -> Result<Vec<Tally>> {
        let hashes: Vec<String> = hashes.iter().map(ToString::to_string).collect();
        let rows = sqlx::query(
            // What an older version stored may be any number, and a sum that is none fails.
            "SELECT action, state, count(*) AS count, sum(min(rows, ?)) AS rows FROM commands
             WHERE action IN (SELECT value FROM json_each(?)) GROUP BY action, state ORDER BY action, state",
        )
        .bind(to_count(u64::MAX))
        .bind(list(&hashes))
        .fetch_all(&self.reader)
        .await?;
        rows.iter().map(rows::tally).collect()
    }

    async fn list_commands(&self, wanted: &Wanted, after: Option<&Mark>, count: u32) -> Result<Vec<ListedCommand>> {
        let query = format!(
            "SELECT actions.id, actions.created_at, commands.* FROM actions JOIN commands ON commands.action = actions.hash
             WHERE {WANTED} AND created_at <= ?9
                AND (created_at < ?9 OR hash > ?10 OR hash = ?10 AND (run < ?15 OR run = ?15 AND commands.agent > ?12))
                AND (?13 IS NULL OR commands.agent IN (SELECT value FROM json_each(?13)))
                AND (?14 IS NULL OR commands.state IN (SELECT value FROM json_each(?14)))
             ORDER BY created_at DESC, hash, run DESC, commands.agent LIMIT ?11"
        );
        let query = bind_wanted(sqlx::query(AssertSqlSafe(query)), wanted);
        let query = query.bind(after.map_or(i64::MAX, |mark| mark.created_at));
        let query = query.bind(after.map(|mark| mark.hash.to_string()).unwrap_or_default()).bind(count);
        let query = query.bind(after.map(|mark| mark.agent.as_str()).unwrap_or_default());
        let states: Vec<String> = wanted.states.iter().map(|state| state.as_str().to_owned()).collect();
        let query =
            query.bind(list_or_null(&wanted.agents)).bind(list_or_null(&states)).bind(after.map_or(0, |mark| mark.run));
        query.fetch_all(&self.reader).await?.iter().map(rows::listed_command).collect()
    }

    async fn open_actions(&self) -> Result<Vec<Action>> {
        let query = sqlx::query("SELECT * FROM actions WHERE closed = 0 ORDER BY created_at, hash");
        query.fetch_all(&self.reader).await?.iter().map(rows::action).collect()
    }

    async fn commands(&self, hash: ActionHash) -> Result<Vec<Command>> {
        let query = sqlx::query("SELECT * FROM commands WHERE action = ? ORDER BY run, agent").bind(hash.to_string());
        query.fetch_all(&self.reader).await?.iter().map(rows::command).collect()
    }

    async fn sent(&self, hash: ActionHash, agents: &[String], at: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE commands SET state = 'sent', sent_at = ?
             WHERE action = ? AND run = 0 AND state = 'waiting' AND agent IN (SELECT value FROM json_each(?))",
        )
        .bind(to_ns(at))
        .bind(hash.to_string())
        .bind(list(agents))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn settle(&self, hash: ActionHash, agents: &[String], state: State, at: Timestamp) -> Result<()> {
        sqlx::query(
            "UPDATE commands SET state = ?, finished_at = ?
             WHERE action = ? AND run = 0 AND state IN ('waiting', 'sent') AND agent IN (SELECT value FROM json_each(?))",
        )
        .bind(state.as_str())
        .bind(to_ns(at))
        .bind(hash.to_string())
        .bind(list(agents))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn cosign(&self, before: &Envelope, after: &Envelope, signers: &[String]) -> Result<bool> {
        let done = sqlx::query("UPDATE actions SET envelope = ?, signers = ? WHERE hash = ? AND envelope = ?")
            .bind(envelope_text(after))
            .bind(signers.join(" "))
            .bind(before.hash().to_string())
            .bind(envelope_text(before))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn reopen(&self, hash: ActionHash, agents: &[String]) -> Result<()> {
        sqlx::query(
            "UPDATE commands SET state = 'waiting', finished_at = NULL, reason = NULL, code = NULL
             WHERE action = ? AND run = 0 AND state = 'refused' AND agent IN (SELECT value FROM json_each(?))",
        )
        .bind(hash.to_string())
        .bind(list(agents))
        .execute(&self.writer)
        .await?;
        Ok(())
    }

    async fn withdraw(&self, hash: ActionHash, before: Option<&Envelope>, withdrawal: &Envelope) -> Result<bool> {
        let done = sqlx::query("UPDATE actions SET withdrawal = ? WHERE hash = ? AND withdrawal IS ?")
            .bind(envelope_text(withdrawal))
            .bind(hash.to_string())
            .bind(before.map(envelope_text))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn close(&self, hash: ActionHash) -> Result<()> {
        sqlx::query("UPDATE actions SET closed = 1 WHERE hash = ?")
            .bind(hash.to_string())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn take(&self, parts: &[NewPart], at: Timestamp) -> Result<Vec<Taken>> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let mut taken = Vec::with_capacity(parts.len());
        for part in parts {
            taken.push(take(&mut transaction, part, at).await?);
        }
        transaction.commit().await?;
        Ok(taken)
    }

    async fn parts(&self, hash: ActionHash, after: i64, count: u32) -> Result<Vec<StoredPart>> {
        let query = sqlx::query(
            "SELECT position, run, agent, statement, signature, body FROM
                (SELECT *, sum(bytes) OVER (ORDER BY position) - bytes AS before FROM
                    (SELECT *, length(statement) + length(body) AS bytes FROM parts
                     WHERE action = ? AND position > ? ORDER BY position LIMIT ?))
             WHERE before < ? ORDER BY position",
        );
        let query = query.bind(hash.to_string()).bind(after).bind(count).bind(PARTS_BYTES_MAX);
        let rows = query.fetch_all(&self.reader).await?;
        rows.iter().map(rows::part).collect()
    }

    async fn revoke(&self, revocation: &Revocation) -> Result<bool> {
        let query = "INSERT INTO revocations (key, certificate, armor, posted_by, at) VALUES (?, ?, ?, ?, ?)
             ON CONFLICT DO NOTHING";
        let done = sqlx::query(query)
            .bind(&revocation.key.0)
            .bind(&revocation.certificate.0)
            .bind(&revocation.armor)
            .bind(&revocation.posted_by)
            .bind(to_ns(revocation.at))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    async fn revocations(&self, count: usize) -> Result<Vec<Revocation>> {
        let query = sqlx::query("SELECT * FROM revocations ORDER BY at, key LIMIT ?").bind(to_i64(count as u64));
        query.fetch_all(&self.reader).await?.iter().map(rows::revocation).collect()
    }

    async fn note(&self, line: &Audit) -> Result<()> {
        sqlx::query("INSERT INTO audit (at, who, what, action, detail) VALUES (?, ?, ?, ?, ?)")
            .bind(to_ns(line.at))
            .bind(&line.who)
            .bind(&line.what)
            .bind(line.action.map(|hash| hash.to_string()))
            .bind(&line.detail)
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    async fn audit(&self, before: i64, count: u32) -> Result<Vec<(i64, Audit)>> {
        let query = sqlx::query("SELECT * FROM audit WHERE position < ? ORDER BY position DESC LIMIT ?");
        query.bind(before).bind(count).fetch_all(&self.reader).await?.iter().map(rows::audit).collect()
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        let done = sqlx::query("DELETE FROM actions WHERE closed = 1 AND answers_until < ?")
            .bind(to_ns(before))
            .execute(&self.writer)
            .await?;
        Ok(done.rows_affected())
    }
}

/// Stores one part, where it is new and its command takes it.
async fn take(connection: &mut SqliteConnection, part: &NewPart, at: Timestamp) -> Result<Taken> {
    let (hash, run) = (part.action.to_string(), to_i64(part.run));
    let stored = sqlx::query(
        "INSERT INTO parts (action, run, agent, signature, statement, body)
         SELECT action, run, agent, ?, ?, ? FROM commands WHERE action = ? AND run = ? AND agent = ?
            AND state NOT IN ('answered', 'failed', 'interrupted') AND stored_bytes + ? <= ?
         ON CONFLICT DO NOTHING",
    )
    .bind(&part.signature)
    .bind(&part.statement)
    .bind(&part.body)
    .bind(&hash)
    .bind(run)
    .bind(&part.agent)
    .bind(to_i64(part.bytes()))
    .bind(to_i64(part.room))
    .execute(&mut *connection)
    .await?;
    if stored.rows_affected() == 0 {
        let known: bool =
            sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM parts WHERE action = ? AND agent = ? AND signature = ?)")
                .bind(&hash)
                .bind(&part.agent)
                .bind(&part.signature)
                .fetch_one(&mut *connection)
                .await?;
        return Ok(if known { Taken::Known } else { Taken::Dropped });
    }
    let counted = "UPDATE commands SET stored_bytes = stored_bytes + ?";
    let command = "WHERE action = ? AND run = ? AND agent = ?";
    let query = match &part.conclusion {
        None => sqlx::query(AssertSqlSafe(format!("{counted} {command}"))).bind(to_i64(part.bytes())),
        Some(Conclusion { state, totals, reason, code, cut, judged }) => {
            let words = "state = ?, finished_at = ?, rows = ?, bytes = ?, troubles = ?, reason = ?, code = ?, cut = ?,
                judged = ?";
            sqlx::query(AssertSqlSafe(format!("{counted}, {words} {command}")))
                .bind(to_i64(part.bytes()))
                .bind(state.as_str())
                .bind(to_ns(at))
                .bind(to_count(totals.rows))
                .bind(to_count(totals.bytes))
                .bind(to_count(totals.troubles))
                .bind(reason)
                .bind(code)
                .bind(cut)
                .bind(to_i64(*judged as u64))
        }
    };
    query.bind(&hash).bind(run).bind(&part.agent).execute(connection).await?;
    Ok(Taken::Stored)
}

/// All commands of an action in one statement: its hash, and the agents' ids as a JSON list.
const ADD_COMMANDS: &str = "INSERT INTO commands (action, agent, state)
    SELECT ?, value, 'waiting' FROM json_each(?) WHERE true ON CONFLICT DO NOTHING";

/// Which actions are wanted; its parameters are those of [`bind_wanted`].
const WANTED: &str = "(?1 IS NULL OR investigator = ?1 OR instr(signers, ?1) > 0)
    AND (?2 IS NULL OR id IN (SELECT value FROM json_each(?2))) AND (?3 IS NULL OR id >= ?3 AND id < ?4)
    AND created_at >= ?5 AND created_at <= ?6 AND (?7 IS NULL OR (closed = 0) = ?7)
    AND (?8 IS NULL OR (withdrawal IS NOT NULL) = ?8)";

/// A query of this database with its values.
type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_wanted<'q>(query: Query<'q>, wanted: &Wanted) -> Query<'q> {
    let ids: Vec<String> = wanted.ids.iter().map(ToString::to_string).collect();
    let (first, end) = wanted.prefix_bounds().unzip();
    query
        .bind(wanted.signer.clone())
        .bind(list_or_null(&ids))
        .bind(first)
        .bind(end)
        .bind(wanted.since.map_or(i64::MIN, to_ns))
        .bind(wanted.until.map_or(i64::MAX, to_ns))
        .bind(wanted.open)
        .bind(wanted.withdrawn)
}

fn list_or_null(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| list(texts))
}

fn list(agents: &[String]) -> String {
    serde_json::to_string(agents).expect("texts always serialise")
}
