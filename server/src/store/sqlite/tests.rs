//! The store's contract over SQLite files, and what becomes of a store whose disk is full.

use canvass_protocol::limits;

use super::*;
use crate::store::{contract, forward};

macro_rules! keeps {
    ($($promise:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $promise() {
                let folder = tempfile::tempdir().unwrap();
                let store = Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap();
                contract::$promise(&store).await;
            }
        )*
    };
}

keeps!(
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

#[tokio::test]
async fn everything_outlives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sqlite");
    let store = Sqlite::open(&path).await.unwrap();
    let again = async || Box::new(Sqlite::open(&path).await.unwrap()) as Box<dyn Store>;
    contract::everything_outlives_a_restart(&store, again).await;
}

/// From every version that was, with rows of the first.
#[tokio::test]
async fn what_version_1_wrote_is_there() {
    for version in 1..=MIGRATIONS.len() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server.sqlite");
        let then = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
        let then = SqlitePoolOptions::new().max_connections(1).connect_with(then).await.unwrap();
        forward::migrator(&MIGRATIONS[..1]).run(&then).await.unwrap();
        for row in forward::rows("X'00ff'") {
            sqlx::query(AssertSqlSafe(row)).execute(&then).await.unwrap();
        }
        forward::migrator(&MIGRATIONS[..version]).run(&then).await.unwrap();
        then.close().await;
        forward::everything_is_there(&Sqlite::open(&path).await.unwrap()).await;
    }
}

#[tokio::test]
async fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("server.sqlite");
    std::fs::write(&path, vec![b'x'; 10_000]).unwrap();
    let error = Sqlite::open(&path).await.err().unwrap().to_string();
    assert!(error.contains("not a database"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap().len(), 10_000, "it is left as it was");
}

/// SQLite itself says that the disk is full where a database may have no more pages.
#[tokio::test]
async fn a_full_disk_is_told_and_nothing_of_a_batch_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap();
    let (action, agents) = (contract::action(1), contract::ids(&[1]));
    store.post(&action, &agents).await.unwrap();
    let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(&store.writer).await.unwrap();
    let bound = async |pages: i64| {
        let most = AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"));
        sqlx::query(most).execute(&store.writer).await.unwrap();
    };
    bound(pages + 2).await;
    let small = contract::part(action.hash, 1, 0, None);
    let large = NewPart { body: vec![7; 1 << 20], ..contract::part(action.hash, 1, 1, None) };
    let error = store.take(&[small.clone(), large.clone()], contract::at(2)).await.unwrap_err();
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    assert_eq!(store.parts(action.hash, 0, 9).await.unwrap(), []);
    bound(pages + 2000).await;
    assert_eq!(store.take(&[small, large], contract::at(3)).await.unwrap(), [Taken::Stored; 2]);
}

/// A version before this one stored what an agent counted as it came.
#[tokio::test]
async fn what_was_counted_before_has_a_sum_too() {
    let folder = tempfile::tempdir().unwrap();
    let store = Sqlite::open(&folder.path().join("server.sqlite")).await.unwrap();
    let action = contract::action(1);
    store.post(&action, &contract::ids(&[1, 2])).await.unwrap();
    sqlx::query("UPDATE commands SET rows = 9223372036854775807").execute(&store.writer).await.unwrap();
    assert_eq!(store.tallies(&[action.hash]).await.unwrap()[0].rows, 2 * limits::COUNT_MAX);
}
