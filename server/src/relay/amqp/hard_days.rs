//! What a broker does to those who use it on its hard days: it deletes queues, takes nothing for want of memory, and drops
//! what does not fit. Whoever lost something comes again, and is brought all that is open.

use canvass_protocol::action::ActionHash;
use canvass_protocol::relay::{FromAgent, ToAgent};
use canvass_protocol::signed::Signed;
use canvass_services::Rabbitmq;
use ed25519_dalek::SigningKey;

use super::tests::Broker;
use super::*;
use crate::relay::contract::{Agent, FLEET, Place};

/// How long anything here may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come to pass"))
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn taken(number: u8) -> ToAgent {
    ToAgent::Taken(ActionHash([number; 32]))
}

/// An agent that comes, for the first time or again.
async fn come(place: &mut Broker, id: &str) -> Box<dyn Agent> {
    let agent = soon("a line", place.come(&key(), FLEET)).await.ok().unwrap();
    match soon("a presence", place.incoming()).await {
        Incoming::Present { agent } => assert_eq!(agent, id),
        other => panic!("{other:?} instead of a presence"),
    }
    agent
}

async fn gone(place: &mut Broker, id: &str) {
    match soon("a leave", place.incoming()).await {
        Incoming::Gone { agent } => assert_eq!(agent, id),
        other => panic!("{other:?} instead of a leave"),
    }
}

/// Both directions work.
async fn both_ways(place: &mut Broker, agent: &mut Box<dyn Agent>, id: &str, number: u8) {
    soon("a message", place.relay().send(&[id.to_owned()], &taken(number))).await;
    assert_eq!(soon("a message", agent.hear()).await, Some(taken(number)));
    let beat = Signed { statement: format!("{{\"beat\":{number}}}"), signature: "00".to_owned() };
    soon("a heartbeat", agent.say(FromAgent::Heartbeat(beat.clone()))).await;
    match soon("a heartbeat", place.incoming()).await {
        Incoming::Heartbeat { agent, heartbeat, .. } => assert_eq!((agent.as_str(), heartbeat), (id, beat)),
        other => panic!("{other:?} instead of a heartbeat"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_takes_away_is_made_good() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let mut place = Broker::open(&rabbitmq, false).await;
    let id = place.enrol(&key()).await;
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 1).await;

    eprintln!("the queue of answers is deleted under the server");
    rabbitmq.control(&["delete_queue", &format!("{ANSWERS}.test")]).unwrap();
    gone(&mut place, &id).await;
    assert_eq!(soon("the line's end", agent.hear()).await, None, "its agent has to come again");
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 2).await;

    eprintln!("an agent's queue is deleted under the agent");
    rabbitmq.control(&["delete_queue", &queues::of(&id)]).unwrap();
    assert_eq!(soon("the line's end", agent.hear()).await, None);
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 3).await;

    eprintln!("the server's connection is closed by an administrator");
    rabbitmq.control(&["close_all_connections", "enough"]).unwrap();
    gone(&mut place, &id).await;
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 4).await;
}

/// A broker without memory takes nothing from whoever publishes. The server does not wait for it, and whom it could not bring
/// something has to come again once it takes messages.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_takes_nothing_holds_nobody_up() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let mut place = Broker::open(&rabbitmq, false).await;
    let id = place.enrol(&key()).await;
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 1).await;
    rabbitmq.control(&["set_vm_memory_high_watermark", "0.00001"]).unwrap();
    for number in 2..10 {
        soon("the server's going on", place.relay().send(std::slice::from_ref(&id), &taken(number))).await;
    }
    rabbitmq.control(&["set_vm_memory_high_watermark", "0.7"]).unwrap();
    gone(&mut place, &id).await;
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 10).await;
}

/// A queue that is full drops what it had. Its agent has to come again, whether it reads or not.
#[tokio::test(flavor = "multi_thread")]
async fn who_was_sent_more_than_fits_comes_again() {
    let rabbitmq = Rabbitmq::start().unwrap();
    for own_users in [false, true] {
        let mut place = Broker::open(&rabbitmq, own_users).await;
        let id = place.enrol(&key()).await;
        place.line(&key(), FLEET).await.unwrap();
        assert!(matches!(soon("a presence", place.incoming()).await, Incoming::Present { .. }));
        let fits = usize::try_from(queues::QUEUE_MAX).unwrap();
        for _ in 0..=fits {
            soon("a message", place.relay().send(std::slice::from_ref(&id), &taken(1))).await;
        }
        gone(&mut place, &id).await;
        // It left once, however much was dropped, and reads from now on.
        let mut agent = come(&mut place, &id).await;
        both_ways(&mut place, &mut agent, &id, 2).await;
    }
}

/// What one server sends to an agent whose line is to another is lost with its own connection, and the agent comes again.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_the_broker_alone_has_agents_of_others_come_again() {
    let rabbitmq = Rabbitmq::start().unwrap();
    let mut place = Broker::open(&rabbitmq, false).await;
    let leads = Broker::open_as("leads", &rabbitmq, false).await;
    let id = place.enrol(&key()).await;
    let mut agent = come(&mut place, &id).await;
    soon("a message", leads.relay().send(std::slice::from_ref(&id), &taken(1))).await;
    assert_eq!(soon("a message", agent.hear()).await, Some(taken(1)));
    let connections = rabbitmq.control(&["list_connections", "pid", "client_properties"]).unwrap();
    let line = connections.lines().find(|line| line.contains("canvass.answers.leads")).unwrap();
    let pid = line.split_whitespace().next().unwrap();
    rabbitmq.control(&["close_connection", pid, "enough"]).unwrap();
    assert_eq!(soon("the line's end", agent.hear()).await, None);
    let mut agent = come(&mut place, &id).await;
    both_ways(&mut place, &mut agent, &id, 2).await;
}
