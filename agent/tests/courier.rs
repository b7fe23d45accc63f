//! Commands over a line, as the courier takes them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use canvass_agent::agent::{Agent, Config, Storage};
use canvass_agent::courier::Courier;
use canvass_agent::folder::Folder;
use canvass_agent::relay::{Line, RelayError};
use canvass_agent::spool::Spool;
use canvass_agent::withdrawn::Withdrawn;
use canvass_protocol::action::{Action, ActionHash, Window};
use canvass_protocol::answer::{Final, Outcome, Says, Statement};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::login::{Running, Withdrawal};
use canvass_protocol::openpgp::{KeyFile, Signer};
use canvass_protocol::relay::{FromAgent, ToAgent};
use canvass_protocol::target::Mode;
use canvass_tables::host::HostSpec;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A line whose other end the test holds.
struct Thread {
    said: mpsc::UnboundedSender<FromAgent>,
    heard: mpsc::UnboundedReceiver<ToAgent>,
}

impl Line for Thread {
    async fn say(&mut self, message: Vec<u8>) -> Result<(), RelayError> {
        self.said.send(FromAgent::parse(&message).unwrap()).map_err(|_| RelayError::Away("over".into()))
    }

    async fn hear(&mut self) -> Result<ToAgent, RelayError> {
        self.heard.recv().await.ok_or_else(|| RelayError::Away("over".into()))
    }
}

/// A scan's process that writes down when it begins and ends, and ends when somebody opens the gate.
fn gated(folder: &Path) -> std::path::PathBuf {
    let say = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cages/say.sh");
    let (program, gate, log) = (folder.join("gated.sh"), folder.join("gate"), folder.join("log"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &gate, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
    let (say, gate, log) = (say.display(), gate.display(), log.display());
    let text = format!(
        "#!/bin/sh\n. {say}\necho begun >> {log}\nread -r job\nread -r go < {gate}\necho ended >> {log}\nrecord 0 null\n"
    );
    fs::write(&program, text).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    program
}

/// A courier with one action at a time, and both ends of its line.
struct Setup {
    home: tempfile::TempDir,
    alice: KeyFile,
    courier: Courier,
    line: Thread,
    from_agent: mpsc::UnboundedReceiver<FromAgent>,
    to_agent: mpsc::UnboundedSender<ToAgent>,
}

fn setup() -> Setup {
    let home = tempfile::tempdir().unwrap();
    let alice = KeyFile::generate("alice", None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
    let keyring = home.path().join("keyring");
    fs::create_dir(&keyring).unwrap();
    fs::write(keyring.join("alice.asc"), alice.public_armor().unwrap()).unwrap();
    let policy = home.path().join("agent.toml");
    let acl = "[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nweight = 1";
    fs::write(&policy, format!("[limits]\nconcurrency = 1\n{acl}\nfingerprint = '{}'", alice.fingerprint())).unwrap();
    let agent = Agent::open(Config {
        fleet: Some("acme".into()),
        host: HostSpec::Machine,
        name: None,
        mode: Mode::Daemon,
        tags: Default::default(),
        storage: Storage::Memory,
        policy,
        keyrings: vec![keyring],
        program: gated(home.path()),
    });
    let spool = Spool::open(&home.path().join("spool"), Timestamp::now()).unwrap();
    let withdrawn = Withdrawn::open(&Folder::open(&home.path().join("data")).unwrap(), Timestamp::now()).unwrap();
    let courier = Courier::new(Arc::new(agent.unwrap()), Arc::new(spool), withdrawn);
    let ((said, from_agent), (to_agent, heard)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    Setup { home, alice, courier, line: Thread { said, heard }, from_agent, to_agent }
}

impl Setup {
    fn sign(&self, payload: Vec<u8>) -> Envelope {
        let signatures = vec![self.alice.sign(&payload, Timestamp::now()).unwrap()];
        Envelope { payload: String::from_utf8(payload).unwrap(), signatures }
    }

    fn action(&self) -> Envelope {
        let now = Timestamp::now();
        let window = Window { from: now, until: now + SignedDuration::from_mins(5) };
        let scans = vec![serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap()];
        let action = Action::new("acme".into(), Uuid::now_v7(), "SELECT".into(), window, Limits::default(), scans);
        self.sign(action.to_bytes())
    }

    fn withdrawal(&self, action: &Envelope, running: Running) -> Envelope {
        self.sign(Withdrawal::new("acme".into(), action.hash(), running, Timestamp::now()).to_bytes())
    }
}

/// The next final record: whose it is, and what it says.
async fn last(from_agent: &mut mpsc::UnboundedReceiver<FromAgent>) -> (ActionHash, Final) {
    loop {
        let FromAgent::Part { action, part, .. } = from_agent.recv().await.unwrap() else { continue };
        if let Says::Final(last) = Statement::parse(part.statement.as_bytes()).unwrap().says {
            return (action, *last);
        }
    }
}

/// Waits for a scan that has opened the gate from its side, and lets it end.
async fn open(gate: &Path) {
    let gate = gate.to_owned();
    let open = move || fs::File::options().write(true).open(gate).unwrap().write_all(b"go\n").unwrap();
    tokio::task::spawn_blocking(open).await.unwrap();
}

#[tokio::test]
async fn no_more_actions_run_at_once_than_policy_says() {
    const ACTIONS: usize = 3;
    let setup = setup();
    for _ in 0..ACTIONS {
        setup.to_agent.send(ToAgent::Command(setup.action())).unwrap();
    }
    let Setup { home, courier, mut line, mut from_agent, to_agent, .. } = setup;
    let (gate, log) = (home.path().join("gate"), home.path().join("log"));
    let hunt = async move {
        for done in 1..=ACTIONS {
            open(&gate).await;
            last(&mut from_agent).await;
            let log = fs::read_to_string(&log).unwrap();
            assert!(log.starts_with(&"begun\nended\n".repeat(done)), "{log}");
        }
        drop(to_agent);
    };
    let (ended, ()) = tokio::join!(courier.speak(&mut line, false), hunt);
    assert!(matches!(ended, Err(RelayError::Away(_))));
}

/// Whoever stops following withdraws what has not begun; whoever cancels ends what runs as well.
#[tokio::test]
async fn what_was_withdrawn_is_not_begun_and_ends_or_goes_on_where_it_runs() {
    for running in [Running::GoesOn, Running::Ends] {
        let setup = setup();
        let (first, second) = (setup.action(), setup.action());
        let withdrawals = [&first, &second].map(|action| setup.withdrawal(action, running));
        for action in [&first, &second] {
            setup.to_agent.send(ToAgent::Command(action.clone())).unwrap();
        }
        let Setup { home, courier, mut line, mut from_agent, to_agent, .. } = setup;
        let (gate, log) = (home.path().join("gate"), home.path().join("log"));
        let hunt = async move {
            while !log.exists() {
                tokio::task::yield_now().await;
            }
            for withdrawal in withdrawals {
                to_agent.send(ToAgent::Withdraw(withdrawal)).unwrap();
            }
            if running == Running::GoesOn {
                // What waits is refused while the other runs, which then ends as it would have.
                let (hash, said) = last(&mut from_agent).await;
                assert!(hash == second.hash() && said.outcome.is_withdrawn(), "{said:?}");
                open(&gate).await;
            }
            let mut said = HashMap::new();
            while !said.contains_key(&first.hash()) || running == Running::Ends && said.len() < 2 {
                said.extend([last(&mut from_agent).await]);
            }
            let of_first = &said[&first.hash()];
            let cut = of_first.scans.iter().find_map(|scan| scan.cut);
            assert_eq!(of_first.outcome, Outcome::Answered);
            assert_eq!(cut, (running == Running::Ends).then_some(Cut::Stopped));
            // Brought once more, as a relay may, neither begins.
            to_agent.send(ToAgent::Taken(first.hash())).unwrap();
            to_agent.send(ToAgent::Command(first.clone())).unwrap();
            let (hash, said) = last(&mut from_agent).await;
            assert!(hash == first.hash() && said.outcome.is_withdrawn(), "{said:?}");
            assert_eq!(fs::read_to_string(&log).unwrap().matches("begun").count(), 1);
            drop(to_agent);
        };
        let (ended, ()) = tokio::join!(courier.speak(&mut line, false), hunt);
        assert!(matches!(ended, Err(RelayError::Away(_))));
    }
}
