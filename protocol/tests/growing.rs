//! What may grow: facts and final records of agents that know more than this version, and of those that know less.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use canvass_protocol::action::{Action, ActionHash};
use canvass_protocol::answer::{Outcome, Part, Reader, Says, Statement};
use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{self, Cut};
use canvass_protocol::reason::{CODES, Code, Reason};
use canvass_protocol::signed::Signed;
use canvass_protocol::target::{Facts, evaluate};
use canvass_protocol::value::{Truth, Value};
use canvass_protocol::{features, strict};
use common::{agent_key, facts, id_of};
use ed25519_dalek::Signer as _;
use serde_json::json;

const ACTION: &str = include_str!("golden/action-1.json");
/// Without features, as an agent wrote it that knew of none.
const HEARTBEAT: &str = include_str!("golden/heartbeat-1.json");
const FINAL: &str = include_str!("golden/answer-1-final.json");
const REFUSED: &str = include_str!("golden/answer-1-refused.json");

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
    let mut reader = Reader::new("acme".into(), ActionHash::of(ACTION.as_bytes()), id_of(&agent_key()));
    reader.read(&part).map_err(|error| error.to_string())
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
        (&final_text, "\"run\":", false),
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
fn the_manual_lists_every_code() {
    let manual = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/wire.md")).unwrap();
    let rows = CODES.iter().map(|(_, word, about)| format!("| `{word}` | {} |\n", about.trim_end_matches('.')));
    let rows: String = rows.collect();
    assert!(manual.contains(&rows), "docs/wire.md lacks:\n{rows}");
}
