//! The store's contract over a real PostgreSQL, each promise in a database of its own.

use canvass_protocol::limits;
use canvass_protocol::signed::Signed;
use canvass_services::Postgres as Instance;

use sqlx::{Connection as _, PgConnection};

use super::*;
use crate::store::{contract, forward};

/// A fresh database's address.
async fn database(instance: &Instance, name: &str) -> Url {
    let url = Url::parse(&instance.url()).unwrap();
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    url.join(&format!("/{name}")).unwrap()
}

macro_rules! keeps {
    ($instance:ident, $($promise:ident),* $(,)?) => {
        $(
            eprintln!("{}", stringify!($promise));
            let store = Postgres::open(&database(&$instance, stringify!($promise)).await).await.unwrap();
            contract::$promise(&store).await;
        )*
    };
}

/// One instance serves all promises.
#[tokio::test]
async fn the_contract_is_kept() {
    let instance = Instance::start(false).unwrap();
    keeps!(
        instance,
        agents_are_as_last_heard,
        actions_are_posted_once,
        the_past_is_listed_page_by_page,
        long_statements_are_listed_by_few,
        commands_end_once,
        refusals_open_again,
        answers_are_taken_once,
        nothing_follows_a_last_word,
        an_answer_has_no_more_than_its_room,
        counts_have_sums,
        large_parts_are_read_by_few,
        what_is_old_is_forgotten,
        the_audit_keeps_all,
        revocations_are_kept_once,
        many_are_written_at_once,
    );
    a_nul_keeps_nobody_out(&database(&instance, "nul").await).await;
    what_it_cannot_hold_is_refused(&database(&instance, "refused").await).await;
    what_was_counted_before_has_a_sum_too(&database(&instance, "counted").await).await;
    one_server_uses_a_database(&database(&instance, "in_use").await).await;
    what_version_1_wrote_is_there(&instance).await;
    what_is_no_store_is_refused(&instance).await;
}

async fn a_nul_keeps_nobody_out(url: &Url) {
    let store = Postgres::open(url).await.unwrap();
    let agent = |id: &str, name: &str| Agent {
        id: id.to_owned(),
        name: name.to_owned(),
        approval: None,
        heartbeat: Signed { statement: "{}".to_owned(), signature: "00".to_owned() },
        heard_at: Timestamp::UNIX_EPOCH,
        public_ip: None,
    };
    store.admit(&[agent("1", "web\0"), agent("2", "db")]).await.unwrap();
    store.hear(&[agent("1", "web\0"), agent("2", "db")]).await.unwrap();
    let names: Vec<String> = store.agents().await.unwrap().into_iter().map(|agent| agent.name).collect();
    assert_eq!(names, ["db", "web\u{fffd}"]);
    assert_eq!(store.agent("\0").await.unwrap(), None);
}

/// Whoever stores parts learns that it is their fault, and stores the others by themselves.
async fn what_it_cannot_hold_is_refused(url: &Url) {
    let store = Postgres::open(url).await.unwrap();
    let action = contract::action(1);
    store.post(&action, &contract::ids(&[1, 2])).await.unwrap();
    let (good, last) = (contract::part(action.hash, 1, 0, None), contract::part(action.hash, 2, 0, None));
    for signature in ["a\0".to_owned(), (0..8192).map(digit).collect()] {
        let bad = NewPart { signature, ..contract::part(action.hash, 2, 1, None) };
        let error = store.take(&[good.clone(), bad, last.clone()], contract::at(1)).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{error}");
    }
    assert_eq!(store.take(&[good, last], contract::at(1)).await.unwrap(), [Taken::Stored; 2]);
}

/// Digits that do not compress (splitmix64).
fn digit(number: u64) -> char {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    char::from_digit(u32::try_from((mixed >> 40) & 15).unwrap(), 16).unwrap()
}

async fn what_was_counted_before_has_a_sum_too(url: &Url) {
    let store = Postgres::open(url).await.unwrap();
    let action = contract::action(1);
    store.post(&action, &contract::ids(&[1, 2])).await.unwrap();
    sqlx::query("UPDATE commands SET rows = 9223372036854775807").execute(&store.pool).await.unwrap();
    assert_eq!(store.tallies(&[action.hash]).await.unwrap()[0].rows, 2 * limits::COUNT_MAX);
}

async fn one_server_uses_a_database(url: &Url) {
    let first = Postgres::open(url).await.unwrap();
    let second = Postgres::open(url).await.err().unwrap().to_string();
    assert!(second.contains("another server uses this database"), "{second}");
    drop(first);
    // The database sees that the first is gone when it reads from the connection, which nobody can wait for.
    while Postgres::open(url).await.is_err() {}
}

/// From every version that was, with rows of the first.
async fn what_version_1_wrote_is_there(instance: &Instance) {
    for version in 1..=MIGRATIONS.len() {
        let url = database(instance, &format!("from_version_{version}")).await;
        let then = PgPoolOptions::new().max_connections(1).connect(url.as_str()).await.unwrap();
        forward::migrator(&MIGRATIONS[..1]).run(&then).await.unwrap();
        for row in forward::rows("'\\x00ff'") {
            sqlx::query(AssertSqlSafe(row)).execute(&then).await.unwrap();
        }
        forward::migrator(&MIGRATIONS[..version]).run(&then).await.unwrap();
        then.close().await;
        forward::everything_is_there(&Postgres::open(&url).await.unwrap()).await;
    }
}

async fn what_is_no_store_is_refused(instance: &Instance) {
    let url = database(instance, "newer").await;
    drop(Postgres::open(&url).await.unwrap());
    let mut connection = PgConnection::connect(url.as_str()).await.unwrap();
    sqlx::query("UPDATE _sqlx_migrations SET version = version + 98").execute(&mut connection).await.unwrap();
    let mut wrong = url.clone();
    wrong.set_password(Some("guess")).unwrap();
    let mut away = url.clone();
    away.set_port(Some(9)).unwrap();
    let missing = url.join("/missing").unwrap();
    for (url, words) in [
        (&url, "migration 99"),
        (&wrong, "password authentication failed"),
        (&away, "Connection refused"),
        (&missing, "does not exist"),
    ] {
        let error = loop {
            let error = Postgres::open(url).await.err().unwrap().to_string();
            if !error.contains("another server") {
                break error;
            }
        };
        assert!(error.contains(words) && !error.contains("guess"), "{error}");
    }
}

#[tokio::test]
async fn everything_outlives_a_restart() {
    let instance = std::sync::Mutex::new(Instance::start(true).unwrap());
    let url = Url::parse(&instance.lock().unwrap().url()).unwrap();
    let store = Postgres::open(&url).await.unwrap();
    let again = async || {
        store._lock.as_ref().unwrap().release();
        {
            let mut instance = instance.lock().unwrap();
            instance.kill();
            instance.start_again().unwrap();
        }
        Box::new(Postgres::open(&url).await.unwrap()) as Box<dyn Store>
    };
    contract::everything_outlives_a_restart(&store, again).await;
    // The store that was open before goes on by itself.
    assert_eq!(store.agents().await.unwrap().len(), 1);
}
