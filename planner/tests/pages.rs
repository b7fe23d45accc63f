//! `actions` and `commands`: whole, page by page, and only what WHERE wants.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use canvass_planner::desk::Desk;
use canvass_planner::error::Error;
use canvass_planner::fleet::{Delivery, Endpoint, Fleet};
use canvass_planner::past::{Page, PastCommand, PastFilter};
use canvass_planner::settings::Settings;
use canvass_protocol::action::ActionHash;
use canvass_protocol::api::{ActionSummary, CommandSummary};
use canvass_protocol::envelope::Envelope;
use datafusion::arrow::array::AsArray as _;
use datafusion::arrow::datatypes::Int64Type;
use futures::StreamExt as _;
use jiff::Timestamp;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Items of one page.
const PAGE: usize = 7;

/// Remembers a thousand actions of three agents each, and what it was asked.
#[derive(Default)]
struct Past {
    asked: Mutex<Vec<(PastFilter, Option<String>)>>,
    /// Says that every page is followed by itself.
    stuck: bool,
}

const ACTIONS: u32 = 1000;

fn action(number: u32) -> ActionSummary {
    let withdrawn = number.is_multiple_of(10);
    ActionSummary {
        id: Uuid::from_u128((u128::from(number) << 96) | 7),
        hash: ActionHash([0; 32]),
        statement: format!("SELECT {number}"),
        investigator: "AB".into(),
        signers: vec!["AB".into()],
        created_at: Timestamp::from_second(1_800_000_000 + i64::from(number)).unwrap(),
        expires_at: Timestamp::from_second(1_800_001_000).unwrap(),
        withdrawn,
        tally: BTreeMap::from([(if number.is_multiple_of(7) { "expired" } else { "answered" }.into(), 3)]),
        rows: 5,
    }
}

impl Past {
    fn page<T>(&self, filter: &PastFilter, after: Option<&str>, of: impl Fn(ActionSummary) -> Vec<T>) -> Page<T> {
        self.asked.lock().unwrap().push((filter.clone(), after.map(str::to_owned)));
        if self.stuck {
            return Page { items: of(action(1)), next: Some("here".into()) };
        }
        let after: u32 = after.map_or(ACTIONS, |after| after.parse().unwrap());
        let mut wanted = (0..after).rev().map(action).filter(|action| filter.keeps(action));
        let items: Vec<ActionSummary> = wanted.by_ref().take(PAGE).collect();
        let last = items.last().map(|last| u32::try_from(last.id.as_u128() >> 96).unwrap());
        let next = wanted.next().and(last).map(|last| last.to_string());
        Page { items: items.into_iter().flat_map(of).collect(), next }
    }
}

#[async_trait]
impl Fleet for Past {
    fn name(&self) -> &str {
        "test"
    }

    async fn endpoints(&self) -> Result<Vec<Endpoint>, Error> {
        common::Mute.endpoints().await
    }

    async fn ask(&self, _: Envelope, _: Vec<String>) -> Result<mpsc::Receiver<Delivery>, Error> {
        Err(Error::unreachable("nobody is asked"))
    }

    async fn actions(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<ActionSummary>, Error> {
        Ok(self.page(filter, after, |action| vec![action]))
    }

    async fn commands(&self, filter: &PastFilter, after: Option<&str>) -> Result<Page<PastCommand>, Error> {
        let command = |action: &ActionSummary, host: &str| {
            let command = CommandSummary {
                action: action.id,
                run: 0,
                agent: format!("id-of-{host}"),
                state: "answered".into(),
                sent_at: None,
                finished_at: None,
                rows: 5,
                bytes: 6,
                troubles: 0,
                reason: None,
                code: None,
                cut: (host == "web-1").then(|| "limit_rows".to_owned()),
            };
            PastCommand { host: Some(host.to_owned()), command }
        };
        Ok(self.page(filter, after, |action| ["db-1", "laptop-7", "web-1"].map(|host| command(&action, host)).to_vec()))
    }

    fn outlives_us(&self) -> bool {
        true
    }

    async fn stop(&self) {}
}

/// The one number that a statement answers with, and how many pages were asked.
async fn number(statement: &str) -> (i64, usize) {
    let past = Arc::new(Past::default());
    let mut desk = Desk::new(past.clone(), Settings::default());
    let planned = desk.plan(statement).await.unwrap();
    assert!(past.asked.lock().unwrap().is_empty(), "planning reads nothing: {statement}");
    let mut rows = desk.run(planned, None).await.unwrap().rows;
    let batch = rows.next().await.unwrap().unwrap();
    let number = batch.column(0).as_primitive::<Int64Type>().value(0);
    let pages = past.asked.lock().unwrap().len();
    (number, pages)
}

#[tokio::test]
async fn the_past_is_whole_and_what_where_bounds_is_all_that_is_read() {
    let all = ACTIONS.div_ceil(u32::try_from(PAGE).unwrap()) as usize;
    let id = action(500).id;
    let cases = [
        ("SELECT count(*) FROM actions".to_owned(), 1000, all),
        ("SELECT count(*) FROM commands".to_owned(), 3000, all),
        ("SELECT sum(rows) FROM actions".to_owned(), 5000, all),
        (format!("SELECT count(*) FROM commands WHERE action = '{id}'"), 3, 1),
        (format!("SELECT count(*) FROM commands WHERE action IN ('{id}', 'x') AND cut = 'limit_rows'"), 1, 1),
        (format!("SELECT count(*) FROM actions WHERE id LIKE '{}%'", &id.to_string()[..8]), 1, 1),
        (
            format!(
                "SELECT count(*) FROM actions a JOIN commands c ON a.id = c.action WHERE a.id = '{id}' AND c.action = '{id}'"
            ),
            3,
            2,
        ),
        ("SELECT count(*) FROM actions WHERE created_at >= '2027-01-15T08:16:30Z'".to_owned(), 10, 2),
        ("SELECT count(*) FROM actions WHERE created_at > '2027-01-15T08:16:30Z'".to_owned(), 9, 2),
        ("SELECT count(*) FROM actions WHERE state = 'withdrawn'".to_owned(), 100, all),
        ("SELECT count(*) FROM actions WHERE state = 'expired'".to_owned(), 128, all),
        ("SELECT count(*) FROM actions WHERE state = 'complete'".to_owned(), 772, all),
        ("SELECT count(*) FROM actions WHERE id = 'nonsense'".to_owned(), 0, 0),
        ("SELECT count(*) FROM commands WHERE host = 'web-1' AND state <> 'answered'".to_owned(), 0, all),
        ("SELECT count(*) FROM (SELECT id FROM actions LIMIT 10)".to_owned(), 10, 2),
    ];
    for (statement, expected, pages) in cases {
        assert_eq!(number(&statement).await, (expected, pages), "{statement}");
    }
}

#[tokio::test]
async fn a_past_that_does_not_go_on_is_an_error() {
    let past = Arc::new(Past { stuck: true, ..Past::default() });
    let mut desk = Desk::new(past.clone(), Settings::default());
    let planned = desk.plan("SELECT count(*) FROM actions").await.unwrap();
    let mut rows = desk.run(planned, None).await.unwrap().rows;
    let error = rows.next().await.unwrap().unwrap_err();
    assert!(error.message.contains("in no order"), "{error:?}");
    assert_eq!(past.asked.lock().unwrap().len(), 2);
}
