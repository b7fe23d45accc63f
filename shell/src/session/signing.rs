//! The key that signs, opened when something is first signed.

use std::sync::{Mutex, PoisonError};

use canvass_planner::error::Error;
use canvass_protocol::envelope::Envelope;
use jiff::Timestamp;

use crate::key::{self, AnySigner, LOCAL, Passphrases, Store};

/// Which key signs, and the key once it is open.
pub struct Signing {
    wanted: Option<String>,
    store: Store,
    passphrases: Passphrases,
    /// Whether this machine's own key serves where none is named: for agents of this machine alone.
    locally: bool,
    open: Mutex<Option<AnySigner>>,
}

impl Signing {
    /// Signs with the key that is wanted: by default this machine's own, or for a server the only other one.
    pub fn new(wanted: Option<String>, store: Store, passphrases: Passphrases, locally: bool) -> Signing {
        Signing { wanted, store, passphrases, locally, open: Mutex::new(None) }
    }

    /// Signs with a key that is open already.
    pub fn with(key: AnySigner, store: Store) -> Signing {
        Signing {
            wanted: None,
            store,
            passphrases: Passphrases::default(),
            locally: false,
            open: Mutex::new(Some(key)),
        }
    }

    /// What names the key on a command line; empty where none was named.
    pub fn flag(&self) -> String {
        self.wanted.as_ref().map(|wanted| format!(" --key {}", shell_word(wanted))).unwrap_or_default()
    }

    /// Signs exact bytes, asking for a passphrase the first time.
    pub fn sign(&self, payload: &[u8]) -> Result<String, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match open.take() {
            Some(key) => key,
            None => self.may_sign(key::choose(&self.wanted()?, &self.store, &self.passphrases)?)?,
        };
        let signature = key.sign(payload, Timestamp::now());
        *open = Some(key);
        signature.map_err(|error| Error::usage(format!("this cannot be signed: {error}")))
    }

    /// Signs a payload and puts both together.
    pub fn envelope(&self, payload: Vec<u8>) -> Result<Envelope, Error> {
        let payload = String::from_utf8(payload).map_err(|error| Error::internal(error.to_string()))?;
        let signature = self.sign(payload.as_bytes())?;
        let envelope = Envelope { payload, signatures: vec![signature] };
        envelope.check_sizes().map_err(|error| Error::usage(error.to_string()))?;
        Ok(envelope)
    }

    /// Refuses this machine's own key, by whatever name it was chosen, where it would sign for others.
    fn may_sign(&self, key: AnySigner) -> Result<AnySigner, Error> {
        let local = self.store.find(LOCAL).ok().filter(|local| local.secret);
        if self.locally || local.is_none_or(|local| local.fingerprint != key.fingerprint()) {
            return Ok(key);
        }
        Err(Error::usage(format!("the key `{LOCAL}` has no passphrase, and signs for this machine alone"))
            .hint("make one for servers with `canvass key new NAME`, and have its certificate put into their keyrings"))
    }

    fn wanted(&self) -> Result<String, Error> {
        if let Some(wanted) = &self.wanted {
            return Ok(wanted.clone());
        }
        if self.locally {
            return Ok(LOCAL.to_owned());
        }
        let mut own = self.store.list().0.into_iter().filter(|key| key.secret && !key.revoked && key.name != LOCAL);
        match (own.next(), own.next()) {
            (Some(only), None) => Ok(only.name),
            (None, _) => Err(Error::usage("a server's agents do not know this machine's own key")
                .hint("make one with `canvass key new NAME`, and have its certificate put into their keyrings")),
            (Some(_), Some(_)) => Err(Error::usage("there are several keys").hint("say which one signs: `--key NAME`")),
        }
    }
}

/// A word as a shell reads it back.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@%_+=:,./-".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_written() {
        for word in ["carol@example.org", "./my key.pgp", "it's", "", "$(x)", "a;b"] {
            let script = format!("printf %s {}", shell_word(word));
            let said = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), word);
        }
    }
}
