//! What becomes of single actions, told one after the other.

use super::*;

#[test]
fn who_comes_before_the_end_is_asked_and_who_comes_after_is_not() {
    let mut scheduler = Scheduler::default();
    let hash = ActionHash([1; 32]);
    let action = Posted { hash, targets: targets(&linux()), signatures: 1, until: at(60), answers_until: at(90) };
    assert_eq!(scheduler.on(Event::Posted { action, agents: vec![] }), []);
    assert_eq!(scheduler.on(heard("agent-0", at(1))), [], "it is no linux");
    scheduler.on(Event::Present { agent: "agent-1".into() });
    let agents = vec!["agent-1".to_owned()];
    assert_eq!(
        scheduler.on(heard("agent-1", at(1))),
        [Effect::Ask { hash, agents: agents.clone() }, Effect::Send { hash, agents }]
    );
    assert_eq!(scheduler.on(heard("agent-1", at(2))), [], "it is asked once");
    scheduler.on(Event::Now(at(61)));
    assert_eq!(scheduler.wake_at(), Some(at(90)), "it may have begun in time");
    let effects = scheduler.on(Event::Now(at(90)));
    assert_eq!(
        effects,
        [Effect::Settle { hash, agents: vec!["agent-1".into()], state: State::Expired }, Effect::Close { hash }]
    );
    assert_eq!(scheduler.on(heard("agent-2", at(91))), []);
}

#[test]
fn what_was_refused_is_brought_again_with_more_signatures() {
    let mut scheduler = Scheduler::default();
    let hash = ActionHash([1; 32]);
    let (one, two) = (vec!["agent-1".to_owned()], vec!["agent-2".to_owned()]);
    for agent in ["agent-1", "agent-2", "agent-3"] {
        scheduler.on(Event::Present { agent: agent.into() });
    }
    let action = Posted { hash, targets: targets(&None), signatures: 1, until: at(60), answers_until: at(90) };
    scheduler.on(Event::Posted { action, agents: ["agent-1", "agent-2", "agent-3"].map(str::to_owned).to_vec() });
    let says = |agent: &str, state, judged| Event::Concluded { hash, agent: agent.into(), state, judged };
    assert_eq!(scheduler.on(says("agent-1", State::Refused, 1)), []);
    assert_eq!(scheduler.on(says("agent-3", State::Answered, 1)), []);
    assert_eq!(
        scheduler.on(Event::Cosigned { hash, signatures: 2 }),
        [Effect::Reopen { hash, agents: one.clone() }, Effect::Send { hash, agents: one }]
    );
    // The second was given it before and refuses that; what it says of it as it is now is its last word.
    let again = [Effect::Reopen { hash, agents: two.clone() }, Effect::Send { hash, agents: two }];
    assert_eq!(scheduler.on(says("agent-2", State::Refused, 1)), again);
    assert_eq!(scheduler.on(says("agent-2", State::Refused, 2)), []);
    assert_eq!(scheduler.on(says("agent-3", State::Refused, 1)), [], "who has answered is not asked again");
    assert_eq!(scheduler.progress(hash).unwrap().sent, 1);
    scheduler.on(Event::Withdrawn { hash });
    assert_eq!(scheduler.on(says("agent-1", State::Refused, 1)), [], "what was withdrawn is not begun");
}

/// An agent says itself how many signatures it judged: for want of them it is brought an action again a few times on a line,
/// and not for ever.
#[test]
fn who_refuses_again_and_again_is_not_asked_for_ever() {
    let hash = ActionHash([1; 32]);
    let one = || vec!["agent-1".to_owned()];
    let mut scheduler = Scheduler::default();
    let come = || Event::Present { agent: "agent-1".into() };
    let refuses = |judged| Event::Concluded { hash, agent: "agent-1".into(), state: State::Refused, judged };
    let again = [Effect::Reopen { hash, agents: one() }, Effect::Send { hash, agents: one() }];
    let lie = |scheduler: &mut Scheduler, judged| {
        for _ in 0..AGAIN_MAX {
            assert_eq!(scheduler.on(refuses(judged)), again, "its refusal may be of before");
        }
        for _ in 0..3 {
            assert_eq!(scheduler.on(refuses(judged)), [], "it was sent all there are");
        }
    };
    scheduler.on(come());
    let action = Posted { hash, targets: targets(&None), signatures: 2, until: at(60), answers_until: at(90) };
    scheduler.on(Event::Posted { action, agents: one() });
    lie(&mut scheduler, 0);
    assert_eq!(scheduler.on(Event::Cosigned { hash, signatures: 3 }), again);
    lie(&mut scheduler, 2);
    assert_eq!(scheduler.on(come()), again, "it has never judged what there is");
    lie(&mut scheduler, 2);
    scheduler.on(Event::Gone { agent: "agent-1".into() });
    assert_eq!(scheduler.on(come()), again);
    assert_eq!(scheduler.on(refuses(3)), []);
    assert_eq!(scheduler.on(come()), [], "it has judged it");
    scheduler.on(Event::Now(at(60)));
    assert_eq!(scheduler.on(refuses(0)), [], "nobody is brought anything after the window");
    assert_eq!(scheduler.on(come()), []);
}

#[test]
fn states_are_those_of_the_interface() {
    assert_eq!(State::ALL.map(State::as_str), canvass_protocol::api::COMMAND_STATES);
}

#[test]
fn whoever_was_given_it_is_expired_once_no_clock_lets_it_begin() {
    let hash = ActionHash([1; 32]);
    let action = || Posted { hash, targets: targets(&None), signatures: 1, until: at(60), answers_until: at(180) };
    let one = || vec!["agent-1".to_owned()];
    let mut scheduler = Scheduler::default();
    scheduler.on(Event::Present { agent: "agent-1".into() });
    let sent = scheduler.on(Event::Posted { action: action(), agents: one() });
    assert_eq!(sent, [Effect::Send { hash, agents: one() }]);
    assert_eq!(scheduler.wake_at(), Some(at(60)), "nobody is brought it from then on, whoever has it");
    scheduler.on(Event::Gone { agent: "agent-1".into() });
    assert_eq!(scheduler.on(Event::Now(at(60))), []);
    // It was away, and nobody is brought anything after the window, nor asked.
    assert_eq!(scheduler.on(Event::Present { agent: "agent-1".into() }), []);
    assert_eq!(scheduler.on(heard("agent-2", at(61))), []);
    assert_eq!(scheduler.wake_at(), Some(at(180)));
    assert_eq!(scheduler.on(Event::Now(at(179))), []);
    let over = [Effect::Settle { hash, agents: one(), state: State::Expired }, Effect::Close { hash }];
    assert_eq!(scheduler.on(Event::Now(at(180))), over);

    // A server that starts after the window brings it to nobody either.
    let mut scheduler = Scheduler::default();
    scheduler.on(Event::Now(at(61)));
    scheduler.on(Event::Present { agent: "agent-1".into() });
    let commands = vec![("agent-1".to_owned(), State::Sent), ("agent-2".to_owned(), State::Waiting)];
    assert_eq!(scheduler.on(Event::Restored { action: action(), withdrawn: false, commands }), []);
    let late = [Effect::Settle { hash, agents: vec!["agent-2".into()], state: State::Expired }];
    assert_eq!(scheduler.on(Event::Now(at(62))), late);
    let says = Event::Concluded { hash, agent: "agent-1".into(), state: State::Answered, judged: 1 };
    assert_eq!(scheduler.on(says), [], "who began in time is heard");
    assert!(scheduler.progress(hash).unwrap().is_complete());
}

#[test]
fn what_was_withdrawn_and_had_not_begun_is_cancelled_by_its_agents_word() {
    let hash = ActionHash([1; 32]);
    let mut scheduler = Scheduler::default();
    let agents = ["agent-1", "agent-2"].map(str::to_owned).to_vec();
    agents.iter().for_each(|agent| drop(scheduler.on(Event::Present { agent: agent.clone() })));
    let action = Posted { hash, targets: targets(&None), signatures: 1, until: at(60), answers_until: at(180) };
    scheduler.on(Event::Posted { action, agents: agents.clone() });
    let stop = [Effect::Stop { hash, agents: agents.clone() }];
    assert_eq!(scheduler.on(Event::Withdrawn { hash }), stop);
    // One that ends what runs may follow one that lets it go on.
    assert_eq!(scheduler.on(Event::Withdrawn { hash }), stop);
    let says = |agent: &str, state| Event::Concluded { hash, agent: agent.into(), state, judged: 1 };
    assert_eq!(scheduler.on(says("agent-1", State::Cancelled)), []);
    let progress = Progress { asked: 2, waiting: 0, sent: 1, ended: 1 };
    assert_eq!(scheduler.progress(hash), Some(progress), "the other runs on, and is waited for");
    assert_eq!(scheduler.on(says("agent-2", State::Answered)), []);
    assert_eq!(scheduler.progress(hash), Some(Progress { sent: 0, ..progress }));
}

#[test]
fn what_was_withdrawn_reaches_nobody_else() {
    let mut scheduler = Scheduler::default();
    let hash = ActionHash([1; 32]);
    scheduler.on(Event::Present { agent: "agent-1".into() });
    let action = Posted { hash, targets: targets(&None), signatures: 1, until: at(60), answers_until: at(90) };
    let agents = vec!["agent-1".to_owned(), "agent-2".to_owned()];
    scheduler.on(Event::Posted { action, agents });
    assert_eq!(
        scheduler.on(Event::Withdrawn { hash }),
        [
            Effect::Settle { hash, agents: vec!["agent-2".into()], state: State::Cancelled },
            Effect::Stop { hash, agents: vec!["agent-1".into()] }
        ]
    );
    assert_eq!(scheduler.on(heard("agent-3", at(1))), []);
    assert_eq!(
        scheduler.on(Event::Present { agent: "agent-1".into() }),
        [Effect::Stop { hash, agents: vec!["agent-1".into()] }],
        "it may not have heard"
    );
}
