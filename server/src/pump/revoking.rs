//! Revocations on their way: all of them to whoever comes, and a new one to everybody who is here.

use std::sync::Arc;

use canvass_protocol::relay::ToAgent;

use super::Pump;
use crate::store::StoreError;

impl Pump {
    /// Brings agents that have come all that is revoked, before they are brought anything that is signed.
    pub(super) async fn greet(&self, come: &[String]) {
        if !come.is_empty() {
            self.bring_revocations(come, &self.means.revocations.all()).await;
        }
    }

    /// Brings a new revocation to all agents that can be reached, whichever server they have come to.
    pub(super) async fn revoke(&self, armor: Arc<str>) {
        let agents: Vec<String> = self.inventory.all().iter().map(|known| known.agent.id.clone()).collect();
        self.bring_revocations(&agents, &[armor]).await;
    }

    /// Takes over what another server has stored. It has brought it to those who were there: agents that came here meanwhile
    /// are brought it again.
    pub(super) async fn learn_revocations(&self) -> Result<(), StoreError> {
        let Some((peers, _)) = &self.others else { return Ok(()) };
        let new = self.means.revocations.read_again(self.means.store.as_ref()).await?;
        if new.is_empty() {
            return Ok(());
        }
        let lines = peers.lines().await?.into_iter();
        let here: Vec<String> = lines.filter(|line| line.1 == peers.id()).map(|line| line.0).collect();
        self.bring_revocations(&here, &new).await;
        Ok(())
    }

    async fn bring_revocations(&self, agents: &[String], revocations: &[Arc<str>]) {
        for armor in revocations {
            self.means.relay.send(agents, &ToAgent::Revocation(armor.to_string())).await;
        }
    }
}
