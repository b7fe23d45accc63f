//! `.hosts`: what became of every host that the last statement meant.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt64Array};
use canvass_planner::desk::{Entry, State};
use canvass_planner::error::Error;
use canvass_protocol::limits::Cut;

use super::Command;
use crate::footer;
use crate::listing::{batch, maybe_texts, texts};
use crate::session::{Next, Session};

pub static COMMAND: Command =
    Command { name: "hosts", aliases: &[], takes: "", about: "what became of each host of the last statement", run };

fn run(session: &mut Session, _argument: &str) -> Result<Next, Error> {
    let (entries, away) = (&session.last.entries, &session.last.not_asked);
    if entries.is_empty() && away.is_empty() {
        return Err(Error::usage("no host was asked by the last statement"));
    }
    let number = |of: fn(&Entry) -> u64| -> ArrayRef {
        Arc::new(entries.iter().map(|entry| Some(of(entry))).chain(away.iter().map(|_| None)).collect::<UInt64Array>())
    };
    let endpoints = entries.iter().map(|entry| &entry.endpoint).chain(away.iter().map(|agent| &agent.endpoint));
    let states = entries.iter().map(|entry| footer::word(&entry.state)).chain(away.iter().map(|_| footer::NOT_ASKED));
    let rows = batch(vec![
        ("host", texts(endpoints.map(|endpoint| &endpoint.host))),
        ("state", texts(states)),
        ("rows", number(|entry| entry.rows)),
        ("examined", number(|entry| entry.scans.iter().map(|scan| scan.examined).sum())),
        ("bytes", number(|entry| entry.scans.iter().map(|scan| scan.bytes).sum())),
        ("cut", maybe_texts(entries.iter().map(cuts).chain(away.iter().map(|_| None)))),
        ("troubles", number(|entry| entry.scans.iter().map(|scan| scan.troubles_count).sum())),
        ("reason", maybe_texts(entries.iter().map(reason).chain(away.iter().map(|agent| Some(agent.reason.clone()))))),
    ])?;
    session.show(&rows)
}

fn cuts(entry: &Entry) -> Option<String> {
    let cuts: Vec<&str> = entry.scans.iter().filter_map(|scan| scan.cut).map(Cut::as_str).collect();
    (!cuts.is_empty()).then(|| cuts.join(", "))
}

/// Why there is no answer, or the troubles beside it.
fn reason(entry: &Entry) -> Option<String> {
    let mut reasons: Vec<String> = match &entry.state {
        State::Failed(why) | State::Refused(why) => vec![why.to_string()],
        _ => Vec::new(),
    };
    reasons.extend(entry.troubles.iter().cloned());
    for trouble in entry.scans.iter().flat_map(|scan| &scan.troubles) {
        let subject = trouble.subject.as_ref().map(|subject| format!("{subject}: ")).unwrap_or_default();
        reasons.push(format!("{subject}{}", trouble.reason));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
