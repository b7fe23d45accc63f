//! What every store has to keep, whatever it is made of. Each function is a test of one promise over an empty store.

use std::collections::BTreeSet;

use canvass_protocol::action::ActionHash;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::signed::Signed;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::{Action, Agent, Audit, Conclusion, NewPart, Store, StoreError, Tally, Totals};
use crate::scheduler::State;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(second)
}

fn agent(number: u8, second: i64) -> Agent {
    Agent {
        id: format!("{number:064x}"),
        name: format!("web-{number}"),
        admitted: number < 200,
        heartbeat: Signed { statement: format!("{{\"second\":{second}}}"), signature: "00".to_owned() },
        heard_at: at(second),
        public_ip: Some("2001:db8::7".parse().unwrap()),
    }
}

fn ids(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| format!("{number:064x}")).collect()
}

fn action(number: u8) -> Action {
    let envelope = Envelope { payload: format!("{{\"number\":{number}}}"), signatures: vec!["signature".to_owned()] };
    Action {
        hash: envelope.hash(),
        id: Uuid::from_u128(number.into()),
        envelope,
        statement: "SELECT '\"; DROP TABLE actions; --'".to_owned(),
        investigator: "ABCD".to_owned(),
        signers: vec!["ABCD".to_owned(), "EF01".to_owned()],
        created_at: at(number.into()),
        expires_at: at(300),
        answers_until: at(600),
        withdrawal: None,
    }
}

fn part(hash: ActionHash, number: u8, sequence: u8, conclusion: Option<State>) -> NewPart {
    let totals = Totals { rows: 3, bytes: 1000, troubles: 1 };
    NewPart {
        action: hash,
        run: 0,
        agent: format!("{number:064x}"),
        statement: format!("{{\"sequence\":{sequence}}}"),
        signature: format!("{number:02x}{sequence:02x}"),
        body: vec![sequence; 3],
        conclusion: conclusion.map(|state| Conclusion {
            state,
            totals,
            reason: Some("why".to_owned()),
            code: Some("weight".to_owned()),
            judged: 1,
        }),
    }
}

async fn states(store: &dyn Store, hash: ActionHash) -> Vec<State> {
    store.commands(hash).await.unwrap().into_iter().map(|command| command.state).collect()
}

/// The latest heartbeat counts, whatever comes when; who is admitted stays so.
pub async fn agents_are_as_last_heard(store: &dyn Store) {
    assert_eq!(store.agents().await.unwrap(), []);
    store.hear(&[agent(2, 10), agent(1, 10), agent(201, 10)]).await.unwrap();
    let late = Agent { admitted: false, ..agent(1, 5) };
    let renamed = Agent { name: "a-new-name".to_owned(), admitted: false, ..agent(2, 20) };
    store.hear(&[late, renamed.clone()]).await.unwrap();
    let renamed = Agent { admitted: true, ..renamed };
    assert_eq!(store.agents().await.unwrap(), [renamed, agent(1, 10), agent(201, 10)]);
    assert_eq!(store.agent(&ids(&[201])[0]).await.unwrap(), Some(agent(201, 10)));
    assert!(store.admit(&ids(&[201])[0]).await.unwrap());
    assert!(store.agent(&ids(&[201])[0]).await.unwrap().unwrap().admitted);
    assert!(!store.admit("nobody").await.unwrap());
    assert_eq!(store.agent("nobody").await.unwrap(), None);
}

/// An action is posted whole and once, and comes back as it was.
pub async fn actions_are_posted_once(store: &dyn Store) {
    let (first, second) = (action(1), action(2));
    assert!(store.post(&first, &ids(&[1, 2])).await.unwrap());
    assert!(!store.post(&first, &ids(&[3])).await.unwrap(), "it is there already");
    assert!(store.post(&second, &[]).await.unwrap());
    assert_eq!(store.action(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!(states(store, first.hash).await, [State::Waiting; 2]);
    assert_eq!(states(store, second.hash).await, []);
    let other = Action { id: first.id, ..action(3) };
    assert!(matches!(store.post(&other, &[]).await, Err(StoreError::Taken(id)) if id == first.id));
    assert_eq!(store.action(Uuid::nil()).await.unwrap(), None);
    assert_eq!(store.actions(1).await.unwrap(), std::slice::from_ref(&second));
    assert_eq!(store.open_actions().await.unwrap(), [first.clone(), second.clone()]);
    store.close(first.hash).await.unwrap();
    assert_eq!(store.open_actions().await.unwrap(), std::slice::from_ref(&second));
    let withdrawal = Envelope { payload: "{}".to_owned(), signatures: vec![] };
    store.withdraw(second.hash, &withdrawal).await.unwrap();
    assert_eq!(store.open_actions().await.unwrap(), [Action { withdrawal: Some(withdrawal), ..second }]);
}

/// Commands go from waiting to sent to an end, and never back.
pub async fn commands_end_once(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1, 2, 3])).await.unwrap();
    store.ask(hash, &ids(&[3, 4])).await.unwrap();
    store.sent(hash, &ids(&[1, 2]), at(1)).await.unwrap();
    assert_eq!(states(store, hash).await, [State::Sent, State::Sent, State::Waiting, State::Waiting]);
    store.settle(hash, &ids(&[2, 3, 9]), State::Cancelled, at(2)).await.unwrap();
    store.settle(hash, &ids(&[2, 4]), State::Expired, at(3)).await.unwrap();
    store.sent(hash, &ids(&[2, 3, 4]), at(4)).await.unwrap();
    assert_eq!(states(store, hash).await, [State::Sent, State::Cancelled, State::Cancelled, State::Expired]);
    let commands = store.commands(hash).await.unwrap();
    assert_eq!((commands[0].sent_at, commands[0].finished_at), (Some(at(1)), None));
    assert_eq!((commands[1].sent_at, commands[1].finished_at), (Some(at(1)), Some(at(2))));
    assert_eq!((commands[3].sent_at, commands[3].finished_at), (None, Some(at(3))));
}

/// A refusal gives way to an answer; what is opened again is what was refused and nothing else.
pub async fn refusals_open_again(store: &dyn Store) {
    let first = action(1);
    let hash = first.hash;
    store.post(&first, &ids(&[1, 2, 3, 4])).await.unwrap();
    store.sent(hash, &ids(&[1, 2, 3]), at(1)).await.unwrap();
    let said = [
        part(hash, 1, 0, Some(State::Refused)),
        part(hash, 2, 0, Some(State::Answered)),
        part(hash, 3, 0, Some(State::Refused)),
        part(hash, 3, 1, Some(State::Answered)),
        part(hash, 2, 1, Some(State::Refused)),
    ];
    store.take(&said, at(2)).await.unwrap();
    let after = [State::Refused, State::Answered, State::Answered, State::Waiting];
    assert_eq!(states(store, hash).await, after, "a refusal gives way to an answer, and an answer to nothing");
    let signers = ["ABCD", "EF01", "2345"].map(str::to_owned);
    let more = Envelope { signatures: vec!["signature".to_owned(), "another".to_owned()], ..first.envelope.clone() };
    assert!(!store.cosign(&more, &more, &signers).await.unwrap(), "another envelope is there");
    assert!(store.cosign(&first.envelope, &more, &signers).await.unwrap());
    store.reopen(hash, &ids(&[1, 2, 9])).await.unwrap();
    assert_eq!(states(store, hash).await, [State::Waiting, State::Answered, State::Answered, State::Waiting]);
    let command = store.commands(hash).await.unwrap().swap_remove(0);
    assert_eq!((command.state, command.finished_at, command.reason), (State::Waiting, None, None));
    let stored = store.action(first.id).await.unwrap().unwrap();
    assert_eq!((stored.envelope.clone(), stored.signers), (more.clone(), signers.to_vec()));
    assert_eq!(store.latest_commands(Some("2345"), 10).await.unwrap().len(), 4);
    assert_eq!(store.latest_commands(Some("9999"), 10).await.unwrap(), []);
}

/// Parts are stored once, in the order in which they came; an agent's last word ends its command, however late, and the
/// first of two counts.
pub async fn answers_are_taken_once(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1, 2, 3])).await.unwrap();
    store.sent(hash, &ids(&[1, 2]), at(1)).await.unwrap();
    store.take(&[part(hash, 1, 0, None), part(hash, 2, 0, None), part(hash, 9, 0, None)], at(2)).await.unwrap();
    store.settle(hash, &ids(&[2, 3]), State::Expired, at(3)).await.unwrap();
    let last = part(hash, 1, 1, Some(State::Answered));
    store.take(&[part(hash, 1, 0, None), last.clone(), last.clone()], at(4)).await.unwrap();
    store.take(&[part(hash, 2, 1, Some(State::Failed)), part(hash, 1, 2, Some(State::Failed))], at(5)).await.unwrap();
    assert_eq!(states(store, hash).await, [State::Answered, State::Failed, State::Expired]);
    let command = store.commands(hash).await.unwrap().remove(0);
    assert_eq!(command.totals, Totals { rows: 3, bytes: 1000, troubles: 1 });
    assert_eq!((command.reason.as_deref(), command.finished_at), (Some("why"), Some(at(4))));
    let tallies = store.tallies(&[hash, ActionHash([0; 32])]).await.unwrap();
    let tally = |state: State, rows: u64| Tally { action: hash, state, count: 1, rows };
    assert_eq!(tallies, [tally(State::Answered, 3), tally(State::Expired, 0), tally(State::Failed, 3)]);
    let latest = store.latest_commands(Some("ABCD"), 2).await.unwrap();
    assert_eq!((latest.len(), latest[0].0, latest[0].1.state), (2, action(1).id, State::Answered));
    assert_eq!(store.latest_commands(None, 9).await.unwrap().len(), 3);
    assert_eq!(store.latest_commands(Some("EFGH"), 9).await.unwrap(), []);
    let parts = store.parts(hash, 0, 100).await.unwrap();
    let said: Vec<(&str, &str)> = parts.iter().map(|part| (&part.agent[63..], part.statement.as_str())).collect();
    let (first, second) = ("{\"sequence\":0}", "{\"sequence\":1}");
    assert_eq!(said, [("1", first), ("2", first), ("1", second), ("2", second), ("1", "{\"sequence\":2}")]);
    assert_eq!(parts[2].body, [1; 3]);
    assert_eq!(store.parts(hash, parts[1].position, 2).await.unwrap(), parts[2..4]);
    assert_eq!(store.parts(hash, parts[4].position, 2).await.unwrap(), []);
    assert_eq!(store.parts(ActionHash([0; 32]), 0, 2).await.unwrap(), []);
}

/// Parts are read by their bytes too: few where they are large, and one at least.
pub async fn large_parts_are_read_by_few(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1])).await.unwrap();
    let large = |sequence, bytes| NewPart { body: vec![7; bytes], ..part(hash, 1, sequence, None) };
    let parts = [large(0, 5 << 20), large(1, 3 << 20), large(2, 3 << 20), large(3, 1), large(4, 1)];
    store.take(&parts, at(2)).await.unwrap();
    let (mut after, mut counts) = (0, Vec::new());
    while let Some(last) = { store.parts(hash, after, 3).await.unwrap() }.last() {
        counts.push(last.statement.clone());
        after = last.position;
    }
    let ends = [0, 2, 4].map(|sequence| format!("{{\"sequence\":{sequence}}}"));
    assert_eq!(counts, ends, "one, then two of three, then the rest");
}

/// What is old is forgotten whole, and what is open never.
pub async fn what_is_old_is_forgotten(store: &dyn Store) {
    for number in [1, 2] {
        store.post(&action(number), &ids(&[1])).await.unwrap();
        store.take(&[part(action(number).hash, 1, 0, None)], at(2)).await.unwrap();
    }
    store.close(action(1).hash).await.unwrap();
    assert_eq!(store.purge(at(600)).await.unwrap(), 0);
    assert_eq!(store.purge(at(601)).await.unwrap(), 1);
    assert_eq!(store.actions(9).await.unwrap(), [action(2)]);
    assert_eq!(store.parts(action(1).hash, 0, 9).await.unwrap(), []);
    assert_eq!(states(store, action(1).hash).await, []);
    assert_eq!(store.parts(action(2).hash, 0, 9).await.unwrap().len(), 1);
}

/// The audit tells the newest first, and page by page all of it.
pub async fn the_audit_keeps_all(store: &dyn Store) {
    let line = |second: i64, action: Option<ActionHash>| Audit {
        at: at(second),
        who: "ABCD".to_owned(),
        what: "post".to_owned(),
        action,
        detail: "'3' agents".to_owned(),
    };
    let lines = [line(1, None), line(2, Some(action(1).hash)), line(3, None)];
    for line in &lines {
        store.note(line).await.unwrap();
    }
    let (mut before, mut read) = (i64::MAX, Vec::new());
    loop {
        let page = store.audit(before, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some((last, _)) = page.last() else { break };
        assert!(*last < before, "it gets nearer to the beginning");
        before = *last;
        read.extend(page.into_iter().map(|(_, line)| line));
    }
    assert_eq!(read, [lines[2].clone(), lines[1].clone(), lines[0].clone()]);
    assert_eq!(store.audit(i64::MIN, 2).await.unwrap(), []);
    assert_eq!(store.audit(i64::MAX, 0).await.unwrap(), []);
}

/// Thousands at once are one statement or one transaction.
pub async fn many_are_written_at_once(store: &dyn Store) {
    let many: Vec<String> = (0..12_000_u32).map(|number| format!("{number:064x}")).collect();
    let hash = action(1).hash;
    store.post(&action(1), &many).await.unwrap();
    store.sent(hash, &many, at(1)).await.unwrap();
    let parts: Vec<NewPart> =
        many.iter().map(|id| NewPart { agent: id.clone(), ..part(hash, 0, 0, Some(State::Answered)) }).collect();
    store.take(&parts, at(2)).await.unwrap();
    let states: BTreeSet<State> = states(store, hash).await.into_iter().collect();
    assert_eq!(states, BTreeSet::from([State::Answered]));
}

/// What was written is there when the store is opened again.
pub async fn everything_outlives_a_restart(store: &dyn Store, again: impl AsyncFn() -> Box<dyn Store>) {
    store.hear(&[agent(1, 1)]).await.unwrap();
    store.post(&action(1), &ids(&[1])).await.unwrap();
    store.take(&[part(action(1).hash, 1, 0, Some(State::Refused))], at(1)).await.unwrap();
    let again = again().await;
    assert_eq!(again.agents().await.unwrap(), [agent(1, 1)]);
    assert_eq!(again.open_actions().await.unwrap(), [action(1)]);
    assert_eq!(states(again.as_ref(), action(1).hash).await, [State::Refused]);
    assert_eq!(again.parts(action(1).hash, 0, 9).await.unwrap().len(), 1);
}
