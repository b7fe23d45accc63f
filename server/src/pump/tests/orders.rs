//! What investigators order, once and again, and what becomes of it while the store does not follow.

use canvass_protocol::target::Targets;

use super::*;

/// An order that is carried out.
async fn order(pump: &mut Pump, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
    let (done, was_done) = oneshot::channel();
    pump.order(order(done)).await;
    was_done.await.unwrap();
}

async fn post(pump: &mut Pump, action: &store::Action, agents: &[String]) {
    let targets = Targets::of(&Signed::parse(action.envelope.payload.as_bytes()).unwrap()).unwrap();
    let (action, agents) = (Box::new(action.clone()), agents.to_vec());
    order(pump, |done| Order::Post { action, targets, agents, done }).await;
}

/// An agent leaves and comes again, and is brought what is open for it.
async fn come(pump: &mut Pump, agent: &str) {
    let agent = agent.to_owned();
    pump.take(vec![Incoming::Gone { agent: agent.clone() }, Incoming::Present { agent }]).await;
    bring(pump).await;
}

async fn bring(pump: &mut Pump) {
    let lead = pump.lead.as_mut().unwrap();
    while lead.brings() {
        lead.bring().await;
    }
}

#[tokio::test]
async fn what_is_posted_again_keeps_its_signatures_and_its_withdrawal() {
    let Setup { folder: _folder, store, relay, mut pump, agent, .. } = setup().await;
    let posted = action(1, None, Limits::default());
    let agents = std::slice::from_ref(&agent);
    let said = || std::mem::take(&mut *relay.1.lock().unwrap());
    store.post(&posted, agents).await.unwrap();
    post(&mut pump, &posted, agents).await;
    come(&mut pump, &agent).await;
    assert_eq!(said(), [ToAgent::Command(posted.envelope.clone())]);

    let mut two = posted.envelope.clone();
    two.signatures.push("t".to_owned());
    assert!(store.cosign(&posted.envelope, &two, &["AB".to_owned(), "CD".to_owned()]).await.unwrap());
    order(&mut pump, |done| Order::Cosign { envelope: two.clone(), done }).await;
    bring(&mut pump).await;
    said();
    // As its author has it, and as the store does.
    assert!(!store.post(&posted, agents).await.unwrap());
    post(&mut pump, &posted, agents).await;
    let stored = store.action(posted.id).await.unwrap().unwrap();
    order(&mut pump, |done| Order::Again { action: Box::new(stored), done }).await;
    bring(&mut pump).await;
    assert_eq!(said(), [], "nobody is brought it for that");
    come(&mut pump, &agent).await;
    assert_eq!(said(), [ToAgent::Command(two.clone())], "with all its signatures");

    let withdrawal = Envelope { payload: "{}".to_owned(), signatures: vec!["s".to_owned()] };
    assert!(store.withdraw(posted.hash, None, &withdrawal).await.unwrap());
    order(&mut pump, |done| Order::Withdraw { hash: posted.hash, withdrawal: withdrawal.clone(), done }).await;
    bring(&mut pump).await;
    said();
    post(&mut pump, &posted, agents).await;
    let stored = store.action(posted.id).await.unwrap().unwrap();
    order(&mut pump, |done| Order::Again { action: Box::new(stored), done }).await;
    come(&mut pump, &agent).await;
    assert_eq!(said(), [ToAgent::Withdraw(withdrawal)]);
}

/// The server may have ended between the two, or another one may have posted it.
#[tokio::test]
async fn what_is_posted_again_and_not_known_is_taken_up() {
    let Setup { folder: _folder, store, relay, mut pump, agent, .. } = setup().await;
    let posted = action(1, None, Limits::default());
    store.post(&posted, std::slice::from_ref(&agent)).await.unwrap();
    order(&mut pump, |done| Order::Again { action: Box::new(posted.clone()), done }).await;
    come(&mut pump, &agent).await;
    assert_eq!(*relay.1.lock().unwrap(), [ToAgent::Command(posted.envelope)]);
}

#[tokio::test]
async fn what_waited_until_its_window_closed_is_brought_to_nobody() {
    let Setup { folder: _folder, store, relay, mut pump, agent, .. } = setup().await;
    let posted = action(1, None, Limits::default());
    let posted = store::Action { expires_at: Timestamp::now() + SignedDuration::from_millis(200), ..posted };
    store.post(&posted, std::slice::from_ref(&agent)).await.unwrap();
    pump.take(vec![Incoming::Present { agent: agent.clone() }]).await;
    post(&mut pump, &posted, std::slice::from_ref(&agent)).await;
    assert!(pump.lead.as_ref().unwrap().brings());
    while Timestamp::now() < posted.expires_at {
        tokio::task::yield_now().await;
    }
    bring(&mut pump).await;
    assert_eq!(*relay.1.lock().unwrap(), []);
    assert_eq!(store.commands(posted.hash).await.unwrap()[0].state, State::Waiting, "it was not sent");
}

/// A disk that is full, or a database that is away: what was decided meanwhile is written when it is there again.
#[tokio::test]
async fn what_the_store_does_not_take_is_given_to_it_again() {
    let Setup { folder, store, relay: _relay, mut pump, agent, .. } = setup().await;
    let posted = action(1, None, Limits::default());
    let agents = std::slice::from_ref(&agent);
    store.post(&posted, agents).await.unwrap();
    post(&mut pump, &posted, agents).await;
    let mut other = SqliteConnection::connect(folder.path().join("server.sqlite").to_str().unwrap()).await.unwrap();
    sqlx::query("ALTER TABLE commands RENAME TO away").execute(&mut other).await.unwrap();
    come(&mut pump, &agent).await;
    let later = posted.expires_at + SignedDuration::from_secs(limits::CLOCK_SKEW_S + 1);
    pump.feed(Event::Now(later)).await;
    sqlx::query("ALTER TABLE away RENAME TO commands").execute(&mut other).await.unwrap();
    assert_eq!(store.commands(posted.hash).await.unwrap()[0].state, State::Waiting);
    while !store.open_actions().await.unwrap().is_empty() {
        sleep(pump.lead.as_ref().unwrap().rest()).await;
        pump.feed(Event::Now(later)).await;
    }
    let command = store.commands(posted.hash).await.unwrap().remove(0);
    assert_eq!(command.state, State::Expired);
    assert!(command.sent_at.is_some(), "what happened before it is written before it");
}
