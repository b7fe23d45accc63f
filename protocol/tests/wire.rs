//! Golden files that must open for ever and be written as they were, and all that is refused beside them.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod common;

use canvass_protocol::action::{Action, ActionError, ActionHash};
use canvass_protocol::answer::{Outcome, Part, Reader, Says, ScanRecord, Trouble, Writer};
use canvass_protocol::envelope::{Envelope, EnvelopeError};
use canvass_protocol::filter::{Filter, Is, Pattern, Place};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{self, Cut, Limits};
use canvass_protocol::login::{Approval, Login};
use canvass_protocol::openpgp::{Fingerprint, Keyring};
use canvass_protocol::reason::Code;
use canvass_protocol::scan::Scan;
use canvass_protocol::signed::{Signed, SignedError};
use canvass_protocol::statement::{InputFile, Statement};
use canvass_protocol::target::Facts;
use canvass_protocol::value::Value;
use common::{NOW, action, agent_key, at, facts, golden_action, id_of, later_action, scan};

const ACTION: &str = include_str!("golden/action-1.json");
const LATER: &str = include_str!("golden/action-1-later.json");
const ENVELOPE: &str = include_str!("golden/envelope-1.json");
const LOGIN: &str = include_str!("golden/login-1.json");
const ADMIT: &str = include_str!("golden/admit-1.json");
const HEARTBEAT: &str = include_str!("golden/heartbeat-1.json");
const FRAME: &str = include_str!("golden/answer-1-frame.json");
const FINAL: &str = include_str!("golden/answer-1-final.json");
const SMALL: &str = include_str!("golden/answer-1-small.json");
const REFUSED: &str = include_str!("golden/answer-1-refused.json");

#[test]
fn golden_action_opens_and_is_written_as_it_was() {
    let action = Action::parse(ACTION.as_bytes()).unwrap();
    assert_eq!(action, golden_action());
    assert_eq!(String::from_utf8(action.to_bytes()).unwrap(), ACTION);
    assert_eq!(String::from_utf8(later_action().to_bytes()).unwrap(), LATER);
    assert_eq!(Action::parse(LATER.as_bytes()).unwrap(), later_action());
}

#[test]
fn golden_envelope_opens_verifies_and_is_written_as_it_was() {
    let envelope = Envelope::parse(ENVELOPE.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(envelope.to_bytes()).unwrap(), ENVELOPE);
    assert_eq!(envelope.payload, ACTION);
    assert_eq!(envelope.hash(), ActionHash::of(ACTION.as_bytes()));
    let mut keyring = Keyring::default();
    let carol = keyring.add(include_bytes!("golden/carol.asc")).certificates.remove(0);
    let verdict = keyring.verify(envelope.payload.as_bytes(), &envelope.signatures, at("2026-11-21T12:01:00Z"));
    assert_eq!(verdict.rejected, Vec::<String>::new());
    assert_eq!(verdict.signers.into_iter().collect::<Vec<Fingerprint>>(), [carol]);
}

#[test]
fn golden_heartbeat_opens_verifies_and_is_written_as_it_was() {
    let signed: Signed = serde_json::from_str(HEARTBEAT).unwrap();
    let heartbeat = Heartbeat::open(&signed, "acme").unwrap();
    assert_eq!(heartbeat.facts, facts());
    let again = Heartbeat::sign(&agent_key(), "acme".into(), facts(), "00".repeat(32), at(NOW));
    assert_eq!(serde_json::to_string(&again).unwrap(), HEARTBEAT);
    assert!(matches!(Heartbeat::open(&signed, "other"), Err(SignedError::Fleet(_))));
    let altered = Signed { statement: signed.statement.replace("web-1", "web-2"), ..signed.clone() };
    assert!(matches!(Heartbeat::open(&altered, "acme"), Err(SignedError::Signature)));
    let mut other = facts();
    other.id = "00".repeat(32);
    let lying = Heartbeat::sign(&agent_key(), "acme".into(), other, String::new(), at(NOW));
    assert!(matches!(Heartbeat::open(&lying, "acme"), Err(SignedError::Id)));
    let long = Signed { statement: " ".repeat(limits::HEARTBEAT_BYTES_MAX + 1), signature: String::new() };
    assert!(matches!(Heartbeat::open(&long, "acme"), Err(SignedError::TooLong { .. })));
}

/// What investigators sign beside actions has goldens too: a server of before has to read a desk of later.
#[test]
fn golden_words_of_investigators_open_and_are_written_as_they_were() {
    let login = Login::new("acme".into(), "canvass.example".into(), "0f".repeat(16), at(NOW));
    assert_eq!(String::from_utf8(login.to_bytes()).unwrap(), LOGIN);
    assert_eq!(Login::parse(LOGIN.as_bytes()).unwrap(), login);
    assert!(login.has_nonce());
    for nonce in ["", "0f", &"0f".repeat(17), &"zz".repeat(16)] {
        let login = Login::new("acme".into(), "canvass.example".into(), nonce.to_owned(), at(NOW));
        assert!(!login.has_nonce(), "{nonce}");
    }
    let approval = Approval::new("acme".into(), id_of(&agent_key()), "web-1".into(), at(NOW));
    assert_eq!(String::from_utf8(approval.to_bytes()).unwrap(), ADMIT);
    assert_eq!(Approval::parse(ADMIT.as_bytes()).unwrap(), approval);
    for (old, new) in [("admit/1", "admit/2"), ("admit/1", "login/1"), ("\"name\"", "\"more\":1,\"name\"")] {
        assert!(Approval::parse(ADMIT.replace(old, new).as_bytes()).is_err(), "{new}");
    }
}

/// What a desk would repeat in each row of an agent, at its bound and one past it.
#[test]
fn facts_past_their_bounds_are_not_taken() {
    type Change = fn(&mut Facts, usize);
    let cases: &[(Change, usize, &str)] = &[
        (|facts, more| facts.name = "x".repeat(255 + more), 1, "its host name has 256 bytes; at most 255 are allowed"),
        (
            |facts, more| facts.name = "x".repeat(255 + more),
            59_745,
            "its host name has 60000 bytes; at most 255 are allowed",
        ),
        (|facts, more| facts.os = "x".repeat(255 + more), 1, "its `os` has 256 bytes; at most 255 are allowed"),
        (
            |facts, more| facts.kernel = Some("x".repeat(255 + more)),
            1,
            "its `kernel` has 256 bytes; at most 255 are allowed",
        ),
        (
            |facts, more| facts.tags = (0..64 + more).map(|n| (n.to_string(), String::new())).collect(),
            1,
            "it has 65 tags; at most 64 are allowed",
        ),
        (
            |facts, more| facts.tags = [("k".repeat(8000), "v".repeat(192 + more))].into(),
            1,
            "its tags have 8193 bytes; at most 8192 are allowed",
        ),
        (
            |facts, more| facts.addresses = vec![[10, 0, 0, 1].into(); 256 + more],
            1,
            "it has 257 addresses; at most 256 are allowed",
        ),
        (
            |facts, more| facts.revoked_keys = vec![Fingerprint("A".repeat(40)); 64 + more],
            1,
            "it has 65 revoked keys; at most 64 are allowed",
        ),
        (
            |facts, more| facts.revoked_keys = vec![Fingerprint("A".repeat(40 + more))],
            1,
            "one of its revoked keys is no fingerprint",
        ),
    ];
    for (change, more, why) in cases {
        for more in [0, *more] {
            let mut facts = facts();
            change(&mut facts, more);
            let signed = Heartbeat::sign(&agent_key(), "acme".into(), facts.clone(), "00".repeat(32), at(NOW));
            let opened = Heartbeat::open(&signed, "acme").map(drop).map_err(|error| error.to_string());
            let hash = ActionHash::of(b"the action");
            let (key, id) = (agent_key(), id_of(&agent_key()));
            let writer = Writer::new(&key, "acme".into(), hash, "0a".repeat(16));
            let last = writer.finish(Outcome::Answered, vec![], Limits::default(), Some(facts), at(NOW));
            let read = Reader::new("acme".into(), hash, id).read(&last).map(drop).map_err(|error| error.to_string());
            let expected = if more == 0 { Ok(()) } else { Err((*why).to_owned()) };
            assert_eq!((opened, read), (expected.clone(), expected), "{why}");
        }
    }
}

/// The statements and signatures of a golden answer's parts, one line each.
fn lines(part: &Part) -> String {
    format!("{}\n{}\n", part.statement, part.signature)
}

fn part(lines: &str, body: &[u8]) -> Part {
    let (statement, signature) = lines.trim_end().split_once('\n').unwrap();
    Part { statement: statement.into(), signature: signature.into(), body: body.to_vec() }
}

#[test]
fn golden_answer_opens_verifies_and_is_written_as_it_was() {
    let key = agent_key();
    let hash = ActionHash::of(ACTION.as_bytes());
    let run = "0f".repeat(16);
    let mut writer = Writer::new(&key, "acme".into(), hash, run.clone());
    assert_eq!(lines(&writer.frame(1, 3, b"rows".to_vec())), FRAME);
    let record = ScanRecord {
        asked: true,
        rows: 3,
        examined: 12,
        bytes: 4,
        cut: Some(Cut::Rows),
        troubles: vec![Trouble::new(Some("/root"), "permission denied")],
        troubles_count: 2,
        ..ScanRecord::default()
    };
    let scans = vec![ScanRecord::default(), record];
    let last = writer.finish(Outcome::Answered, scans, Limits::default(), Some(facts()), at(NOW));
    assert_eq!(lines(&last), FINAL);

    let mut reader = Reader::new("acme".into(), hash, id_of(&key));
    assert!(matches!(reader.read(&part(FRAME, b"rows")).unwrap(), Says::Frame(frame) if frame.rows == 3));
    assert!(matches!(reader.read(&part(FINAL, b"")).unwrap(), Says::Final(last) if last.facts == Some(facts())));
    assert!(reader.finished());

    let mut writer = Writer::new(&key, "acme".into(), hash, run.clone());
    writer.last_frame(0, 3, b"rows".to_vec());
    let scans = vec![ScanRecord { asked: true, rows: 3, examined: 12, bytes: 4, ..ScanRecord::default() }];
    let small = writer.finish(Outcome::Answered, scans, Limits::default(), Some(facts()), at(NOW));
    assert_eq!(lines(&small), SMALL);
    let mut reader = Reader::new("acme".into(), hash, id_of(&key));
    let carried = |says| matches!(says, Says::Final(last) if last.last.as_ref().is_some_and(|frame| frame.rows == 3));
    assert!(carried(reader.read(&part(SMALL, b"rows")).unwrap()) && reader.finished());

    let writer = Writer::new(&key, "acme".into(), hash, run);
    let reason = "process_memory needs weight 2, signatures carry 1: alice";
    let refused = writer.finish(Outcome::refused(Code::Weight, reason), Vec::new(), Limits::default(), None, at(NOW));
    assert_eq!(lines(&refused), REFUSED);
}

/// Why altered bytes of the golden action are refused; `opens` where they are not.
fn refusal(old: &str, new: &str) -> String {
    assert!(ACTION.contains(old), "`{old}` is not in the golden action");
    let altered = ACTION.replacen(old, new, 1);
    Action::parse(altered.as_bytes()).map_or_else(|error| error.to_string(), |_| "opens".into())
}

#[test]
fn strict() {
    let unknown = "unknown field";
    let duplicate = "duplicate field";
    for (old, new, expected) in [
        // The beginning: kind first, and spelled exactly so.
        ("{\"canvass\":\"action/1\",", "{\"fleet\":\"acme\",", "not a canvass `action/1`: it begins `{\"fleet"),
        ("\"action/1\"", "\"login/1\"", "not a canvass `action/1`"),
        ("\"action/1\"", "\"action/2\"", "not a canvass `action/1`"),
        ("{\"canvass\"", " {\"canvass\"", "not a canvass `action/1`"),
        ("{\"canvass\":\"action/1\"", "{\"canvass\": \"action/1\"", "not a canvass `action/1`"),
        // Members that come twice, whatever they are spelled like.
        ("\"fleet\":\"acme\"", "\"fleet\":\"acme\",\"fleet\":\"acme\"", duplicate),
        ("\"fleet\":\"acme\"", "\"canvass\":\"action/1\",\"fleet\":\"acme\"", duplicate),
        ("\"fleet\":\"acme\"", "\"fleet\":\"acme\",\"fl\\u0065et\":\"b\"", duplicate),
        ("\"from\":", "\"from\":\"2026-01-01T00:00:00Z\",\"from\":", duplicate),
        ("\"rows\":1000000", "\"rows\":1,\"rows\":1000000", duplicate),
        ("\"table\":\"files\"", "\"table\":\"files\",\"table\":\"files\"", duplicate),
        ("\"column\":\"os\"", "\"column\":\"os\",\"column\":\"arch\"", duplicate),
        ("\"pattern\":", "\"pattern\":\"x\",\"pattern\":", duplicate),
        ("\"decompress\":true", "\"decompress\":true,\"decompress\":false", duplicate),
        ("\"sets\":{", "\"sets\":{\"iocs\":[],", "duplicate member `iocs`"),
        ("{\"text\":\"linux\"}", "{\"text\":\"linux\",\"text\":\"linux\"}", "malformed"),
        ("{\"text\":\"linux\"}", "{\"text\":\"linux\",\"integer\":1}", "malformed"),
        // Members nobody knows.
        ("\"fleet\":", "\"extra\":1,\"fleet\":", unknown),
        ("\"from\":", "\"extra\":1,\"from\":", unknown),
        ("\"rows\":1000000", "\"extra\":1,\"rows\":1000000", unknown),
        ("\"table\":\"files\"", "\"table\":\"files\",\"module\":\"files\"", unknown),
        ("\"column\":\"os\"", "\"column\":\"os\",\"extra\":1", unknown),
        ("\"ignore_case\":true", "\"ignore_case\":true,\"extra\":1", unknown),
        ("\"decompress\":true", "\"decompress\":true,\"extra\":1", unknown),
        ("{\"text\":\"linux\"}", "{\"words\":\"linux\"}", "unknown variant `words`"),
        // Members that are missing or of another type.
        ("\"fleet\":\"acme\",", "", "missing field `fleet`"),
        ("\"table\":\"files\",", "", "missing field `table`"),
        ("\"integer\":-22", "\"integer\":9223372036854775808", "malformed"),
        ("\"integer\":-22", "\"integer\":1.0", "malformed"),
        ("0.30000000000000004", "1e999", "`1e999` is not a finite number"),
        ("0.30000000000000004", "null", "`null` is not a finite number"),
        ("0.30000000000000004", "\"inf\"", "is not a finite number"),
        ("\"limit\":10", "\"limit\":-1", "malformed"),
        ("\"sql\":", "\"text\":1,\"sql\":", unknown),
        ("\"sha256\":", "\"owner\":1,\"sha256\":", unknown),
        ("\"name\":\"iocs\"", "\"name\":\"iocs\",\"name\":\"iocs\"", duplicate),
        ("\"decompress\":\"true\"", "\"decompress\":\"true\",\"decompress\":\"1\"", "duplicate member `decompress`"),
        // Places that are not written as they should be.
        ("\"folder\":\"/etc\"", "\"folder\":\"/etc/\"", "neither an absolute folder nor a network"),
        ("\"folder\":\"/etc\"", "\"folder\":\"/etc/../root\"", "neither an absolute folder nor a network"),
        ("\"folder\":\"/etc\"", "\"folder\":\"etc\"", "neither an absolute folder nor a network"),
        ("\"folder\":\"/etc\"", "\"folder\":\"10.0.0.0/8\"", "neither an absolute folder nor a network"),
        ("10.0.0.0/8", "10.0.0.1/8", "neither an absolute folder nor a network"),
        ("10.0.0.0/8", "::ffff:10.0.0.0/104", "neither an absolute folder nor a network"),
        // What hangs together.
        ("\"sets\":{\"iocs\":", "\"sets\":{\"other\":", "names the set `iocs`"),
        ("\"statement\":1", "\"statement\":2", "`system` belongs to statement 2, which the action does not have"),
        ("\"name\":\"systems\"", "\"name\":\"iocs\"", "each has a name of its own"),
        ("\"name\":\"systems\",", "", "each has a name of its own"),
        ("\"name\":\"systems\"", "\"name\":\"\"", "name is empty"),
        ("abababab", "xbababab", "the SHA-256 of the local file `iocs.csv` is not 64 hexadecimal digits"),
        ("12:05:00Z", "11:59:59Z", "the window ends before it begins"),
        ("2026-11-21T12:05:00Z", "2026-11-21T12:05:00", "malformed"),
    ] {
        let found = refusal(old, new);
        assert!(found.contains(expected), "{old} → {new}: {found}");
    }
    let with_tail = format!("{ACTION}{{}}");
    assert!(Action::parse(with_tail.as_bytes()).is_err());
    assert!(Action::parse(&ACTION.as_bytes()[..ACTION.len() - 1]).is_err());
    let mut not_utf8 = ACTION.as_bytes().to_vec();
    let middle = ACTION.find("SELECT").unwrap();
    not_utf8[middle] = 0xff;
    assert!(Action::parse(&not_utf8).is_err());
}

fn nested(depth: usize, wrap: fn(Filter) -> Filter) -> Filter {
    (1..depth).fold(Filter::test("path", Is::In(vec![Value::Text("a".into())])), |filter, _| wrap(filter))
}

#[test]
fn the_deepest_filter_that_may_be_signed_can_be_read_and_no_deeper() {
    for wrap in [|f| Filter::All(vec![f]), |f| Filter::Any(vec![f]), |f| Filter::Not(Box::new(f))] as [fn(_) -> _; 3] {
        let deepest = action(vec![scan("files", Some(nested(limits::FILTER_DEPTH_MAX, wrap)))]);
        assert_eq!(Action::parse(&deepest.to_bytes()).unwrap(), deepest);
        let deeper = action(vec![scan("files", Some(nested(limits::FILTER_DEPTH_MAX + 1, wrap)))]);
        assert!(matches!(deeper.check(), Err(ActionError::FilterTooDeep { .. })));
        assert!(matches!(Action::parse(&deeper.to_bytes()), Err(ActionError::FilterTooDeep { .. })));
    }
    // Far deeper, the reader of JSON gives up before it runs out of stack.
    for (open, close) in [("{\"not\":", "}"), ("{\"all\":[", "]}"), ("[", "]"), ("{\"test\":", "}")] {
        let bomb = format!("\"filter\":{}{}", open.repeat(100_000), close.repeat(100_000));
        let found = refusal("\"filter\":{\"any\"", &format!("{bomb},\"filter\":{{\"any\""));
        assert!(found.contains("malformed `action/1`"), "{found}");
    }
    let mut target = scan("files", None);
    target.target = Some(nested(limits::FILTER_DEPTH_MAX + 1, |f| Filter::Not(Box::new(f))));
    assert!(matches!(action(vec![target]).check(), Err(ActionError::FilterTooDeep { .. })));
}

/// They cost the guard time before it knows that anybody may ask anything.
#[test]
fn patterns_of_targets_are_counted_over_all_scans() {
    let with = |scans: usize, patterns: usize| {
        let like = Filter::test("name", Is::Like(Pattern { pattern: "web%".into(), ignore_case: false }));
        let target = Filter::Not(Box::new(Filter::Any(vec![like; patterns])));
        action(vec![Scan { target: Some(target), ..scan("files", None) }; scans]).check()
    };
    assert!(with(1, limits::TARGET_PATTERNS_MAX).is_ok() && with(64, 4).is_ok());
    for (scans, patterns) in [(1, limits::TARGET_PATTERNS_MAX + 1), (64, 5)] {
        assert!(matches!(with(scans, patterns), Err(ActionError::TooManyTargetPatterns { .. })), "{scans} {patterns}");
    }
}

#[test]
fn bounds_of_an_action() {
    let tests = |count| Filter::Any(vec![Filter::test("path", Is::Null); count]);
    assert!(action(vec![scan("files", Some(tests(limits::FILTER_TESTS_MAX)))]).check().is_ok());
    let long = action(vec![scan("files", Some(tests(limits::FILTER_TESTS_MAX + 1)))]);
    assert!(matches!(Action::parse(&long.to_bytes()), Err(ActionError::FilterTooLong { .. })));
    assert!(matches!(action(Vec::new()).check(), Err(ActionError::NoScan)));
    let many = action(vec![scan("files", None); limits::SCANS_MAX + 1]);
    assert!(matches!(Action::parse(&many.to_bytes()), Err(ActionError::TooManyScans { .. })));
    let with = |statements: Vec<Statement>| {
        let mut action = action(vec![scan("files", None)]);
        action.statements = statements;
        action.check()
    };
    let named = |number: usize| Statement { name: Some(format!("check {number}")), sql: "SELECT 1".into() };
    assert!(with((0..limits::STATEMENTS_MAX).map(named).collect()).is_ok());
    assert!(matches!(with(Vec::new()), Err(ActionError::NoStatement)));
    let statements = (0..=limits::STATEMENTS_MAX).map(named).collect();
    assert!(matches!(with(statements), Err(ActionError::TooManyStatements { .. })));
    let long = with(vec![Statement::of(" ".repeat(limits::STATEMENTS_BYTES_MAX + 1))]);
    assert!(matches!(long, Err(ActionError::StatementsTooLong { .. })));
    let long = Statement { name: Some("n".repeat(limits::STATEMENT_NAME_BYTES_MAX + 1)), ..Statement::of("") };
    assert!(matches!(with(vec![long]), Err(ActionError::StatementName)));
    let with = |files: usize, name: usize| {
        let file = InputFile { name: "f".repeat(name), bytes: 1, sha256: "00".repeat(32) };
        let mut action = action(vec![scan("files", None)]);
        action.inputs.files = vec![file; files];
        action.check()
    };
    assert!(with(limits::INPUTS_MAX, 8).is_ok());
    for (files, name) in [(limits::INPUTS_MAX + 1, 8), (1, limits::INPUTS_BYTES_MAX)] {
        assert!(matches!(with(files, name), Err(ActionError::TooManyInputs)));
    }
    // What JSON cannot carry is found before it is signed.
    let nan = action(vec![scan("files", Some(Filter::test("size", Is::Less(Value::Float(f64::NAN)))))]);
    assert!(matches!(nan.check(), Err(ActionError::NotFinite { .. })));
    let folder = action(vec![scan("files", Some(Filter::test("path", Is::Under(Place::Folder("/a/../b".into())))))]);
    assert!(matches!(folder.check(), Err(ActionError::Place { .. })));
}

#[test]
fn floats_keep_their_last_bit() {
    for bits in [0x3fd3_3333_3333_3334_u64, 0x0000_0000_0000_0001, 0x7fef_ffff_ffff_ffff, 0x8000_0000_0000_0000] {
        for number in [f64::from_bits(bits), 122_416_294_033_786_585.0, 1.0] {
            let action = action(vec![scan("ping", Some(Filter::test("latency_ms", Is::Less(Value::Float(number)))))]);
            let again = Action::parse(&action.to_bytes()).unwrap();
            let Some(Filter::Test(test)) = &again.scans[0].filter else { panic!("{again:?}") };
            let Is::Less(Value::Float(read)) = test.is else { panic!("{test:?}") };
            assert_eq!(read.to_bits(), number.to_bits());
        }
    }
}

#[test]
fn the_target_of_an_action_is_the_union_of_its_scans() {
    let of = |os: &str| {
        let mut scan = scan("system", None);
        scan.target = Some(Filter::test("os", Is::Equal(Value::Text(os.into()))));
        scan
    };
    assert_eq!(action(vec![of("linux"), scan("files", None)]).target(), None);
    assert_eq!(action(vec![of("linux"), of("linux")]).target(), of("linux").target);
    let both = [of("linux"), of("macos")].map(|scan| scan.target.unwrap());
    assert_eq!(action(vec![of("linux"), of("macos")]).target(), Some(Filter::Any(both.into())));
}

#[test]
fn bounds_of_an_envelope() {
    let envelope = |payload: usize, signatures: usize, length: usize| Envelope {
        payload: "\"".repeat(payload),
        signatures: vec!["\n".repeat(length); signatures],
    };
    let fits = envelope(limits::ACTION_BYTES_MAX, limits::SIGNATURES_MAX, limits::SIGNATURE_BYTES_MAX);
    assert_eq!(Envelope::parse(&fits.to_bytes()).unwrap(), fits);
    let long = envelope(limits::ACTION_BYTES_MAX + 1, 1, 1);
    assert!(matches!(Envelope::parse(&long.to_bytes()), Err(EnvelopeError::PayloadTooLong { .. })));
    let many = envelope(1, limits::SIGNATURES_MAX + 1, 1);
    assert_eq!(Envelope::parse(&many.to_bytes()), Err(EnvelopeError::TooManySignatures { count: 9 }));
    let wide = envelope(1, 1, limits::SIGNATURE_BYTES_MAX + 1);
    assert!(matches!(Envelope::parse(&wide.to_bytes()), Err(EnvelopeError::SignatureTooLong { .. })));
    let huge = vec![b' '; 64 << 20];
    assert!(matches!(Envelope::parse(&huge), Err(EnvelopeError::PayloadTooLong { .. })));
    for bad in [
        "",
        "{}",
        "[]",
        "{\"payload\":\"a\",\"signatures\":[],\"extra\":1}",
        "{\"payload\":\"a\",\"payload\":\"b\",\"signatures\":[]}",
        "{\"payload\":\"a\",\"signatures\":[]}x",
    ] {
        assert!(matches!(Envelope::parse(bad.as_bytes()), Err(EnvelopeError::Json(_))), "{bad}");
    }
}
