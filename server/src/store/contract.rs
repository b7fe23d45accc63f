//! What every store has to keep, whatever it is made of. Each function is a test of one promise over an empty store.

use std::collections::BTreeSet;

use canvass_protocol::action::ActionHash;
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::openpgp::Fingerprint;
use canvass_protocol::signed::Signed;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

use super::page::Wanted;
use super::{Action, Agent, Audit, Conclusion, NewPart, Revocation, Store, StoreError, Taken, Tally, Totals};
use crate::scheduler::State;

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap() + SignedDuration::from_secs(second)
}

fn agent(number: u8, second: i64) -> Agent {
    Agent {
        id: format!("{number:064x}"),
        name: format!("web-{number}"),
        approval: None,
        heartbeat: Signed { statement: format!("{{\"second\":{second}}}"), signature: "00".to_owned() },
        heard_at: at(second),
        public_ip: Some("2001:db8::7".parse().unwrap()),
    }
}

pub fn ids(numbers: &[u8]) -> Vec<String> {
    numbers.iter().map(|number| format!("{number:064x}")).collect()
}

pub fn action(number: u8) -> Action {
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

pub fn part(hash: ActionHash, number: u8, sequence: u8, conclusion: Option<State>) -> NewPart {
    let totals = Totals { rows: 3, bytes: 1000, troubles: 1 };
    NewPart {
        action: hash,
        run: 0,
        agent: format!("{number:064x}"),
        statement: format!("{{\"sequence\":{sequence}}}"),
        signature: format!("{number:02x}{sequence:02x}"),
        body: vec![sequence; 3],
        room: u64::MAX,
        conclusion: conclusion.map(|state| Conclusion {
            state,
            totals,
            reason: Some("why".to_owned()),
            code: Some("weight".to_owned()),
            cut: None,
            judged: 1,
        }),
    }
}

async fn states(store: &dyn Store, hash: ActionHash) -> Vec<State> {
    store.commands(hash).await.unwrap().into_iter().map(|command| command.state).collect()
}

/// The latest heartbeat counts, whatever comes when, of those who are in the fleet; an approval stays until there is another.
pub async fn agents_are_as_last_heard(store: &dyn Store) {
    assert_eq!(store.agents().await.unwrap(), []);
    store.hear(&[agent(1, 10)]).await.unwrap();
    assert_eq!(store.agents().await.unwrap(), [], "who is not in the fleet is not heard");
    store.admit(&[agent(2, 10), agent(1, 10), agent(201, 10)]).await.unwrap();
    let (late, renamed) = (agent(1, 5), Agent { name: "a-new-name".to_owned(), ..agent(2, 20) });
    store.hear(&[late, renamed.clone(), agent(3, 20)]).await.unwrap();
    assert_eq!(store.agents().await.unwrap(), [renamed.clone(), agent(1, 10), agent(201, 10)]);
    assert_eq!(store.agent(&ids(&[201])[0]).await.unwrap(), Some(agent(201, 10)));
    assert_eq!(store.agent("nobody").await.unwrap(), None);

    let approval =
        |signature: &str| Some(Envelope { payload: "{}".to_owned(), signatures: vec![signature.to_owned()] });
    store.admit(&[Agent { approval: approval("one"), ..agent(2, 30) }]).await.unwrap();
    let certified = |approval| Agent { approval, ..renamed.clone() };
    assert_eq!(store.agent(&ids(&[2])[0]).await.unwrap(), Some(certified(approval("one"))));
    store.admit(&[agent(2, 40)]).await.unwrap();
    store.hear(std::slice::from_ref(&renamed)).await.unwrap();
    assert_eq!(store.agent(&ids(&[2])[0]).await.unwrap(), Some(certified(approval("one"))));
    store.admit(&[Agent { approval: approval("two"), ..agent(2, 50) }]).await.unwrap();
    assert_eq!(store.agent(&ids(&[2])[0]).await.unwrap(), Some(certified(approval("two"))));

    assert!(store.remove(&ids(&[2])[0]).await.unwrap() && !store.remove(&ids(&[2])[0]).await.unwrap());
    store.hear(&[renamed]).await.unwrap();
    assert_eq!(store.agents().await.unwrap(), [agent(1, 10), agent(201, 10)]);
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
    assert_eq!(store.envelope(first.hash).await.unwrap().as_ref(), Some(&first.envelope));
    assert_eq!(store.envelope(ActionHash([0; 32])).await.unwrap(), None);
    assert_eq!(store.open_actions().await.unwrap(), [first.clone(), second.clone()]);
    store.close(first.hash).await.unwrap();
    assert_eq!(store.open_actions().await.unwrap(), std::slice::from_ref(&second));
    let [gentle, hard] =
        ["{}", "{\"ends\":1}"].map(|payload| Envelope { payload: payload.to_owned(), signatures: vec![] });
    assert!(store.withdraw(second.hash, None, &gentle).await.unwrap());
    assert!(!store.withdraw(second.hash, None, &hard).await.unwrap(), "another is there");
    assert!(!store.withdraw(second.hash, Some(&hard), &hard).await.unwrap(), "another is there");
    assert!(store.withdraw(second.hash, Some(&gentle), &hard).await.unwrap());
    assert_eq!(store.open_actions().await.unwrap(), [Action { withdrawal: Some(hard), ..second }]);
}

/// Everything that is wanted is listed, once and in order, whatever is added between two pages.
pub async fn the_past_is_listed_page_by_page(store: &dyn Store) {
    // Three of one moment, and whoever signed some of them.
    for number in 1..=9 {
        let base = action(number);
        let created_at = if number < 4 { at(1) } else { base.created_at };
        let signers =
            if number % 2 == 0 { vec!["ABCD".to_owned(), "EF01".to_owned()] } else { vec!["9999".to_owned()] };
        let investigator = signers[0].clone();
        store.post(&Action { created_at, signers, investigator, ..base }, &ids(&[1, 2, 3])).await.unwrap();
    }
    store.settle(action(5).hash, &ids(&[2]), State::Expired, at(9)).await.unwrap();
    store.withdraw(action(6).hash, None, &action(6).envelope).await.unwrap();
    store.close(action(7).hash).await.unwrap();
    let cut = Conclusion {
        cut: Some("limit_rows".to_owned()),
        ..part(action(9).hash, 1, 0, Some(State::Answered)).conclusion.unwrap()
    };
    let last = NewPart { conclusion: Some(cut), ..part(action(9).hash, 1, 0, None) };
    store.take(&[last], at(9)).await.unwrap();

    let number = |id: Uuid| u8::try_from(id.as_u128()).unwrap();
    let list = async |wanted: &Wanted, count: u32| {
        let (mut listed, mut after, mut added) = (Vec::new(), None, 100);
        loop {
            let page = store.list_actions(wanted, after.as_ref(), count).await.unwrap();
            assert!(page.len() <= count as usize);
            let Some(last) = page.last() else { break };
            after = Some(last.mark());
            listed.extend(page.iter().map(|listed| number(listed.id)));
            // What comes meanwhile is the newest.
            store.post(&Action { created_at: at(i64::from(added)), ..action(added) }, &[]).await.unwrap();
            added += 1;
        }
        store.close(action(100).hash).await.unwrap();
        listed
    };
    let commands = async |wanted: &Wanted, count: u32| {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.list_commands(wanted, after.as_ref(), count).await.unwrap();
            assert!(page.len() <= count as usize);
            let Some(last) = page.last() else { break };
            after = Some(last.mark.clone());
            listed.extend(page.iter().map(|one| (number(one.action), one.command.agent[63..].parse::<u8>().unwrap())));
        }
        listed
    };
    let old = Wanted { until: Some(at(50)), ..Wanted::default() };
    let mut moment = [1, 2, 3];
    moment.sort_by_key(|number| action(*number).hash.to_string());
    let newest = [9, 8, 7, 6, 5, 4];
    let all: Vec<u8> = newest.iter().chain(&moment).copied().collect();
    for count in [1, 2, 3, 20] {
        assert_eq!(list(&old, count).await, all, "{count} at once");
    }
    let of_all: Vec<(u8, u8)> = all.iter().flat_map(|number| [1, 2, 3].map(|agent| (*number, agent))).collect();
    for count in [1, 2, 4, 100] {
        assert_eq!(commands(&old, count).await, of_all, "{count} at once");
    }
    let id = |number: u8| Uuid::from_u128(number.into());
    let cases: [(Wanted, &[u8]); 10] = [
        (Wanted { signer: Some("EF01".into()), ..old.clone() }, &[8, 6, 4, 2]),
        (Wanted { signer: Some("9999".into()), since: Some(at(2)), ..old.clone() }, &[9, 7, 5]),
        (Wanted { ids: vec![id(4), id(9), id(77)], ..old.clone() }, &[9, 4]),
        (Wanted { ids: vec![id(77)], ..old.clone() }, &[]),
        (Wanted { prefix: Some("00000000-0000-0000-0000-000000000008".into()), ..old.clone() }, &[8]),
        (
            Wanted { prefix: Some("00000000-0000-0000-0000-00000000000".into()), since: Some(at(8)), ..old.clone() },
            &[9, 8],
        ),
        (Wanted { prefix: Some("1".into()), ..old.clone() }, &[]),
        (Wanted { since: Some(at(5)), until: Some(at(6)), ..Wanted::default() }, &[6, 5]),
        (Wanted { withdrawn: Some(true), ..old.clone() }, &[6]),
        (Wanted { open: Some(false), ..old.clone() }, &[7]),
    ];
    for (wanted, expected) in cases {
        assert_eq!(list(&wanted, 1).await, expected, "{wanted:?}");
        let of_these: Vec<u8> = commands(&wanted, 2).await.iter().map(|(action, _)| *action).collect();
        let expected: Vec<u8> = expected.iter().flat_map(|number| [*number; 3]).collect();
        assert_eq!(of_these, expected, "{wanted:?}");
    }
    let expired = Wanted { states: vec![State::Expired, State::Answered], ..old.clone() };
    assert_eq!(commands(&expired, 1).await, [(9, 1), (5, 2)]);
    let of_agents = Wanted { agents: ids(&[2, 7]), ids: vec![id(5)], ..old.clone() };
    assert_eq!(commands(&of_agents, 1).await, [(5, 2)]);
    let nine = Wanted { ids: vec![id(9)], ..old };
    let page = store.list_commands(&nine, None, 1).await.unwrap();
    assert_eq!((page[0].command.cut.as_deref(), page[0].command.totals.rows), (Some("limit_rows"), 3));
    let listed = store.list_actions(&nine, None, 1).await.unwrap();
    assert_eq!((listed[0].statement.as_str(), listed[0].withdrawn), (action(9).statement.as_str(), false));
}

/// Long statements are listed by few, and none is left out.
pub async fn long_statements_are_listed_by_few(store: &dyn Store) {
    for number in 1..=6 {
        let statement = if number == 1 { "ü".repeat(6 << 20) } else { "ü".repeat(3 << 19) };
        store.post(&Action { statement, ..action(number) }, &[]).await.unwrap();
    }
    let (mut after, mut listed) = (None, Vec::new());
    loop {
        let page = store.list_actions(&Wanted::default(), after.as_ref(), 5).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.mark());
        listed.push(page.iter().map(|listed| listed.id.as_u128()).collect::<Vec<u128>>());
    }
    assert_eq!(listed, [vec![6, 5, 4], vec![3, 2, 1]], "three of 3 MiB are more than 8, and the last is read whole");
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
}

/// Parts are stored once, in the order in which they came; an agent's last word ends its command, however late, and the
/// first of two counts.
pub async fn answers_are_taken_once(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1, 2, 3])).await.unwrap();
    store.sent(hash, &ids(&[1, 2]), at(1)).await.unwrap();
    let first = [part(hash, 1, 0, None), part(hash, 2, 0, None), part(hash, 9, 0, None)];
    assert_eq!(store.take(&first, at(2)).await.unwrap(), [Taken::Stored, Taken::Stored, Taken::Dropped]);
    store.settle(hash, &ids(&[2, 3]), State::Expired, at(3)).await.unwrap();
    let last = part(hash, 1, 1, Some(State::Answered));
    let taken = store.take(&[part(hash, 1, 0, None), last.clone(), last.clone()], at(4)).await.unwrap();
    assert_eq!(taken, [Taken::Known, Taken::Stored, Taken::Known]);
    let second = [part(hash, 2, 1, Some(State::Failed)), part(hash, 1, 2, Some(State::Failed)), last];
    assert_eq!(store.take(&second, at(5)).await.unwrap(), [Taken::Stored, Taken::Dropped, Taken::Known]);
    assert_eq!(states(store, hash).await, [State::Answered, State::Failed, State::Expired]);
    let command = store.commands(hash).await.unwrap().remove(0);
    assert_eq!(command.totals, Totals { rows: 3, bytes: 1000, troubles: 1 });
    assert_eq!((command.reason.as_deref(), command.finished_at), (Some("why"), Some(at(4))));
    let tallies = store.tallies(&[hash, ActionHash([0; 32])]).await.unwrap();
    let tally = |state: State, rows: u64| Tally { action: hash, state, count: 1, rows };
    assert_eq!(tallies, [tally(State::Answered, 3), tally(State::Expired, 0), tally(State::Failed, 3)]);
    let parts = store.parts(hash, 0, 100).await.unwrap();
    let said: Vec<(&str, &str)> = parts.iter().map(|part| (&part.agent[63..], part.statement.as_str())).collect();
    let (first, second) = ("{\"sequence\":0}", "{\"sequence\":1}");
    assert_eq!(said, [("1", first), ("2", first), ("1", second), ("2", second)]);
    assert_eq!(parts[2].body, [1; 3]);
    assert_eq!(store.parts(hash, parts[1].position, 2).await.unwrap(), parts[2..4]);
    assert_eq!(store.parts(hash, parts[3].position, 2).await.unwrap(), []);
    assert_eq!(store.parts(ActionHash([0; 32]), 0, 2).await.unwrap(), []);
}

/// Nothing of an agent's answer is stored behind its last word, in the same batch or later, but behind a refusal, which may be
/// thought better of, and behind what the server said for want of one.
pub async fn nothing_follows_a_last_word(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1, 2, 3, 4])).await.unwrap();
    let finals = [State::Answered, State::Failed, State::Interrupted];
    for (agent, last) in (1..).zip(finals) {
        let batch = [part(hash, agent, 0, None), part(hash, agent, 1, Some(last)), part(hash, agent, 2, None)];
        let taken = store.take(&batch, at(2)).await.unwrap();
        assert_eq!(taken, [Taken::Stored, Taken::Stored, Taken::Dropped], "{last:?}");
        let more: Vec<NewPart> =
            (3..13).map(|sequence| part(hash, agent, sequence, (sequence == 12).then_some(State::Answered))).collect();
        assert_eq!(store.take(&more, at(3)).await.unwrap(), [Taken::Dropped; 10], "{last:?}");
    }
    assert_eq!(states(store, hash).await, [finals[0], finals[1], finals[2], State::Waiting]);
    let refusals = [part(hash, 4, 0, Some(State::Refused)), part(hash, 4, 1, Some(State::Cancelled))];
    assert_eq!(store.take(&refusals, at(3)).await.unwrap(), [Taken::Stored; 2]);
    assert_eq!(states(store, hash).await[3], State::Cancelled);
    store.settle(hash, &ids(&[4]), State::Expired, at(4)).await.unwrap();
    let answer = [part(hash, 4, 2, None), part(hash, 4, 3, Some(State::Answered))];
    assert_eq!(store.take(&answer, at(5)).await.unwrap(), [Taken::Stored; 2]);
    assert_eq!(states(store, hash).await[3], State::Answered);
    assert_eq!(store.parts(hash, 0, 99).await.unwrap().len(), 2 * 3 + 4);
}

/// An agent's answers have no more bytes than there is room for, however they are sent and whoever else sends; what is sent
/// again takes none.
pub async fn an_answer_has_no_more_than_its_room(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1, 2])).await.unwrap();
    let sized = |agent, sequence, bytes| {
        let mut part = part(hash, agent, sequence, None);
        part.body = vec![7; bytes - (part.statement.len() + part.signature.len())];
        NewPart { room: 1000, ..part }
    };
    let first = [sized(1, 0, 400), sized(1, 1, 400), sized(1, 2, 201), sized(2, 0, 1000), sized(1, 3, 100)];
    let taken = store.take(&first, at(1)).await.unwrap();
    assert_eq!(taken, [Taken::Stored, Taken::Stored, Taken::Dropped, Taken::Stored, Taken::Stored]);
    let again = [sized(1, 0, 400), sized(1, 1, 400), sized(1, 4, 101), sized(1, 5, 100), sized(1, 6, 100)];
    let taken = store.take(&again, at(2)).await.unwrap();
    assert_eq!(taken, [Taken::Known, Taken::Known, Taken::Dropped, Taken::Stored, Taken::Dropped]);
    let last = NewPart { room: 1000, ..part(hash, 1, 7, Some(State::Answered)) };
    assert_eq!(store.take(std::slice::from_ref(&last), at(3)).await.unwrap(), [Taken::Dropped], "its last word too");
    assert_eq!(states(store, hash).await, [State::Waiting; 2]);
    let bytes: usize = store.parts(hash, 0, 99).await.unwrap().iter().map(|part| part.body.len()).sum();
    assert!((1500..=2000).contains(&bytes), "{bytes}");
}

/// Whatever agents count, there are sums of it.
pub async fn counts_have_sums(store: &dyn Store) {
    let hash = action(1).hash;
    store.post(&action(1), &ids(&[1, 2, 3])).await.unwrap();
    let most = Totals { rows: u64::MAX, bytes: u64::MAX, troubles: u64::MAX };
    let said = [1, 2, 3].map(|agent| {
        let part = part(hash, agent, 0, Some(State::Answered));
        let conclusion =
            Conclusion { totals: if agent < 3 { most } else { Totals::default() }, ..part.conclusion.unwrap() };
        NewPart { conclusion: Some(conclusion), ..self::part(hash, agent, 0, None) }
    });
    store.take(&said, at(2)).await.unwrap();
    let tallies = store.tallies(&[hash]).await.unwrap();
    let rows = 2 * limits::COUNT_MAX;
    assert_eq!(tallies, [Tally { action: hash, state: State::Answered, count: 3, rows }]);
    assert_eq!(store.commands(hash).await.unwrap()[0].totals.bytes, limits::COUNT_MAX);
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
    assert_eq!(store.action(action(1).id).await.unwrap(), None);
    assert_eq!(store.action(action(2).id).await.unwrap(), Some(action(2)));
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

/// One revocation of a key is stored, whoever comes with another.
pub async fn revocations_are_kept_once(store: &dyn Store) {
    assert_eq!(store.revocations(9).await.unwrap(), []);
    let (first, second) = (revocation("A", "one", 1), revocation("B", "two", 2));
    assert!(store.revoke(&second).await.unwrap() && store.revoke(&first).await.unwrap());
    assert!(!store.revoke(&first).await.unwrap());
    assert!(!store.revoke(&Revocation { at: at(9), ..first.clone() }).await.unwrap(), "the same, later");
    assert!(!store.revoke(&revocation("A", "three", 3)).await.unwrap(), "another one of the same key");
    assert_eq!(store.revocations(9).await.unwrap(), [first.clone(), second]);
    assert_eq!(store.revocations(1).await.unwrap(), [first]);
}

fn revocation(digit: &str, armor: &str, second: i64) -> Revocation {
    let key = Fingerprint(digit.repeat(40));
    let (certificate, armor) = (Fingerprint("C".repeat(40)), format!("-----BEGIN\n'{armor}'\n"));
    Revocation { key, certificate, armor, posted_by: "ABCD".to_owned(), at: at(second) }
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
    store.admit(&[agent(1, 1)]).await.unwrap();
    store.post(&action(1), &ids(&[1])).await.unwrap();
    store.take(&[part(action(1).hash, 1, 0, Some(State::Refused))], at(1)).await.unwrap();
    store.revoke(&revocation("A", "one", 1)).await.unwrap();
    let again = again().await;
    assert_eq!(again.revocations(9).await.unwrap(), [revocation("A", "one", 1)]);
    assert_eq!(again.agents().await.unwrap(), [agent(1, 1)]);
    assert_eq!(again.open_actions().await.unwrap(), [action(1)]);
    assert_eq!(states(again.as_ref(), action(1).hash).await, [State::Refused]);
    assert_eq!(again.parts(action(1).hash, 0, 9).await.unwrap().len(), 1);
}
