//! Which agents a scan is for, and the one evaluator that desk, server and agent share.

mod compiled;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use compiled::{Compiled, Targets, TooLarge};

use crate::filter::{Filter, Is, Test};
use crate::limits;
use crate::members::Members;
use crate::openpgp::Fingerprint;
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
    /// Certificates of its keyring that are revoked; of many the first by fingerprint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revoked_keys: Vec<Fingerprint>,
    pub started_at: Timestamp,
    #[serde(flatten)]
    pub more: Members,
}

/// Why facts are not taken, whoever signed them: a desk repeats them in rows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    #[error("its host name has {bytes} bytes; at most {max} are allowed", max = limits::HOST_NAME_BYTES_MAX)]
    Name { bytes: usize },
    #[error("its `{fact}` has {bytes} bytes; at most {max} are allowed", max = limits::FACT_BYTES_MAX)]
    Fact { fact: &'static str, bytes: usize },
    #[error("it has {count} tags; at most {max} are allowed", max = limits::TAGS_MAX)]
    Tags { count: usize },
    #[error("its tags have {bytes} bytes; at most {max} are allowed", max = limits::TAGS_BYTES_MAX)]
    TagBytes { bytes: usize },
    #[error("it has {count} addresses; at most {max} are allowed", max = limits::ADDRESSES_MAX)]
    Addresses { count: usize },
    #[error("it has {count} revoked keys; at most {max} are allowed", max = limits::REVOKED_KEYS_MAX)]
    RevokedKeys { count: usize },
    #[error("one of its revoked keys is no fingerprint")]
    RevokedKey,
}

impl Facts {
    /// What there is to say of an agent of which no more is known than who it is: all else is empty, and it began in 1970.
    pub fn of(id: impl Into<String>, name: impl Into<String>) -> Facts {
        Facts {
            id: id.into(),
            name: name.into(),
            mode: Mode::Daemon,
            os: String::new(),
            arch: String::new(),
            os_version: None,
            kernel: None,
            version: String::new(),
            tags: BTreeMap::new(),
            addresses: Vec::new(),
            features: Vec::new(),
            revoked_keys: Vec::new(),
            started_at: Timestamp::UNIX_EPOCH,
            more: Members::default(),
        }
    }

    /// Checks that each of them is bounded.
    pub fn check(&self) -> Result<(), FactsError> {
        if self.name.len() > limits::HOST_NAME_BYTES_MAX {
            return Err(FactsError::Name { bytes: self.name.len() });
        }
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let words = [
            ("os", self.os.len()),
            ("arch", self.arch.len()),
            ("os_version", text(&self.os_version)),
            ("kernel", text(&self.kernel)),
            ("version", self.version.len()),
        ];
        if let Some((fact, bytes)) = words.into_iter().find(|(_, bytes)| *bytes > limits::FACT_BYTES_MAX) {
            return Err(FactsError::Fact { fact, bytes });
        }
        if self.tags.len() > limits::TAGS_MAX {
            return Err(FactsError::Tags { count: self.tags.len() });
        }
        let bytes: usize = self.tags.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > limits::TAGS_BYTES_MAX {
            return Err(FactsError::TagBytes { bytes });
        }
        if self.addresses.len() > limits::ADDRESSES_MAX {
            return Err(FactsError::Addresses { count: self.addresses.len() });
        }
        if self.revoked_keys.len() > limits::REVOKED_KEYS_MAX {
            return Err(FactsError::RevokedKeys { count: self.revoked_keys.len() });
        }
        if self.revoked_keys.iter().any(|key| Fingerprint::parse(&key.0).as_ref() != Some(key)) {
            return Err(FactsError::RevokedKey);
        }
        Ok(())
    }
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
///
/// Whoever puts it to many agents has it [`Compiled`]; here the latest ones are kept so. One that is too large for that is
/// unknown.
pub fn evaluate(target: &Filter, facts: &Facts, words: Option<&ServerWords>) -> Truth {
    compiled::latest(target).map_or(Truth::Unknown, |compiled| compiled.evaluate(facts, words))
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

/// Whether a column of a target is stated by the agent itself, `None` where no such fact exists.
pub fn is_own_fact(column: &str) -> Option<bool> {
    match column {
        "id" | "name" | "mode" | "os" | "arch" | "os_version" | "kernel" | "version" | "addresses" | "features"
        | "revoked_keys" | "started_at" => Some(true),
        "status" | "heartbeat_at" | "public_ip" => Some(false),
        tag if tag.starts_with("tags.") => Some(true),
        _ => None,
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
