//! How much of what agents say is held at once, whatever the store does meanwhile.

use futures::future::join_all;

use super::*;
use crate::relay::inlet;

/// Agents, and parts that each of them sends.
const AGENTS: u8 = 12;
const PARTS: usize = 8;
const PART_BYTES: usize = 256 << 10;
/// What may be held: of 24 MiB that are sent.
const HELD_MAX: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_is_held_than_may_be_while_the_store_waits() {
    let Setup { folder, store, pump, .. } = setup().await;
    let keys: Vec<SigningKey> = (1..=AGENTS).map(|number| SigningKey::from_bytes(&[number; 32])).collect();
    let id = |key: &SigningKey| agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap();
    let action = action(1, None, Limits::default());
    let hash = action.hash;
    store.post(&action, &keys.iter().map(id).collect::<Vec<String>>()).await.unwrap();
    let (inlet, outlet) = inlet::channel(inlet::MESSAGES_MAX, HELD_MAX);
    let (_orders, ordered) = mpsc::channel(1);

    // Another one writes: the store's next transaction waits for its end.
    let mut other = SqliteConnection::connect(folder.path().join("server.sqlite").to_str().unwrap()).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let gauge = Arc::new(inlet.gauge());
    let pumping = tokio::spawn(pump.run(outlet, ordered));
    let sending = keys.into_iter().map(|key| {
        let (inlet, gauge, agent) = (inlet.clone(), gauge.clone(), id(&key));
        tokio::spawn(async move {
            let mut writer = Writer::new(&key, "acme".to_owned(), hash, "0".repeat(32));
            let mut most = 0;
            for _ in 0..PARTS {
                let part = writer.frame(0, 1, vec![7; PART_BYTES]);
                inlet.send(Incoming::Part { agent: agent.clone(), action: hash, judged: 1, part }).await.unwrap();
                most = most.max(gauge.bytes().0);
            }
            most
        })
    });
    let sending: Vec<_> = sending.collect();
    // Until no further part fits.
    while gauge.bytes().0 + PART_BYTES <= HELD_MAX {
        tokio::task::yield_now().await;
    }
    let full = gauge.bytes().0;
    assert!(full <= HELD_MAX && !*inlet.flows().borrow(), "{full}");
    assert!(sending.iter().any(|sent| !sent.is_finished()), "who sends more waits");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    for most in join_all(sending).await {
        let most = most.unwrap();
        assert!(most <= HELD_MAX, "{most}");
    }
    drop(inlet);
    pumping.await.unwrap();
    assert_eq!(gauge.bytes().0, 0, "what is stored is held no more");
    let (mut after, mut stored) = (0, 0);
    loop {
        let parts = store.parts(hash, after, 99).await.unwrap();
        let Some(last) = parts.last() else { break };
        (after, stored) = (last.position, stored + parts.len());
    }
    assert_eq!(stored, usize::from(AGENTS) * PARTS, "and nothing is lost");
}
