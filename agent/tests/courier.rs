//! Commands over a line, as the courier takes them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

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
use canvass_protocol::action::{Action, Window};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits::Limits;
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

#[tokio::test]
async fn no_more_actions_run_at_once_than_policy_says() {
    const ACTIONS: usize = 3;
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

    let ((said, mut from_agent), (to_agent, heard)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    for _ in 0..ACTIONS {
        let now = Timestamp::now();
        let window = Window { from: now, until: now + SignedDuration::from_mins(5) };
        let scans = vec![serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap()];
        let action = Action::new("acme".into(), Uuid::now_v7(), "SELECT".into(), window, Limits::default(), scans);
        let payload = action.to_bytes();
        let signatures = vec![alice.sign(&payload, now).unwrap()];
        let envelope = Envelope { payload: String::from_utf8(payload).unwrap(), signatures };
        to_agent.send(ToAgent::Command(envelope)).unwrap();
    }
    let (gate, log) = (home.path().join("gate"), home.path().join("log"));
    let hunt = async move {
        for done in 1..=ACTIONS {
            let gate = gate.clone();
            // Waits for a scan that has opened it from the other side.
            let open = move || fs::File::options().write(true).open(gate).unwrap().write_all(b"go\n").unwrap();
            tokio::task::spawn_blocking(open).await.unwrap();
            while !matches!(from_agent.recv().await.unwrap(), FromAgent::Part { part, .. } if part.is_last()) {}
            let log = fs::read_to_string(&log).unwrap();
            assert!(log.starts_with(&"begun\nended\n".repeat(done)), "{log}");
        }
        drop(to_agent);
    };
    let mut line = Thread { said, heard };
    let (ended, ()) = tokio::join!(courier.speak(&mut line, false), hunt);
    assert!(matches!(ended, Err(RelayError::Away(_))));
}
