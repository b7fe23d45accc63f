//! What may grow: facts and final records of agents that know more than this version, and of those that know less.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{Final, Outcome, Part, Reader, Says, Statement};
use canvass_protocol::features::WIRE;
use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{self, Cut};
use canvass_protocol::openpgp::Fingerprint;
use canvass_protocol::reason::{CODES, Code, Reason};
use canvass_protocol::signed::Signed;
use canvass_protocol::target::{Facts, evaluate};
use canvass_protocol::value::{Truth, Value};
use canvass_protocol::{features, strict};
use common::{NOW, agent_key, at, facts, id_of};
use ed25519_dalek::Signer as _;
use serde_json::json;

const ACTION: &str = include_str!("golden/action-1.json");
/// Without features, as an agent wrote it that knew of none.
const HEARTBEAT: &str = include_str!("golden/heartbeat-1.json");
const FINAL: &str = include_str!("golden/answer-1-final.json");
const REFUSED: &str = include_str!("golden/answer-1-refused.json");
/// With the features of this version.
const FEATURES: &str = include_str!("golden/heartbeat-1-features.json");
/// With two revoked keys.
const REVOKED: &str = include_str!("golden/heartbeat-1-revoked.json");
/// Of an agent that knows more than this version: features, members of facts, records and troubles, a limit, a code.
const LATER_HEARTBEAT: &str = include_str!("golden/heartbeat-later.json");
const LATER_FINAL: &str = include_str!("golden/answer-later-final.json");
const LATER_REFUSED: &str = include_str!("golden/answer-later-refused.json");
/// A frame whose rows only some may read, and the final record behind it.
const SEALED_FRAME: &str = include_str!("golden/answer-1-sealed-frame.json");
const SEALED_FINAL: &str = include_str!("golden/answer-1-sealed-final.json");
/// Run 7 of a standing action, with a dependent scan that was narrowed and one that did not run.
const STANDING: &str = include_str!("golden/answer-1-standing.json");
const FRAME: &str = include_str!("golden/answer-1-frame.json");

/// The statement of a golden part or heartbeat.
fn statement(golden: &str) -> String {
    match golden.split_once('\n') {
        Some((statement, _)) => statement.to_owned(),
        None => serde_json::from_str::<Signed>(golden).unwrap().statement,
    }
}

fn sign(statement: &str) -> String {
    hex::encode(agent_key().sign(statement.as_bytes()).to_bytes())
}

/// Reads a final record that a later agent may have written, as a desk does.
fn last(statement: String) -> Result<Says, String> {
    let part = Part { signature: sign(&statement), statement, body: Vec::new() };
    reader().read(&part).map_err(|error| error.to_string())
}

fn heartbeat(statement: String) -> Result<Facts, String> {
    let signed = Signed { signature: sign(&statement), statement };
    Heartbeat::open(&signed, "acme").map(|heartbeat| heartbeat.facts).map_err(|error| error.to_string())
}

#[test]
fn facts_and_final_records_grow_and_nothing_else_does() {
    let (heartbeat_text, final_text, refused_text) = (statement(HEARTBEAT), statement(FINAL), statement(REFUSED));
    let more = "\"more\":{\"a\":[1,null,{\"b\":\"c\"}]},";
    for (text, before, grows) in [
        (&heartbeat_text, "\"name\":", true),
        (&heartbeat_text, "\"fleet\":", false),
        (&final_text, "\"outcome\":", true),
        (&final_text, "\"asked\":", true),
        (&final_text, "\"subject\":", true),
        (&final_text, "\"name\":", true),
        (&refused_text, "\"code\":", true),
        (&final_text, "\"nonce\":", false),
        (&final_text, "\"memory_bytes\":", false),
    ] {
        let grown = text.replace(before, &format!("{more}{before}"));
        assert_ne!(&grown, text, "{before}");
        let read = if text == &heartbeat_text {
            heartbeat(grown.clone()).map(|_| ())
        } else {
            strict::from_bytes::<Statement>(strict::Kind::Answer, grown.as_bytes())
                .map(|_| ())
                .map_err(|e| e.to_string())
        };
        match read {
            Ok(()) => assert!(grows, "{before} of {text}"),
            Err(error) => assert!(!grows && error.contains("unknown field"), "{before}: {error}"),
        }
        // What was kept is written again.
        if grows && text != &heartbeat_text {
            let read: Statement = strict::from_bytes(strict::Kind::Answer, grown.as_bytes()).unwrap();
            let again: serde_json::Value = serde_json::from_slice(&strict::to_bytes(&read)).unwrap();
            assert_eq!(again, serde_json::from_str::<serde_json::Value>(&grown).unwrap());
        }
    }
    let facts = heartbeat(heartbeat_text.replace("\"name\":", &format!("{more}\"name\":"))).unwrap();
    assert_eq!(facts.more.get("more"), Some(&json!({"a": [1, null, {"b": "c"}]})));
}

#[test]
fn no_member_comes_twice_where_records_grow() {
    let (heartbeat_text, final_text) = (statement(HEARTBEAT), statement(FINAL));
    for (before, doubled) in [
        ("\"name\":", "\"name\":\"web-2\","),
        ("\"name\":", "\"n\\u0061me\":\"web-2\","),
        ("\"name\":", "\"more\":1,\"more\":2,"),
        ("\"name\":", "\"more\":1,\"mor\\u0065\":2,"),
        ("\"name\":", "\"more\":{\"a\":1,\"a\":2},"),
        ("\"name\":", "\"more\":[{\"a\":[{\"b\":1,\"b\":1}]}],"),
        ("\"name\":", "\"features\":[],\"features\":[],"),
        ("\"role\":", "\"role\":\"db\","),
    ] {
        let error = heartbeat(heartbeat_text.replace(before, &format!("{doubled}{before}"))).unwrap_err();
        assert!(error.contains("duplicate"), "{doubled}: {error}");
    }
    for (before, doubled) in [
        ("\"outcome\":", "\"outcome\":\"interrupted\","),
        ("\"outcome\":", "\"more\":1,\"more\":1,"),
        ("\"asked\":", "\"asked\":true,"),
        ("\"asked\":", "\"more\":1,\"more\":1,"),
        ("\"subject\":", "\"subject\":null,"),
        ("\"subject\":", "\"more\":{\"a\":1,\"a\":1},"),
    ] {
        let error = last(final_text.replace(before, &format!("{doubled}{before}"))).unwrap_err();
        assert!(error.contains("duplicate"), "{doubled}: {error}");
    }
}

#[test]
fn what_grows_is_bounded() {
    let text = statement(HEARTBEAT);
    let with = |member: String| heartbeat(text.replace("\"name\":", &format!("{member},\"name\":")));
    let kept = |member: String| !with(member).unwrap().more.is_empty();
    assert!(kept(format!("\"more\":\"{}\"", "x".repeat(limits::MEMBERS_BYTES_MAX / 2))));
    // Too much is passed over, not refused: the agent is what it was without.
    assert!(!kept(format!("\"more\":\"{}\"", "x".repeat(limits::MEMBERS_BYTES_MAX))));
    assert!(!kept(format!("\"more\":[{}]", vec!["[]"; limits::MEMBERS_BYTES_MAX / 16].join(","))));
    let error = with(format!("\"more\":{}", "[".repeat(200) + &"]".repeat(200))).unwrap_err();
    assert!(error.contains("recursion limit"), "{error}");
    let error = with(format!("\"more\":\"{}\"", "x".repeat(limits::HEARTBEAT_BYTES_MAX))).unwrap_err();
    assert!(error.contains("at most"), "{error}");

    let features = |list: &[&str]| with(format!("\"features\":{}", json!(list))).map(|facts| facts.features);
    assert_eq!(features(&["table:users", "table:files", "table:users"]).unwrap(), ["table:files", "table:users"]);
    assert!(features(&["x".repeat(limits::FEATURE_BYTES_MAX).as_str()]).is_ok());
    let error = features(&["x".repeat(limits::FEATURE_BYTES_MAX + 1).as_str()]).unwrap_err();
    assert!(error.contains("a feature has 129 bytes"), "{error}");
    let error = features(&vec!["x"; limits::FEATURES_MAX + 1]).unwrap_err();
    assert!(error.contains("1025 features"), "{error}");
}

#[test]
fn codes_and_cuts_of_a_later_agent_are_read() {
    for (code, word, about) in CODES {
        assert_eq!((&Code::from(*word), code.as_str()), (code, *word));
        assert!(about.ends_with('.'), "{about}");
    }
    let text = statement(REFUSED);
    assert!(text.contains("\"code\":\"weight\""), "{text}");
    let later = text.replace("\"weight\"", "\"moon_phase\"");
    let Says::Final(says) = last(later.clone()).unwrap() else { panic!("no final record") };
    let reason = "process_memory needs weight 2, signatures carry 1: alice";
    assert_eq!(says.outcome, Outcome::Refused(Reason::new(Code::Other("moon_phase".into()), reason)));
    let read: Statement = strict::from_bytes(strict::Kind::Answer, later.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(strict::to_bytes(&read)).unwrap(), later);

    let later = statement(FINAL).replace("\"cut\":\"rows\"", "\"cut\":\"disk\"");
    let read: Statement = strict::from_bytes(strict::Kind::Answer, later.as_bytes()).unwrap();
    let Says::Final(says) = read.says else { panic!("no final record") };
    assert_eq!(says.scans[1].cut, Some(Cut::Unknown));
}

#[test]
fn features_are_facts_that_a_target_may_test() {
    let older = facts();
    let newer = Facts { features: vec![features::table("files"), features::table("users")], ..facts() };
    let is = |is: Is| Filter::test("features", is);
    let like = Is::Like(Pattern { pattern: "table:u%".into(), ignore_case: false });
    for (target, of_older, of_newer) in [
        (is(Is::Equal(Value::Text("table:files".into()))), Truth::False, Truth::True),
        (is(Is::Equal(Value::Text("table:moon".into()))), Truth::False, Truth::False),
        (is(like), Truth::False, Truth::True),
    ] {
        assert_eq!(
            (evaluate(&target, &older, None), evaluate(&target, &newer, None)),
            (of_older, of_newer),
            "{target}"
        );
    }
}

/// What only a later version can read is told apart from what nobody can.
#[test]
fn an_action_of_a_later_version_is_not_supported() {
    for (old, new, code) in [
        ("\"fleet\":", "\"moon\":1,\"fleet\":", Code::Unsupported),
        ("\"table\":\"files\"", "\"table\":\"files\",\"moon\":1", Code::Unsupported),
        ("{\"text\":\"linux\"}", "{\"moon\":\"linux\"}", Code::Unsupported),
        ("\"is\":\"private\"", "\"is\":\"full_moon\"", Code::Unsupported),
        ("\"fleet\":\"acme\"", "\"fleet\":1", Code::Format),
        ("\"fleet\":\"acme\"", "\"fleet\":\"acme\",\"fleet\":\"acme\"", Code::Format),
        ("12:05:00Z", "11:59:59Z", Code::Format),
    ] {
        assert!(ACTION.contains(old), "{old}");
        assert_eq!(Action::parse(ACTION.replacen(old, new, 1).as_bytes()).unwrap_err().code(), code, "{new}");
    }
}

#[test]
fn the_manual_lists_every_code_and_feature() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md")).unwrap();
    let rows = CODES.iter().map(|(_, word, about)| format!("| `{word}` | {} |\n", about.trim_end_matches('.')));
    let rows: String = rows.collect();
    assert!(manual.contains(&rows), "docs/wire.md lacks:\n{rows}");
    let rows = WIRE.iter().map(|(_, word, about)| format!("| `wire:{word}` | {} |\n", about.trim_end_matches('.')));
    let rows: String = rows.collect();
    assert!(manual.contains(&rows), "docs/wire.md lacks:\n{rows}");
}

fn part(golden: &str, body: &[u8]) -> Part {
    let (statement, signature) = golden.trim_end().split_once('\n').unwrap();
    Part { statement: statement.into(), signature: signature.into(), body: body.to_vec() }
}

fn reader() -> Reader {
    Reader::new("acme".into(), ActionHash::of(ACTION.as_bytes()), id_of(&agent_key()))
}

fn final_of(reader: &mut Reader, golden: &str) -> Final {
    match reader.read(&part(golden, b"")).unwrap() {
        Says::Final(last) => *last,
        Says::Frame(frame) => panic!("{frame:?}"),
    }
}

fn opened(golden: &str) -> Facts {
    Heartbeat::open(&serde_json::from_str(golden).unwrap(), "acme").unwrap().facts
}

#[test]
fn an_old_desk_reads_a_newer_agents_recorded_answer() {
    let facts = opened(LATER_HEARTBEAT);
    assert_eq!(facts.features, ["table:files", "table:moons", "wire:moonlight"]);
    assert_eq!(facts.more.get("init"), Some(&json!("systemd")));
    assert_eq!(facts.more.get("cloud"), Some(&json!({"id": "i-0123", "zones": ["a", "b"]})));

    let mut reader = reader();
    assert!(matches!(reader.read(&part(FRAME, b"rows")).unwrap(), Says::Frame(frame) if frame.rows == 3));
    let last = final_of(&mut reader, LATER_FINAL);
    assert!(reader.finished() && last.facts == Some(facts));
    assert_eq!(last.more.get("phases"), Some(&json!({"walk_ms": 12})));
    let record = &last.scans[1];
    assert_eq!((record.rows, record.cut, record.troubles_count), (3, Some(Cut::Unknown), 2));
    assert_eq!(record.more.get("read_bytes"), Some(&json!(4096)));
    assert_eq!(record.troubles[0].more.get("errno"), Some(&json!(13)));

    let last = final_of(&mut self::reader(), LATER_REFUSED);
    let Outcome::Refused(reason) = last.outcome else { panic!("{:?}", last.outcome) };
    assert_eq!((reason.code, reason.reason.as_str()), (Code::Other("tide".into()), "the tide is out"));
    assert_eq!(reason.more.get("until"), Some(&json!("2026-11-22T00:00:00Z")));
}

#[test]
fn revoked_keys_are_told_where_there_are_some() {
    let keys = ["AB".repeat(20), "CD".repeat(20)].map(Fingerprint);
    let revoked = Facts { revoked_keys: keys.to_vec(), ..facts() };
    assert_eq!(opened(REVOKED), revoked);
    let again = Heartbeat::sign(&agent_key(), "acme".into(), revoked.clone(), "00".repeat(32), at(NOW));
    assert_eq!(serde_json::to_string(&again).unwrap(), REVOKED.trim_end());
    assert!(!HEARTBEAT.contains("revoked_keys"), "left out where there is none");
    let of_the_second = Filter::test("revoked_keys", Is::Equal(Value::Text("CD".repeat(20))));
    assert_eq!(evaluate(&of_the_second, &revoked, None), Truth::True);
    assert_eq!(evaluate(&of_the_second, &facts(), None), Truth::False);
}

#[test]
fn a_new_desk_reads_an_older_agents_recorded_answer() {
    assert_eq!(opened(HEARTBEAT), facts());
    assert_eq!(facts().features, Vec::<String>::new());
    let mut reader = reader();
    reader.read(&part(FRAME, b"rows")).unwrap();
    assert_eq!(final_of(&mut reader, FINAL).facts, Some(facts()));
    let newer = Facts { features: vec![features::table("files"), features::table("users")], ..facts() };
    assert_eq!(opened(FEATURES), newer);
    let again = Heartbeat::sign(&agent_key(), "acme".into(), newer, "00".repeat(32), at(NOW));
    assert_eq!(serde_json::to_string(&again).unwrap(), FEATURES);
}

#[test]
fn a_sealed_answer_is_verified_and_said_to_be_one() {
    let mut reader = reader();
    let Says::Frame(frame) = reader.read(&part(SEALED_FRAME, b"sealed rows")).unwrap() else { panic!("no frame") };
    let seal = frame.seal.unwrap();
    assert_eq!((seal.algorithm.as_str(), seal.keys[0].recipient.as_str()), ("aes256-ocb", "AB".repeat(20).as_str()));
    assert_eq!(seal.keys[0].key, b"wrapped");
    let last = final_of(&mut reader, SEALED_FINAL);
    assert_eq!(last.sealed.map(|sealed| sealed.bytes), Some(b"troubles".to_vec()));
    assert!(reader.finished());
}

#[test]
fn each_run_of_a_standing_action_has_an_answer_of_its_own() {
    for run in [0, 6, 8] {
        let error = reader().of_run(run).read(&part(STANDING, b"")).unwrap_err().to_string();
        assert_eq!(error, "the part is of another run", "{run}");
    }
    let mut reader = reader().of_run(7);
    let last = final_of(&mut reader, STANDING);
    assert_eq!(last.scans[0].keys, Some(12));
    let never_run = last.scans[1].never_run.as_ref().unwrap();
    assert_eq!((&never_run.code, never_run.reason.as_str()), (&Code::NoRows, "scan 1 found no row"));
    assert!(STANDING.contains("\"run\":7") && !REFUSED.contains("\"run\""), "left out where it is asked once");
}
