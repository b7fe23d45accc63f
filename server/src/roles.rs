//! What each investigator may do at this server. It says nothing of what agents do, who have policies of their own.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use canvass_protocol::api::Role;
use canvass_protocol::openpgp::Fingerprint;
use serde::Deserialize;

/// Who is not named by a fingerprint.
const DEFAULT: &str = "default";

/// The most that somebody may do; each includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grant {
    None,
    Read,
    Hunt,
    Admin,
}

impl Grant {
    pub fn roles(self) -> Vec<Role> {
        let all = [(Grant::Read, Role::Read), (Grant::Hunt, Role::Hunt), (Grant::Admin, Role::Admin)];
        all.into_iter().filter(|(least, _)| *least <= self).map(|(_, role)| role).collect()
    }
}

/// The configuration's `[roles]`, by fingerprint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    named: BTreeMap<Fingerprint, Grant>,
    default: Grant,
}

impl Default for Roles {
    /// Every certificate of the keyring may do everything.
    fn default() -> Roles {
        Roles { named: BTreeMap::new(), default: Grant::Admin }
    }
}

impl Roles {
    /// Reads the table; a key that is neither a fingerprint nor `default` would grant nobody what was meant.
    pub fn parse(table: BTreeMap<String, Grant>) -> Result<Roles> {
        let mut roles = Roles::default();
        for (key, grant) in table {
            match Fingerprint::parse(&key) {
                _ if key == DEFAULT => roles.default = grant,
                Some(fingerprint) => drop(roles.named.insert(fingerprint, grant)),
                None => bail!("[roles]: `{key}` is neither a fingerprint nor `{DEFAULT}`"),
            }
        }
        Ok(roles)
    }

    pub fn of(&self, fingerprint: &Fingerprint) -> Grant {
        self.named.get(fingerprint).copied().unwrap_or(self.default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_named_has_that_role_and_those_below() {
        let alice = "AAAABBBBCCCCDDDDEEEEFFFF0000111122223333";
        let table = toml::from_str(&format!("default = \"read\"\n{alice} = \"hunt\"")).unwrap();
        let roles = Roles::parse(table).unwrap();
        assert_eq!(roles.of(&Fingerprint(alice.into())).roles(), [Role::Read, Role::Hunt]);
        assert_eq!(roles.of(&Fingerprint("00".repeat(20))).roles(), [Role::Read]);
        assert_eq!(Grant::None.roles(), []);
        assert_eq!(Roles::default().of(&Fingerprint(alice.into())), Grant::Admin);
        let wrong = Roles::parse(BTreeMap::from([("alice".to_owned(), Grant::Admin)]));
        assert!(wrong.unwrap_err().to_string().contains("`alice` is neither a fingerprint"));
    }
}
