//! Which agents a scan is for, and the one evaluator that desk, server and agent share.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::filter::{Filter, Is, Test};
use crate::matcher::TextMatcher;
use crate::members::Members;
use crate::value::{Truth, Value};

/// What an agent states about itself, signed with its own key. A later agent may state more.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Hash of the agent's public key, 64 hexadecimal digits.
    pub id: String,
    /// The endpoint's host name.
    pub name: String,
    pub mode: Mode,
    /// `linux` or `darwin`, as the kernel names itself.
    pub os: String,
    /// As Rust names it: `x86_64`, `aarch64` …
    pub arch: String,
    pub os_version: Option<String>,
    pub kernel: Option<String>,
    /// Version of the agent program.
    pub version: String,
    /// From the agent's own configuration only.
    #[serde(deserialize_with = "crate::strict::map")]
    pub tags: BTreeMap<String, String>,
    pub addresses: Vec<IpAddr>,
    /// What the agent can do, each `kind:name`, sorted: `table:files` … See [`crate::features`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "crate::features::read")]
    pub features: Vec<String>,
    pub started_at: Timestamp,
    #[serde(flatten)]
    pub more: Members,
}

/// How an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Daemon,
    Checkin,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Daemon => "daemon",
            Mode::Checkin => "checkin",
        }
    }
}

/// What the server says of an agent; no agent can vouch for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerWords {
    pub status: Status,
    pub heartbeat_at: Timestamp,
    pub public_ip: Option<IpAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Online,
    Idle,
    Offline,
}

impl Status {
    pub const ALL: [Status; 3] = [Status::Online, Status::Idle, Status::Offline];

    pub fn as_str(self) -> &'static str {
        match self {
            Status::Online => "online",
            Status::Idle => "idle",
            Status::Offline => "offline",
        }
    }
}

/// An expression over `agent.*`: columns are the facts' names, and `tags.KEY` for a tag.
///
/// `None` is every agent.
pub type Target = Option<Filter>;

/// Evaluates a target on an agent's facts: `True` where it is asked, `False` where it is not, `Unknown` where that
/// hangs on the server's words and they are not given.
///
/// Inside, SQL's three-valued logic holds: a test of a fact that is NULL (a tag the agent does not carry), that names
/// no fact, or that does not fit one, is unknown, and in the end what is not true is not asked. The server's words, not
/// given, could be anything; so a guard refuses `False` and nothing else.
pub fn evaluate(target: &Filter, facts: &Facts, words: Option<&ServerWords>) -> Truth {
    match range(target, facts, words) {
        (Truth::True, _) => Truth::True,
        (_, Truth::True) => Truth::Unknown,
        _ => Truth::False,
    }
}

/// The ids that a target names, where nobody else can be meant: so that a question of one agent is not put to all.
pub fn named(target: &Filter) -> Option<BTreeSet<&str>> {
    fn text(value: &Value) -> Option<&str> {
        match value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
    match target {
        Filter::Test(Test { column, is }) if column == "id" => match is {
            Is::Equal(value) => text(value).map(|id| BTreeSet::from([id])),
            Is::In(values) => values.iter().map(text).collect(),
            _ => None,
        },
        Filter::All(parts) => parts.iter().find_map(named),
        Filter::Any(parts) => {
            let sets: Option<Vec<BTreeSet<&str>>> = parts.iter().map(named).collect();
            sets.map(|sets| sets.into_iter().flatten().collect())
        }
        Filter::Not(_) | Filter::Test(_) => None,
    }
}

/// The least and the greatest truth that a target can have over all words of the server that are not given.
fn range(target: &Filter, facts: &Facts, words: Option<&ServerWords>) -> (Truth, Truth) {
    let fold = |parts: &[Filter], start: Truth, combine: fn(Truth, Truth) -> Truth| {
        parts.iter().fold((start, start), |(least, greatest), part| {
            let (low, high) = range(part, facts, words);
            (combine(least, low), combine(greatest, high))
        })
    };
    match target {
        Filter::All(parts) => fold(parts, Truth::True, Truth::and),
        Filter::Any(parts) => fold(parts, Truth::False, Truth::or),
        Filter::Not(inner) => {
            let (least, greatest) = range(inner, facts, words);
            (greatest.negate(), least.negate())
        }
        Filter::Test(test) if words.is_none() && is_own_fact(&test.column) == Some(false) => {
            (Truth::False, Truth::True)
        }
        Filter::Test(test) => {
            let truth = evaluate_test(test, facts, words);
            (truth, truth)
        }
    }
}

/// Whether a column of a target is stated by the agent itself, `None` where no such fact exists.
pub fn is_own_fact(column: &str) -> Option<bool> {
    match column {
        "id" | "name" | "mode" | "os" | "arch" | "os_version" | "kernel" | "version" | "addresses" | "features"
        | "started_at" => Some(true),
        "status" | "heartbeat_at" | "public_ip" => Some(false),
        tag if tag.starts_with("tags.") => Some(true),
        _ => None,
    }
}

fn evaluate_test(test: &Test, facts: &Facts, words: Option<&ServerWords>) -> Truth {
    let text = |value: Option<&str>| test_text(&test.is, value);
    let time = |value: Option<Timestamp>| test_time(&test.is, value);
    match test.column.as_str() {
        "id" => text(Some(&facts.id)),
        "name" => text(Some(&facts.name)),
        "mode" => text(Some(facts.mode.as_str())),
        "os" => text(Some(&facts.os)),
        "arch" => text(Some(&facts.arch)),
        "os_version" => text(facts.os_version.as_deref()),
        "kernel" => text(facts.kernel.as_deref()),
        "version" => text(Some(&facts.version)),
        "started_at" => time(Some(facts.started_at)),
        // A list: true where one of them is.
        "addresses" => any(&test.is, facts.addresses.iter().map(|address| address.to_canonical().to_string())),
        "features" => any(&test.is, facts.features.iter()),
        "status" => words.map_or(Truth::Unknown, |words| text(Some(words.status.as_str()))),
        "heartbeat_at" => words.map_or(Truth::Unknown, |words| time(Some(words.heartbeat_at))),
        "public_ip" => words
            .map_or(Truth::Unknown, |words| text(words.public_ip.map(|ip| ip.to_canonical().to_string()).as_deref())),
        column => match column.strip_prefix("tags.") {
            Some(key) => text(facts.tags.get(key).map(String::as_str)),
            None => Truth::Unknown,
        },
    }
}

fn test_text(is: &Is, value: Option<&str>) -> Truth {
    match TextMatcher::new(is) {
        Ok(Some(matcher)) => matcher.test(value),
        _ => Truth::Unknown,
    }
}

fn any(is: &Is, values: impl Iterator<Item = impl AsRef<str>>) -> Truth {
    match TextMatcher::new(is) {
        Ok(Some(matcher)) => values.fold(Truth::False, |truth, value| truth.or(matcher.test(Some(value.as_ref())))),
        _ => Truth::Unknown,
    }
}

fn test_time(is: &Is, value: Option<Timestamp>) -> Truth {
    if matches!(is, Is::Null) {
        return value.is_none().into();
    }
    let Some(ns) = value.and_then(|at| i64::try_from(at.as_nanosecond()).ok()) else { return Truth::Unknown };
    let against = |value: &Value| match value {
        Value::TimestampNs(other) => Some(ns.cmp(other)),
        _ => None,
    };
    if let Some((comparison, value)) = is.comparison() {
        return against(value).map(|order| comparison.holds(order)).into();
    }
    match is {
        Is::In(values) => {
            values.iter().fold(Truth::False, |truth, value| truth.or(against(value).map(Ordering::is_eq).into()))
        }
        _ => Truth::Unknown,
    }
}
