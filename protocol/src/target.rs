//! Which agents a scan is for, and the one evaluator that desk, server and agent share.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::filter::{Filter, Is, Test};
use crate::matcher::TextMatcher;
use crate::value::{Truth, Value};

/// What an agent states about itself, signed with its own key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Facts {
    /// Hash of the agent's public key, 64 hexadecimal digits.
    pub id: String,
    /// The endpoint's host name.
    pub name: String,
    pub mode: Mode,
    /// As Rust names it: `linux`, `macos` …
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
    pub started_at: Timestamp,
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

/// Evaluates a target on an agent's facts; the server's words are unknown where they are not given.
///
/// A test that names no fact, or that does not fit a fact, is unknown.
pub fn evaluate(target: &Filter, facts: &Facts, words: Option<&ServerWords>) -> Truth {
    target.evaluate(&mut |test| evaluate_test(test, facts, words))
}

/// Whether a column of a target is stated by the agent itself, `None` where no such fact exists.
pub fn is_own_fact(column: &str) -> Option<bool> {
    match column {
        "id" | "name" | "mode" | "os" | "arch" | "os_version" | "kernel" | "version" | "addresses" | "started_at" => {
            Some(true)
        }
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
        "addresses" => facts
            .addresses
            .iter()
            .fold(Truth::False, |truth, address| truth.or(test_text(&test.is, Some(&address.to_string())))),
        "status" => words.map_or(Truth::Unknown, |words| text(Some(words.status.as_str()))),
        "heartbeat_at" => words.map_or(Truth::Unknown, |words| time(Some(words.heartbeat_at))),
        "public_ip" => words.map_or(Truth::Unknown, |words| text(words.public_ip.map(|ip| ip.to_string()).as_deref())),
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

fn test_time(is: &Is, value: Option<Timestamp>) -> Truth {
    if matches!(is, Is::Null) {
        return value.is_none().into();
    }
    let Some(ns) = value.and_then(|at| i64::try_from(at.as_nanosecond()).ok()) else { return Truth::Unknown };
    let against = |value: &Value| match value {
        Value::TimestampNs(other) => Some(ns.cmp(other)),
        _ => None,
    };
    match is {
        Is::Equal(value) => against(value).map(|order| order.is_eq()).into(),
        Is::NotEqual(value) => against(value).map(|order| order.is_ne()).into(),
        Is::Less(value) => against(value).map(|order| order.is_lt()).into(),
        Is::LessOrEqual(value) => against(value).map(|order| order.is_le()).into(),
        Is::Greater(value) => against(value).map(|order| order.is_gt()).into(),
        Is::GreaterOrEqual(value) => against(value).map(|order| order.is_ge()).into(),
        Is::In(values) => {
            values.iter().fold(Truth::False, |truth, value| truth.or(against(value).map(|order| order.is_eq()).into()))
        }
        _ => Truth::Unknown,
    }
}
