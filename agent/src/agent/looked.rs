//! What was found of an envelope that waits to be admitted.

use std::collections::BTreeSet;
use std::sync::Arc;

use canvass_protocol::openpgp::Fingerprint;
use jiff::{SignedDuration, Timestamp};

use crate::policy::{Policy, PolicyError};

/// How long signatures are taken as verified: certificates expire by the clock.
const VERIFIED_FOR: SignedDuration = SignedDuration::from_secs(10);

/// A policy as it was read, or why it could not be.
type Shared = Arc<Result<Policy, PolicyError>>;

/// What was found of an envelope when it was looked at.
#[derive(Debug)]
pub struct Looked {
    /// Until when its answers are waited for.
    pub until: Timestamp,
    signers: BTreeSet<Fingerprint>,
    /// By whose keyring.
    policy: Shared,
    at: Timestamp,
}

impl Looked {
    pub(super) fn new(until: Timestamp, signers: BTreeSet<Fingerprint>, policy: Shared, at: Timestamp) -> Looked {
        Looked { until, signers, policy, at }
    }

    /// Who has signed it, where that need not be verified again: by the same keyring, a moment ago.
    pub(super) fn signers(&self, policy: &Shared, now: Timestamp) -> Option<BTreeSet<Fingerprint>> {
        let age = now.duration_since(self.at);
        let is_fresh = SignedDuration::ZERO <= age && age <= VERIFIED_FOR;
        (is_fresh && Arc::ptr_eq(&self.policy, policy)).then(|| self.signers.clone())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::Path;

    use super::*;
    use crate::revocations::Revocations;

    fn policy() -> Shared {
        Arc::new(Policy::read(Path::new("/nonexistent/agent.toml"), &[], &Revocations::default()))
    }

    /// What waits for tests that do not ask who signed it.
    pub(crate) fn by_nobody() -> Looked {
        Looked::new(Timestamp::UNIX_EPOCH, BTreeSet::new(), policy(), Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn signatures_are_verified_again_by_another_policy_and_after_a_while() {
        let (policy, changed) = (policy(), policy());
        let (at, signers) = (Timestamp::UNIX_EPOCH, BTreeSet::from([Fingerprint("AB".into())]));
        let looked = Looked::new(at, signers.clone(), policy.clone(), at);
        for (seconds, holds) in [(0, true), (10, true), (11, false), (-1, false)] {
            let now = at + SignedDuration::from_secs(seconds);
            assert_eq!(looked.signers(&policy, now), holds.then(|| signers.clone()), "{seconds}");
            assert_eq!(looked.signers(&changed, now), None, "{seconds}");
        }
    }
}
