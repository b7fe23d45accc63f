//! Tests of the journal: tables of cases, and what each must answer.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use canvass_protocol::limits::CLOCK_SKEW_S;

use super::*;
use crate::folder::Folder;
use crate::identity::Origin;

const AGENT: &str = "a1";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn window(from: i64, until: i64) -> Window {
    Window { from: at(from), until: at(until) }
}

fn once(n: u16) -> Run {
    Run::of(ActionHash::of(&n.to_be_bytes()))
}

/// A folder that nobody else may enter.
fn private() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn open(path: &Path, new: bool, now: i64) -> (FileJournal, Option<String>) {
    let folder = Folder::open(path).unwrap();
    let lock = folder.lock().unwrap();
    let origin = if new { Origin::Made } else { Origin::Kept };
    FileJournal::open(&folder, &lock, AGENT, &origin, 0, at(now)).unwrap()
}

fn run(journal: &dyn Journal, n: u16, window: Window, now: i64) -> Result<(), JournalRefusal> {
    journal.begin(once(n), window, &Content::default(), 0, at(now))?.release();
    journal.end(once(n), at(now))
}

#[test]
fn what_has_run_never_runs_again() {
    let home = private();
    let (file, memory) = (open(home.path(), true, 0).0, MemoryJournal::default());
    let journals: [&dyn Journal; 2] = [&file, &memory];
    for journal in journals {
        run(journal, 1, window(0, 300), 0).unwrap();
        run(journal, 2, window(0, 300), 0).unwrap();
        assert_eq!(run(journal, 1, window(0, 300), 1), Err(JournalRefusal::AlreadyRun));
    }
    let (reopened, lost) = open(home.path(), false, 2);
    assert_eq!(lost, None);
    assert_eq!(run(&reopened, 1, window(0, 300), 2), Err(JournalRefusal::AlreadyRun));
    run(&reopened, 3, window(0, 300), 2).unwrap();
}

#[test]
fn what_was_begun_and_not_ended_is_running_and_then_interrupted() {
    let home = private();
    let (first, second) = (open(home.path(), true, 0).0, open(home.path(), false, 0).0);
    let begun = first.begin(once(1), window(0, 300), &Content::default(), 0, at(0)).unwrap();
    assert_eq!(
        second.begin(once(1), window(0, 300), &Content::default(), 0, at(0)).unwrap_err(),
        JournalRefusal::Running
    );
    drop(begun);
    for journal in [first, second, open(home.path(), false, 1).0] {
        assert_eq!(
            journal.begin(once(1), window(0, 300), &Content::default(), 0, at(1)).unwrap_err(),
            JournalRefusal::Interrupted
        );
    }
    let names: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "journal and lock only: {names:?}");
}

/// One way to spoil a journal, as bytes to bytes; `None` removes it.
type Spoil = fn(Vec<u8>) -> Option<Vec<u8>>;

#[test]
fn a_spoilt_journal_refuses_what_opened_before() {
    let cases: &[(&str, Spoil)] = &[
        ("missing", |_| None),
        ("empty", |_| Some(Vec::new())),
        ("within the tip", |bytes| Some(bytes[..40].to_vec())),
        ("tip only", |bytes| Some(bytes[..record::TIP_BYTES].to_vec())),
        ("within the last line", |bytes| Some(bytes[..bytes.len() - 5].to_vec())),
        ("last line gone", |bytes| {
            let end = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
            Some(bytes[..=end].to_vec())
        }),
        ("one byte altered", |mut bytes| {
            let place = bytes.len() - 40;
            bytes[place] ^= 1;
            Some(bytes)
        }),
        ("tip altered", |mut bytes| {
            bytes[30] = if bytes[30] == b'0' { b'1' } else { b'0' };
            Some(bytes)
        }),
        ("zeros", |bytes| Some(vec![0; bytes.len()])),
        ("another agent's", |_| Some(record::write("a2", &State::default(), at(0)).into_bytes())),
    ];
    for (name, spoil) in cases {
        for reopened in [true, false] {
            if *name == "one byte altered" && !reopened {
                // A process does not read again what it wrote.
                continue;
            }
            let home = private();
            let (mut journal, _) = open(home.path(), true, 0);
            run(&journal, 1, window(0, 300), 0).unwrap();
            // Its line is the last that the tip holds fast.
            drop(journal.begin(once(7), window(0, 300), &Content::default(), 0, at(0)).unwrap());
            let path = home.path().join(FILE);
            match spoil(fs::read(&path).unwrap()) {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            if reopened {
                let (opened, lost) = open(home.path(), false, 10);
                assert!(lost.is_some_and(|lost| lost.contains("made anew")), "{name}");
                journal = opened;
            }
            let refused = Err(JournalRefusal::JournalLost { made_at: at(10) });
            assert_eq!(run(&journal, 1, window(0, 300), 10), refused, "{name}");
            assert_eq!(run(&journal, 2, window(9, 300), 11), refused, "{name}");
            run(&journal, 3, window(10, 300), 11).unwrap();
            let (again, lost) = open(home.path(), false, 12);
            assert_eq!(lost, None, "{name}");
            assert_eq!(run(&again, 1, window(0, 300), 12), refused, "{name}");
        }
    }
}

#[test]
fn what_a_process_wrote_it_remembers_whatever_becomes_of_the_file() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    run(&journal, 1, window(0, 300), 0).unwrap();
    drop(journal.begin(once(7), window(0, 300), &Content::default(), 0, at(0)).unwrap());
    let path = home.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    let place = bytes.len() - 40;
    bytes[place] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(run(&journal, 1, window(0, 300), 10), Err(JournalRefusal::AlreadyRun));
    run(&journal, 2, window(0, 300), 10).unwrap();
    let (journal, lost) = open(home.path(), false, 20);
    assert!(lost.is_some());
    for n in [1, 2, 7] {
        assert_eq!(run(&journal, n, window(0, 300), 20), Err(JournalRefusal::JournalLost { made_at: at(20) }));
    }
}

/// What one process adds the other reads, whether the first line holds it fast or not.
#[test]
fn two_processes_read_what_the_other_adds() {
    let home = private();
    let (first, second) = (open(home.path(), true, 0).0, open(home.path(), false, 0).0);
    for n in 0..20_u16 {
        let (one, other) = if n % 2 == 0 { (&first, &second) } else { (&second, &first) };
        one.begin(once(n), window(0, 300), &Content::default(), 0, at(0)).unwrap().release();
        let expected = if n % 3 == 0 { JournalRefusal::AlreadyRun } else { JournalRefusal::Interrupted };
        if n % 3 == 0 {
            one.end(once(n), at(0)).unwrap();
        }
        if n == 10 {
            one.purge(at(1)).unwrap();
        }
        for journal in [one, other] {
            assert_eq!(run(journal, n, window(0, 300), 1), Err(expected.clone()), "{n}");
        }
    }
    for journal in [&first, &second] {
        assert_eq!(run(journal, 0, window(0, 300), 1), Err(JournalRefusal::AlreadyRun));
    }
    assert_eq!(open(home.path(), false, 2).1, None);
}

#[test]
fn an_action_ends_once_its_answer_is_where_it_belongs() {
    let home = private();
    let (file, memory) = (open(home.path(), true, 0).0, MemoryJournal::default());
    let begin = |journal: &dyn Journal| journal.begin(once(1), window(0, 300), &Content::default(), 0, at(0));
    begin(&file).unwrap().release();
    begin(&memory).unwrap().release();
    assert_eq!(begin(&file).unwrap_err(), JournalRefusal::Interrupted);
    for journal in [&file as &dyn Journal, &memory, &open(home.path(), false, 1).0] {
        journal.end(once(1), at(1)).unwrap();
        assert_eq!(begin(journal).unwrap_err(), JournalRefusal::AlreadyRun);
    }
    let bytes = fs::read(home.path().join(FILE)).unwrap();
    file.end(once(1), at(2)).unwrap();
    file.end(once(9), at(2)).unwrap();
    assert_eq!(fs::read(home.path().join(FILE)).unwrap(), bytes, "what is known, or of nothing begun, is no line");
}

#[test]
fn a_lost_identity_keeps_what_ran_and_a_clone_begins_anew() {
    let aside = |home: &Path| home.join("journal-damaged").is_file();
    let cases = [
        (Origin::Made, false, Err(JournalRefusal::AlreadyRun)),
        (Origin::Made, true, Err(JournalRefusal::JournalLost { made_at: at(5) })),
        (Origin::Cloned { aside: "a1".into() }, false, Ok(())),
    ];
    for (origin, spoilt, expected) in cases {
        let home = private();
        run(&open(home.path(), true, 0).0, 1, window(0, 300), 0).unwrap();
        if spoilt {
            fs::write(home.path().join(FILE), "nonsense").unwrap();
        }
        let folder = Folder::open(home.path()).unwrap();
        let lock = folder.lock().unwrap();
        let (journal, report) = FileJournal::open(&folder, &lock, "a2", &origin, 0, at(5)).unwrap();
        drop(lock);
        assert_eq!(report.is_some(), origin == Origin::Made, "{report:?}");
        assert_eq!(run(&journal, 1, window(0, 300), 6), expected, "{origin:?}");
        run(&journal, 2, window(5, 300), 6).unwrap();
        assert_eq!(aside(home.path()), spoilt);
    }
}

#[test]
fn no_signer_can_fill_the_journal() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    let of = |signer: &str| Content { predicates: 0, signers: BTreeSet::from([Fingerprint(signer.into())]) };
    let run_of = |n: usize| Run::of(ActionHash::of(&n.to_be_bytes()));
    let entry = |signer: &str| Entry { until: at(300), begun_at: at(0), content: of(signer), ended: true };
    let mut state = State::default();
    state.entries.extend((0..ENTRIES_OF_ONE_MAX).map(|n| (run_of(n), entry("A1"))));
    fs::write(home.path().join(FILE), record::write(AGENT, &state, at(0))).unwrap();
    let begin = |n, signer: &str, now| {
        journal.begin(run_of(n), window(0, now + 300), &of(signer), 0, at(now)).map(Begun::release)
    };
    let full = Err(JournalRefusal::FullOfOne { signer: "A1".into() });
    assert_eq!(begin(1_000_000, "A1", 0), full);
    assert_eq!(begin(1_000_001, "B2", 0), Ok(()));
    assert_eq!(begin(1_000_000, "A1", 300 + CLOCK_SKEW_S + 1), Ok(()), "they have expired");
    assert!(fs::metadata(home.path().join(FILE)).unwrap().len() < 4096);
    state.entries.extend((0..ENTRIES_MAX).map(|n| (run_of(n), entry(&format!("{}", n % 8)))));
    assert_eq!(state.check_room(&of("B2").signers), Err(JournalRefusal::Full));
}

#[test]
fn a_torn_append_is_forgotten() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    run(&journal, 1, window(0, 300), 0).unwrap();
    let path = home.path().join(FILE);
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend_from_slice(b"0123 {\"begun\":{\"ha");
    fs::write(&path, bytes).unwrap();
    run(&journal, 2, window(0, 300), 1).unwrap();
    for n in [1, 2] {
        assert_eq!(run(&journal, n, window(0, 300), 2), Err(JournalRefusal::AlreadyRun));
    }
}

#[test]
fn purging_raises_a_floor_that_no_clock_lowers() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    run(&journal, 1, window(0, 100), 0).unwrap();
    run(&journal, 2, window(0, 100 + CLOCK_SKEW_S + 1), 0).unwrap();
    let before = fs::metadata(home.path().join(FILE)).unwrap().len();
    journal.purge(at(100 + CLOCK_SKEW_S + 1)).unwrap();
    assert!(fs::metadata(home.path().join(FILE)).unwrap().len() < before);
    let (journal, lost) = open(home.path(), false, 0);
    assert_eq!(lost, None);
    let below = |until| Err(JournalRefusal::BelowFloor { until: at(until), floor: at(100) });
    assert_eq!(run(&journal, 1, window(0, 100), 0), below(100), "the clock was set back");
    assert_eq!(run(&journal, 3, window(0, 99), 0), below(99));
    assert_eq!(run(&journal, 2, window(0, 100 + CLOCK_SKEW_S + 1), 0), Err(JournalRefusal::AlreadyRun));
    run(&journal, 3, window(0, 101), 0).unwrap();
}

#[test]
fn many_expired_entries_are_purged_on_the_way() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    let mut state = State::default();
    for n in 0..300 {
        state
            .entries
            .insert(once(n), Entry { until: at(10), begun_at: at(0), content: Content::default(), ended: true });
    }
    fs::write(home.path().join(FILE), record::write(AGENT, &state, at(0))).unwrap();
    run(&journal, 999, window(1000, 1100), 1000).unwrap();
    assert!(fs::metadata(home.path().join(FILE)).unwrap().len() < 1000);
    assert!(matches!(run(&journal, 5, window(0, 10), 0), Err(JournalRefusal::BelowFloor { .. })));
}

/// A begun action that `signers` (bytes) signed, over so many content predicates, of at most 10 a day.
fn ask(journal: &dyn Journal, n: u16, signers: &[u8], predicates: u64, now: i64) -> Result<(), JournalRefusal> {
    let signers = signers.iter().map(|signer| Fingerprint(format!("{signer:02X}"))).collect();
    let begun = journal.begin(once(n), window(now, now + 60), &Content { predicates, signers }, 10, at(now))?;
    begun.release();
    journal.end(once(n), at(now))
}

#[test]
fn content_predicates_of_a_day_are_counted_by_signer() {
    const DAY_S: i64 = 24 * 3600;
    let home = private();
    let spent =
        |signer: &str, spent, asked| Err(JournalRefusal::ContentSpent { signer: signer.into(), spent, asked, max: 10 });
    type Case<'a> = (&'a [u8], u64, i64, Result<(), JournalRefusal>);
    let cases: [Case<'_>; 12] = [
        (&[1], 11, 0, spent("01", 0, 11)),
        (&[1], 6, 0, Ok(())),
        (&[1], 5, 1, spent("01", 6, 5)),
        (&[2], 3, 2, Ok(())),
        (&[1, 2], 5, 3, spent("01", 6, 5)),
        (&[1, 2], 4, 3, Ok(())),
        (&[1], 1, 4, spent("01", 10, 1)),
        (&[1], 0, 4, Ok(())),
        (&[2], 3, 4, Ok(())),
        (&[1], 1, -1000, spent("01", 10, 1)),
        (&[1], 6, DAY_S, spent("01", 10, 6)),
        (&[1], 6, DAY_S + 1, Ok(())),
    ];
    let (memory, _) = (MemoryJournal::default(), open(home.path(), true, 0));
    for (n, (signers, predicates, now, expected)) in (0..).zip(cases) {
        // Opened and purged each time: what was asked outlives both, though the actions expired.
        let (journal, lost) = open(home.path(), false, now);
        assert_eq!(lost, None);
        journal.purge(at(now)).unwrap();
        assert_eq!(ask(&journal, n, signers, predicates, now), expected, "case {n}");
        assert_eq!(ask(&memory, n, signers, predicates, now), expected, "case {n}, in memory");
    }
    let (journal, _) = open(home.path(), false, 3 * DAY_S);
    journal.purge(at(3 * DAY_S)).unwrap();
    assert!(fs::metadata(home.path().join(FILE)).unwrap().len() < 400, "it is forgotten when it counts no more");
}

#[test]
fn an_action_is_not_begun_where_it_cannot_be_noted() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    fs::remove_file(home.path().join(FILE)).unwrap();
    fs::create_dir(home.path().join(FILE)).unwrap();
    assert!(matches!(run(&journal, 1, window(0, 300), 0), Err(JournalRefusal::Unwritable(_))));
}

#[test]
fn of_many_at_once_one_begins() {
    let home = private();
    open(home.path(), true, 0);
    let path: Arc<Path> = home.path().into();
    let begun: usize = std::thread::scope(|scope| {
        let runners: Vec<_> = (0..8)
            .map(|n| {
                let path = Arc::clone(&path);
                scope.spawn(move || {
                    let (journal, _) = open(&path, false, 0);
                    run(&journal, 100 + n, window(0, 300), 0).unwrap();
                    run(&journal, 1, window(0, 300), 0).is_ok()
                })
            })
            .collect();
        runners.into_iter().map(|runner| usize::from(runner.join().unwrap())).sum()
    });
    assert_eq!(begun, 1);
}

#[test]
fn marks_of_the_dead_are_swept_and_those_of_the_living_stay() {
    let home = private();
    let (journal, _) = open(home.path(), true, 0);
    let marks = || {
        let names = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("running-")).count()
    };
    drop(journal.begin(once(1), window(0, 300), &Content::default(), 0, at(0)).unwrap());
    let living = journal.begin(once(2), window(0, 300), &Content::default(), 0, at(0)).unwrap();
    assert_eq!(marks(), 2, "a process that died leaves its mark");
    let (reopened, _) = open(home.path(), false, 1);
    assert_eq!(marks(), 1);
    assert_eq!(run(&reopened, 1, window(0, 300), 1), Err(JournalRefusal::Interrupted));
    assert_eq!(run(&reopened, 2, window(0, 300), 1), Err(JournalRefusal::Running));
    living.release();
    assert_eq!(marks(), 0);
}

#[test]
fn a_lock_that_is_no_file_holds_nobody_up() {
    let home = private();
    rustix::fs::mkfifoat(rustix::fs::CWD, home.path().join("lock"), rustix::fs::Mode::RWXU).unwrap();
    assert!(Folder::open(home.path()).unwrap().lock().is_err());
}
