//! Three-valued logic, and push-down, over random statements on the fixture hosts.
//!
//! Whatever a predicate says of a row, it is true, false or unknown: the rows where it holds, where its negation does and
//! where it is unknown add up to all. And it keeps the same rows where endpoints decide it as above a LIMIT, where the desk
//! does. `CANVASS_SEED=… CANVASS_EXAMPLES=…` tells a run again.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod common;

use std::sync::Arc;

use common::answers::ask;
use common::dice::{self, Dice};
use common::direct::Direct;
use common::samples;
use common::statements::{Maker, TABLES};

/// Predicates, unless `CANVASS_EXAMPLES` says otherwise; each is asked five times.
const EXAMPLES: u64 = 150;

/// The tables above a LIMIT that no row is cut by and no predicate passes.
fn opaque(from: &str) -> String {
    TABLES.iter().fold(from.to_owned(), |from, (table, columns)| {
        let columns: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let limited = format!("(SELECT {}, agent FROM {table} LIMIT 100000) AS", columns.join(", "));
        from.replace(&format!("{table} AS"), &limited)
    })
}

async fn rows(statement: &str, seed: u64) -> Result<Vec<String>, String> {
    let fleet = Arc::new(Direct::fixtures(samples::tables()));
    let mut rows = ask(fleet, samples::tables(), statement)
        .await
        .map_err(|error| format!("CANVASS_SEED={seed} CANVASS_EXAMPLES=1\n{statement}\n{error:?}"))?
        .rows;
    rows.sort();
    Ok(rows)
}

async fn check(seed: u64) -> Result<bool, String> {
    let mut dice = Dice::new(seed);
    let (columns, from, predicate) = Maker::new(&mut dice).rows();
    let (columns, from, predicate) = (dice::ours(&columns), dice::ours(&from), dice::ours(&predicate));
    let select = |from: &str, condition: &str| format!("SELECT {columns} FROM {from}{condition}");
    let all = rows(&select(&from, ""), seed).await?;
    let holds = rows(&select(&from, &format!(" WHERE {predicate}")), seed).await?;
    let fails = rows(&select(&from, &format!(" WHERE NOT ({predicate})")), seed).await?;
    let unknown = rows(&select(&from, &format!(" WHERE ({predicate}) IS NULL")), seed).await?;
    let said = || format!("CANVASS_SEED={seed} CANVASS_EXAMPLES=1\n{}", select(&from, &format!(" WHERE {predicate}")));
    let mut parts = [holds.clone(), fails, unknown].concat();
    parts.sort();
    if parts != all {
        return Err(format!("the parts are {} rows of {}\n{}", parts.len(), all.len(), said()));
    }
    let at_desk = rows(&select(&opaque(&from), &format!(" WHERE {}", opaque(&predicate))), seed).await?;
    if at_desk != holds {
        return Err(format!("endpoints keep {} rows and the desk {}\n{}", holds.len(), at_desk.len(), said()));
    }
    Ok(!holds.is_empty() && holds.len() < all.len())
}

#[tokio::test]
async fn true_false_and_unknown_are_all_there_is() {
    let (seed, examples) = dice::run(EXAMPLES);
    let (mut wrong, mut telling) = (Vec::new(), 0);
    for seed in seed..seed + examples {
        match check(seed).await {
            Ok(tells) => telling += u64::from(tells),
            Err(error) => wrong.push(error),
        }
    }
    assert!(wrong.is_empty(), "{} of {examples} are wrong\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(examples < 50 || telling * 5 > examples, "only {telling} of {examples} predicates divide the rows");
}
