//! Revocations that this server carries: all that the store has, applied whenever its keyring is read, and brought to agents.
//!
//! One of each key is enough, so there are never more than there were keys in its keyring.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use canvass_protocol::openpgp::Fingerprint;

use crate::store::{Result, Revocation, Store};

/// Revocations that are carried, at most: an agent is brought all of them whenever it comes.
pub const COUNT_MAX: usize = 500;

/// The revocations that the store has, as they travel.
#[derive(Debug, Default)]
pub struct Revocations {
    /// By the key that each revokes.
    carried: RwLock<BTreeMap<Fingerprint, Arc<str>>>,
}

impl Revocations {
    /// Reads what the store has.
    pub async fn open(store: &dyn Store) -> Result<Revocations> {
        let revocations = Revocations::default();
        revocations.read_again(store).await?;
        Ok(revocations)
    }

    /// Takes over what others have stored since; returns it.
    pub async fn read_again(&self, store: &dyn Store) -> Result<Vec<Arc<str>>> {
        let stored = store.revocations(COUNT_MAX).await?;
        Ok(stored.into_iter().filter_map(|stored| self.carry(&stored)).collect())
    }

    /// Stores one whose key no other revokes; returns it as it travels, and nothing where there is another.
    pub async fn add(&self, store: &dyn Store, revocation: &Revocation) -> Result<Option<Arc<str>>> {
        let is_new = store.revoke(revocation).await?;
        // Another server may have been faster, with another one of the same key.
        Ok(self.carry(revocation).filter(|_| is_new))
    }

    /// All of them, as they travel.
    pub fn all(&self) -> Vec<Arc<str>> {
        self.read().values().cloned().collect()
    }

    /// How many there are; it only grows.
    pub fn count(&self) -> usize {
        self.read().len()
    }

    pub fn contains(&self, key: &Fingerprint) -> bool {
        self.read().contains_key(key)
    }

    fn carry(&self, Revocation { key, armor, .. }: &Revocation) -> Option<Arc<str>> {
        let mut carried = self.carried.write().unwrap_or_else(PoisonError::into_inner);
        if carried.contains_key(key) {
            return None;
        }
        let armor: Arc<str> = armor.as_str().into();
        carried.insert(key.clone(), armor.clone());
        Some(armor)
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Fingerprint, Arc<str>>> {
        self.carried.read().unwrap_or_else(PoisonError::into_inner)
    }
}
