//! Passphrases: from `CANVASS_PASSPHRASE`, or from whoever sits at the terminal.

use canvass_planner::error::Error;

use crate::typing::Asking;

/// Where passphrases come from.
#[derive(Debug, Clone, Default)]
pub struct Passphrases {
    /// The variable's value.
    pub given: Option<String>,
    /// Somebody can be asked.
    pub can_ask: bool,
}

impl Passphrases {
    pub fn from_environment(can_ask: bool) -> Passphrases {
        Passphrases { given: std::env::var("CANVASS_PASSPHRASE").ok().filter(|given| !given.is_empty()), can_ask }
    }

    /// The passphrase of a key that has one.
    pub fn existing(&self, name: &str) -> Result<String, Error> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        if !self.can_ask {
            return Err(Error::usage(format!("key `{name}` is protected by a passphrase"))
                .hint("set CANVASS_PASSPHRASE, or run on a terminal"));
        }
        ask(&format!("passphrase of key `{name}`: "))
    }

    /// A passphrase for a new key, typed twice.
    pub fn fresh(&self, name: &str) -> Result<String, Error> {
        if let Some(given) = &self.given {
            return Ok(given.clone());
        }
        if !self.can_ask {
            return Err(Error::usage(format!("key `{name}` needs a passphrase"))
                .hint("set CANVASS_PASSPHRASE, run on a terminal, or add `--no-passphrase`"));
        }
        let first = ask(&format!("passphrase for the new key `{name}`: "))?;
        if first.is_empty() {
            return Err(Error::usage("the passphrase is empty").hint("`--no-passphrase` makes a key without one"));
        }
        if first != ask("once more: ")? {
            return Err(Error::usage("the two passphrases differ"));
        }
        Ok(first)
    }
}

fn ask(prompt: &str) -> Result<String, Error> {
    let _asking = Asking::begin();
    rpassword::prompt_password(prompt).map_err(|error| Error::usage(format!("no passphrase was typed: {error}")))
}
