//! Whom a statement asks, as its author meant it: names and tags that no agent has, and agents that are meant and not
//! asked.
//!
//! Without this an empty table would look the same whether nothing was found or nobody was asked.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use canvass_protocol::filter::{Filter, Is, Test};
use canvass_protocol::target::{Status, Target};
use canvass_protocol::value::Value;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use crate::error::closest;
use crate::fleet::Endpoint;
use crate::hosts::is_meant_for;
use crate::narrow::endpoint_table;
use crate::predicate::possible::meant;
use crate::provider::target_of;
use crate::warning::Warning;

/// Values and hosts named in a sentence; the rest is a count.
const NAMED_MAX: usize = 3;

/// Unknown values that are compared with all that there are.
const COMPARED_MAX: usize = 100;

/// Values of a fact that a hint lists.
const LISTED_MAX: usize = 8;

/// A scan's table, and the target that a statement gives it.
pub type Aimed = (&'static str, Target);

/// An agent that a statement means and does not ask.
#[derive(Debug, Clone, PartialEq)]
pub struct NotAsked {
    pub endpoint: Endpoint,
    /// A word or two: `idle`, `offline`.
    pub reason: String,
}

/// The targets of all scans of a plan, without what the desk adds by default.
pub fn targets(plan: &LogicalPlan) -> Result<Vec<Aimed>> {
    let mut targets = Vec::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(table) = endpoint_table(scan)
        {
            targets.push((table.info().name, target_of(&scan.filters, table)));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(targets)
}

/// The reason of an agent that nobody has certified, where only certified ones are asked.
const NOT_CERTIFIED: &str = "not certified";

/// Agents that a scan means but for their status, where the statement leaves that to the default, and those that are not
/// certified where they have to be.
pub fn not_asked(targets: &[Aimed], endpoints: &[Endpoint], online_only: bool, certified_only: bool) -> Vec<NotAsked> {
    let reason = |endpoint: &Endpoint| match endpoint.words.status {
        _ if certified_only && endpoint.standing.certified_by.is_none() => Some(NOT_CERTIFIED),
        status if online_only && status != Status::Online => Some(status.as_str()),
        _ => None,
    };
    let away = endpoints.iter().filter_map(|endpoint| Some((endpoint, reason(endpoint)?)));
    away.filter(|(endpoint, _)| targets.iter().any(|(_, target)| is_meant_for(target, endpoint)))
        .map(|(endpoint, reason)| NotAsked { endpoint: endpoint.clone(), reason: reason.to_owned() })
        .collect()
}

/// How many agents are not asked and why: `1 not asked: web-2 (idle)`, `312 not asked: 310 offline, 2 idle`.
pub fn in_words(not_asked: &[NotAsked]) -> Option<String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for agent in not_asked {
        groups.entry(&agent.reason).or_default().push(&agent.endpoint.host);
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, hosts)| std::cmp::Reverse(hosts.len()));
    let named = not_asked.len() <= NAMED_MAX;
    let groups = groups.iter().map(|(reason, hosts)| match named {
        true => format!("{} ({reason})", hosts.join(", ")),
        false => format!("{} {reason}", hosts.len()),
    });
    let groups: Vec<String> = groups.collect();
    (!not_asked.is_empty()).then(|| format!("{} not asked: {}", not_asked.len(), groups.join(", ")))
}

/// What there is to say of a statement's targets.
#[derive(Default)]
pub struct Judged {
    pub warnings: Vec<Warning>,
    /// The statement asks nobody, and its own words are why: there is no answer that an empty table could be.
    pub nobody: bool,
}

/// Compares targets with the inventory. `typed` are those that the statement spells, `narrowed` what data that it compares
/// hosts with left of them; `asked` says whether anybody is asked in the end.
pub fn judge(
    typed: &[Aimed],
    narrowed: &[Aimed],
    not_asked: &[NotAsked],
    endpoints: &[Endpoint],
    asked: bool,
) -> Judged {
    if typed.is_empty() {
        return Judged { warnings: Vec::new(), nobody: false };
    }
    let mut inventory = Inventory { endpoints, values: HashMap::new() };
    let matches = |target: &Target| endpoints.iter().any(|endpoint| is_meant_for(target, endpoint));
    if asked {
        let mut warnings = inventory.unknown(typed);
        // Where a value is unknown, that is said already.
        let told = !warnings.is_empty();
        let mut empty: Vec<&Aimed> = typed.iter().filter(|(_, target)| !told && !matches(target)).collect();
        empty.dedup();
        warnings.extend(
            empty
                .into_iter()
                .map(|(table, target)| Warning::new(format!("no agent matches for `{table}`: {}", words(target)))),
        );
        return Judged { warnings, nobody: false };
    }
    if endpoints.is_empty() {
        return Judged { warnings: vec![Warning::new("nobody is asked: the fleet has no agents")], nobody: true };
    }
    if !not_asked.is_empty() {
        let (is, them) = if not_asked.len() == 1 {
            ("the only agent that matches is", "it")
        } else {
            ("all that match are", "them")
        };
        let reasons: BTreeSet<&str> = not_asked.iter().map(|agent| agent.reason.as_str()).collect();
        let reasons: Vec<&str> = reasons.into_iter().collect();
        if reasons.contains(&NOT_CERTIFIED) {
            let warning = Warning::new(format!("nobody is asked: {is} {}", reasons.join(" or ")))
                .hint("`.approve NAME` certifies an agent; SET canvass.certified = 'any' asks those too that nobody has certified");
            return Judged { warnings: vec![warning], nobody: true };
        }
        let statuses: Vec<String> = ["online"].iter().chain(&reasons).map(|status| format!("'{status}'")).collect();
        let warning = Warning::new(format!("nobody is asked: {is} {}", reasons.join(" or ")))
            .hint(format!("to ask {them} all the same, add AND agent.status IN ({})", statuses.join(", ")));
        return Judged { warnings: vec![warning], nobody: true };
    }
    if typed.iter().any(|(_, target)| matches(target)) {
        let empty = narrowed.iter().any(|(_, target)| target.is_some());
        let why = if empty {
            "no agent is among the hosts that the statement takes from elsewhere"
        } else {
            "no agent is online"
        };
        return Judged { warnings: vec![Warning::new(format!("nobody is asked: {why}"))], nobody: false };
    }
    let mut seen = Vec::new();
    for (_, target) in typed {
        let words = words(target);
        if !seen.contains(&words) {
            seen.push(words);
        }
    }
    let warning = Warning::new(format!("no agent matches: {}", seen.join("; ")));
    let hints: Vec<String> = inventory.unknown(typed).into_iter().filter_map(|warning| warning.hint).collect();
    let warning = match hints.is_empty() {
        true => warning.hint("`.agents` lists the fleet"),
        false => warning.hint(hints.join("; ")),
    };
    Judged { warnings: vec![warning], nobody: true }
}

/// The values that agents have, by fact.
struct Inventory<'a> {
    endpoints: &'a [Endpoint],
    values: HashMap<String, HashSet<&'a str>>,
}

impl<'a> Inventory<'a> {
    /// What targets compare facts with that no agent has, a warning for each fact.
    fn unknown(&mut self, targets: &[Aimed]) -> Vec<Warning> {
        let mut unknown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for filter in targets.iter().filter_map(|(_, target)| target.as_ref()) {
            filter.for_each_test(&mut |test| {
                let values = self.values(&test.column);
                let Some(values) = values else { return };
                let missing = constants(&test.is).into_iter().filter(|constant| !values.contains(constant));
                let missing: Vec<String> = missing.map(str::to_owned).collect();
                if !missing.is_empty() {
                    unknown.entry(test.column.clone()).or_default().extend(missing);
                }
            });
        }
        unknown.iter().map(|(column, values)| self.warning(column, values)).collect()
    }

    /// All values of a fact; none where a constant that is no agent's value says nothing.
    fn values(&mut self, column: &str) -> Option<&HashSet<&'a str>> {
        let of = |endpoint: &'a Endpoint| -> Vec<&'a str> {
            let facts = &endpoint.facts;
            match column {
                // A second claimant of a name goes by another.
                "name" => vec![&facts.name, &endpoint.host],
                "id" => vec![&facts.id],
                "os" => vec![&facts.os],
                "arch" => vec![&facts.arch],
                tag => tag
                    .strip_prefix("tags.")
                    .and_then(|key| facts.tags.get(key))
                    .map(String::as_str)
                    .into_iter()
                    .collect(),
            }
        };
        if !matches!(column, "name" | "id" | "os" | "arch") && !column.starts_with("tags.") {
            return None;
        }
        let endpoints = self.endpoints;
        Some(self.values.entry(column.to_owned()).or_insert_with(|| endpoints.iter().flat_map(of).collect()))
    }

    fn warning(&mut self, column: &str, unknown: &BTreeSet<String>) -> Warning {
        let known: BTreeSet<&str> =
            self.values(column).map(|values| values.iter().copied().collect()).unwrap_or_default();
        if let (Some(key), true) = (column.strip_prefix("tags."), known.is_empty()) {
            return self.unknown_key(key);
        }
        let shown: Vec<String> = unknown.iter().take(NAMED_MAX).map(|value| quoted(value)).collect();
        let more = match unknown.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let message = format!("no agent has {} = {}{more}", spelled(column), shown.join(", "));
        let close = |value: &str| match column {
            "name" => host_like(value, &known),
            _ => meant(value, &known.iter().copied().collect::<Vec<_>>()),
        };
        let close = unknown.iter().take(COMPARED_MAX).filter_map(|value| Some((value, close(value)?)));
        let close: Vec<String> = match unknown.len() {
            1 => close.map(|(_, meant)| quoted(meant)).collect(),
            _ => {
                close.take(NAMED_MAX).map(|(value, meant)| format!("{} by {}", quoted(meant), quoted(value))).collect()
            }
        };
        let warning = Warning::new(message);
        if !close.is_empty() {
            warning.hint(format!("did you mean {}?", close.join(", ")))
        } else if column == "name" || column == "id" {
            warning.hint("`.agents` lists the fleet")
        } else if known.len() <= LISTED_MAX {
            let known: Vec<String> = known.into_iter().map(quoted).collect();
            warning.hint(format!("agents have {} = {}", spelled(column), known.join(", ")))
        } else {
            warning.hint("`.agents` lists the fleet")
        }
    }

    fn unknown_key(&self, key: &str) -> Warning {
        let keys: BTreeSet<&str> =
            self.endpoints.iter().flat_map(|endpoint| endpoint.facts.tags.keys()).map(String::as_str).collect();
        let warning = Warning::new(format!("no agent has a tag {}", quoted(key)));
        match meant(key, &keys.iter().copied().collect::<Vec<_>>()) {
            Some(close) => warning.hint(format!("did you mean agent.tags[{}]?", quoted(close))),
            None if keys.is_empty() => {
                warning.hint("agents have no tags at all; they come from each agent's configuration")
            }
            None => {
                let keys: Vec<String> = keys.into_iter().take(LISTED_MAX).map(quoted).collect();
                warning.hint(format!("agents have tags {}", keys.join(", ")))
            }
        }
    }
}

/// The host that was meant: spelled nearly so, or without its domain.
fn host_like<'a>(typed: &str, known: &BTreeSet<&'a str>) -> Option<&'a str> {
    let small = typed.trim().to_lowercase();
    let first = |name: &str| name.split('.').next().map(str::to_lowercase);
    let same = known.iter().find(|name| name.to_lowercase() == small);
    let by_label = || known.iter().find(|name| first(name) == first(&small));
    same.or_else(by_label).copied().or_else(|| closest(&small, known.iter().copied()))
}

/// The texts that a test compares with.
fn constants(is: &Is) -> Vec<&str> {
    let values = match is {
        Is::Equal(value) | Is::NotEqual(value) => std::slice::from_ref(value),
        Is::In(values) => values.as_slice(),
        _ => &[],
    };
    fn text(value: &Value) -> Option<&str> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
    values.iter().filter_map(text).collect()
}

/// A target as a statement spells it.
fn words(target: &Target) -> String {
    target.as_ref().map_or("every agent".to_owned(), |filter| in_sql(filter).to_string())
}

fn in_sql(filter: &Filter) -> Filter {
    let all = |parts: &[Filter]| parts.iter().map(in_sql).collect();
    match filter {
        Filter::All(parts) => Filter::All(all(parts)),
        Filter::Any(parts) => Filter::Any(all(parts)),
        Filter::Not(inner) => Filter::Not(Box::new(in_sql(inner))),
        Filter::Test(test) => Filter::Test(Test { column: spelled(&test.column), is: test.is.clone() }),
    }
}

/// A column of a target as a statement spells it.
fn spelled(column: &str) -> String {
    match column.strip_prefix("tags.") {
        Some(key) => format!("agent.tags[{}]", quoted(key)),
        None if column == "name" => "host".to_owned(),
        None => format!("agent.{column}"),
    }
}

fn quoted(text: &str) -> String {
    Value::Text(text.to_owned()).to_string()
}
