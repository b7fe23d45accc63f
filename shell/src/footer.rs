//! What became of every endpoint asked, in one line that always adds up, and what went wrong beside the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use canvass_planner::desk::{Entry, State};
use canvass_planner::whom::{self, NotAsked};
use canvass_protocol::limits::Cut;
use jiff::Timestamp;

use crate::error::Exit;
use crate::render::escape::visible;

/// Groups of troubles shown; the rest is a count.
const TROUBLES_SHOWN: usize = 5;
/// Hosts named in a group; the rest is a count.
const HOSTS_SHOWN: usize = 3;

/// Endpoints by state. The parts are the hosts asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    pub asked: usize,
    /// Hosts that a row came from.
    pub with_rows: usize,
    pub answered: usize,
    pub failed: usize,
    pub refused: usize,
    pub interrupted: usize,
    pub expired: usize,
    pub cancelled: usize,
    pub waiting: usize,
}

impl Tally {
    /// Counts entries, never a counter that could drift.
    pub fn of(entries: &[Entry]) -> Tally {
        let mut tally = Tally { asked: entries.len(), ..Tally::default() };
        for entry in entries {
            tally.with_rows += usize::from(entry.rows > 0);
            *match entry.state {
                State::Answered => &mut tally.answered,
                State::Failed(_) => &mut tally.failed,
                State::Refused(_) => &mut tally.refused,
                State::Interrupted => &mut tally.interrupted,
                State::Expired => &mut tally.expired,
                State::Cancelled => &mut tally.cancelled,
                State::Waiting => &mut tally.waiting,
            } += 1;
        }
        tally
    }

    /// The parts, answered always and the others where there are any.
    fn parts(&self, expires: Option<Timestamp>) -> String {
        let mut parts = vec![format!("{} answered", self.answered)];
        let others = [
            (self.failed, "failed"),
            (self.refused, "refused"),
            (self.interrupted, "interrupted"),
            (self.expired, "expired"),
            (self.cancelled, "cancelled"),
        ];
        parts.extend(others.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
        if self.waiting > 0 {
            let expires = expires.map(|at| format!(" (expires {})", at.strftime("%H:%M"))).unwrap_or_default();
            parts.push(format!("{} waiting{expires}", self.waiting));
        }
        parts.join(", ")
    }
}

/// What `.hosts` shows as the state of a host that was meant and not asked.
pub const NOT_ASKED: &str = "not asked";

/// The state's name as `.hosts` shows it.
pub fn word(state: &State) -> &'static str {
    match state {
        State::Answered => "answered",
        State::Failed(_) => "failed",
        State::Refused(_) => "refused",
        State::Interrupted => "interrupted",
        State::Expired => "expired",
        State::Cancelled => "cancelled",
        State::Waiting => "waiting",
    }
}

/// The footer's line; `None` where the statement asks no endpoint. Hosts that were not asked are told beside the parts, which
/// add up to the hosts asked.
pub fn line(
    rows: usize,
    asked: Option<(&Tally, Option<Timestamp>)>,
    not_asked: &[NotAsked],
    elapsed: Duration,
) -> String {
    let rows = format!("{rows} row{}", if rows == 1 { "" } else { "s" });
    let seconds = format!("{:.1} s", elapsed.as_secs_f64());
    match asked {
        None => format!("{rows} · {seconds}"),
        Some((tally, expires)) => {
            let (with_rows, meant, parts) = (tally.with_rows, tally.asked + not_asked.len(), tally.parts(expires));
            let away = whom::in_words(not_asked).map(|words| format!(" · {}", visible(&words))).unwrap_or_default();
            format!("{rows} from {with_rows} of {meant} hosts · {parts}{away} · {seconds}")
        }
    }
}

/// What the entries mean for the exit code.
pub fn exit(entries: &[Entry]) -> Exit {
    let one = |entry: &Entry| match entry.state {
        State::Answered if entry.scans.iter().any(|scan| scan.cut.is_some()) => Exit::Cut,
        State::Answered | State::Cancelled => Exit::Complete,
        _ => Exit::Incomplete,
    };
    entries.iter().map(one).max().unwrap_or_default()
}

/// One sentence where the result was cut short: by what, and on which hosts.
pub fn cut(entries: &[Entry]) -> Option<String> {
    let mut hosts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries {
        for cut in entry.scans.iter().filter_map(|scan| scan.cut) {
            hosts.entry(reason(cut)).or_default().insert(&entry.endpoint.host);
        }
        // Rows whose final record never came may not be all.
        if entry.rows > 0 && !matches!(entry.state, State::Answered | State::Cancelled) {
            hosts.entry("an answer without its end").or_default().insert(&entry.endpoint.host);
        }
    }
    let reasons: Vec<String> =
        hosts.iter().map(|(reason, hosts)| format!("{reason} on {}", name_some(hosts))).collect();
    (!reasons.is_empty()).then(|| format!("cut short by {}: rows may be missing", reasons.join(", ")))
}

fn reason(cut: Cut) -> &'static str {
    match cut {
        Cut::Stopped => "a stop",
        Cut::Crashed => "a crash of the scan",
        limit => limit.as_str(),
    }
}

/// Failures, refusals and what the desk found wrong, grouped over hosts.
pub fn warnings(entries: &[Entry]) -> Vec<String> {
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for entry in entries {
        let sentence = match &entry.state {
            State::Failed(why) => Some(format!("failed: {why}")),
            State::Refused(why) => Some(format!("refused: {why}")),
            State::Interrupted => Some("interrupted: the agent had begun this action before".to_owned()),
            _ => None,
        };
        for sentence in sentence.into_iter().chain(entry.troubles.iter().cloned()) {
            groups.entry(sentence).or_default().insert(&entry.endpoint.host);
        }
    }
    grouped(&groups)
}

/// Troubles of the scans: how many on how many hosts, and the first few.
pub fn troubles(entries: &[Entry]) -> Vec<String> {
    let count: u64 = entries.iter().flat_map(|entry| &entry.scans).map(|scan| scan.troubles_count).sum();
    if count == 0 {
        return Vec::new();
    }
    let mut groups: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    let mut troubled: BTreeSet<&str> = BTreeSet::new();
    for entry in entries {
        for scan in entry.scans.iter().filter(|scan| scan.troubles_count > 0) {
            troubled.insert(&entry.endpoint.facts.id);
            for trouble in &scan.troubles {
                let subject = trouble.subject.as_ref().map(|subject| format!("{subject}: ")).unwrap_or_default();
                groups.entry(format!("{subject}{}", trouble.reason)).or_default().insert(&entry.endpoint.host);
            }
        }
    }
    let plural = if count == 1 { "" } else { "s" };
    let mut lines = vec![format!("{count} trouble{plural} on {} of {} hosts:", troubled.len(), entries.len())];
    lines.extend(grouped(&groups).into_iter().map(|line| format!("  {line}")));
    lines
}

/// The groups with most hosts first, each on one line, nothing in them obeyed by a terminal.
fn grouped(groups: &BTreeMap<String, BTreeSet<&str>>) -> Vec<String> {
    let mut order: Vec<_> = groups.iter().collect();
    order.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    let mut lines: Vec<String> = order
        .iter()
        .take(TROUBLES_SHOWN)
        .map(|(sentence, hosts)| format!("{} ({})", visible(sentence), name_some(hosts)))
        .collect();
    if order.len() > TROUBLES_SHOWN {
        lines.push(format!("… and {} more kinds; `.hosts` lists them by host", order.len() - TROUBLES_SHOWN));
    }
    lines
}

fn name_some(hosts: &BTreeSet<&str>) -> String {
    let names: Vec<_> = hosts.iter().take(HOSTS_SHOWN).map(|host| visible(host)).collect();
    match hosts.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// The completeness record that formats with metadata carry.
pub fn completeness(entries: &[Entry], not_asked: &[NotAsked], action: Option<&str>) -> String {
    let tally = Tally::of(entries);
    let mut why: BTreeMap<&str, usize> = BTreeMap::new();
    not_asked.iter().for_each(|agent| *why.entry(&agent.reason).or_default() += 1);
    serde_json::json!({
        "action": action, "asked": tally.asked, "answered": tally.answered, "failed": tally.failed,
        "refused": tally.refused, "interrupted": tally.interrupted, "expired": tally.expired,
        "cancelled": tally.cancelled, "waiting": tally.waiting, "not_asked": not_asked.len(),
        "not_asked_because": why, "cut": cut(entries),
    })
    .to_string()
}

#[cfg(test)]
mod tests;
