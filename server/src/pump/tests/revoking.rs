//! Whom revocations are brought to, and when.

use canvass_protocol::openpgp::Fingerprint;

use super::*;
use crate::store::Revocation;

fn revocation(digit: &str) -> Revocation {
    let key = Fingerprint(digit.repeat(40));
    Revocation {
        certificate: key.clone(),
        key,
        armor: digit.to_owned(),
        posted_by: "AB".to_owned(),
        at: Timestamp::now(),
    }
}

#[tokio::test]
async fn who_comes_is_brought_what_is_revoked_before_anything_else() {
    let Setup { folder: _folder, store, relay, mut pump, agent, .. } = setup().await;
    let revocations = pump.means.revocations.clone();
    let said = || std::mem::take(&mut *relay.1.lock().unwrap());
    for digit in ["A", "B"] {
        assert!(revocations.add(store.as_ref(), &revocation(digit)).await.unwrap().is_some());
    }
    assert_eq!(revocations.add(store.as_ref(), &revocation("A")).await.unwrap(), None, "it is known");
    let posted = action(1, None, Limits::default());
    store.post(&posted, std::slice::from_ref(&agent)).await.unwrap();
    pump.lead.as_mut().unwrap().learn(posted.clone()).await.unwrap();
    for _ in ["the first time", "and again"] {
        pump.take(vec![Incoming::Gone { agent: agent.clone() }, Incoming::Present { agent: agent.clone() }]).await;
        let lead = pump.lead.as_mut().unwrap();
        while lead.brings() {
            lead.bring().await;
        }
        let [one, two] = ["A", "B"].map(|digit| ToAgent::Revocation(digit.to_owned()));
        assert_eq!(said(), [one, two, ToAgent::Command(posted.envelope.clone())]);
    }

    // Those who are here are brought a new one at once, and it is there after a restart.
    let armor = revocations.add(store.as_ref(), &revocation("C")).await.unwrap().unwrap();
    let (done, was_done) = oneshot::channel();
    pump.order(Order::Revoke { armor, done }).await;
    was_done.await.unwrap();
    assert_eq!(said(), [ToAgent::Revocation("C".to_owned())]);
    let again = crate::revocations::Revocations::open(store.as_ref()).await.unwrap();
    assert_eq!(again.all().iter().map(|armor| &**armor).collect::<Vec<&str>>(), ["A", "B", "C"]);
}
