//! What an agent can do, as its facts list it: words of a kind and a name, such as `table:files` and `wire:aggregate`.
//!
//! What the list does not hold, an agent refuses; so a desk can say before anything is signed who will.

use std::collections::BTreeSet;

use serde::de::Error;
use serde::{Deserialize, Deserializer};

use crate::action::Action;
use crate::filter::{Filter, Is};
use crate::limits;
use crate::scan::Scan;
use crate::value::Value;

/// The feature of an agent that has this table.
pub fn table(name: &str) -> String {
    format!("table:{name}")
}

/// The feature of an agent whose scans are confined by everything that there is.
pub const CAGE_WHOLE: &str = "cage:whole";
/// How the features of an agent begin whose scans lack a part of their cage.
const CAGE_WITHOUT: &str = "cage:without_";

/// The feature of an agent whose scans lack a part of their cage.
pub fn cage_without(part: &str) -> String {
    format!("{CAGE_WITHOUT}{part}")
}

/// The part of the cage that a feature says is lacking.
pub fn cage_lacks(feature: &str) -> Option<&str> {
    feature.strip_prefix(CAGE_WITHOUT)
}

/// Makes the enum and the slice from one list, so that neither lacks what the other has.
macro_rules! wire {
    ($($name:ident $word:literal $about:literal,)*) => {
        /// A part of an action's format that not every agent knows; [`KNOWN`] says which this version does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Wire {
            $(#[doc = $about] $name,)*
        }

        /// Every one with its word, which follows `wire:`, and what it is.
        pub static WIRE: &[(Wire, &str, &str)] = &[$((Wire::$name, $word, $about),)*];

        impl Wire {
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Wire::$name => $word,)*
                }
            }
        }
    };
}

wire! {
    Aggregate "aggregate" "Groups and functions over them, computed on the endpoint.",
    Order "order" "The order in which a limit keeps rows.",
    DependsOn "depends_on" "A scan that runs where an earlier one found rows, for the values it found.",
    Patterns "patterns" "Tests over named sets of patterns.",
    Blooms "blooms" "Tests over Bloom filters.",
    Bytes "bytes" "Constants of bytes.",
    EveryS "every_s" "Actions that are asked again at an interval.",
    Stage "stage" "A second action that narrows what a first one asked.",
    Versions "versions" "Tests of the order of package versions.",
}

/// What of the format this version knows, as an agent and as a desk.
pub static KNOWN: &[Wire] = &[Wire::Versions];

/// The feature of an agent that knows a part of the format.
pub fn wire(wire: Wire) -> String {
    format!("wire:{}", wire.as_str())
}

/// What of the format a scan uses.
pub fn of_scan(scan: &Scan) -> BTreeSet<Wire> {
    let mut uses = BTreeSet::new();
    let mut note = |used: bool, wire: Wire| {
        if used {
            uses.insert(wire);
        }
    };
    note(scan.aggregate.is_some(), Wire::Aggregate);
    note(!scan.order.is_empty(), Wire::Order);
    note(scan.depends_on.is_some(), Wire::DependsOn);
    note(!scan.patterns.is_empty(), Wire::Patterns);
    note(!scan.blooms.is_empty(), Wire::Blooms);
    let bytes = |values: &[Value]| values.iter().any(|value| matches!(value, Value::Bytes(_)));
    note(scan.sets.values().any(|set| bytes(set)), Wire::Bytes);
    let filters: Vec<&Filter> = scan.filter.iter().chain(&scan.target).collect();
    for filter in filters {
        filter.for_each_test(&mut |test| match &test.is {
            Is::In(values) => note(bytes(values), Wire::Bytes),
            Is::MatchesAny(_) => note(true, Wire::Patterns),
            Is::InBloom(_) => note(true, Wire::Blooms),
            Is::Version(_) => note(true, Wire::Versions),
            is => note(is.comparison().is_some_and(|(_, value)| matches!(value, Value::Bytes(_))), Wire::Bytes),
        });
    }
    uses
}

/// What of the format an action uses beside its scans.
pub fn of_action(action: &Action) -> BTreeSet<Wire> {
    let every_s = action.every_s.map(|_| Wire::EveryS);
    every_s.into_iter().chain(action.stage.map(|_| Wire::Stage)).collect()
}

/// What an agent with these features lacks for an action, of whose scans it is asked those at some places; in words, one each.
pub fn lacking(action: &Action, features: &[String], is_asked: impl Fn(usize, &Scan) -> bool) -> Vec<String> {
    let has = |feature: &str| features.iter().any(|own| own == feature);
    let scans = action.scans.iter().enumerate().filter(|(place, scan)| is_asked(*place, scan));
    let scans: Vec<&Scan> = scans.map(|(_, scan)| scan).collect();
    let tables: BTreeSet<&str> = scans.iter().map(|scan| scan.table.as_str()).collect();
    let lacks_table = |name: &&str| !has(&table(name));
    let mut lacking: Vec<String> =
        tables.into_iter().filter(lacks_table).map(|name| format!("the table `{name}`")).collect();
    let mut uses = of_action(action);
    uses.extend(scans.iter().flat_map(|scan| of_scan(scan)));
    let lacks = |part: &Wire| !has(&wire(*part));
    lacking.extend(uses.into_iter().filter(lacks).map(|wire| format!("`{}`", wire.as_str())));
    lacking
}

/// Reads a bounded list, in order and each once, whoever wrote it.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let mut features = Vec::<String>::deserialize(deserializer)?;
    if features.len() > limits::FEATURES_MAX {
        let (count, max) = (features.len(), limits::FEATURES_MAX);
        return Err(D::Error::custom(format!("{count} features; at most {max} are allowed")));
    }
    if let Some(long) = features.iter().find(|feature| feature.len() > limits::FEATURE_BYTES_MAX) {
        let (bytes, max) = (long.len(), limits::FEATURE_BYTES_MAX);
        return Err(D::Error::custom(format!("a feature has {bytes} bytes; at most {max} are allowed")));
    }
    features.sort_unstable();
    features.dedup();
    Ok(features)
}
