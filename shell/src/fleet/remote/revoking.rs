//! Revocations handed in at a server, and who knows of them.

use canvass_planner::error::Error;
use canvass_planner::fleet::Endpoint;
use canvass_protocol::api::Revoked;

use super::Remote;

/// How many agents of a fleet say that a certificate is revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    pub known: u64,
    pub agents: u64,
    /// This desk has verified each agent's own word; else it is the server's.
    pub by_their_word: bool,
}

impl Remote {
    /// Hands a revocation in. Where it is of the key that signed in here, nothing can be asked afterwards.
    pub async fn revoke(&self, revocation: &[u8], is_own: bool) -> Result<Heard, Error> {
        let revoked: Revoked = self.seen.wire.post_bytes("/v1/revocations", revocation).await?;
        let Revoked { certificates, known, agents } = revoked;
        if is_own {
            return Ok(Heard { known, agents, by_their_word: false });
        }
        let endpoints = self.seen.endpoints().await?;
        let knows = |endpoint: &&Endpoint| certificates.iter().all(|key| endpoint.facts.revoked_keys.contains(key));
        let known = endpoints.iter().filter(knows).count() as u64;
        Ok(Heard { known, agents: endpoints.len() as u64, by_their_word: true })
    }
}
