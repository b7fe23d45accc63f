//! Commands over a line, as the courier takes them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up stops")]

mod receipts;

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use canvass_agent::agent::{Agent, Config, Storage};
use canvass_agent::cage::{CageError, Frame, Job, Ran, Scans};
use canvass_agent::courier::Courier;
use canvass_agent::folder::Folder;
use canvass_agent::relay::{Delivery, Line, RelayError};
use canvass_agent::spool::Spool;
use canvass_agent::withdrawn::Withdrawn;
use canvass_protocol::action::{Action, ActionHash, Window};
use canvass_protocol::answer::{Final, Outcome, Reader, Says, ScanRecord, Statement};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{Cut, Limits};
use canvass_protocol::login::{Running, Withdrawal};
use canvass_protocol::openpgp::{KeyFile, RevocationReason, Signer};
use canvass_protocol::reason::Code;
use canvass_protocol::relay::{FromAgent, ToAgent};
use canvass_protocol::scan::Scan;
use canvass_protocol::target::Mode;
use canvass_tables::host::HostSpec;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use uuid::Uuid;

/// A line whose other end the test holds.
struct Thread {
    said: mpsc::UnboundedSender<FromAgent>,
    heard: mpsc::UnboundedReceiver<ToAgent>,
    /// Drops what need not be confirmed, now and then, and so promises nothing of it.
    is_lossy: bool,
}

impl Line for Thread {
    async fn say(&mut self, message: Vec<u8>, wanted: Delivery) -> Result<Delivery, RelayError> {
        let sent = self.said.send(FromAgent::parse(&message).unwrap());
        let delivery = if self.is_lossy { wanted } else { Delivery::Confirmed };
        sent.map(|()| delivery).map_err(|_| RelayError::Away("over".into()))
    }

    async fn hear(&mut self) -> Result<ToAgent, RelayError> {
        self.heard.recv().await.ok_or_else(|| RelayError::Away("over".into()))
    }
}

/// A scan's process that writes down when it begins and ends, and ends when somebody opens the gate.
fn gated(folder: &Path) -> PathBuf {
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
    let program = gated(home.path());
    let alice = prepare(home.path());
    let agent = open_agent(home.path(), Storage::Memory, program);
    Setup::over(home, alice, agent, 1 << 30)
}

/// A policy and a keyring in which alice is; her key.
fn prepare(home: &Path) -> KeyFile {
    let alice = KeyFile::generate("alice", None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
    let keyring = home.join("keyring");
    fs::create_dir(&keyring).unwrap();
    fs::write(keyring.join("alice.asc"), alice.public_armor().unwrap()).unwrap();
    let acl = "[acl.default]\nminimum_weight = 1\n[acl.default.investigators.alice]\nweight = 1";
    let policy = format!("[limits]\nconcurrency = 1\n{acl}\nfingerprint = '{}'", alice.fingerprint());
    fs::write(home.join("agent.toml"), policy).unwrap();
    alice
}

fn open_agent(home: &Path, storage: Storage, program: PathBuf) -> Agent {
    let config = Config {
        fleet: Some("acme".into()),
        host: HostSpec::Machine,
        name: None,
        mode: Mode::Daemon,
        tags: Default::default(),
        storage,
        policy: home.join("agent.toml"),
        policy_named: true,
        keyrings: vec![home.join("keyring")],
        secrets: Vec::new(),
        own: false,
        program,
    };
    Agent::open(config).unwrap()
}

impl Setup {
    fn over(home: tempfile::TempDir, alice: KeyFile, agent: Agent, spool_bytes_max: u64) -> Setup {
        let spool = Spool::open(&home.path().join("spool"), Timestamp::now()).unwrap().bounded(spool_bytes_max);
        let withdrawn = Withdrawn::open(&Folder::open(&home.path().join("data")).unwrap(), Timestamp::now()).unwrap();
        let courier = Courier::new(Arc::new(agent), Arc::new(spool), withdrawn);
        let ((said, from_agent), (to_agent, heard)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        Setup { home, alice, courier, line: Thread { said, heard, is_lossy: false }, from_agent, to_agent }
    }

    fn sign(&self, payload: Vec<u8>) -> Envelope {
        let signatures = vec![self.alice.sign(&payload, Timestamp::now()).unwrap()];
        Envelope { payload: String::from_utf8(payload).unwrap(), signatures }
    }

    fn action(&self) -> Envelope {
        self.action_of(&["name"])
    }

    fn action_of(&self, columns: &[&str]) -> Envelope {
        let now = Timestamp::now();
        let window = Window { from: now, until: now + SignedDuration::from_mins(5) };
        let columns = columns.iter().map(|column| (*column).to_owned()).collect();
        let scans = vec![Scan { table: "users".into(), columns, ..Scan::default() }];
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

/// What waits is judged when it begins, by the certificates of then; and the agent says at once whose are revoked.
#[tokio::test]
async fn what_a_revoked_certificate_signed_is_not_begun() {
    let setup = setup();
    let (first, second) = (setup.action(), setup.action());
    let revocation = setup.alice.revocation(RevocationReason::Compromised, "lost", Timestamp::now()).unwrap();
    let alice = setup.alice.fingerprint();
    for action in [&first, &second] {
        setup.to_agent.send(ToAgent::Command(action.clone())).unwrap();
    }
    let Setup { home, courier, mut line, mut from_agent, to_agent, .. } = setup;
    let (gate, log) = (home.path().join("gate"), home.path().join("log"));
    let hunt = async move {
        while !log.exists() {
            tokio::task::yield_now().await;
        }
        to_agent.send(ToAgent::Revocation("nonsense".into())).unwrap();
        to_agent.send(ToAgent::Revocation(revocation)).unwrap();
        loop {
            let FromAgent::Heartbeat(signed) = from_agent.recv().await.unwrap() else { continue };
            if Heartbeat::read(&signed).unwrap().facts.revoked_keys == [alice.clone()] {
                break;
            }
        }
        open(&gate).await;
        let mut said = HashMap::new();
        while said.len() < 2 {
            said.extend([last(&mut from_agent).await]);
        }
        assert_eq!(said[&first.hash()].outcome, Outcome::Answered, "what had begun runs on");
        let refused = |last: &Final| match &last.outcome {
            Outcome::Refused(reason) => (reason.code.clone(), reason.reason.clone()),
            other => panic!("{other:?}"),
        };
        assert_eq!(refused(&said[&second.hash()]), (Code::Signature, "no signature counts".into()));
        to_agent.send(ToAgent::Taken(second.hash())).unwrap();
        to_agent.send(ToAgent::Command(second.clone())).unwrap();
        let (_, again) = last(&mut from_agent).await;
        assert_eq!(refused(&again).0, Code::Signature, "it is looked at before it is queued");
        drop(to_agent);
    };
    let (ended, ()) = tokio::join!(courier.speak(&mut line, false), hunt);
    assert!(matches!(ended, Err(RelayError::Away(_))));
}

/// Scans that give one row where a user's number is asked, and many frames otherwise.
struct Flood;

const FLOOD_FRAMES: usize = 64;
const FLOOD_FRAME_BYTES: usize = 16 << 10;

impl Scans for Flood {
    fn run(
        &self,
        jobs: Vec<(u32, Job)>,
        _: usize,
        _: &AtomicBool,
        out: &mut dyn FnMut(Frame) -> io::Result<()>,
    ) -> Result<Ran, CageError> {
        let count = if jobs[0].1.scan.columns == ["uid"] { 1 } else { FLOOD_FRAMES };
        let frame = || Frame { scan: 0, rows: 1, body: vec![7; FLOOD_FRAME_BYTES] };
        let _ = (0..count).try_for_each(|_| out(frame()));
        let record = ScanRecord { asked: true, rows: count as u64, ..ScanRecord::default() };
        Ok(Ran { records: BTreeMap::from([(0, record)]), last: None })
    }
}

/// A courier whose agent keeps identity and journal, and floods; opened anew, all that it does not keep on disk is lost.
fn flooding(home: tempfile::TempDir, alice: KeyFile, spool_bytes_max: u64) -> Setup {
    let agent = open_agent(home.path(), Storage::Folder(home.path().join("data")), PathBuf::new());
    let agent = agent.with(Box::new(Flood), Box::new(Timestamp::now));
    Setup::over(home, alice, agent, spool_bytes_max)
}

/// Speaks with an agent until the talk is over.
async fn talk<T>(setup: Setup, talk: impl AsyncFnOnce(Talk) -> T) -> T {
    let Setup { home, alice, courier, mut line, from_agent, to_agent } = setup;
    let said = talk(Talk { home, alice, from_agent, to_agent });
    let (ended, said) = tokio::join!(courier.speak(&mut line, false), said);
    assert!(matches!(ended, Err(RelayError::Away(_))));
    said
}

/// The server's end of a line; the line ends with it.
struct Talk {
    home: tempfile::TempDir,
    alice: KeyFile,
    from_agent: mpsc::UnboundedReceiver<FromAgent>,
    to_agent: mpsc::UnboundedSender<ToAgent>,
}

impl Talk {
    fn bring(&self, action: &Envelope) {
        self.to_agent.send(ToAgent::Command(action.clone())).unwrap();
    }

    /// Brings an action, and believes the answer as a desk does; returns how many parts it had and its outcome.
    async fn ask(&mut self, action: &Envelope) -> (usize, Outcome) {
        self.bring(action);
        let (mut reader, mut parts) = (None, 0);
        loop {
            let FromAgent::Part { action: of, part, .. } = self.from_agent.recv().await.unwrap() else { continue };
            assert_eq!(of, action.hash());
            let key = Statement::parse(part.statement.as_bytes()).unwrap().key;
            let agent = canvass_protocol::answer::agent_id(&key).unwrap();
            let reader = reader.get_or_insert_with(|| Reader::new("acme".into(), of, agent));
            parts += 1;
            if let Says::Final(last) = reader.read(&part).unwrap() {
                return (parts, last.outcome);
            }
        }
    }

    fn taken(&self, action: &Envelope) {
        self.to_agent.send(ToAgent::Taken(action.hash())).unwrap();
    }

    fn code_of(said: &Outcome) -> Code {
        match said {
            Outcome::Refused(reason) | Outcome::Failed(reason) => reason.code.clone(),
            Outcome::Answered | Outcome::Interrupted => panic!("{said:?}"),
        }
    }

    /// Names in the spool, but for the room that is held.
    fn spooled(&self) -> Vec<String> {
        let names = fs::read_dir(self.home.path().join("spool")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name != "reserve").collect()
    }
}

#[tokio::test]
async fn an_answer_that_does_not_fit_fails_by_name_and_the_next_action_is_answered() {
    const BOUND: u64 = 512 << 10;
    let home = tempfile::tempdir().unwrap();
    let alice = prepare(home.path());
    let setup = flooding(home, alice, BOUND);
    let (big, small) = (setup.action(), setup.action_of(&["uid"]));
    let (first, second) = (big.clone(), small.clone());
    let (home, alice) = talk(setup, async move |mut talk| {
        let (parts, said) = talk.ask(&first).await;
        assert!(parts <= FLOOD_FRAMES && Talk::code_of(&said) == Code::Storage, "{parts} {said:?}");
        // The server has not said yet that it has that.
        assert_eq!(talk.ask(&second).await.1, Outcome::Answered);
        talk.taken(&second);
        let (parts, said) = talk.ask(&second).await;
        assert!(parts == 1 && Talk::code_of(&said) == Code::Ended, "{said:?}");
        assert_eq!(talk.spooled().len(), 1, "the last word of the first");
        (talk.home, talk.alice)
    })
    .await;
    talk(flooding(home, alice, BOUND), async move |mut talk| {
        let (parts, said) = talk.ask(&big).await;
        assert!(parts == 1 && Talk::code_of(&said) == Code::Storage, "{said:?}");
        talk.taken(&big);
        for action in [&big, &small] {
            let (parts, said) = talk.ask(action).await;
            assert!(parts == 1 && Talk::code_of(&said) == Code::Ended, "{said:?}");
        }
        assert_eq!(talk.spooled(), [""; 0]);
    })
    .await;
}

/// A file in the folder's place is in the way of root, too.
#[tokio::test]
async fn an_agent_that_cannot_keep_answers_refuses_and_answers_again_when_it_can() {
    let home = tempfile::tempdir().unwrap();
    let alice = prepare(home.path());
    let setup = flooding(home, alice, 1 << 30);
    let actions = [setup.action(), setup.action()];
    talk(setup, async move |mut talk| {
        let spool = talk.home.path().join("spool");
        fs::remove_dir_all(&spool).unwrap();
        assert_eq!(talk.ask(&actions[0]).await, (FLOOD_FRAMES + 1, Outcome::Answered), "the folder is made again");
        fs::remove_dir_all(&spool).unwrap();
        fs::write(&spool, "").unwrap();
        let (parts, said) = talk.ask(&actions[1]).await;
        assert!(parts == 1 && Talk::code_of(&said) == Code::Storage, "{said:?}");
        fs::remove_file(&spool).unwrap();
        // No refusal uses up an action.
        talk.taken(&actions[1]);
        assert_eq!(talk.ask(&actions[1]).await, (FLOOD_FRAMES + 1, Outcome::Answered));
    })
    .await;
}

/// What was answered and lost with the folder, before the server had it, is no action that "has run already".
#[tokio::test]
async fn an_answer_that_was_lost_on_disk_is_not_said_to_have_been_given() {
    let home = tempfile::tempdir().unwrap();
    let alice = prepare(home.path());
    let setup = flooding(home, alice, 1 << 30);
    let action = setup.action();
    let again = action.clone();
    let (home, alice) = talk(setup, async move |mut talk| {
        assert_eq!(talk.ask(&action).await.1, Outcome::Answered);
        assert_eq!(talk.spooled().len(), 1);
        (talk.home, talk.alice)
    })
    .await;
    fs::remove_dir_all(home.path().join("spool")).unwrap();
    talk(flooding(home, alice, 1 << 30), async move |mut talk| {
        assert_eq!(talk.ask(&again).await.1, Outcome::Interrupted);
    })
    .await;
}

#[tokio::test]
async fn what_nobody_has_signed_is_neither_read_nor_queued_nor_kept() {
    const STRANGERS: usize = 300;
    let home = tempfile::tempdir().unwrap();
    let alice = prepare(home.path());
    let stranger = KeyFile::generate("stranger", None, Timestamp::now() - SignedDuration::from_hours(1)).unwrap();
    let setup = flooding(home, alice, 1 << 30);
    let signed = setup.action();
    let altered = Envelope { payload: signed.payload.replace("SELECT", "SELECt"), ..signed.clone() };
    let by_stranger = stranger.sign(signed.payload.as_bytes(), Timestamp::now()).unwrap();
    let foreign = Envelope { payload: format!("{} ", signed.payload), signatures: vec![by_stranger] };
    let garbage = Envelope { payload: format!("{}  ", signed.payload), signatures: vec!["nonsense".into()] };
    let unsigned = (0..STRANGERS).map(|n| Envelope { payload: format!("[{n}"), signatures: Vec::new() });
    let all: Vec<Envelope> = unsigned.chain([altered, foreign, garbage]).collect();
    talk(setup, async move |mut talk| {
        for envelope in &all {
            let (parts, said) = talk.ask(envelope).await;
            // Whose certificate is in the keyring is nobody's to learn.
            assert_eq!((parts, said), (1, Outcome::refused(Code::Signature, "no signature counts")));
        }
        assert_eq!(talk.spooled(), [""; 0]);
        assert_eq!(talk.ask(&signed).await, (FLOOD_FRAMES + 1, Outcome::Answered));
    })
    .await;
}
