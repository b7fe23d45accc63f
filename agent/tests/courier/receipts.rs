//! Answers for which no receipt comes: what is sent again, and what is confirmed and need not be.

use std::collections::BTreeSet;
use std::time::Duration;

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::Part;
use canvass_protocol::login::Running;
use canvass_protocol::relay::{FromAgent, ToAgent};
use tokio::sync::mpsc;

use crate::{Setup, Talk, flooding, prepare, setup, talk};

/// A line that drops what need not be confirmed, and a courier that waits for no receipt before it sends such an answer again.
fn lossy(mut setup: Setup) -> Setup {
    setup.line.is_lossy = true;
    Setup { courier: setup.courier.with_receipts_within(Duration::ZERO), ..setup }
}

/// The next message of an answer: of which action, and what.
async fn next_part(from_agent: &mut mpsc::UnboundedReceiver<FromAgent>) -> (ActionHash, Part) {
    loop {
        if let FromAgent::Part { action, part, .. } = from_agent.recv().await.unwrap() {
            return (action, part);
        }
    }
}

#[tokio::test]
async fn a_short_answer_without_a_receipt_is_sent_again() {
    let setup = lossy(setup());
    let (first, second) = (setup.action(), setup.action());
    for action in [&first, &second] {
        setup.to_agent.send(ToAgent::Withdraw(setup.withdrawal(action, Running::Ends))).unwrap();
    }
    setup.to_agent.send(ToAgent::Command(first.clone())).unwrap();
    talk(setup, async |talk: Talk| {
        let Talk { mut from_agent, to_agent, .. } = talk;
        for _ in 0..3 {
            assert_eq!(next_part(&mut from_agent).await.0, first.hash());
            // Whatever comes, it is looked at what is due.
            to_agent.send(ToAgent::Welcome).unwrap();
        }
        to_agent.send(ToAgent::Taken(first.hash())).unwrap();
        to_agent.send(ToAgent::Command(second.clone())).unwrap();
        while next_part(&mut from_agent).await.0 != second.hash() {}
        for _ in 0..3 {
            to_agent.send(ToAgent::Welcome).unwrap();
            assert_eq!(next_part(&mut from_agent).await.0, second.hash(), "what is stored is not sent again");
        }
    })
    .await;
}

/// An answer that lacks one of its messages could not be read.
#[tokio::test]
async fn an_answer_of_several_messages_is_confirmed_and_sent_once() {
    let home = tempfile::tempdir().unwrap();
    let alice = prepare(home.path());
    let setup = lossy(flooding(home, alice, 1 << 30));
    let (several, short) = (setup.action(), setup.action_of(&["uid"]));
    setup.to_agent.send(ToAgent::Command(several.clone())).unwrap();
    talk(setup, async |talk: Talk| {
        let Talk { mut from_agent, to_agent, .. } = talk;
        let mut messages = Vec::new();
        loop {
            let (action, part) = next_part(&mut from_agent).await;
            if action == short.hash() {
                break;
            }
            if part.is_last() {
                to_agent.send(ToAgent::Command(short.clone())).unwrap();
            }
            messages.push(part.signature);
        }
        let distinct: BTreeSet<&String> = messages.iter().collect();
        assert!(messages.len() > 1 && distinct.len() == messages.len(), "{} of {}", distinct.len(), messages.len());
    })
    .await;
}
