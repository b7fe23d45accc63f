//! What every relay has to keep, whatever carries its messages. Each function is a test of one promise over a fresh relay.

use async_trait::async_trait;
use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::relay::{FromAgent, ToAgent};
use canvass_protocol::signed::Signed;
use ed25519_dalek::SigningKey;

use super::{Incoming, Relay};

/// A relay that agents can come to.
#[async_trait]
pub trait Place: Send {
    fn relay(&self) -> &dyn Relay;

    /// Takes an agent into the fleet, as enrolment does; returns its id.
    async fn enrol(&self, key: &SigningKey) -> String;

    /// An agent comes and proves its key, for this fleet; the reason where it is not let in.
    async fn come(&self, key: &SigningKey, fleet: &str) -> Result<Box<dyn Agent>, String>;

    /// As much time goes by as it takes to see that an agent has left, where its connection does not tell.
    async fn miss(&mut self, id: &str);

    /// What the relay brings in next.
    async fn incoming(&mut self) -> Incoming;
}

/// An agent that is connected, and leaves when it is dropped.
#[async_trait]
pub trait Agent: Send {
    async fn say(&mut self, message: FromAgent);

    /// The next message; `None` where the line has ended.
    async fn hear(&mut self) -> Option<ToAgent>;
}

pub const FLEET: &str = "acme";

fn key(number: u8) -> SigningKey {
    SigningKey::from_bytes(&[number; 32])
}

fn command(number: u8) -> ToAgent {
    ToAgent::Command(Envelope { payload: format!("{{\"number\":{number}}}"), signatures: vec!["s".to_owned()] })
}

async fn present(place: &mut dyn Place, id: &str) {
    match place.incoming().await {
        Incoming::Present { agent } => assert_eq!(agent, id),
        other => panic!("{other:?} instead of a presence"),
    }
}

async fn gone(place: &mut dyn Place, id: &str) {
    match place.incoming().await {
        Incoming::Gone { agent } => assert_eq!(agent, id),
        other => panic!("{other:?} instead of a leave"),
    }
}

/// Who has proved its key is reached, in order, until it leaves; others hear nothing of it.
pub async fn messages_reach_those_they_are_for(mut place: Box<dyn Place>) {
    let (first, second) = (place.enrol(&key(1)).await, place.enrol(&key(2)).await);
    place.relay().send(std::slice::from_ref(&first), &command(0)).await;
    let mut one = place.come(&key(1), FLEET).await.ok().unwrap();
    present(place.as_mut(), &first).await;
    let mut two = place.come(&key(2), FLEET).await.ok().unwrap();
    present(place.as_mut(), &second).await;
    for number in 1..=100 {
        place.relay().send(std::slice::from_ref(&first), &command(number)).await;
    }
    place.relay().send(&[first.clone(), second.clone(), "nobody".to_owned()], &command(101)).await;
    let longest = ToAgent::Revocation("\n".repeat(limits::REVOCATION_BYTES_MAX));
    place.relay().send(&[first.clone(), second.clone()], &longest).await;
    assert_eq!(two.hear().await, Some(command(101)));
    assert_eq!(two.hear().await, Some(longest.clone()));
    for number in 1..=101 {
        assert_eq!(one.hear().await, Some(command(number)), "what was said to somebody who was away is not kept");
    }
    assert_eq!(one.hear().await, Some(longest));
    drop(one);
    place.miss(&first).await;
    gone(place.as_mut(), &first).await;
    place.relay().send(&[first, second], &command(102)).await;
    assert_eq!(two.hear().await, Some(command(102)));
}

/// What an agent says is brought in under its own id, whole and in order.
pub async fn what_agents_say_is_brought_in(mut place: Box<dyn Place>) {
    let id = place.enrol(&key(1)).await;
    let mut one = place.come(&key(1), FLEET).await.ok().unwrap();
    present(place.as_mut(), &id).await;
    let beat = Signed { statement: "{\"beat\":1}".to_owned(), signature: "00".to_owned() };
    let part = |body: Vec<u8>| Part { statement: "{\"part\":\"\\n\"}".to_owned(), signature: "01".repeat(64), body };
    let large = vec![b'\n'; 4 << 20];
    one.say(FromAgent::Heartbeat(beat.clone())).await;
    one.say(FromAgent::Part { action: ActionHash([7; 32]), judged: 2, part: part(large.clone()) }).await;
    one.say(FromAgent::Part { action: ActionHash([7; 32]), judged: 2, part: part(Vec::new()) }).await;
    match place.incoming().await {
        Incoming::Heartbeat { agent, heartbeat, .. } => assert_eq!((agent, heartbeat), (id.clone(), beat)),
        other => panic!("{other:?}"),
    }
    for body in [large, Vec::new()] {
        match place.incoming().await {
            Incoming::Part { agent, action, judged: 2, part: got } => {
                assert_eq!((agent, action), (id.clone(), ActionHash([7; 32])));
                assert!(got == part(body));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An agent that comes again takes the place of its former line, and leaves once.
pub async fn who_comes_again_takes_its_own_place(mut place: Box<dyn Place>) {
    let id = place.enrol(&key(1)).await;
    let mut before = place.come(&key(1), FLEET).await.ok().unwrap();
    present(place.as_mut(), &id).await;
    let mut after = place.come(&key(1), FLEET).await.ok().unwrap();
    present(place.as_mut(), &id).await;
    assert_eq!(before.hear().await, Some(ToAgent::Replaced), "who hears it is not alone");
    assert_eq!(before.hear().await, None, "its former line ends");
    place.relay().send(std::slice::from_ref(&id), &command(1)).await;
    assert_eq!(after.hear().await, Some(command(1)));
    place.relay().shake(std::slice::from_ref(&id)).await;
    assert_eq!(after.hear().await, None, "a shaken agent has to come again");
    gone(place.as_mut(), &id).await;
    let mut again = place.come(&key(1), FLEET).await.ok().unwrap();
    present(place.as_mut(), &id).await;
    place.relay().send(&[id], &command(2)).await;
    assert_eq!(again.hear().await, Some(command(2)));
}

/// Strangers and those of another fleet are not let in, and hear why.
pub async fn strangers_stay_outside(place: Box<dyn Place>) {
    place.enrol(&key(1)).await;
    for (number, fleet, words) in [(1, "other", "fleet `other`"), (2, FLEET, "is not enrolled")] {
        let error = place.come(&key(number), fleet).await.err().unwrap();
        assert!(error.contains(words), "{number}: {error}");
    }
}
