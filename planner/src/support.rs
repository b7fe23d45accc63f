//! What agents, and this desk, know of what an action uses: said before it is signed, and before it is put together again.

use std::collections::BTreeMap;

use canvass_protocol::action::Action;
use canvass_protocol::features;
use canvass_protocol::reason::{Code, Reason};

use crate::account::{Account, State};
use crate::error::Error;
use crate::fleet::Endpoint;
use crate::hosts::is_meant_for;

/// Hosts named of those that will refuse; the rest is a count.
const HOSTS_SHOWN: usize = 3;

/// The one statement of an action that was asked at a prompt, where this version can put its answers together.
pub fn sql_of(action: &Action) -> Result<&str, Error> {
    let newer = |what: String| Error::usage(format!("this action {what}")).hint("use the version that asked");
    let uses = features::of_action(action).into_iter().chain(action.scans.iter().flat_map(features::of_scan));
    if let Some(wire) = uses.filter(|wire| !features::KNOWN.contains(wire)).min() {
        return Err(newer(format!("uses `{}`, which this version does not know", wire.as_str())));
    }
    match action.statements.as_slice() {
        [statement] => Ok(&statement.sql),
        many => Err(newer(format!("has {} statements; this version reads one", many.len()))),
    }
}

/// Who will refuse an action, and for want of what: a sentence for each want.
pub fn refusals(action: &Action, asked: &[Endpoint]) -> Vec<String> {
    let mut hosts: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for endpoint in asked {
        if let Some(lacking) = lacking(action, endpoint) {
            hosts.entry(lacking).or_default().push(&endpoint.host);
        }
    }
    let sentence = |(lacking, hosts): (String, Vec<&str>)| {
        let shown = hosts.iter().take(HOSTS_SHOWN).copied().collect::<Vec<_>>().join(", ");
        let more = hosts.len().saturating_sub(HOSTS_SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{shown}{more} cannot answer: the agent does not know {lacking}")
    };
    hosts.into_iter().map(sentence).collect()
}

/// Counts as refused who will refuse. What such an agent says all the same, signed, counts more.
pub fn refuse(action: &Action, account: &Account) {
    for (index, entry) in account.entries().iter().enumerate() {
        if let Some(lacking) = lacking(action, &entry.endpoint) {
            let reason = Reason::new(Code::Unsupported, format!("the agent does not know {lacking}"));
            account.update(index, |entry| entry.state = State::Refused(reason));
        }
    }
}

/// What of an action an endpoint lacks, by the features that it lists, in words. One that lists none says nothing, and is
/// asked.
fn lacking(action: &Action, endpoint: &Endpoint) -> Option<String> {
    let features = &endpoint.facts.features;
    if features.is_empty() {
        return None;
    }
    let lacking = features::lacking(action, features, |_, scan| is_meant_for(&scan.target, endpoint));
    (!lacking.is_empty()).then(|| lacking.join(", "))
}
