//! Random trees and random predicates, answered by the engine and by a naive reading of the manual, which must agree.
//!
//! `PROPTEST_CASES=20000 cargo nextest run -p canvass-tables --test oracle` looks longer.

#![allow(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

#[path = "../common/mod.rs"]
mod common;

mod filters;
mod naive;
mod trees;

use std::sync::atomic::AtomicBool;

use canvass_protocol::filter::Filter;
use canvass_tables::host::Host;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use common::{answer, machine, request, scan};
use naive::HASHES;
use trees::{Built, Node};

thread_local!(static HOST: Host = machine());

/// Columns of the answer, but for the hash that each case draws.
const COLUMNS: [&str; 8] = ["path", "path_hex", "depth", "type", "size", "permissions", "mode", "target"];

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    /// Whatever lies in the tree and whatever is asked, the rows are those that the manual promises.
    #[test]
    fn what_passes_is_what_the_manual_says(
        tree in trees::a_tree(),
        questions in filters::questions(),
        hash in 0..HASHES.len(),
        threads in 2usize..6,
    ) {
        check(&tree, &questions, HASHES[hash], threads)?;
    }
}

/// Asks a tree several questions, with one worker and with several.
fn check(tree: &[(trees::Name, Node)], questions: &[Filter], hash: &str, threads: usize) -> TestCaseResult {
    let built = Built::new(tree);
    let columns = [&COLUMNS[..], &[hash]].concat();
    for filter in questions {
        let filter = filters::resolved(filter, &built);
        let expected = naive::Answer::new(&filter, &columns);
        let question = scan("files", &columns, filter);
        for threads in [1, threads] {
            let stop = AtomicBool::new(false);
            let asked = HOST.with(|host| answer(&request(host, &question, threads, &stop))).unwrap();
            let rows = asked.rows();
            let is_sure = |row: &&String| !expected.unsure.iter().any(|path| row.starts_with(&format!("{path} ")));
            let rows: Vec<&String> = rows.iter().filter(is_sure).collect();
            let sure: Vec<&String> = expected.rows.iter().filter(is_sure).collect();
            prop_assert_eq!(&rows, &sure, "{} workers, {:?}", threads, &question.filter);
            if expected.missing == 0 {
                prop_assert_eq!(asked.troubles(), Vec::<String>::new());
            }
            prop_assert_eq!(asked.record.cut, None);
        }
    }
    Ok(())
}
