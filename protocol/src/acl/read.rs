//! Reads an ACL from the `acl` table of a policy file, or from MIG's JSON.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Acl, Investigator, Rule};
use crate::openpgp::Fingerprint;
use crate::strict;

/// An entry as it is written, in either language.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(alias = "minimumweight", alias = "minimumWeight")]
    minimum_weight: u64,
    #[serde(default, deserialize_with = "strict::map")]
    investigators: BTreeMap<String, WrittenInvestigator>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenInvestigator {
    fingerprint: String,
    weight: u64,
}

/// MIG's modules, where ours of the same meaning is called otherwise.
const MIG_MODULES: [(&str, &str); 4] =
    [("file", "files"), ("memory", "process_memory"), ("netstat", "network"), ("pkg", "packages")];

impl Acl {
    /// Reads the text of a whole policy file; all but its `acl` table is somebody else's to read.
    ///
    /// Never fails: what cannot be read refuses, and [`Acl::problems`] says why.
    pub fn from_toml(text: &str) -> Acl {
        match text.parse::<toml::Table>() {
            Ok(policy) => Acl::from_toml_table(&policy),
            Err(error) => Acl::refusing(error.message()),
        }
    }

    /// Reads the `acl` table of a parsed policy file; without one there is no entry and no default, so all is refused.
    pub fn from_toml_table(policy: &toml::Table) -> Acl {
        let entries = match policy.get("acl") {
            Some(toml::Value::Table(entries)) => entries,
            Some(_) => return Acl::refusing("`acl` is not a table"),
            None => return Acl::default(),
        };
        let read = |entry: &toml::Value| {
            entry.clone().try_into::<WrittenRule>().map_err(|error| error.message().to_owned()).and_then(check)
        };
        let entries = entries.iter().map(|(module, entry)| (module.clone(), read(entry))).collect();
        Acl { entries, unreadable: None }
    }

    /// Reads MIG's ACL: a JSON object of `{"minimumweight":…,"investigators":{label:{"fingerprint":…,"weight":…}}}`
    /// by module. Modules of MIG become ours of the same meaning.
    pub fn from_mig_json(text: &str) -> Acl {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let written =
            strict::map::<_, Box<RawValue>>(&mut deserializer).and_then(|written| deserializer.end().map(|()| written));
        let written = match written {
            Ok(written) => written,
            Err(error) => return Acl::refusing(error.to_string()),
        };
        let mut entries = BTreeMap::new();
        for (module, entry) in written {
            let read =
                serde_json::from_str::<WrittenRule>(entry.get()).map_err(|error| error.to_string()).and_then(check);
            let ours =
                MIG_MODULES.iter().find(|(theirs, _)| *theirs == module).map_or(module.as_str(), |(_, ours)| ours);
            let read = if entries.contains_key(ours) { Err("two entries are of the same module".into()) } else { read };
            entries.insert(ours.to_owned(), read);
        }
        Acl { entries, unreadable: None }
    }
}

/// Checks weights and fingerprints; where one certificate has two labels, the lower weight stands.
fn check(written: WrittenRule) -> Result<Rule, String> {
    if written.minimum_weight == 0 {
        return Err("`minimum_weight` is below 1".into());
    }
    let mut investigators: BTreeMap<Fingerprint, Investigator> = BTreeMap::new();
    for (label, WrittenInvestigator { fingerprint, weight }) in written.investigators {
        let fingerprint = Fingerprint::parse(&fingerprint)
            .ok_or_else(|| format!("the fingerprint of `{label}` is not 40 hexadecimal digits: `{fingerprint}`"))?;
        if weight == 0 {
            return Err(format!("the weight of `{label}` is below 1"));
        }
        match investigators.get(&fingerprint) {
            Some(other) if other.weight <= weight => {}
            _ => {
                investigators.insert(fingerprint, Investigator { label, weight });
            }
        }
    }
    Ok(Rule { minimum_weight: written.minimum_weight, investigators })
}
