//! What decides on the endpoint whether an envelope runs: ten steps, in an order in which nothing is believed before it
//! is verified and nothing is used up before all else is granted.

use canvass_protocol::acl::Denied;
use canvass_protocol::action::{Action, ActionError, Window};
use canvass_protocol::envelope::{Envelope, EnvelopeError};
use canvass_protocol::features;
use canvass_protocol::filter::Is;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::openpgp::{Fingerprint, Keyring};
use canvass_protocol::reason::Code;
use canvass_protocol::scan::Scan;
use canvass_protocol::target::{Facts, Targets, TooLarge};
use canvass_protocol::value::Truth;
use canvass_tables::column::Class;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use crate::cage::{Report, SCANS_AT_ONCE};
use crate::journal::{Begun, Content, Journal, JournalRefusal, Run};
use crate::policy::Policy;

/// What the guard judges by.
pub struct Guard<'a> {
    pub policy: &'a Policy,
    pub fleet: &'a str,
    pub facts: &'a Facts,
    pub journal: &'a dyn Journal,
    /// What scans' processes were found to lack, where the policy asks for it.
    pub cage: Option<&'a Report>,
    /// Whoever asks is whose machine it is: what may hold secrets needs no entry of its own in the policy.
    pub own: bool,
    pub now: Timestamp,
}

/// An action that may run: it is noted in the journal already.
#[derive(Debug)]
pub struct Accepted {
    pub action: Action,
    /// One a scan of the action, in its order; `None` where the scan's own target is not this agent.
    pub permits: Vec<Option<Permit>>,
    /// Clamped by policy.
    pub limits: Limits,
    /// How many may work on each scan.
    pub threads: NonZeroUsize,
    /// How many scans may run side by side.
    pub scans_at_once: usize,
    pub begun: Begun,
}

/// What a scan may not see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permit {
    /// Columns of the scan's table that are NULL for it.
    pub withheld: Vec<String>,
}

/// Why an action does not run; its words are what the signed answer says.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Size(#[from] EnvelopeError),
    #[error("the policy of this agent cannot be read{}", reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default())]
    PolicyUnreadable { reason: Option<String> },
    #[error("no signature counts: {}", reasons(rejected))]
    Signatures { rejected: Vec<String> },
    #[error(transparent)]
    Action(#[from] ActionError),
    #[error("the action is for fleet `{named}`, which is not this agent's")]
    Fleet { named: String },
    #[error("the policy of this agent names another fleet since the agent was started; it has to be started again")]
    FleetChanged,
    #[error("the window opens at {from}; by this agent's clock it is {now}")]
    NotYet { from: Timestamp, now: Timestamp },
    #[error("the action expired at {until}; by this agent's clock it is {now}")]
    Expired { until: Timestamp, now: Timestamp },
    #[error("the window is {window_s} s long; this agent allows at most {max_s} s")]
    WindowTooLong { window_s: i64, max_s: i64 },
    #[error(transparent)]
    Targets(#[from] TooLarge),
    #[error("this agent is not in the action's target")]
    NotTarget,
    #[error("this agent does not know {}", lacking.join(", "))]
    Unsupported { lacking: Vec<String> },
    #[error("module {module} is disabled by policy")]
    Disabled { module: String },
    #[error("{module} is refused, because the policy of this agent has a name that means nothing; its log says which")]
    Slip { module: String },
    #[error("the policy of this agent asks for a whole cage (`require_cage`), and {lacking}")]
    Cage { lacking: String },
    #[error(transparent)]
    Weight(#[from] Denied),
    #[error(
        "the action has {asked} predicates over contents; this agent allows {max} (`limits.content_predicates` of its policy)"
    )]
    ContentPredicates { asked: u64, max: u64 },
    #[error(transparent)]
    Journal(#[from] JournalRefusal),
}

impl Refusal {
    /// What kind of refusal it is, for programs.
    pub fn code(&self) -> Code {
        match self {
            Refusal::Size(_) | Refusal::Targets(_) => Code::Size,
            Refusal::Signatures { .. } => Code::Signature,
            Refusal::Action(error) => error.code(),
            Refusal::Fleet { .. } | Refusal::FleetChanged => Code::Fleet,
            Refusal::NotYet { .. } | Refusal::Expired { .. } | Refusal::WindowTooLong { .. } => Code::Window,
            Refusal::NotTarget => Code::Target,
            Refusal::Unsupported { .. } => Code::Unsupported,
            Refusal::PolicyUnreadable { .. } | Refusal::Disabled { .. } | Refusal::Slip { .. } => Code::Policy,
            Refusal::Cage { .. } => Code::Cage,
            Refusal::Weight(Denied::Weight { .. }) => Code::Weight,
            Refusal::Weight(_) => Code::Policy,
            Refusal::ContentPredicates { .. } | Refusal::Journal(JournalRefusal::ContentSpent { .. }) => Code::Budget,
            Refusal::Journal(JournalRefusal::AlreadyRun | JournalRefusal::Interrupted) => Code::Ended,
            Refusal::Journal(JournalRefusal::Running) => Code::Running,
            Refusal::Journal(
                JournalRefusal::BelowFloor { .. }
                | JournalRefusal::JournalLost { .. }
                | JournalRefusal::Full
                | JournalRefusal::FullOfOne { .. }
                | JournalRefusal::Unwritable(_),
            ) => Code::Journal,
        }
    }
}

fn reasons(rejected: &[String]) -> String {
    if rejected.is_empty() { "the action is not signed".into() } else { rejected.join("; ") }
}

impl Guard<'_> {
    /// Decides. What is refused is not used up; what is accepted never runs again.
    pub fn admit(&self, envelope: &Envelope) -> Result<Accepted, Refusal> {
        self.admit_signed(envelope, verify(&self.policy.keyring, envelope, self.now)?)
    }

    /// Decides on an envelope whose signers are known: verified by this policy's keyring, and lately.
    pub fn admit_signed(&self, envelope: &Envelope, signers: BTreeSet<Fingerprint>) -> Result<Accepted, Refusal> {
        let action = parse(envelope, self.fleet)?;
        check_window(action.window, self.now, self.policy.window_s_max)?;
        let asked = judge_targets(&action, self.facts)?;
        check_features(&action, self.facts, &asked)?;
        check_cage(self.cage)?;
        let permits = self.weigh(&action, &asked, &signers)?;
        let content = Content { predicates: self.count_content(&action, &asked)?, signers };
        let day_max = self.policy.content_predicates_day_max;
        let begun = self.journal.begin(Run::of(envelope.hash()), action.window, &content, day_max, self.now)?;
        let limits = action.limits.clamp(self.policy.ceiling);
        let scans_at_once = self.policy.concurrency.map_or(SCANS_AT_ONCE, |most| most.get().min(SCANS_AT_ONCE));
        Ok(Accepted { action, permits, limits, threads: self.policy.threads(), scans_at_once, begun })
    }

    /// Weighs the distinct signers against every module that this agent is asked to use.
    fn weigh(
        &self,
        action: &Action,
        asked: &[bool],
        signers: &BTreeSet<Fingerprint>,
    ) -> Result<Vec<Option<Permit>>, Refusal> {
        let weigh = |(scan, asked): (&Scan, &bool)| {
            if *asked { weigh_scan(self.policy, scan, signers, self.own).map(Some) } else { Ok(None) }
        };
        action.scans.iter().zip(asked).map(weigh).collect()
    }

    /// How many predicates over contents this agent is asked to decide, where policy allows so many.
    fn count_content(&self, action: &Action, asked: &[bool]) -> Result<u64, Refusal> {
        let scans = action.scans.iter().zip(asked).filter(|(_, asked)| **asked);
        let (asked, max) = (scans.map(|(scan, _)| content_predicates(scan)).sum(), self.policy.content_predicates_max);
        if asked > max { Err(Refusal::ContentPredicates { asked, max }) } else { Ok(asked) }
    }
}

/// Who signed an envelope that is not too large, by the keyring.
pub fn verify(keyring: &Keyring, envelope: &Envelope, now: Timestamp) -> Result<BTreeSet<Fingerprint>, Refusal> {
    envelope.check_sizes()?;
    let verdict = keyring.verify(envelope.payload.as_bytes(), &envelope.signatures, now);
    if verdict.signers.is_empty() {
        return Err(Refusal::Signatures { rejected: verdict.rejected });
    }
    Ok(verdict.signers)
}

/// Reads an action that was verified.
pub fn parse(envelope: &Envelope, fleet: &str) -> Result<Action, Refusal> {
    let action = Action::parse(envelope.payload.as_bytes())?;
    if action.fleet != fleet {
        return Err(Refusal::Fleet { named: action.fleet });
    }
    Ok(action)
}

fn check_window(window: Window, now: Timestamp, max_s: i64) -> Result<(), Refusal> {
    let skew_ns = i128::from(limits::CLOCK_SKEW_S) * 1_000_000_000;
    let (from_ns, until_ns, now_ns) = (window.from.as_nanosecond(), window.until.as_nanosecond(), now.as_nanosecond());
    if now_ns + skew_ns < from_ns {
        return Err(Refusal::NotYet { from: window.from, now });
    }
    if now_ns - skew_ns > until_ns {
        return Err(Refusal::Expired { until: window.until, now });
    }
    if until_ns - from_ns > i128::from(max_s) * 1_000_000_000 {
        let window_s = window.until.as_second() - window.from.as_second();
        return Err(Refusal::WindowTooLong { window_s, max_s });
    }
    Ok(())
}

/// Which scans are put to this agent: the server's words are unknown here, and only what is false is not. None refuses.
///
/// This is done in no cage and before anybody is weighed, so each target is compiled once and all of them stay small.
fn judge_targets(action: &Action, facts: &Facts) -> Result<Vec<bool>, Refusal> {
    let asked: Vec<bool> =
        Targets::of(action)?.each(facts, None).into_iter().map(|meant| meant != Truth::False).collect();
    if asked.contains(&true) { Ok(asked) } else { Err(Refusal::NotTarget) }
}

/// Refuses what this agent does not list among its features, whatever else would become of it.
fn check_features(action: &Action, facts: &Facts, asked: &[bool]) -> Result<(), Refusal> {
    let lacking = features::lacking(action, &facts.features, |place, _| asked[place]);
    if lacking.is_empty() { Ok(()) } else { Err(Refusal::Unsupported { lacking }) }
}

/// Refuses to scan in a cage that is not whole.
fn check_cage(cage: Option<&Report>) -> Result<(), Refusal> {
    match cage.filter(|report| !report.is_whole()) {
        Some(report) => Err(Refusal::Cage { lacking: report.words() }),
        None => Ok(()),
    }
}

fn weigh_scan(policy: &Policy, scan: &Scan, signers: &BTreeSet<Fingerprint>, own: bool) -> Result<Permit, Refusal> {
    // A table that this version does not know is weighed under its own name; its process says that it cannot run.
    let table = canvass_tables::find(&scan.table);
    let module = table.map_or(scan.table.as_str(), |table| table.info().module.name);
    if policy.disabled_modules.contains(module) {
        return Err(Refusal::Disabled { module: module.to_owned() });
    }
    if policy.slips.refuse(module, &scan.table, policy.acl.has_entry(module)) {
        return Err(Refusal::Slip { module: module.to_owned() });
    }
    policy.acl.judge(module, signers)?;
    let mut permit = Permit::default();
    for column in used(scan) {
        let info = table.and_then(|table| table.column(column));
        let secret = !own && info.is_some_and(|info| info.secret);
        let Err(denied) = weigh_column(policy, module, &scan.table, column, signers, secret) else { continue };
        match info.map(|info| info.class) {
            // A predicate over what is withheld would keep no row, which looks as if there were none.
            Some(Class::Sensitive) if !(secret && tests(scan, column)) => permit.withheld.push(column.to_owned()),
            _ => return Err(denied.into()),
        }
    }
    let of_table = |name: &String| name.strip_prefix(&scan.table)?.strip_prefix('.').map(str::to_owned);
    permit.withheld.extend(policy.withheld_columns.iter().filter_map(of_table));
    permit.withheld.sort();
    permit.withheld.dedup();
    Ok(permit)
}

/// Weighs a column that has an entry of its own, as `module.column` or `table.column`; a `secret` one has to have it, or its
/// table a module of its own with an entry.
fn weigh_column(
    policy: &Policy,
    module: &str,
    table: &str,
    column: &str,
    signers: &BTreeSet<Fingerprint>,
    secret: bool,
) -> Result<(), Denied> {
    let mut names = BTreeSet::from([format!("{module}.{column}"), format!("{table}.{column}")]);
    names.retain(|name| policy.acl.has_entry(name));
    if secret && names.is_empty() && !(module == table && policy.acl.has_entry(module)) {
        return Err(Denied::Secret { column: format!("{table}.{column}") });
    }
    names.iter().try_for_each(|name| policy.acl.judge(name, signers))
}

/// Whether a scan's filter has a test of a column.
fn tests(scan: &Scan, column: &str) -> bool {
    let mut found = false;
    if let Some(filter) = &scan.filter {
        filter.for_each_test(&mut |test| found |= test.column == column);
    }
    found
}

/// The tests of a scan's filter over columns that hold contents.
fn content_predicates(scan: &Scan) -> u64 {
    let Some(table) = canvass_tables::find(&scan.table) else { return 0 };
    let mut count: u64 = 0;
    if let Some(filter) = &scan.filter {
        filter.for_each_test(&mut |test| {
            if table.column(&test.column).is_some_and(|column| column.class == Class::Content) {
                count = count.saturating_add(predicates(scan, &test.is));
            }
        });
    }
    count
}

/// How many predicates a test is: each value of a list and each pattern of a set is a guess.
fn predicates(scan: &Scan, is: &Is) -> u64 {
    // No arm takes what is left: a new kind of test has to say how many guesses it is.
    let count = match is {
        Is::In(values) => values.len(),
        Is::InSet(set) => scan.sets.get(set).map_or(1, Vec::len),
        Is::MatchesAny(set) => scan.patterns.get(set).map_or(1, |set| set.patterns.len()),
        // Nobody can tell how many values it was made of, but that each has a bit of its own at best.
        Is::InBloom(set) => scan.blooms.get(set).map_or(1, |bloom| 8 * bloom.bits.len()),
        Is::Equal(_)
        | Is::NotEqual(_)
        | Is::Less(_)
        | Is::LessOrEqual(_)
        | Is::Greater(_)
        | Is::GreaterOrEqual(_)
        | Is::Like(_)
        | Is::Matches(_)
        | Is::EveryLine(_)
        | Is::Under(_)
        | Is::Null
        | Is::Private
        | Is::Loopback
        | Is::Version(_) => 1,
    };
    count as u64
}

/// Every column that the scan's answer, filter, groups, order or keys name.
fn used(scan: &Scan) -> BTreeSet<&str> {
    let mut used: BTreeSet<&str> = scan.columns.iter().map(String::as_str).collect();
    if let Some(aggregate) = &scan.aggregate {
        used.extend(aggregate.group_by.iter().map(String::as_str));
        used.extend(aggregate.functions.iter().filter_map(|call| call.column.as_deref()));
    }
    used.extend(scan.order.iter().map(|order| order.column.as_str()));
    used.extend(scan.depends_on.iter().flat_map(|depends_on| &depends_on.on).map(|pair| pair.column.as_str()));
    if let Some(filter) = &scan.filter {
        filter.for_each_test(&mut |test| {
            used.insert(&test.column);
        });
    }
    used
}

#[cfg(test)]
mod tests;
