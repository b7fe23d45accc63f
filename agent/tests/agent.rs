//! From an envelope to a verified answer, through identity, policy, guard, journal and cage.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use canvass_agent::agent::{Agent, AgentError, Config, Storage};
use canvass_agent::cage::Job;
use canvass_protocol::action::{Action, Window};
use canvass_protocol::answer::{Final, Outcome, Part, Reader, Says};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::openpgp::{KeyFile, Signer};
use canvass_protocol::reason::Code;
use canvass_protocol::scan::Scan;
use canvass_protocol::target::Mode;
use canvass_protocol::value::Value;
use canvass_tables::host::HostSpec;
use jiff::{SignedDuration, Timestamp};
use uuid::Uuid;

/// A machine's worth of files for one agent, and a key it trusts.
struct Home {
    folder: tempfile::TempDir,
    alice: KeyFile,
    program: PathBuf,
}

impl Home {
    fn new(program: &str) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let alice = KeyFile::generate("alice", None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
        fs::create_dir(folder.path().join("keyring")).unwrap();
        let certificate = folder.path().join("keyring/alice.asc");
        fs::write(&certificate, alice.public_armor().unwrap()).unwrap();
        fs::set_permissions(certificate, Permissions::from_mode(0o644)).unwrap();
        let program = match program {
            "real" => PathBuf::from(env!("CARGO_BIN_EXE_canvass-agent")),
            name => Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cages/{name}.sh")),
        };
        Home { folder, alice, program }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self) -> Agent {
        self.try_open().unwrap()
    }

    fn try_open(&self) -> Result<Agent, AgentError> {
        Agent::open(self.config())
    }

    fn config(&self) -> Config {
        Config {
            fleet: None,
            host: HostSpec::Machine,
            name: None,
            mode: Mode::Daemon,
            tags: BTreeMap::new(),
            storage: Storage::Folder(self.path("data")),
            policy: self.path("agent.toml"),
            policy_named: false,
            keyrings: vec![self.path("keyring")],
            secrets: Vec::new(),
            own: false,
            program: self.program.clone(),
        }
    }

    fn policy(&self, text: &str) {
        fs::write(self.path("agent.toml"), text.replace("ALICE", &self.alice.fingerprint().0)).unwrap();
        fs::set_permissions(self.path("agent.toml"), Permissions::from_mode(0o644)).unwrap();
    }

    fn envelope(&self, fleet: &str, scans: Vec<Scan>) -> Envelope {
        let now = Timestamp::now();
        let window = Window { from: now, until: now + SignedDuration::from_mins(5) };
        let action = Action::new(fleet.into(), Uuid::now_v7(), "SELECT".into(), window, Limits::default(), scans);
        let payload = action.to_bytes();
        let signature = self.alice.sign(&payload, now).unwrap();
        Envelope { payload: String::from_utf8(payload).unwrap(), signatures: vec![signature] }
    }
}

fn scan() -> Scan {
    serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap()
}

fn parts(agent: &Agent, envelope: &Envelope) -> Vec<Part> {
    let mut parts = Vec::new();
    agent.handle(&envelope.to_bytes(), &AtomicBool::new(false), &mut |part| {
        parts.push(part);
        Ok(())
    });
    parts
}

/// Reads an answer as a desk does; returns the frames' rows and the final record.
fn read(agent: &Agent, envelope: &Envelope, parts: &[Part]) -> (Vec<u64>, Final) {
    let mut reader = Reader::new(agent.fleet().into(), envelope.hash(), agent.id().into());
    let (mut rows, mut last) = (Vec::new(), None);
    for part in parts {
        match reader.read(part).unwrap() {
            Says::Frame(frame) => rows.push(frame.rows),
            Says::Final(says) => {
                rows.extend(says.last.as_ref().map(|frame| frame.rows));
                last = Some(*says);
            }
        }
    }
    assert!(reader.finished());
    (rows, last.unwrap())
}

fn ask(agent: &Agent, envelope: &Envelope) -> (Vec<u64>, Final) {
    read(agent, envelope, &parts(agent, envelope))
}

fn refused(says: Final) -> String {
    assert_eq!(says.facts, None, "a refusal says nothing about the endpoint");
    match says.outcome {
        Outcome::Refused(reason) => reason.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_answer_is_signed_and_complete() {
    let home = Home::new("answers");
    let agent = home.open();
    assert_eq!(agent.fleet(), format!("local:{}", agent.id()));
    assert!(agent.troubles().is_empty(), "{:?}", agent.troubles());
    let heartbeat = Heartbeat::open(&agent.heartbeat(Timestamp::now()), agent.fleet()).unwrap();
    assert_eq!(heartbeat.facts.id, agent.id());
    let elsewhere = Scan { target: Some(Filter::test("os", Is::Equal(Value::Text("plan9".into())))), ..scan() };
    let envelope = home.envelope(agent.fleet(), vec![scan(), elsewhere, scan()]);
    let (rows, last) = ask(&agent, &envelope);
    assert_eq!(last.outcome, Outcome::Answered);
    assert_eq!(rows.iter().sum::<u64>(), 6);
    let scans: Vec<(bool, u64)> = last.scans.iter().map(|record| (record.asked, record.rows)).collect();
    assert_eq!(scans, [(true, 3), (false, 0), (true, 3)]);
    assert_eq!(last.facts, Some(heartbeat.facts));
}

#[test]
fn a_replay_is_refused_also_by_another_process_and_after_a_restart() {
    let home = Home::new("answers");
    let (first, second) = (home.open(), home.open());
    assert_eq!(first.id(), second.id());
    let envelope = home.envelope(first.fleet(), vec![scan()]);
    assert_eq!(ask(&first, &envelope).1.outcome, Outcome::Answered);
    for agent in [first, second, home.open()] {
        assert_eq!(refused(ask(&agent, &envelope).1), "this action has run already");
    }
    let other = home.open();
    let envelope = home.envelope(other.fleet(), vec![scan()]);
    assert_eq!(ask(&other, &envelope).1.outcome, Outcome::Answered);
}

#[test]
fn many_agents_on_one_folder_do_not_fail_each_other() {
    let home = Home::new("answers");
    let fleet = home.open().fleet().to_owned();
    let shared = home.envelope(&fleet, vec![scan()]);
    let answered: usize = std::thread::scope(|scope| {
        let (home, fleet, shared) = (&home, &fleet, &shared);
        let ask_both = move || {
            let agent = home.open();
            assert_eq!(ask(&agent, &home.envelope(fleet, vec![scan()])).1.outcome, Outcome::Answered);
            usize::from(ask(&agent, shared).1.outcome == Outcome::Answered)
        };
        let askers: Vec<_> = (0..6).map(|_| scope.spawn(ask_both)).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    });
    assert_eq!(answered, 1, "the shared action ran once");
}

#[test]
fn a_run_that_did_not_end_is_interrupted_for_ever() {
    let home = Home::new("answers");
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    assert_eq!(ask(&agent, &envelope).1.outcome, Outcome::Answered);
    // A crash before the end was noted leaves the journal as it was after the beginning.
    let journal = home.path("data/journal");
    let text = fs::read_to_string(&journal).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let begun = lines.iter().find(|line| line.contains("begun")).unwrap();
    let tip = format!("{:016x} {}", 2, &begun[..64]);
    fs::write(&journal, format!("{tip}\n{}\n{begun}\n", lines[1])).unwrap();
    for agent in [agent, home.open()] {
        let (rows, last) = ask(&agent, &envelope);
        assert_eq!((rows.len(), last.outcome), (0, Outcome::Interrupted));
    }
}

#[test]
fn a_lost_journal_is_reported_and_refuses_what_opened_before() {
    let home = Home::new("answers");
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    fs::write(home.path("data/journal"), "nonsense").unwrap();
    let agent = home.open();
    assert!(agent.troubles()[0].contains("was made anew because it is cut short"), "{:?}", agent.troubles());
    assert!(refused(ask(&agent, &envelope).1).starts_with("the journal was lost and made anew at "));
    let later = home.envelope(agent.fleet(), vec![scan()]);
    assert_eq!(ask(&agent, &later).1.outcome, Outcome::Answered);
    assert!(home.path("data/journal-damaged").is_file());
}

#[test]
fn a_policy_that_cannot_be_read_refuses_everything_with_the_reason() {
    let home = Home::new("answers");
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    home.policy("flet = 'acme'");
    let said = refused(ask(&agent, &envelope).1);
    assert!(said.starts_with("the policy of this agent cannot be read: malformed policy"), "{said}");
    assert!(said.contains("unknown field `flet`"), "{said}");
    fs::set_permissions(home.path("agent.toml"), Permissions::from_mode(0o666)).unwrap();
    assert!(refused(ask(&agent, &envelope).1).contains("is writable by others (mode 0666"));
    assert_eq!(home.open().troubles().len(), 1);
    fs::remove_file(home.path("agent.toml")).unwrap();
    refused(ask(&agent, &envelope).1);
    fs::remove_file(home.path("data/policy-seen")).unwrap();
    assert_eq!(ask(&agent, &envelope).1.outcome, Outcome::Answered, "no refusal used it up");
}

#[test]
fn a_policy_that_is_gone_refuses_everything_until_somebody_says_that_it_may_be() {
    let home = Home::new("answers");
    home.policy("disabled_modules = ['network']\n[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1");
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    fs::rename(home.path("agent.toml"), home.path("elsewhere")).unwrap();
    for agent in [&agent, &home.open()] {
        let said = refused(ask(agent, &envelope).1);
        assert!(said.contains("was there once and is not any more") && said.contains("data/policy-seen"), "{said}");
        assert!(agent.troubles().iter().any(|trouble| trouble.contains("every action is refused")));
    }
    fs::rename(home.path("elsewhere"), home.path("agent.toml")).unwrap();
    assert_eq!(ask(&agent, &envelope).1.outcome, Outcome::Answered);
    fs::remove_file(home.path("agent.toml")).unwrap();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    refused(ask(&agent, &envelope).1);
    fs::remove_file(home.path("data/policy-seen")).unwrap();
    assert_eq!(ask(&agent, &envelope).1.outcome, Outcome::Answered);
}

#[test]
fn a_policy_that_somebody_named_has_to_be_there() {
    let home = Home::new("answers");
    let agent = Agent::open(Config { policy_named: true, ..home.config() }).unwrap();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    let said = refused(ask(&agent, &envelope).1);
    assert!(said.contains("is not there, and it was named to this agent"), "{said}");
}

#[test]
fn a_lost_identity_runs_nothing_again() {
    let home = Home::new("answers");
    home.policy("fleet = 'acme'\n[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1");
    let first = home.open();
    let envelope = home.envelope("acme", vec![scan()]);
    assert_eq!(ask(&first, &envelope).1.outcome, Outcome::Answered);
    fs::remove_file(home.path("data/identity.toml")).unwrap();
    let second = home.open();
    assert_ne!(first.id(), second.id());
    assert!(second.troubles()[0].contains("the identity was lost"), "{:?}", second.troubles());
    assert_eq!(refused(ask(&second, &envelope).1), "this action has run already");
    assert_eq!(ask(&second, &home.envelope("acme", vec![scan()])).1.outcome, Outcome::Answered);
}

#[test]
fn a_policy_of_another_fleet_refuses_until_the_agent_is_started_again() {
    let home = Home::new("answers");
    let policy =
        "[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1";
    home.policy(&format!("fleet = 'acme'\n{policy}"));
    let agent = home.open();
    let envelope = home.envelope("acme", vec![scan()]);
    for other in ["fleet = 'other'\n", ""] {
        home.policy(&format!("{other}{policy}"));
        let said = refused(ask(&agent, &envelope).1);
        assert!(said.contains("names another fleet since the agent was started"), "{said}");
    }
    home.policy(&format!("fleet = 'acme'\n{policy}"));
    assert_eq!(ask(&agent, &envelope).1.outcome, Outcome::Answered);
    home.policy(&format!("fleet = 'other'\n{policy}"));
    assert_eq!(home.open().fleet(), "other");
}

/// Files that hold an agent's secrets are its own, as its folder is.
#[test]
fn secrets_are_forbidden_to_scans() {
    let home = Home::new("echo");
    let token = home.path("enrol-token");
    fs::write(&token, "s3cret").unwrap();
    let agent = Agent::open(Config { secrets: vec![token.clone()], ..home.config() }).unwrap();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    let job: Job = serde_json::from_slice(&parts(&agent, &envelope)[0].body).unwrap();
    let token = token.canonicalize().unwrap();
    assert!(job.forbidden.iter().any(|path| Path::new(path) == token), "{:?}", job.forbidden);
}

#[test]
fn a_fleet_that_policy_names_hears_no_path_of_the_endpoint() {
    let home = Home::new("answers");
    home.policy("fleet = 'acme'\n[acl.default]\nminimum_weight = 2\n[acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1");
    let agent = home.open();
    assert_eq!(agent.fleet(), "acme");
    let envelope = home.envelope("acme", vec![scan()]);
    let said = refused(ask(&agent, &envelope).1);
    assert!(said.ends_with(" needs weight 2, signatures carry 1: alice"), "{said}");
    home.policy("nonsense");
    assert_eq!(refused(ask(&agent, &envelope).1), "the policy of this agent cannot be read");
}

#[test]
fn a_journal_that_cannot_be_kept_is_told_where_it_lies_only_on_this_machine() {
    let home = Home::new("answers");
    let spoil = || {
        fs::remove_file(home.path("data/journal")).unwrap();
        fs::create_dir(home.path("data/journal")).unwrap();
    };
    let agent = home.open();
    spoil();
    let said = refused(ask(&agent, &home.envelope(agent.fleet(), vec![scan()])).1);
    assert!(said.starts_with("the journal cannot be kept: `/"), "{said}");
    fs::remove_dir(home.path("data/journal")).unwrap();
    home.policy("fleet = 'acme'\n[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1");
    let agent = home.open();
    spoil();
    assert_eq!(refused(ask(&agent, &home.envelope("acme", vec![scan()])).1), "the journal cannot be kept");
}

#[test]
fn policy_reaches_the_scan() {
    let home = Home::new("echo");
    home.policy(
        "forbidden_paths = ['/srv']\nwithheld_columns = ['users.name']\n[limits]\nrows = 9\n\
         threads = 1\n\
         [acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nfingerprint = 'ALICE'\nweight = 1",
    );
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    let parts = parts(&agent, &envelope);
    let (_, last) = read(&agent, &envelope, &parts);
    assert_eq!(last.limits, Limits { rows: 9, ..Limits::default() });
    let job: Job = serde_json::from_slice(&parts[0].body).unwrap();
    assert_eq!(job.threads.get(), 1);
    assert_eq!((job.limits, job.withheld), (last.limits, vec!["name".to_owned()]));
    let own = home.path("data").canonicalize().unwrap();
    let keyring = home.path("keyring").canonicalize().unwrap();
    for path in ["/srv", "/dev/mem", own.to_str().unwrap(), keyring.to_str().unwrap()] {
        assert!(job.forbidden.iter().any(|forbidden| forbidden == path), "{path}: {:?}", job.forbidden);
    }
}

/// How fast a scan's process ends is not ours to say, so one of some answers is enough.
#[test]
fn rows_right_before_the_end_travel_with_it() {
    let home = Home::new("answers");
    let agent = home.open();
    let few = (0..20).any(|_| {
        let envelope = home.envelope(agent.fleet(), vec![scan()]);
        let parts = parts(&agent, &envelope);
        let (rows, last) = read(&agent, &envelope, &parts);
        assert_eq!((rows.len(), rows.iter().sum(), last.frames), (2, last.scans[0].rows, 2));
        parts.len() == rows.len()
    });
    assert!(few, "no final record carries a frame");
}

#[test]
fn a_stop_keeps_rows_and_a_crash_keeps_rows() {
    let home = Home::new("polite");
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    let (stop, mut parts) = (AtomicBool::new(false), Vec::new());
    agent.handle(&envelope.to_bytes(), &stop, &mut |part| {
        parts.push(part);
        stop.store(true, Ordering::Relaxed);
        Ok(())
    });
    let (rows, last) = read(&agent, &envelope, &parts);
    assert_eq!((rows, last.scans[0].cut), (vec![2, 1], Some(Cut::Stopped)));

    let home = Home::new("dies");
    let agent = home.open();
    let (rows, last) = ask(&agent, &home.envelope(agent.fleet(), vec![scan()]));
    assert_eq!((rows, &last.outcome, last.scans[0].cut), (vec![2], &Outcome::Answered, Some(Cut::Crashed)));
}

#[test]
fn whoever_stops_taking_the_answer_is_told_nothing_more() {
    let home = Home::new("answers");
    let agent = home.open();
    let envelope = home.envelope(agent.fleet(), vec![scan()]);
    let mut taken = 0;
    agent.handle(&envelope.to_bytes(), &AtomicBool::new(false), &mut |_| {
        taken += 1;
        Err(std::io::ErrorKind::BrokenPipe.into())
    });
    assert_eq!(taken, 1);
    assert_eq!(ask(&agent, &envelope).1.outcome, Outcome::Interrupted, "nobody has its answer");
}

#[test]
fn hostile_envelopes_are_refused_and_never_crash() {
    let home = Home::new("answers");
    let agent = home.open();
    for bytes in [&b""[..], b"{}", b"[[[[", b"\xff\xfe", b"{\"payload\":\"\",\"signatures\":[]}", &[b'['; 100_000]] {
        let mut parts = Vec::new();
        agent.handle(bytes, &AtomicBool::new(false), &mut |part| {
            parts.push(part);
            Ok(())
        });
        assert_eq!(parts.len(), 1);
        assert!(parts[0].statement.contains("\"refused\""), "{}", parts[0].statement);
    }
}

#[test]
fn a_key_that_others_can_read_opens_no_agent() {
    let home = Home::new("answers");
    home.open();
    fs::set_permissions(home.path("data/identity.toml"), Permissions::from_mode(0o644)).unwrap();
    let error = home.try_open().err().unwrap().to_string();
    assert!(error.contains("identity.toml` has mode 0644"), "{error}");
}

#[test]
fn a_clone_gets_an_identity_and_a_journal_of_its_own() {
    let home = Home::new("answers");
    let first = home.open();
    let path = home.path("data/identity.toml");
    let text = fs::read_to_string(&path).unwrap();
    let Some(start) = text.find("machine_id = \"") else { return };
    fs::write(&path, format!("{}machine_id = \"another\"\n", &text[..start])).unwrap();
    let second = home.open();
    assert_ne!(first.id(), second.id());
    assert!(second.troubles()[0].contains("was made on another machine"), "{:?}", second.troubles());
    let envelope = home.envelope(second.fleet(), vec![scan()]);
    assert_eq!(ask(&second, &envelope).1.outcome, Outcome::Answered);
    assert_eq!(home.open().id(), second.id());
}

#[test]
fn the_real_program_answers_from_its_cage() {
    let home = Home::new("real");
    let agent = home.open();
    let (_, last) = ask(&agent, &home.envelope(agent.fleet(), vec![scan()]));
    assert_eq!(last.outcome, Outcome::Answered, "{last:?}");
    let unknown = Scan { table: "nothing".into(), ..scan() };
    let (_, last) = ask(&agent, &home.envelope(agent.fleet(), vec![unknown]));
    let lacks = "this agent does not know the table `nothing`";
    assert_eq!(last.outcome, Outcome::refused(Code::Unsupported, lacks));
}

/// What nobody would take is said where it can be mended.
#[test]
fn an_agent_whose_name_is_too_long_does_not_start() {
    let home = Home::new("answers");
    let open = |length: usize| {
        let name = Some("x".repeat(length));
        let config = Config { name, storage: Storage::Memory, ..home.config() };
        Agent::open(config).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(255), Ok(()));
    let said = "this agent cannot say what it is: its host name has 256 bytes; at most 255 are allowed; \
                its name comes from `--name`, its tags from the configuration";
    assert_eq!(open(256), Err(said.to_owned()));
}
