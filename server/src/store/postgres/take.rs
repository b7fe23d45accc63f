//! Parts of answers on their way into the database, many at once: what is there already, what its command takes, and what
//! that ends.

use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use sqlx::PgConnection;

use super::storable;
use crate::scheduler::State;
use crate::store::rows::{to_count, to_i64, to_ns};
use crate::store::{Conclusion, NewPart, Result, Taken};

/// Has other transactions that store parts of these actions wait for this one's end.
const ONE_AT_A_TIME: &str = "SELECT pg_advisory_xact_lock(number) FROM
    (SELECT DISTINCT hashtextextended(hash, 0) AS number FROM UNNEST($1::text[]) AS taken (hash) ORDER BY number) AS taken";

/// What is there of each part's command.
const FOUND: &str = "SELECT commands.state, commands.stored_bytes
    FROM UNNEST($1::text[], $2::bigint[], $3::text[]) WITH ORDINALITY AS new (action, run, agent, place)
    LEFT JOIN commands ON commands.action = new.action AND commands.run = new.run AND commands.agent = new.agent
    ORDER BY new.place";

/// Which parts are there already, by their places.
const KNOWN: &str = "SELECT new.place
    FROM UNNEST($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS new (action, agent, signature, place)
    WHERE EXISTS (SELECT FROM parts
        WHERE parts.action = new.action AND parts.agent = new.agent AND parts.signature = new.signature)";

const STORE: &str = "INSERT INTO parts (action, agent, signature, statement, body, run)
    SELECT action, agent, signature, statement, body, run
    FROM UNNEST($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::bigint[]) WITH ORDINALITY
        AS new (action, agent, signature, statement, body, run, place)
    ORDER BY place
    ON CONFLICT DO NOTHING RETURNING action, agent, signature";

const COUNT: &str = "UPDATE commands SET stored_bytes = stored_bytes + new.bytes
    FROM UNNEST($1::text[], $2::bigint[], $3::text[], $4::bigint[]) AS new (action, run, agent, bytes)
    WHERE commands.action = new.action AND commands.run = new.run AND commands.agent = new.agent";

const END: &str = "UPDATE commands SET state = word.state, finished_at = $1, rows = word.rows, bytes = word.bytes,
        troubles = word.troubles, reason = word.reason, judged = word.judged, code = word.code, cut = word.cut,
        stored_bytes = stored_bytes + word.added
    FROM UNNEST($2::text[], $3::bigint[], $4::text[], $5::bigint[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[],
        $10::text[], $11::bigint[], $12::text[], $13::text[])
        AS word (action, run, agent, added, state, rows, bytes, troubles, reason, judged, code, cut)
    WHERE commands.action = word.action AND commands.run = word.run AND commands.agent = word.agent";

/// A command that parts belong to: its action, run and agent.
type Key<'a> = (&'a str, i64, &'a str);

/// The state of a part's command, and the bytes that are stored for it; nothing where there is none.
type Found = (Option<String>, Option<i64>);

/// What parts do to a command.
struct Change<'a> {
    key: Key<'a>,
    /// Bytes that are stored for it, and those among them that were not before.
    stored: u64,
    added: u64,
    is_final: bool,
    word: Option<&'a Conclusion>,
}

/// Stores those of these parts that are new and that their commands take, and says of each what became of it.
pub async fn take(connection: &mut PgConnection, parts: &[NewPart], at: Timestamp) -> Result<Vec<Taken>> {
    let hashes: Vec<String> = parts.iter().map(|part| part.action.to_string()).collect();
    // Positions of an action's parts are given in the order in which they can be read, whichever servers store them:
    // whoever follows it asks for what lies behind the last one seen.
    sqlx::query(ONE_AT_A_TIME).bind(&hashes).execute(&mut *connection).await?;
    let found: Vec<Found> = sqlx::query_as(FOUND)
        .bind(&hashes)
        .bind(parts.iter().map(|part| to_i64(part.run)).collect::<Vec<i64>>())
        .bind(parts.iter().map(|part| part.agent.as_str()).collect::<Vec<&str>>())
        .fetch_all(&mut *connection)
        .await?;
    let mut known = HashSet::new();
    let (mut taken, mut changes) = judge(&hashes, parts, &found, &known);
    if taken.contains(&Taken::Dropped) {
        // What is there already takes no room, and is no second last word.
        known = known_places(connection, &hashes, parts).await?;
        (taken, changes) = judge(&hashes, parts, &found, &known);
    }
    let stored = store(connection, &hashes, parts, &taken).await?;
    let is_stored = |place: usize| {
        stored.contains(&(hashes[place].clone(), parts[place].agent.clone(), parts[place].signature.clone()))
    };
    let new = taken.iter().filter(|taken| **taken == Taken::Stored).count();
    if stored.len() < new {
        known.extend((0..parts.len()).filter(|place| taken[*place] == Taken::Stored && !is_stored(*place)));
        (taken, changes) = judge(&hashes, parts, &found, &known);
    }
    let (ended, counted): (Vec<Change<'_>>, Vec<Change<'_>>) =
        changes.into_iter().partition(|change| change.word.is_some());
    count(connection, &counted).await?;
    end(connection, &ended, at).await?;
    Ok(taken)
}

/// What becomes of each part, and what that does to their commands.
fn judge<'a>(
    hashes: &'a [String],
    parts: &'a [NewPart],
    found: &[Found],
    known: &HashSet<usize>,
) -> (Vec<Taken>, Vec<Change<'a>>) {
    let (mut changes, mut places): (Vec<Change<'a>>, HashMap<Key<'a>, usize>) = Default::default();
    let mut seen = HashSet::new();
    let mut taken = Vec::with_capacity(parts.len());
    for (place, ((hash, part), (state, stored))) in hashes.iter().zip(parts).zip(found).enumerate() {
        if known.contains(&place) || seen.contains(&(hash, &part.agent, &part.signature)) {
            taken.push(Taken::Known);
            continue;
        }
        let (Some(state), Some(stored)) = (state, stored) else {
            taken.push(Taken::Dropped);
            continue;
        };
        let key = (hash.as_str(), to_i64(part.run), part.agent.as_str());
        let place = *places.entry(key).or_insert_with(|| {
            let is_final = State::parse(state).is_some_and(State::is_final);
            changes.push(Change { key, stored: stored.unsigned_abs(), added: 0, is_final, word: None });
            changes.len() - 1
        });
        let change = &mut changes[place];
        if change.is_final || change.stored.saturating_add(part.bytes()) > part.room {
            taken.push(Taken::Dropped);
            continue;
        }
        change.stored += part.bytes();
        change.added += part.bytes();
        if let Some(word) = &part.conclusion {
            change.is_final = word.state.is_final();
            change.word = Some(word);
        }
        seen.insert((hash, &part.agent, &part.signature));
        taken.push(Taken::Stored);
    }
    changes.retain(|change| change.added > 0);
    (taken, changes)
}

/// Stores those that are to be stored; returns which of them were not there.
async fn store(
    connection: &mut PgConnection,
    hashes: &[String],
    parts: &[NewPart],
    taken: &[Taken],
) -> Result<HashSet<(String, String, String)>> {
    let all = hashes.iter().zip(parts).zip(taken);
    let new: Vec<(&str, &NewPart)> =
        all.filter(|(_, taken)| **taken == Taken::Stored).map(|((hash, part), _)| (hash.as_str(), part)).collect();
    if new.is_empty() {
        return Ok(HashSet::new());
    }
    let texts = |get: fn(&NewPart) -> &str| -> Vec<&str> { new.iter().map(|(_, part)| get(part)).collect() };
    let stored: Vec<(String, String, String)> = sqlx::query_as(STORE)
        .bind(new.iter().map(|(hash, _)| *hash).collect::<Vec<&str>>())
        .bind(texts(|part| &part.agent))
        .bind(texts(|part| &part.signature))
        .bind(texts(|part| &part.statement))
        .bind(new.iter().map(|(_, part)| part.body.as_slice()).collect::<Vec<&[u8]>>())
        .bind(new.iter().map(|(_, part)| to_i64(part.run)).collect::<Vec<i64>>())
        .fetch_all(connection)
        .await?;
    Ok(stored.into_iter().collect())
}

/// The places of those parts that are there already.
async fn known_places(connection: &mut PgConnection, hashes: &[String], parts: &[NewPart]) -> Result<HashSet<usize>> {
    let places: Vec<i64> = sqlx::query_scalar(KNOWN)
        .bind(hashes)
        .bind(parts.iter().map(|part| part.agent.as_str()).collect::<Vec<&str>>())
        .bind(parts.iter().map(|part| part.signature.as_str()).collect::<Vec<&str>>())
        .fetch_all(connection)
        .await?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
}

/// Commands that go on.
async fn count(connection: &mut PgConnection, changes: &[Change<'_>]) -> Result<()> {
    if changes.is_empty() {
        return Ok(());
    }
    let (hashes, runs, agents) = keys(changes);
    let added: Vec<i64> = changes.iter().map(|change| to_i64(change.added)).collect();
    sqlx::query(COUNT).bind(hashes).bind(runs).bind(agents).bind(added).execute(connection).await?;
    Ok(())
}

/// Commands that their agents have said their last word on.
async fn end(connection: &mut PgConnection, changes: &[Change<'_>], at: Timestamp) -> Result<()> {
    let words: Vec<&Conclusion> = changes.iter().filter_map(|change| change.word).collect();
    if words.is_empty() {
        return Ok(());
    }
    let numbers = |get: fn(&Conclusion) -> u64| -> Vec<i64> { words.iter().map(|word| to_count(get(word))).collect() };
    let texts = |get: fn(&Conclusion) -> Option<&str>| -> Vec<Option<String>> {
        words.iter().map(|word| Some(storable(get(word)?))).collect()
    };
    let (hashes, runs, agents) = keys(changes);
    sqlx::query(END)
        .bind(to_ns(at))
        .bind(hashes)
        .bind(runs)
        .bind(agents)
        .bind(changes.iter().map(|change| to_i64(change.added)).collect::<Vec<i64>>())
        .bind(words.iter().map(|word| word.state.as_str()).collect::<Vec<&str>>())
        .bind(numbers(|word| word.totals.rows))
        .bind(numbers(|word| word.totals.bytes))
        .bind(numbers(|word| word.totals.troubles))
        .bind(texts(|word| word.reason.as_deref()))
        .bind(numbers(|word| word.judged as u64))
        .bind(texts(|word| word.code.as_deref()))
        .bind(texts(|word| word.cut.as_deref()))
        .execute(connection)
        .await?;
    Ok(())
}

fn keys<'a>(changes: &[Change<'a>]) -> (Vec<&'a str>, Vec<i64>, Vec<&'a str>) {
    let of = || changes.iter().map(|change| change.key);
    (of().map(|key| key.0).collect(), of().map(|key| key.1).collect(), of().map(|key| key.2).collect())
}
