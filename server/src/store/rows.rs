//! Rows as both databases store them: texts, numbers, nanoseconds, and what they stand for.

use std::net::IpAddr;

use canvass_protocol::action::ActionHash;
use canvass_protocol::api::StoredPart;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::openpgp::Fingerprint;
use canvass_protocol::signed::Signed;
use jiff::Timestamp;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

use super::page::{Listed, ListedCommand, Mark};
use super::{Action, Agent, Audit, Command, Result, Revocation, StoreError, Tally, Totals};
use crate::scheduler::State;

/// A row, whichever database it comes from.
pub trait Columns {
    fn text(&self, column: &str) -> Result<String>;
    fn text_or_null(&self, column: &str) -> Result<Option<String>>;
    fn number(&self, column: &str) -> Result<i64>;
    fn number_or_null(&self, column: &str) -> Result<Option<i64>>;
    fn bytes(&self, column: &str) -> Result<Vec<u8>>;
    fn flag(&self, column: &str) -> Result<bool>;
}

macro_rules! columns {
    ($($row:ty),*) => {
        $(
            impl Columns for $row {
                fn text(&self, column: &str) -> Result<String> {
                    Ok(self.try_get(column)?)
                }

                fn text_or_null(&self, column: &str) -> Result<Option<String>> {
                    Ok(self.try_get(column)?)
                }

                fn number(&self, column: &str) -> Result<i64> {
                    Ok(self.try_get(column)?)
                }

                fn number_or_null(&self, column: &str) -> Result<Option<i64>> {
                    Ok(self.try_get(column)?)
                }

                fn bytes(&self, column: &str) -> Result<Vec<u8>> {
                    Ok(self.try_get(column)?)
                }

                fn flag(&self, column: &str) -> Result<bool> {
                    Ok(self.try_get(column)?)
                }
            }
        )*
    };
}

columns!(SqliteRow, PgRow);

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let kind = error.as_database_error().and_then(|error| error.code().map(|code| kind_of(&code)));
        kind.unwrap_or(StoreError::Failed)(error.to_string())
    }
}

/// What kind of error a database's code is: PostgreSQL's has five letters, SQLite's is a number of fewer.
fn kind_of(code: &str) -> fn(String) -> StoreError {
    match code {
        "53100" => StoreError::Full,
        // Data, integrity, and what is too long for an index.
        _ if code.len() == 5 && ["22", "23", "54"].iter().any(|class| code.starts_with(class)) => StoreError::Refused,
        // The lowest byte is the kind, whatever more is known: SQLITE_FULL, and SQLITE_TOOBIG, _CONSTRAINT, _MISMATCH.
        _ => match code.parse::<u32>().ok().filter(|_| code.len() < 5).map(|code| code & 0xff) {
            Some(13) => StoreError::Full,
            Some(18..=20) => StoreError::Refused,
            _ => StoreError::Failed,
        },
    }
}

pub fn agent(row: &impl Columns) -> Result<Agent> {
    let public_ip = row.text_or_null("public_ip")?.map(|ip| ip.parse::<IpAddr>()).transpose();
    Ok(Agent {
        id: row.text("id")?,
        name: row.text("name")?,
        approval: row.text_or_null("approval")?.as_deref().map(to_envelope).transpose()?,
        heartbeat: Signed { statement: row.text("statement")?, signature: row.text("signature")? },
        heard_at: to_time(row.number("heard_at")?)?,
        public_ip: public_ip.map_err(|error| StoreError::Corrupt(error.to_string()))?,
    })
}

pub fn revocation(row: &impl Columns) -> Result<Revocation> {
    Ok(Revocation {
        key: Fingerprint(row.text("key")?),
        certificate: Fingerprint(row.text("certificate")?),
        armor: row.text("armor")?,
        posted_by: row.text("posted_by")?,
        at: to_time(row.number("at")?)?,
    })
}

pub fn action(row: &impl Columns) -> Result<Action> {
    Ok(Action {
        hash: to_hash(&row.text("hash")?)?,
        id: to_uuid(&row.text("id")?)?,
        envelope: to_envelope(&row.text("envelope")?)?,
        statement: row.text("statement")?,
        investigator: row.text("investigator")?,
        signers: signers(row)?,
        created_at: to_time(row.number("created_at")?)?,
        expires_at: to_time(row.number("expires_at")?)?,
        answers_until: to_time(row.number("answers_until")?)?,
        withdrawal: row.text_or_null("withdrawal")?.as_deref().map(to_envelope).transpose()?,
    })
}

pub fn command(row: &impl Columns) -> Result<Command> {
    Ok(Command {
        run: count(row, "run")?,
        agent: row.text("agent")?,
        state: state(row)?,
        sent_at: row.number_or_null("sent_at")?.map(to_time).transpose()?,
        finished_at: row.number_or_null("finished_at")?.map(to_time).transpose()?,
        totals: Totals { rows: count(row, "rows")?, bytes: count(row, "bytes")?, troubles: count(row, "troubles")? },
        reason: row.text_or_null("reason")?,
        code: row.text_or_null("code")?,
        cut: row.text_or_null("cut")?,
        judged: usize::try_from(row.number("judged")?).unwrap_or_default(),
    })
}

/// An action without its envelope, with `withdrawn` for whether there is a withdrawal.
pub fn listed(row: &impl Columns) -> Result<Listed> {
    Ok(Listed {
        hash: to_hash(&row.text("hash")?)?,
        id: to_uuid(&row.text("id")?)?,
        statement: row.text("statement")?,
        investigator: row.text("investigator")?,
        signers: signers(row)?,
        created_at: to_time(row.number("created_at")?)?,
        expires_at: to_time(row.number("expires_at")?)?,
        withdrawn: row.flag("withdrawn")?,
    })
}

/// A command with its action's id and time.
pub fn listed_command(row: &impl Columns) -> Result<ListedCommand> {
    let command = command(row)?;
    let hash = to_hash(&row.text("action")?)?;
    let mark =
        Mark { created_at: row.number("created_at")?, hash, run: row.number("run")?, agent: command.agent.clone() };
    Ok(ListedCommand { action: to_uuid(&row.text("id")?)?, mark, command })
}

fn signers(row: &impl Columns) -> Result<Vec<String>> {
    Ok(row.text("signers")?.split_whitespace().map(str::to_owned).collect())
}

pub fn tally(row: &impl Columns) -> Result<Tally> {
    Ok(Tally {
        action: to_hash(&row.text("action")?)?,
        state: state(row)?,
        count: count(row, "count")?,
        rows: count(row, "rows")?,
    })
}

pub fn part(row: &impl Columns) -> Result<StoredPart> {
    Ok(StoredPart {
        position: row.number("position")?,
        run: count(row, "run")?,
        agent: row.text("agent")?,
        statement: row.text("statement")?,
        signature: row.text("signature")?,
        body: row.bytes("body")?,
    })
}

/// A line with its position.
pub fn audit(row: &impl Columns) -> Result<(i64, Audit)> {
    let line = Audit {
        at: to_time(row.number("at")?)?,
        who: row.text("who")?,
        what: row.text("what")?,
        action: row.text_or_null("action")?.as_deref().map(to_hash).transpose()?,
        detail: row.text("detail")?,
    };
    Ok((row.number("position")?, line))
}

/// An envelope as it is stored.
pub fn envelope_text(envelope: &Envelope) -> String {
    String::from_utf8(envelope.to_bytes()).expect("JSON is UTF-8")
}

/// Nanoseconds since 1970; what lies beyond 2262 is as good as never.
pub fn to_ns(at: Timestamp) -> i64 {
    i64::try_from(at.as_nanosecond()).unwrap_or(i64::MAX)
}

pub fn to_i64(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What somebody counted: no more than sums can be made of.
pub fn to_count(count: u64) -> i64 {
    to_i64(count.min(limits::COUNT_MAX))
}

fn to_time(ns: i64) -> Result<Timestamp> {
    Timestamp::from_nanosecond(ns.into()).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn state(row: &impl Columns) -> Result<State> {
    let word = row.text("state")?;
    State::parse(&word).ok_or_else(|| StoreError::Corrupt(format!("`{word}` is no state")))
}

fn count(row: &impl Columns, column: &str) -> Result<u64> {
    Ok(u64::try_from(row.number(column)?).unwrap_or_default())
}

fn to_uuid(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| StoreError::Corrupt(format!("`{text}` is no UUID")))
}

pub fn to_envelope(text: &str) -> Result<Envelope> {
    Envelope::parse(text.as_bytes()).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn to_hash(text: &str) -> Result<ActionHash> {
    let bytes = hex::decode(text).ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes.map(ActionHash).ok_or_else(|| StoreError::Corrupt(format!("`{text}` is no hash")))
}
