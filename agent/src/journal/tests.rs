//! Tests of the journal: tables of cases, and what each must answer.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use canvass_protocol::limits::CLOCK_SKEW_S;

use super::*;
use crate::folder::Folder;

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
    FileJournal::open(&folder, &lock, AGENT, new, 0, at(now)).unwrap()
}

fn run(journal: &dyn Journal, n: u16, window: Window, now: i64) -> Result<(), JournalRefusal> {
    let begun = journal.begin(once(n), window, &Content::default(), 0, at(now))?;
    journal.end(begun, at(now))
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
    journal.end(begun, at(now))
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
    journal.end(living, at(1)).unwrap();
    assert_eq!(marks(), 0);
}

#[test]
fn a_lock_that_is_no_file_holds_nobody_up() {
    let home = private();
    rustix::fs::mkfifoat(rustix::fs::CWD, home.path().join("lock"), rustix::fs::Mode::RWXU).unwrap();
    assert!(Folder::open(home.path()).unwrap().lock().is_err());
}
