//! Weights of investigators per module: whether the signers of an action may use what it uses.
//!
//! Whatever cannot be read refuses, and refuses no less than what was meant would have.

mod read;

use std::collections::{BTreeMap, BTreeSet};

use crate::openpgp::Fingerprint;

/// The entry that modules without one of their own use.
pub const DEFAULT: &str = "default";

/// Who weighs what, module by module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Acl {
    /// By module; an entry that cannot be read holds the reason and refuses.
    entries: BTreeMap<String, Result<Rule, String>>,
    /// Why nothing of the policy can be read; then all is refused.
    unreadable: Option<String>,
}

/// One readable entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    /// At least 1.
    minimum_weight: u64,
    /// Empty where the entry names nobody and borrows the default's.
    investigators: BTreeMap<Fingerprint, Investigator>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Investigator {
    label: String,
    /// At least 1.
    weight: u64,
}

/// Why signers may not use a module: what is missing, and nothing else about the endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    #[error("{module} needs weight {needed}, signatures carry {carried}{}", list(signers))]
    Weight {
        module: String,
        needed: u64,
        carried: u64,
        /// The labels of the signers that have a weight here.
        signers: Vec<String>,
    },
    #[error("{module} has no entry in the policy, and there is no default")]
    NoEntry { module: String },
    #[error("{column} may hold secrets, and has no entry of its own in the policy")]
    Secret { column: String },
    #[error("the policy's entry for {module} cannot be read")]
    EntryUnreadable { module: String },
    #[error("the policy cannot be read")]
    PolicyUnreadable,
}

fn list(signers: &[String]) -> String {
    if signers.is_empty() { String::new() } else { format!(": {}", signers.join(", ")) }
}

impl Acl {
    /// A keyring without a policy: every certificate has weight 1 and every module needs 1.
    pub fn everyone(certificates: impl IntoIterator<Item = Fingerprint>) -> Acl {
        let investigators = certificates
            .into_iter()
            .map(|fingerprint| (fingerprint.clone(), Investigator { label: fingerprint.0, weight: 1 }))
            .collect();
        let rule = Rule { minimum_weight: 1, investigators };
        Acl { entries: BTreeMap::from([(DEFAULT.to_owned(), Ok(rule))]), unreadable: None }
    }

    /// What a policy is worth that cannot be read: it refuses everything. The reason is for the endpoint's own log.
    pub fn refusing(reason: impl Into<String>) -> Acl {
        Acl { entries: BTreeMap::new(), unreadable: Some(reason.into()) }
    }

    /// What cannot be read, one sentence each, for the endpoint's own log; a [`Denied`] does not carry it away.
    pub fn problems(&self) -> Vec<String> {
        let whole = self.unreadable.iter().map(|reason| format!("the policy cannot be read: {reason}"));
        let entries = self.entries.iter().filter_map(|(module, entry)| {
            entry.as_ref().err().map(|reason| format!("the policy's entry for `{module}` cannot be read: {reason}"))
        });
        whole.chain(entries).collect()
    }

    /// What has an entry of its own: modules, columns such as `files.content`, and [`DEFAULT`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Whether a module, or a column such as `files.content`, has an entry of its own, readable or not.
    pub fn has_entry(&self, module: &str) -> bool {
        self.entries.contains_key(module)
    }

    /// Judges whether the distinct signers together may use a module.
    ///
    /// A column is judged as a module of its own, `files.content`, beside its module: without an entry it follows
    /// its module's.
    pub fn judge(&self, module: &str, signers: &BTreeSet<Fingerprint>) -> Result<(), Denied> {
        if self.unreadable.is_some() {
            return Err(Denied::PolicyUnreadable);
        }
        let entry = self
            .entries
            .get(module)
            .or_else(|| module.rsplit_once('.').and_then(|(parent, _)| self.entries.get(parent)))
            .or_else(|| self.entries.get(DEFAULT))
            .ok_or_else(|| Denied::NoEntry { module: module.to_owned() })?;
        let unreadable = |_: &String| Denied::EntryUnreadable { module: module.to_owned() };
        let rule = entry.as_ref().map_err(unreadable)?;
        let investigators = match self.entries.get(DEFAULT) {
            Some(default) if rule.investigators.is_empty() => &default.as_ref().map_err(unreadable)?.investigators,
            _ => &rule.investigators,
        };
        let present: Vec<&Investigator> = signers.iter().filter_map(|signer| investigators.get(signer)).collect();
        let carried = present.iter().fold(0_u64, |sum, investigator| sum.saturating_add(investigator.weight));
        if carried >= rule.minimum_weight {
            return Ok(());
        }
        let mut signers: Vec<String> = present.iter().map(|investigator| investigator.label.clone()).collect();
        signers.sort();
        Err(Denied::Weight { module: module.to_owned(), needed: rule.minimum_weight, carried, signers })
    }
}
