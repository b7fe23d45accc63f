//! Tests of the guard: tables of cases, and what each must answer.

use canvass_protocol::acl::Acl;
use canvass_protocol::filter::{Filter, Is, Pattern};
use canvass_protocol::limits::CLOCK_SKEW_S;
use canvass_protocol::openpgp::{KeyFile, Signer};
use canvass_protocol::sets::{Bloom, PatternSet};
use canvass_protocol::value::Value;
use canvass_tables::Table;
use jiff::SignedDuration;
use uuid::Uuid;

use super::*;
use crate::journal::MemoryJournal;
use crate::revocations::Revocations;

const FLEET: &str = "acme";

struct Bench {
    alice: KeyFile,
    bob: KeyFile,
    stranger: KeyFile,
    policy: Policy,
    facts: Facts,
    journal: MemoryJournal,
    cage: Option<Report>,
    own: bool,
    now: Timestamp,
}

impl Bench {
    /// A guard of fleet `acme` on Linux; `acl` is TOML in which `ALICE` and `BOB` are fingerprints.
    fn new(acl: &str) -> Bench {
        let now = Timestamp::now();
        let key = |name| KeyFile::generate(name, None, now - SignedDuration::from_hours(24)).unwrap();
        let (alice, bob, stranger) = (key("alice"), key("bob"), key("stranger"));
        let mut policy =
            Policy::read(std::path::Path::new("/nonexistent/agent.toml"), &[], &Revocations::default()).unwrap();
        for known in [&alice, &bob] {
            policy.keyring.add(known.public_armor().unwrap().as_bytes());
        }
        let acl = acl.replace("ALICE", &alice.fingerprint().0).replace("BOB", &bob.fingerprint().0);
        policy.acl = Acl::from_toml(&acl);
        let facts = Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "1".into(),
            features: crate::agent::features(),
            started_at: now,
            ..Facts::of("1".repeat(64), "web-1")
        };
        Bench { alice, bob, stranger, policy, facts, journal: MemoryJournal::default(), cage: None, own: false, now }
    }

    fn sign(&self, action: &Action, keys: &[&KeyFile]) -> Envelope {
        self.sign_bytes(&action.to_bytes(), keys)
    }

    fn sign_bytes(&self, bytes: &[u8], keys: &[&KeyFile]) -> Envelope {
        let signatures = keys.iter().map(|key| key.sign(bytes, self.now).unwrap()).collect();
        Envelope { payload: String::from_utf8(bytes.to_vec()).unwrap(), signatures }
    }

    fn admit(&self, envelope: &Envelope) -> Result<Accepted, Refusal> {
        let guard = Guard {
            policy: &self.policy,
            fleet: FLEET,
            facts: &self.facts,
            journal: &self.journal,
            cage: self.cage.as_ref(),
            own: self.own,
            now: self.now,
        };
        guard.admit(envelope)
    }

    /// Admits alice's action; the refusal's words where there is one.
    fn say(&self, action: &Action) -> String {
        self.say_of(&self.sign(action, &[&self.alice]))
    }

    fn say_of(&self, envelope: &Envelope) -> String {
        self.admit(envelope).map_or_else(|refusal| refusal.to_string(), |_| "accepted".into())
    }

    fn window(&self, from_s: i64, until_s: i64) -> Window {
        let at = |seconds| self.now + SignedDuration::from_secs(seconds);
        Window { from: at(from_s), until: at(until_s) }
    }

    fn action(&self, scans: Vec<Scan>) -> Action {
        let id = Uuid::now_v7();
        Action::new(FLEET.into(), id, "SELECT …".into(), self.window(0, 300), Limits::default(), scans)
    }
}

const ANYBODY: &str = "[acl.default]\nminimum_weight = 1\n\
    [acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1\n\
    [acl.default.investigators.bob]\nfingerprint = 'BOB'\nweight = 1\n";

fn scan(table: &str) -> Scan {
    Scan { table: table.into(), ..Scan::default() }
}

fn fact(column: &str, value: &str) -> Filter {
    Filter::test(column, Is::Equal(Value::Text(value.into())))
}

fn targeted(table: &str, target: Filter) -> Scan {
    Scan { target: Some(target), ..scan(table) }
}

fn content_scan() -> Scan {
    let pattern = Pattern { pattern: "x".into(), ignore_case: false };
    Scan { filter: Some(Filter::Not(Box::new(Filter::test("content", Is::Matches(pattern))))), ..scan("files") }
}

#[test]
fn sizes_come_first() {
    let bench = Bench::new(ANYBODY);
    let mut envelope = bench.sign(&bench.action(vec![scan("users")]), &[&bench.alice]);
    envelope.signatures = vec![envelope.signatures[0].clone(); limits::SIGNATURES_MAX + 1];
    assert!(matches!(bench.admit(&envelope), Err(Refusal::Size(EnvelopeError::TooManySignatures { .. }))));
    let payload = "x".repeat(limits::ACTION_BYTES_MAX + 1);
    let long = Envelope { payload, signatures: Vec::new() };
    assert!(matches!(bench.admit(&long), Err(Refusal::Size(EnvelopeError::PayloadTooLong { .. }))));
}

#[test]
fn signatures_are_verified_before_anything_is_parsed() {
    let bench = Bench::new(ANYBODY);
    let action = bench.action(vec![scan("users")]);
    let good = bench.sign(&action, &[&bench.alice]);
    let altered = Envelope { payload: good.payload.replace("SELECT", "SELECt"), ..good.clone() };
    let unsigned = Envelope { signatures: Vec::new(), ..good.clone() };
    let garbage = Envelope { signatures: vec!["nonsense".into()], ..good.clone() };
    let stranger = bench.sign(&action, &[&bench.stranger]);
    let nonsense = Envelope { payload: "nonsense".into(), ..good.clone() };
    for envelope in [&altered, &unsigned, &garbage, &stranger, &nonsense] {
        let said = bench.say_of(envelope);
        assert!(said.starts_with("no signature counts: "), "{said}");
    }
    assert_eq!(bench.say_of(&unsigned), "no signature counts: the action is not signed");
    assert_eq!(bench.say_of(&good), "accepted", "no refusal used it up");
}

#[test]
fn what_was_signed_is_parsed_strictly() {
    let bench = Bench::new(ANYBODY);
    let text = String::from_utf8(bench.action(vec![scan("users")]).to_bytes()).unwrap();
    let cases = [
        ("nonsense".into(), "not a canvass `action/1`"),
        (text.replace("action/1", "login/1"), "not a canvass `action/1`"),
        (text.replace("action/1", "action/0"), "not a canvass `action/1`"),
        (text.replace("action/1", "action/2"), "not a canvass `action/1`"),
        (text.replace("\"id\":", "\"more\":1,\"id\":"), "unknown field `more`"),
        (text.replace("\"scans\":", "\"fleet\":\"acme\",\"scans\":"), "duplicate field `fleet`"),
        (text.replace("\"scans\":", "\"every_s\":60,\"scans\":"), "this agent does not know `every_s`"),
        (
            bench.action(Vec::new()).to_bytes().iter().map(|byte| char::from(*byte)).filter(char::is_ascii).collect(),
            "no scan",
        ),
    ];
    for (bytes, expected) in cases {
        let said = bench.say_of(&bench.sign_bytes(bytes.as_bytes(), &[&bench.alice]));
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let mut other = bench.action(vec![scan("users")]);
    other.fleet = "evil".into();
    assert_eq!(bench.say(&other), "the action is for fleet `evil`, which is not this agent's");
}

#[test]
fn the_window_is_judged_with_skew_and_ceiling() {
    let mut bench = Bench::new(ANYBODY);
    bench.policy.window_s_max = 1000;
    let cases = [
        (0, 300, "accepted"),
        (CLOCK_SKEW_S, 300, "accepted"),
        (CLOCK_SKEW_S + 1, 300, "the window opens at"),
        (-300, -CLOCK_SKEW_S, "accepted"),
        (-300, -CLOCK_SKEW_S - 1, "the action expired at"),
        (0, 1000, "accepted"),
        (0, 1001, "the window is 1001 s long; this agent allows at most 1000 s"),
        (0, -1, "the window ends before it begins"),
    ];
    for (from_s, until_s, expected) in cases {
        let mut action = bench.action(vec![scan("users")]);
        action.window = bench.window(from_s, until_s);
        let said = bench.say(&action);
        assert!(said.starts_with(expected), "{from_s} to {until_s}: {said}");
    }
}

#[test]
fn the_target_is_judged_on_own_facts() {
    let bench = Bench::new(ANYBODY);
    let or = |a, b| Filter::Any(vec![a, b]);
    let cases = [
        (fact("os", "linux"), true),
        (fact("os", "macos"), false),
        (fact("status", "online"), true),
        (fact("public_ip", "192.0.2.1"), true),
        (Filter::All(vec![fact("status", "online"), fact("name", "db-1")]), false),
        (or(fact("status", "online"), fact("name", "db-1")), true),
        (Filter::Not(Box::new(fact("name", "web-1"))), false),
        (fact("nothing", "known"), false),
        (fact("tags.team", "a"), false),
    ];
    for (target, expected) in cases {
        let said = bench.say(&bench.action(vec![targeted("users", target.clone())]));
        let words = if expected { "accepted" } else { "this agent is not in the action's target" };
        assert_eq!(said, words, "{target:?}");
    }
}

#[test]
fn a_scan_that_is_for_others_is_not_asked_and_not_weighed() {
    let mut bench = Bench::new(ANYBODY);
    bench.policy.disabled_modules.insert(module_of("files"));
    let action = bench.action(vec![targeted("files", fact("os", "macos")), scan("users")]);
    let accepted = bench.admit(&bench.sign(&action, &[&bench.alice])).unwrap();
    assert_eq!(accepted.permits, [None, Some(Permit::default())]);
}

fn module_of(table: &str) -> String {
    canvass_tables::find(table).unwrap().info().module.name.to_owned()
}

#[test]
fn distinct_signers_weigh_against_every_module() {
    let entry = |name: &str, weight| format!("[acl.\"{name}\"]\nminimum_weight = {weight}\n");
    let (files, users) = (module_of("files"), module_of("users"));
    let needs_two = format!("{ANYBODY}{}", entry(&files, 2));
    let content = format!("{ANYBODY}{}", entry(&format!("{files}.content"), 2));
    type Case<'a> = (&'a str, Vec<Scan>, &'a [&'a str], String);
    let lacks = |name: &str, who: &str| format!("{name} needs weight 2, signatures carry 1: {who}");
    let cases: Vec<Case<'_>> = vec![
        (&needs_two, vec![scan("users")], &["alice"], "accepted".into()),
        (&needs_two, vec![scan("files")], &["alice"], lacks(&files, "alice")),
        (&needs_two, vec![scan("users"), scan("files")], &["bob"], lacks(&files, "bob")),
        (&needs_two, vec![scan("files")], &["alice", "alice"], lacks(&files, "alice")),
        (&needs_two, vec![scan("files")], &["alice", "stranger"], lacks(&files, "alice")),
        (&needs_two, vec![scan("files")], &["alice", "bob"], "accepted".into()),
        (&content, vec![scan("files")], &["alice"], "accepted".into()),
        (&content, vec![content_scan()], &["alice"], lacks(&format!("{files}.content"), "alice")),
        (&content, vec![content_scan()], &["bob", "alice"], "accepted".into()),
        ("", vec![scan("users")], &["alice"], format!("{users} has no entry in the policy, and there is no default")),
        (ANYBODY, vec![scan("no_such_table")], &["alice"], "this agent does not know the table `no_such_table`".into()),
    ];
    for (acl, scans, signers, expected) in cases {
        let bench = Bench::new(acl);
        let key = |name: &&str| match *name {
            "alice" => &bench.alice,
            "bob" => &bench.bob,
            _ => &bench.stranger,
        };
        let keys: Vec<&KeyFile> = signers.iter().map(key).collect();
        assert_eq!(bench.say_of(&bench.sign(&bench.action(scans), &keys)), expected, "{signers:?} under {acl}");
    }
}

#[test]
fn a_half_signed_delivery_burns_nothing_and_a_run_is_never_repeated() {
    let bench = Bench::new(&format!("{ANYBODY}[acl.\"{}\"]\nminimum_weight = 2\n", module_of("files")));
    let action = bench.action(vec![scan("files")]);
    let half = bench.sign(&action, &[&bench.alice]);
    let whole = bench.sign(&action, &[&bench.bob, &bench.alice]);
    for _ in 0..2 {
        assert!(matches!(bench.admit(&half), Err(Refusal::Weight(_))));
    }
    let accepted = bench.admit(&whole).unwrap();
    assert!(matches!(bench.admit(&whole), Err(Refusal::Journal(JournalRefusal::Running))));
    bench.journal.end(accepted.begun.run(), bench.now).unwrap();
    assert!(matches!(bench.admit(&whole), Err(Refusal::Journal(JournalRefusal::AlreadyRun))));
    let resigned = bench.sign(&action, &[&bench.alice, &bench.bob]);
    assert!(matches!(bench.admit(&resigned), Err(Refusal::Journal(JournalRefusal::AlreadyRun))), "it is its bytes");
    assert!(matches!(bench.admit(&half), Err(Refusal::Weight(_))), "weights come before the journal");
}

#[test]
fn policy_disables_modules_withholds_columns_and_clamps_limits() {
    let mut bench = Bench::new(ANYBODY);
    bench.policy.disabled_modules.insert(module_of("files"));
    assert_eq!(
        bench.say(&bench.action(vec![scan("files")])),
        format!("module {} is disabled by policy", module_of("files"))
    );
    bench.policy.withheld_columns.insert("users.name".into());
    bench.policy.ceiling.rows = 7;
    bench.policy.threads_max = Some(NonZeroUsize::MIN);
    let accepted = bench.admit(&bench.sign(&bench.action(vec![scan("users")]), &[&bench.alice])).unwrap();
    assert_eq!(accepted.permits, [Some(Permit { withheld: vec!["name".into()] })]);
    assert_eq!(accepted.limits, Limits { rows: 7, ..Limits::default() });
    assert_eq!((accepted.threads, accepted.scans_at_once), (NonZeroUsize::MIN, SCANS_AT_ONCE));
    bench.policy.concurrency = NonZeroUsize::new(3);
    let accepted = bench.admit(&bench.sign(&bench.action(vec![scan("users")]), &[&bench.alice])).unwrap();
    assert_eq!(accepted.scans_at_once, 3);
}

/// A scan with so many predicates over contents, nested as a desk would nest them, and one over a name.
fn content_scan_of(predicates: usize) -> Scan {
    let pattern = |n| Pattern { pattern: format!("x{n}"), ignore_case: false };
    let matches = |n| Filter::Not(Box::new(Filter::test("content", Is::Matches(pattern(n)))));
    let contents = Filter::Any((0..predicates).map(matches).collect());
    Scan { filter: Some(Filter::All(vec![fact("name", "x"), contents])), ..scan("files") }
}

#[test]
fn predicates_over_contents_are_counted_per_action_and_per_day() {
    let mut bench = Bench::new(ANYBODY);
    bench.policy.content_predicates_max = 64;
    bench.policy.content_predicates_day_max = 100;
    let elsewhere = |scan: Scan| Scan { target: Some(fact("os", "macos")), ..scan };
    let alice = bench.alice.fingerprint();
    let spent = |spent, asked| {
        format!(
            "this agent allows 100 content predicates a day (`limits.content_predicates_per_day` of its policy); `{alice}` has asked for {spent}, and the action has {asked}"
        )
    };
    let too_many = |asked| {
        format!(
            "the action has {asked} predicates over contents; this agent allows 64 (`limits.content_predicates` of its policy)"
        )
    };
    let cases = [
        (vec![content_scan_of(65)], too_many(65)),
        (vec![content_scan_of(40), content_scan_of(25)], too_many(65)),
        (vec![content_scan_of(40), elsewhere(content_scan_of(60))], "accepted".into()),
        (vec![content_scan_of(61)], spent(40, 61)),
        (vec![content_scan_of(60)], "accepted".into()),
        (vec![content_scan_of(1)], spent(100, 1)),
        (vec![content_scan_of(0)], "accepted".into()),
    ];
    for (scans, expected) in cases {
        assert_eq!(bench.say(&bench.action(scans)), expected);
    }
    let by_bob = bench.sign(&bench.action(vec![content_scan_of(64)]), &[&bench.bob]);
    assert_eq!(bench.say_of(&by_bob), "accepted");
}

/// A list counts each of its values, and a set each of its patterns.
#[test]
fn lists_and_sets_count_each_guess() {
    let text = |n: usize| Value::Text(n.to_string());
    let mut scan = scan("files");
    scan.sets.insert("s".into(), (0..5).map(text).collect());
    let patterns = (0..7).map(|n| n.to_string()).collect();
    scan.patterns.insert("p".into(), PatternSet { patterns, ignore_case: false });
    scan.blooms.insert("b".into(), Bloom { bits: vec![0; 4], hashes: 1, seed: 0 });
    let pattern = || Pattern { pattern: "x".into(), ignore_case: false };
    let cases = [
        (Is::In((0..3).map(text).collect()), 3),
        (Is::InSet("s".into()), 5),
        (Is::MatchesAny("p".into()), 7),
        (Is::InBloom("b".into()), 32),
        (Is::Like(pattern()), 1),
        (Is::EveryLine(pattern()), 1),
        (Is::Null, 1),
    ];
    for (is, expected) in cases {
        let of = |column| Scan { filter: Some(Filter::test(column, is.clone())), ..scan.clone() };
        assert_eq!(content_predicates(&of("content")), expected, "{is:?}");
        assert_eq!(content_predicates(&of("name")), 0, "{is:?}");
    }
}

#[test]
fn names_that_mean_nothing_refuse_what_they_may_have_been_meant_to_guard() {
    // The policy, and of each of three tables of as many modules whether it is refused.
    let cases: [(&str, [bool; 3]); 14] = [
        ("", [false, false, false]),
        ("disabled_modules = ['users']", [true, false, false]),
        ("disabled_modules = ['acounts']", [true, true, true]),
        ("disabled_modules = ['nonsense']", [true, true, true]),
        ("disabled_modules = ['process_memory']", [false, false, false]),
        ("withheld_columns = ['users.fullname']", [true, false, false]),
        ("withheld_columns = ['accounts.name']", [true, false, false]),
        ("withheld_columns = ['usrs.name']", [true, true, true]),
        ("withheld_columns = ['name']", [true, true, true]),
        ("[acl.users]\nminimum_weight = 9", [true, false, false]),
        ("[acl.proceses]\nminimum_weight = 9", [true, true, false]),
        ("[acl.'files.contnt']\nminimum_weight = 9", [false, false, true]),
        ("[acl.'file.content']\nminimum_weight = 9", [true, true, true]),
        ("[acl.'files.content']\nminimum_weight = 9\n[acl.process_memory]\nminimum_weight = 2", [false, false, false]),
    ];
    let mut bench = Bench::new("");
    let by = |name: &str| format!("investigators.{name}]\nfingerprint = '{}'\nweight = 1\n", bench.alice.fingerprint());
    let entries = format!(
        "[acl.default]\nminimum_weight = 1\n[acl.default.{}[acl.files]\nminimum_weight = 1\n[acl.files.{}",
        by("alice"),
        by("alice")
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.toml");
    let keyring = bench.policy.keyring.clone();
    for (text, expected) in cases {
        std::fs::write(
            &path,
            if text.starts_with('[') { format!("{entries}{text}") } else { format!("{text}\n{entries}") },
        )
        .unwrap();
        bench.policy = Policy::read(&path, &[], &Revocations::default()).unwrap();
        bench.policy.keyring = keyring.clone();
        assert_eq!(bench.policy.troubles.is_empty(), expected == [false; 3], "{text}: {:?}", bench.policy.troubles);
        let refused = ["users", "processes", "files"].map(|table| {
            let said = bench.say(&bench.action(vec![scan(table)]));
            assert!(said == "accepted" || said.ends_with("its log says which"), "{text}: {said}");
            said != "accepted"
        });
        assert_eq!(refused, expected, "{text}");
    }
}

#[test]
fn sensitive_columns_are_withheld_from_signers_who_lack_the_weight() {
    let sensitive = |table: &'static dyn Table| {
        let column = table.columns().into_iter().find(|column| column.class == Class::Sensitive);
        column.map(|column| (table.info().name, column.name))
    };
    let Some((table, column)) = canvass_tables::TABLES.iter().copied().find_map(sensitive) else { return };
    let bench = Bench::new(&format!("{ANYBODY}[acl.\"{table}.{column}\"]\nminimum_weight = 2\n"));
    let action = bench.action(vec![Scan { columns: vec![column.into()], ..scan(table) }]);
    let accepted = bench.admit(&bench.sign(&action, &[&bench.alice])).unwrap();
    assert_eq!(accepted.permits, [Some(Permit { withheld: vec![column.into()] })]);
    let action = bench.action(vec![Scan { columns: vec![column.into()], ..scan(table) }]);
    let accepted = bench.admit(&bench.sign(&action, &[&bench.alice, &bench.bob])).unwrap();
    assert_eq!(accepted.permits, [Some(Permit::default())]);
}

#[test]
fn what_may_hold_secrets_needs_an_entry_of_its_own() {
    let content = Filter::test("content", Is::Matches(Pattern { pattern: "BEGIN RSA".into(), ignore_case: false }));
    let question = Scan { columns: vec!["pid".into()], filter: Some(content), ..scan("process_memory") };
    let of_module = "[acl.process_memory]\nminimum_weight = 2\n";
    let of_column = "[acl.\"process_memory.content\"]\nminimum_weight = 2\n";
    let lacking = "process_memory.content may hold secrets, and has no entry of its own in the policy";
    for (entry, own, of_one, of_two) in [
        ("", false, lacking, lacking),
        ("", true, "accepted", "accepted"),
        (of_module, false, "process_memory needs weight 2, signatures carry 1: alice", "accepted"),
        (of_column, false, "process_memory.content needs weight 2, signatures carry 1: alice", "accepted"),
    ] {
        let mut bench = Bench::new(&format!("{ANYBODY}{entry}"));
        bench.own = own;
        assert_eq!(bench.say(&bench.action(vec![question.clone()])), of_one, "{entry}");
        let both = bench.action(vec![question.clone()]);
        assert_eq!(bench.say_of(&bench.sign(&both, &[&bench.alice, &bench.bob])), of_two, "{entry}");
    }
    // Without its content a table is like any other.
    let bench = Bench::new(ANYBODY);
    assert_eq!(bench.say(&bench.action(vec![Scan { filter: None, ..question }])), "accepted");
}

#[test]
fn refusals_have_codes_for_programs() {
    let acl = format!("{ANYBODY}[acl.\"{}\"]\nminimum_weight = 2\n", module_of("files"));
    let mut bench = Bench::new(&acl);
    bench.policy.disabled_modules.insert(module_of("netstat"));
    bench.policy.content_predicates_max = 1;
    let code = |envelope: &Envelope| bench.admit(envelope).unwrap_err().code();
    let signed = |action: &Action| bench.sign(action, &[&bench.alice]);
    let users = bench.action(vec![scan("users")]);
    let (mut other, mut late) = (users.clone(), users.clone());
    other.fleet = "evil".into();
    late.window = bench.window(-900, -600);
    let nested = bench.sign(&bench.action(vec![content_scan_of(2)]), &[&bench.alice, &bench.bob]);
    let later = String::from_utf8(users.to_bytes()).unwrap().replace("\"id\":", "\"moon\":1,\"id\":");
    let cases = [
        (Envelope { signatures: Vec::new(), ..signed(&users) }, Code::Signature),
        (bench.sign_bytes(b"nonsense", &[&bench.alice]), Code::Format),
        (bench.sign_bytes(later.as_bytes(), &[&bench.alice]), Code::Unsupported),
        (signed(&bench.action(vec![scan("no_such_table")])), Code::Unsupported),
        (signed(&other), Code::Fleet),
        (signed(&late), Code::Window),
        (signed(&bench.action(vec![targeted("users", fact("os", "macos"))])), Code::Target),
        (signed(&bench.action(vec![scan("files")])), Code::Weight),
        (signed(&bench.action(vec![scan("netstat")])), Code::Policy),
        (nested, Code::Budget),
    ];
    for (envelope, expected) in cases {
        assert_eq!(code(&envelope), expected, "{}", envelope.payload);
    }
    let accepted = bench.admit(&signed(&users)).unwrap();
    assert_eq!(code(&signed(&users)), Code::Running);
    bench.journal.end(accepted.begun.run(), bench.now).unwrap();
    assert_eq!(code(&signed(&users)), Code::Ended);
}
