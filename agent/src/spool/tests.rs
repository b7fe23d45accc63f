//! Tests of the spool: what it keeps, for how long, and what it does where there is no room.

use std::os::unix::fs::MetadataExt as _;

use canvass_protocol::answer::{Outcome, Writer};
use canvass_protocol::limits::Limits;
use canvass_protocol::reason::Code;
use ed25519_dalek::SigningKey;
use jiff::SignedDuration;

use super::file::KEPT_BEFORE;
use super::*;

/// A frame where there is a body, else a final record.
fn part(body: &[u8]) -> Part {
    let key = SigningKey::from_bytes(&[1; 32]);
    let mut writer = Writer::new(&key, "acme".into(), ActionHash([1; 32]), "0".repeat(32));
    match body {
        b"" => writer.finish(Outcome::Answered, Vec::new(), Limits::default(), None, at(0)),
        body => writer.frame(0, 1, body.to_vec()),
    }
}

fn messages(spool: &Spool, action: ActionHash) -> Vec<FromAgent> {
    let (mut mark, mut messages) = (Mark::default(), Vec::new());
    while let Some(Message { bytes: message, next, .. }) = spool.read(action, mark).unwrap() {
        messages.push(FromAgent::parse(&message).unwrap());
        mark = next;
    }
    messages
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

#[test]
fn a_message_is_whole_where_it_is_all_of_a_complete_answer() {
    let (spool, one, several) = (Spool::in_memory(), ActionHash([1; 32]), ActionHash([2; 32]));
    let read = |action, mark| spool.read(action, mark).unwrap().unwrap();
    spool.add(one, at(9), 1, part(b""), true).unwrap();
    assert!(read(one, Mark::default()).is_whole);
    spool.add(several, at(9), 1, part(b"frame"), false).unwrap();
    let first = read(several, Mark::default());
    assert!(!first.is_whole, "more may follow");
    spool.add(several, at(9), 1, part(b""), true).unwrap();
    assert!(!read(several, Mark::default()).is_whole && !read(several, first.next).is_whole);
}

#[test]
fn whole_answers_outlive_a_restart_and_halves_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, half, torn) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
    let spool = Spool::open(folder.path(), at(0)).unwrap();
    for action in [whole, half, torn] {
        spool.add(action, at(9), 1, part(b"rows\n\n"), false).unwrap();
    }
    spool.add(whole, at(9), 1, part(b""), true).unwrap();
    spool.add(torn, at(9), 1, part(b""), true).unwrap();
    let path = folder.path().join(format!("{torn}.{}", at(9).as_second()));
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    let spool = Spool::open(folder.path(), at(1)).unwrap();
    assert_eq!(spool.answers(at(1)), [(whole, true)]);
    assert_eq!(
        messages(&spool, whole),
        [b"rows\n\n".as_slice(), b""].map(|body| FromAgent::Part { action: whole, judged: 1, part: part(body) })
    );
    spool.forget(whole);
    assert!(!spool.contains(whole) && fs::read_dir(folder.path()).unwrap().next().is_none());
}

/// An answer is kept until it is of no use, by a spool that is open and by one that is opened.
#[test]
fn what_nobody_came_for_is_dropped_in_the_end() {
    let (early, late, running) = (ActionHash([1; 32]), ActionHash([2; 32]), ActionHash([3; 32]));
    let filled = |folder: &Path| {
        let spool = Spool::open(folder, at(0)).unwrap();
        spool.add(early, at(10), 1, part(b""), true).unwrap();
        spool.add(late, at(20), 1, part(b""), true).unwrap();
        spool.add(running, at(10), 1, part(b"rows"), false).unwrap();
        spool
    };
    let all = [(early, true), (late, true), (running, false)];
    for (second, kept) in [(10, &all[..]), (11, &all[1..]), (20, &all[1..]), (21, &all[2..])] {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(filled(folder.path()).answers(at(second)), kept, "{second}");
        let folder = tempfile::tempdir().unwrap();
        drop(filled(folder.path()));
        let ended: Vec<_> = kept.iter().copied().filter(|(_, ended)| *ended).collect();
        let spool = Spool::open(folder.path(), at(second)).unwrap();
        assert_eq!(spool.answers(at(second)), ended, "{second}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), ended.len(), "{second}");
    }
}

#[test]
fn answers_of_a_former_version_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let action = ActionHash([1; 32]);
    let spool = Spool::open(folder.path(), at(0)).unwrap();
    spool.add(action, at(9), 1, part(b""), true).unwrap();
    let written = folder.path().join(format!("{action}.{}", at(9).as_second()));
    fs::rename(written, folder.path().join(action.to_string())).unwrap();
    let spool = Spool::open(folder.path(), Timestamp::now()).unwrap();
    assert_eq!((spool.answers(Timestamp::now()), messages(&spool, action).len()), (vec![(action, true)], 1));
    let later = Timestamp::now() + KEPT_BEFORE + SignedDuration::from_secs(1);
    assert_eq!(Spool::open(folder.path(), later).unwrap().answers(later), []);
}

#[test]
fn in_memory_it_says_the_same() {
    let (spool, action) = (Spool::in_memory(), ActionHash([1; 32]));
    for (body, last) in [(b"rows\n\n".as_slice(), false), (b"", true)] {
        spool.add(action, at(9), 1, part(body), last).unwrap();
    }
    assert_eq!(spool.answers(at(9)), [(action, true)]);
    let expected = [b"rows\n\n".as_slice(), b""].map(|body| FromAgent::Part { action, judged: 1, part: part(body) });
    assert_eq!(messages(&spool, action), expected);
    spool.forget(action);
    assert!(!spool.contains(action) && messages(&spool, action).is_empty());
}

/// What an agent says of an answer that it could not keep.
fn failed(action: ActionHash) -> Part {
    let key = SigningKey::from_bytes(&[1; 32]);
    let writer = Writer::new(&key, "acme".into(), action, "1".repeat(32));
    writer.finish(Outcome::failed(Code::Storage, "no room"), Vec::new(), Limits::default(), None, at(0))
}

fn said(action: ActionHash, part: Part) -> Vec<FromAgent> {
    vec![FromAgent::Part { action, judged: 1, part }]
}

/// Parts until one does not fit.
fn fill(spool: &Spool, action: ActionHash, body: &[u8]) -> usize {
    (0..).find(|_| spool.add(action, at(9), 1, part(body), false).is_err()).unwrap()
}

#[test]
fn what_does_not_fit_is_given_up_with_a_last_word_and_the_next_answer_fits() {
    const BOUND: u64 = 256 << 10;
    let folder = tempfile::tempdir().unwrap();
    for spool in [Spool::open(folder.path(), at(0)).unwrap().bounded(BOUND), Spool::in_memory().bounded(BOUND)] {
        let (big, next) = (ActionHash([1; 32]), ActionHash([2; 32]));
        spool.make_room().unwrap();
        let parts = fill(&spool, big, &[7; 16 << 10]);
        assert!(parts > 8, "{parts}");
        assert_eq!(messages(&spool, big).len(), parts, "what was there stays whole");
        let read = spool.read(big, Mark::default()).unwrap().unwrap().next;
        // There is room for a last word, whatever was before it.
        spool.add(big, at(9), 1, part(b""), true).unwrap();
        assert!(spool.make_room().is_err());
        spool.give_up(big, at(9), 1, failed(big));
        assert_eq!(messages(&spool, big), said(big, failed(big)));
        assert!(spool.read(big, read).unwrap().is_some(), "a mark of the answer before is none of this one");
        spool.make_room().unwrap();
        spool.add(next, at(9), 1, part(b""), true).unwrap();
        assert_eq!(spool.taken(big), Forgotten::Answer);
        assert_eq!(spool.answers(at(1)), [(next, true)]);
    }
}

#[test]
fn a_folder_that_was_removed_is_made_again_and_nothing_is_kept_that_was_not_written() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("spool");
    let (lost, next) = (ActionHash([1; 32]), ActionHash([2; 32]));
    let spool = Spool::open(&folder, at(0)).unwrap();
    spool.add(lost, at(9), 1, part(b"rows"), false).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(spool.add(lost, at(9), 1, part(b"more"), false).is_err());
    assert!(spool.add(next, at(9), 1, part(b"rows"), false).is_err());
    assert!(!spool.contains(next), "it was not written");
    spool.give_up(lost, at(9), 1, failed(lost));
    assert_eq!(messages(&spool, lost), said(lost, failed(lost)), "a last word is said without a folder too");
    assert_eq!(spool.taken(lost), Forgotten::Answer, "it is not said again");
    spool.make_room().unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
    spool.add(next, at(9), 1, part(b""), true).unwrap();
    let again = Spool::open(&folder, at(1)).unwrap();
    assert_eq!(again.answers(at(1)), [(next, true)]);
}

/// A folder in whose place a file stands can be made by nobody, root included.
#[test]
fn where_nothing_can_be_written_it_says_so_until_it_can() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("spool");
    let spool = Spool::open(&folder, at(0)).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    fs::write(&folder, "").unwrap();
    assert!(spool.make_room().is_err() && spool.lock().trouble.is_some());
    fs::remove_file(&folder).unwrap();
    spool.make_room().unwrap();
    assert!(spool.lock().trouble.is_none());
}

/// A device that is always full stands for a disk that is.
#[test]
fn on_a_full_disk_no_action_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let spool = Spool::open(folder.path(), at(0)).unwrap();
    std::os::unix::fs::symlink("/dev/full", folder.path().join("reserve")).unwrap();
    let error = spool.make_room().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(!folder.path().join("reserve").is_symlink(), "what could not be held is given up");
    spool.make_room().unwrap();
    assert!(spool.lock().trouble.is_none() && fs::metadata(folder.path().join("reserve")).unwrap().len() > 0);
}

#[test]
fn words_that_can_be_said_again_never_reach_the_disk_and_are_bounded() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("spool");
    let spool = Spool::open(&folder, at(0)).unwrap();
    let hash = |number: u32| ActionHash::of(&number.to_be_bytes());
    let count = 2 * HELD_BYTES_MAX / failed(hash(0)).statement.len();
    let count = u32::try_from(count).unwrap();
    for number in 0..count {
        spool.hold(hash(number), at(9), 1, failed(hash(number)), true);
        assert!(spool.lock().held_bytes <= HELD_BYTES_MAX);
    }
    let kept = spool.answers(at(1)).len();
    assert!(kept > 1000 && kept < count as usize && kept == spool.lock().held.len(), "{kept}");
    assert!(!spool.contains(hash(0)) && spool.contains(hash(count - 1)), "the oldest goes first");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(spool.taken(hash(count - 1)), Forgotten::Other);
    assert!(!spool.contains(hash(count - 1)));
}

#[test]
fn half_an_answer_is_not_taken_whatever_the_server_says() {
    let (spool, action) = (Spool::in_memory(), ActionHash([1; 32]));
    spool.add(action, at(9), 1, part(b"rows"), false).unwrap();
    assert_eq!(spool.taken(action), Forgotten::Other);
    assert!(spool.contains(action));
}
