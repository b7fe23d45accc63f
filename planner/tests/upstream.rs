//! What is wrong in DataFusion itself, and guarded against here. A test that fails tells that a new version has mended it:
//! then the guard that it names can go, and the test with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::prelude::{SessionConfig, SessionContext};

/// The rows of a statement, or the error, as DataFusion gives them by itself.
async fn raw(statement: &str) -> String {
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(4));
    for table in [
        "CREATE TABLE t AS SELECT * FROM (VALUES ('a', 1), ('b', 2), (NULL, 3)) AS v (name, n)",
        "CREATE TABLE u AS SELECT * FROM (VALUES ('a', 1), ('a', 1), ('b', 2)) AS v (name, n)",
    ] {
        context.sql(table).await.unwrap().collect().await.unwrap();
    }
    let batches = match context.sql(statement).await {
        Ok(rows) => rows.collect().await,
        Err(error) => Err(error),
    };
    let batches = match batches {
        Ok(batches) => batches,
        Err(error) => return format!("error: {}", error.strip_backtrace()),
    };
    let options = FormatOptions::new().with_null("NULL");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap());
        let columns: Vec<_> = columns.collect();
        rows.extend(
            (0..batch.num_rows())
                .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join(",")),
        );
    }
    rows.join(" | ")
}

/// What DataFusion gives, what is right, and what can go once it gives that.
async fn check(statement: &str, given: &str, right: &str, guard: &str) {
    let now = raw(statement).await;
    assert_ne!(now, right, "DataFusion has mended this: take out {guard}\n{statement}");
    assert!(now.starts_with(given), "DataFusion is wrong in another way: look at {guard}\n{statement}\n{now}");
}

#[tokio::test]
async fn order_by_loses_a_constant_of_a_side_that_is_missing() {
    check(
        "SELECT t.n, w.c FROM (SELECT n, 7 AS c FROM t WHERE n = 3) w RIGHT JOIN t ON w.n = t.n ORDER BY w.c NULLS LAST, t.n",
        "1,NULL | 2,NULL | 3,7",
        "3,7 | 1,NULL | 2,NULL",
        "planner/src/forget.rs",
    )
    .await;
}

#[tokio::test]
async fn two_lists_forget_their_null() {
    check(
        "SELECT n FROM t WHERE name IN ('a', 'b') AND name NOT IN ('a', NULL)",
        "2",
        "",
        "NULL in planner/src/predicate/compare.rs `in_list`",
    )
    .await;
}

#[tokio::test]
async fn not_in_under_or_takes_unknown_for_false() {
    check(
        "SELECT n FROM t WHERE name NOT IN (SELECT name FROM u WHERE n = 2) OR n = 7 ORDER BY n",
        "1 | 3",
        "1",
        "planner/src/predicate/not_in.rs",
    )
    .await;
}

#[tokio::test]
async fn set_operations_do_not_count_rows() {
    let guard = "planner/src/ignored.rs `check_sets`";
    check("SELECT name FROM u EXCEPT ALL SELECT name FROM t", "", "a", guard).await;
    check("SELECT name FROM u INTERSECT ALL SELECT name FROM t WHERE n = 1", "a | a", "a", guard).await;
}

#[tokio::test]
async fn similar_to_is_no_pattern_of_sql() {
    let guard = "SIMILAR TO in planner/src/predicate.rs";
    check("SELECT 'xroot' SIMILAR TO 'root'", "true", "false", guard).await;
    check("SELECT name FROM t WHERE name SIMILAR TO '%a%'", "", "a", guard).await;
}

#[tokio::test]
async fn an_order_in_an_aggregate_that_needs_none_fails() {
    let guard = "ORDERLESS in planner/src/predicate.rs";
    check("SELECT min(n ORDER BY n DESC) FROM t GROUP BY name ORDER BY 1", "error: ", "1 | 2 | 3", guard).await;
    // It panics on the way, and says so.
    check("SELECT count(n ORDER BY n DESC) FROM t GROUP BY name", "error: ", "1 | 1 | 1", guard).await;
}

#[tokio::test]
async fn a_condition_without_columns_gets_below_an_aggregate() {
    let guard = "planner/src/predicate/one_row.rs";
    check("SELECT max(n) FROM t HAVING (SELECT count(*) FROM u) > 100", "NULL", "", guard).await;
}

#[tokio::test]
async fn a_window_does_not_know_the_order_that_was_made_for_it() {
    check(
        "SELECT name, row_number() OVER (ORDER BY length(name) > 4, name) FROM t ORDER BY 2",
        "error: ",
        "a,1 | b,2 | NULL,3",
        "`does not satisfy order requirements` in planner/src/refusal.rs",
    )
    .await;
}
