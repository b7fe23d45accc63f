//! An answer is believed whole, in order and from the agent that signed it, or not at all.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::{
    AnswerError, Final, Outcome, Part, Reader, Says, ScanRecord, Trouble, Writer, is_signature,
};
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::members::Members;
use canvass_protocol::reason::Code;
use canvass_protocol::relay::{FromAgent, MessageError};
use common::{NOW, agent_key, at, facts, id_of};
use ed25519_dalek::{Signer as _, SigningKey};

fn hash() -> ActionHash {
    ActionHash::of(b"the action")
}

fn writer<'a>(key: &'a SigningKey, fleet: &str, action: ActionHash, run: &str) -> Writer<'a> {
    Writer::new(key, fleet.into(), action, run.repeat(16))
}

fn finish(writer: Writer<'_>, outcome: Outcome) -> Part {
    writer.finish(outcome, vec![ScanRecord::default()], Limits::default(), None, at(NOW))
}

/// Three frames and a final record.
fn answer() -> Vec<Part> {
    let key = agent_key();
    let mut writer = writer(&key, "acme", hash(), "0a");
    let bodies: [&[u8]; 3] = [b"one", b"two", b""];
    let mut parts: Vec<Part> = bodies.map(|body| writer.frame(0, 1, body.to_vec())).into();
    parts.push(finish(writer, Outcome::Answered));
    parts
}

fn reader() -> Reader {
    Reader::new("acme".into(), hash(), id_of(&agent_key()))
}

/// Reads parts in order; how many are believed, why the next is not, and whether the answer is whole.
fn read(parts: &[Part]) -> (usize, String, bool) {
    let mut reader = reader();
    for (index, part) in parts.iter().enumerate() {
        if let Err(error) = reader.read(part) {
            return (index, error.to_string(), reader.finished());
        }
    }
    (parts.len(), String::new(), reader.finished())
}

fn refused(parts: &[Part], believed: usize, why: &str) {
    let (index, error, finished) = read(parts);
    assert_eq!((index, error.as_str(), finished), (believed, why, false));
}

const SEQUENCE: &str = "frames are missing, doubled or out of order";
const BODY: &str = "the frame's bytes are not the ones that were signed";
const SIGNATURE: &str = "the agent's signature does not verify";

#[test]
fn a_whole_answer_is_believed() {
    assert_eq!(read(&answer()), (4, String::new(), true));
    let key = agent_key();
    let refusal = finish(writer(&key, "acme", hash(), "0a"), Outcome::refused(Code::Weight, "no"));
    assert_eq!(read(&[refusal]), (1, String::new(), true));
}

/// A frame, and a final record that carries the next one.
fn short_answer() -> [Part; 2] {
    let key = agent_key();
    let mut writer = writer(&key, "acme", hash(), "0a");
    let first = writer.frame(0, 1, b"one".to_vec());
    writer.last_frame(0, 1, b"two".to_vec());
    [first, finish(writer, Outcome::Answered)]
}

#[test]
fn a_final_record_may_carry_the_last_frame() {
    let parts = short_answer();
    assert_eq!(read(&parts), (2, String::new(), true));
    assert_eq!(parts.each_ref().map(Part::is_last), [false, true]);
    let [first, last] = parts;
    refused(std::slice::from_ref(&last), 0, SEQUENCE);
    for body in [b"two!".as_slice(), b"one", b""] {
        refused(&[first.clone(), Part { body: body.to_vec(), ..last.clone() }], 1, BODY);
    }
    let other = Part { statement: last.statement.replace("\"rows\":1", "\"rows\":2"), ..last.clone() };
    assert_ne!(other, last);
    refused(&[first.clone(), other], 1, SIGNATURE);
    refused(&[first, Part { body: vec![0; limits::FRAME_BYTES_MAX + 1], ..last }], 1, &too_long());
    // One that carries none has no bytes with it.
    let mut parts = answer();
    parts[3].body = b"more".to_vec();
    refused(&parts, 3, BODY);
}

/// An interruption stands alone; one that carries rows is of a run as any other.
#[test]
fn an_interruption_that_carries_a_frame_ends_no_other_run() {
    let key = agent_key();
    let mut writer = writer(&key, "acme", hash(), "0b");
    writer.last_frame(0, 1, b"two".to_vec());
    refused(&[answer()[0].clone(), finish(writer, Outcome::Interrupted)], 1, "the part is of another run");
}

fn too_long() -> String {
    AnswerError::TooLong { bytes: limits::FRAME_BYTES_MAX + 1 }.to_string()
}

#[test]
fn a_truncated_answer_is_not_whole() {
    for length in 0..4 {
        assert_eq!(read(&answer()[..length]), (length, String::new(), false));
    }
}

#[test]
fn dropped_doubled_and_reordered_frames() {
    let drop = |index: usize| [&answer()[..index], &answer()[index + 1..]].concat();
    refused(&drop(0), 0, SEQUENCE);
    refused(&drop(1), 1, SEQUENCE);
    refused(&drop(2), 2, SEQUENCE);
    let mut doubled = answer();
    doubled.insert(1, doubled[0].clone());
    refused(&doubled, 1, SEQUENCE);
    let mut swapped = answer();
    swapped.swap(0, 1);
    refused(&swapped, 0, SEQUENCE);
    refused(&answer()[3..], 0, SEQUENCE);
}

#[test]
fn a_part_after_the_final_record() {
    let mut parts = answer();
    parts.push(parts[0].clone());
    assert_eq!(read(&parts), (4, "a part follows the final record".into(), true));
}

#[test]
fn altered_parts() {
    let with = |index: usize, change: fn(&mut Part)| {
        let mut parts = answer();
        change(&mut parts[index]);
        parts
    };
    refused(&with(0, |part| part.body[0] ^= 1), 0, BODY);
    refused(&with(1, |part| part.body.push(0)), 1, BODY);
    refused(&with(2, |part| part.body.push(0)), 2, BODY);
    refused(&with(3, |part| part.body.push(0)), 3, BODY);
    refused(&with(1, |part| part.statement = part.statement.replace("\"rows\":1", "\"rows\":2")), 1, SIGNATURE);
    refused(&with(1, |part| part.statement = part.statement.replace("\"scan\":0", "\"scan\":1")), 1, SIGNATURE);
    refused(&with(3, |part| part.statement = part.statement.replace("answered", "interrupted")), 3, SIGNATURE);
    refused(&with(0, |part| part.statement.push(' ')), 0, SIGNATURE);
    refused(&with(0, |part| part.signature.clear()), 0, SIGNATURE);
    refused(&with(0, |part| part.signature = "00".repeat(64)), 0, SIGNATURE);
    refused(&with(0, |part| part.signature = "zz".repeat(64)), 0, SIGNATURE);
    // Another part's statement and signature do not serve for these bytes.
    let mut parts = answer();
    parts[0].body = parts[1].body.clone();
    refused(&parts, 0, BODY);
}

#[test]
fn parts_of_another_fleet_action_agent_or_run() {
    let key = agent_key();
    let other_key = SigningKey::from_bytes(&[8; 32]);
    for (mut writer, whose) in [
        (writer(&key, "other", hash(), "0a"), "fleet"),
        (writer(&key, "acme", ActionHash::of(b"another"), "0a"), "action"),
        (writer(&other_key, "acme", hash(), "0a"), "agent"),
    ] {
        let frame = writer.frame(0, 1, b"one".to_vec());
        refused(&[frame], 0, &format!("the part is of another {whose}"));
    }
    let mut second = writer(&key, "acme", hash(), "0b");
    let _ = second.frame(0, 1, b"one".to_vec());
    let frame = second.frame(0, 1, b"two".to_vec());
    refused(&[answer()[0].clone(), frame], 1, "the part is of another run");
    // A final record of another run does not end this one, even with as many frames.
    let last = finish(second, Outcome::Answered);
    refused(&[answer()[0].clone(), answer()[1].clone(), last], 2, "the part is of another run");
    let own = writer(&key, "acme", hash(), "0a").finish(
        Outcome::Answered,
        Vec::new(),
        Limits::default(),
        Some(canvass_protocol::target::Facts { id: "00".repeat(32), ..facts() }),
        at(NOW),
    );
    refused(&[own], 0, "the part is of another agent");
}

#[test]
fn what_was_signed_for_another_purpose_does_not_serve() {
    let key = agent_key();
    let statement = answer()[0].statement.replace("answer/1", "heartbeat/1");
    let signature = hex::encode(key.sign(statement.as_bytes()).to_bytes());
    let part = Part { statement, signature, body: b"one".to_vec() };
    assert!(matches!(reader().read(&part), Err(AnswerError::Format(_))));
}

#[test]
fn an_interruption_ends_the_run_that_a_crash_cut_short() {
    let key = agent_key();
    let interrupted = finish(writer(&key, "acme", hash(), "0b"), Outcome::Interrupted);
    assert_eq!(read(&[answer()[0].clone(), interrupted.clone()]), (2, String::new(), true));
    assert_eq!(read(std::slice::from_ref(&interrupted)), (1, String::new(), true));
    let elsewhere = finish(writer(&key, "other", hash(), "0b"), Outcome::Interrupted);
    refused(&[answer()[0].clone(), elsewhere], 1, "the part is of another fleet");
}

/// What a full disk took away is not sent any more, so the failure that says so is of a run of its own.
#[test]
fn a_failure_that_stands_alone_ends_the_run_that_a_full_disk_cut_short() {
    let key = agent_key();
    let failed = Outcome::failed(Code::Storage, "no room");
    let alone = finish(writer(&key, "acme", hash(), "0b"), failed.clone());
    assert_eq!(read(&[answer()[0].clone(), alone.clone()]), (2, String::new(), true));
    assert_eq!(read(std::slice::from_ref(&alone)), (1, String::new(), true));
    let mut other = writer(&key, "acme", hash(), "0b");
    other.last_frame(0, 1, b"two".to_vec());
    refused(&[answer()[0].clone(), finish(other, failed)], 1, "the part is of another run");
}

#[test]
fn bounds() {
    let mut parts = answer();
    parts[0].body = vec![0; limits::FRAME_BYTES_MAX + 1];
    assert!(matches!(reader().read(&parts[0]), Err(AnswerError::TooLong { .. })));
    let long =
        Part { statement: " ".repeat(limits::STATEMENT_BYTES_MAX + 1), signature: String::new(), body: Vec::new() };
    assert!(matches!(reader().read(&long), Err(AnswerError::StatementTooLong { .. })));
}

#[test]
fn troubles_are_counted_and_bounded() {
    let mut record = ScanRecord::default();
    for _ in 0..limits::TROUBLES_MAX + 5 {
        record.trouble(Some(&"ß".repeat(1000)), "ü".repeat(1000));
    }
    record.trouble(None, "late");
    assert_eq!(record.troubles.len(), limits::TROUBLES_MAX);
    assert_eq!(record.troubles_count, limits::TROUBLES_MAX as u64 + 6);
    assert!(record.troubles.iter().all(|trouble| trouble.reason.len() <= limits::TROUBLE_TEXT_BYTES_MAX));

    // What a scan's process hands over is bounded when it is signed.
    let hostile = Trouble::new(Some(&"x".repeat(2000)), "x".repeat(2000));
    let record = ScanRecord { troubles: vec![hostile; 150], ..ScanRecord::default() };
    let key = agent_key();
    let outcome = Outcome::failed(Code::Other("x".repeat(1 << 20)), "x".repeat(1 << 20));
    let writer = writer(&key, "acme", hash(), "0a");
    let part = writer.finish(outcome, vec![record; limits::SCANS_MAX], Limits::default(), Some(facts()), at(NOW));
    assert!(part.statement.len() <= limits::STATEMENT_BYTES_MAX);
    let Says::Final(last) = reader().read(&part).unwrap() else { panic!("not a final record") };
    assert_eq!(
        last.outcome,
        Outcome::failed(Code::Other("x".repeat(limits::CODE_BYTES_MAX)), "x".repeat(limits::TROUBLE_TEXT_BYTES_MAX))
    );
    assert_eq!(last.scans.len(), limits::SCANS_MAX);
    assert!(last.scans.iter().all(|scan| !scan.troubles.is_empty() && scan.troubles_count >= 100));
}

#[test]
fn limits_are_clamped_each_by_itself() {
    let ceiling = Limits { rows: 1, bytes: u64::MAX, time_ms: 1, cpu_ms: u64::MAX, memory_bytes: 1 };
    let own = Limits::default();
    let expected = Limits { rows: 1, time_ms: 1, memory_bytes: 1, ..own };
    assert_eq!(own.clamp(ceiling), expected);
    assert_eq!(ceiling.clamp(own), expected);
}

/// One signature is one text, since whoever keeps parts tells them apart by it.
#[test]
fn a_signature_is_written_in_one_way() {
    let first = answer().remove(0);
    assert!(is_signature(&first.signature) && reader().read(&first).is_ok());
    let letter = first.signature.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
    let mut capital = first.signature.clone();
    capital.replace_range(letter..=letter, &first.signature[letter..=letter].to_uppercase());
    let others = [
        capital,
        first.signature.to_uppercase(),
        first.signature[..126].to_owned(),
        format!("{}00", first.signature),
        format!("{} ", &first.signature[..127]),
        format!("{}\0", &first.signature[..127]),
        "é".repeat(64),
        String::new(),
    ];
    for signature in others {
        assert!(!is_signature(&signature), "{signature:?}");
        let part = Part { signature: signature.clone(), ..first.clone() };
        assert!(matches!(reader().read(&part), Err(AnswerError::Signature)), "{signature:?}");
        // What is no part is not even read off a line.
        let message = FromAgent::Part { action: hash(), judged: 1, part }.to_bytes();
        assert!(matches!(FromAgent::parse(&message), Err(MessageError::Malformed(_))), "{signature:?}");
    }
}

/// What an answer amounts to is short and has sums, whatever an agent counted and said.
#[test]
fn what_an_answer_amounts_to_is_bounded() {
    let record = ScanRecord { rows: u64::MAX, bytes: u64::MAX, troubles_count: u64::MAX, ..ScanRecord::default() };
    let mut last = Final {
        outcome: Outcome::Answered,
        frames: 0,
        frames_sha256: String::new(),
        last: None,
        scans: vec![record; 3],
        limits: Limits::default(),
        facts: None,
        at: at(NOW),
        sealed: None,
        more: Members::default(),
    };
    let most = limits::COUNT_MAX;
    let summary = last.clone().summary();
    assert_eq!((summary.rows, summary.bytes, summary.troubles), (most, most, most));
    last.bound();
    assert!(last.scans.iter().all(|scan| scan.rows.max(scan.bytes).max(scan.troubles_count) == most));
    last.outcome = Outcome::refused(Code::Other("x".repeat(1 << 20)), "ü".repeat(1 << 20));
    let summary = last.summary();
    assert!(summary.reason.unwrap().len() <= limits::TROUBLE_TEXT_BYTES_MAX);
    assert!(summary.code.unwrap().len() <= limits::CODE_BYTES_MAX);
}
