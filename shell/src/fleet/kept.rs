//! Answers on disk: for each action of agents that ran in this program what was asked of whom, what became of it, and every
//! part as its agent signed it. `ID.json` holds the account, `ID.parts` the parts, one JSON record a line.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use canvass_planner::error::Error;
use canvass_planner::fleet::{Endpoint, Standing};
use canvass_protocol::action::Action;
use canvass_protocol::answer::{Part, Says, Statement};
use canvass_protocol::api::{ActionSummary, CommandSummary, StoredPart};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::limits;
use canvass_protocol::target::{Facts, ServerWords};
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::config::{private_folder, write_whole};
use crate::error::unusable;

/// Actions kept, and bytes of all their answers; the oldest make room.
const ACTIONS_MAX: usize = 1000;
const BYTES_MAX: u64 = 1 << 30;
/// Bytes of the answers to one action, above which they are not kept.
const ACTION_BYTES_MAX: u64 = 256 << 20;
/// An account: an action, and each of some thousand agents with its facts.
const ACCOUNT_BYTES_MAX: u64 = 256 << 20;
/// A part whose body is base64.
const LINE_BYTES_MAX: u64 = 2 * limits::MESSAGE_BYTES_MAX as u64;

/// The folder of answers of one user.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// The account of one action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Whose agents were asked: this machine, or a folder of hosts by its path.
    pub owner: String,
    pub envelope: Envelope,
    pub created_at: Timestamp,
    /// Fingerprint of who asked.
    pub investigator: String,
    pub asked: Vec<Asked>,
    /// One for each that was asked, in their order.
    pub commands: Vec<CommandSummary>,
    /// Whether all is said; otherwise it runs, or its program was ended.
    pub complete: bool,
}

/// An agent as it was when it was asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    pub host: String,
    pub facts: Facts,
    pub words: ServerWords,
    #[serde(default, skip_serializing_if = "Standing::is_empty")]
    pub standing: Standing,
}

impl From<Endpoint> for Asked {
    fn from(endpoint: Endpoint) -> Asked {
        let Endpoint { host, facts, words, standing } = endpoint;
        Asked { host, facts: Facts::clone(&facts), words, standing }
    }
}

impl From<Asked> for Endpoint {
    fn from(asked: Asked) -> Endpoint {
        let Asked { host, facts, words, standing } = asked;
        Endpoint { host, facts: Arc::new(facts), words, standing }
    }
}

impl Account {
    /// What is asked now of these agents, all of whom are waited for.
    pub fn new(
        owner: String,
        envelope: Envelope,
        investigator: String,
        asked: Vec<Endpoint>,
    ) -> Result<Account, Error> {
        let action = action_of(&envelope)?;
        let waiting = |endpoint: &Endpoint| CommandSummary {
            action: action.id,
            run: 0,
            agent: endpoint.facts.id.clone(),
            state: "waiting".to_owned(),
            sent_at: None,
            finished_at: None,
            rows: 0,
            bytes: 0,
            troubles: 0,
            reason: None,
            code: None,
            cut: None,
        };
        let commands = asked.iter().map(waiting).collect();
        let asked = asked.into_iter().map(Asked::from).collect();
        Ok(Account { owner, envelope, created_at: Timestamp::now(), investigator, asked, commands, complete: false })
    }

    pub fn action(&self) -> Result<Action, Error> {
        action_of(&self.envelope)
    }

    pub fn summary(&self) -> Result<ActionSummary, Error> {
        let action = self.action()?;
        let mut tally = BTreeMap::new();
        for command in &self.commands {
            *tally.entry(command.state.clone()).or_default() += 1;
        }
        Ok(ActionSummary {
            id: action.id,
            hash: self.envelope.hash(),
            statement: action.statements_sql(),
            investigator: self.investigator.clone(),
            signers: vec![self.investigator.clone()],
            created_at: self.created_at,
            expires_at: action.window.until,
            withdrawn: false,
            tally,
            rows: self.commands.iter().map(|command| command.rows).sum(),
        })
    }

    /// Takes note of a part: the last of an answer ends its agent's command.
    fn note(&mut self, agent: &str, part: &Part, at: Timestamp) {
        let Some(command) = self.commands.iter_mut().find(|command| command.agent == agent) else { return };
        let Ok(Statement { says: Says::Final(last), .. }) = Statement::parse(part.statement.as_bytes()) else { return };
        let summary = last.summary();
        command.state = summary.state.to_owned();
        command.finished_at = Some(at);
        (command.rows, command.bytes, command.troubles) = (summary.rows, summary.bytes, summary.troubles);
        (command.reason, command.code, command.cut) = (summary.reason, summary.code, summary.cut);
    }

    /// Nobody is waited for any more: who has not answered never will, since agents end with the program.
    fn end(&mut self, at: Timestamp) {
        for command in self.commands.iter_mut().filter(|command| command.state == "waiting") {
            command.state = "cancelled".to_owned();
            command.finished_at = Some(at);
        }
        self.complete = true;
    }
}

fn action_of(envelope: &Envelope) -> Result<Action, Error> {
    Action::parse(envelope.payload.as_bytes()).map_err(|error| Error::usage(error.to_string()))
}

impl Folder {
    pub fn new(path: PathBuf) -> Folder {
        Folder { path }
    }

    /// Begins to keep an action's answers.
    pub fn begin(&self, account: Account) -> Result<Keeping, Error> {
        private_folder(&self.path).map_err(|error| unusable(&self.path, &error))?;
        let id = account.action()?.id;
        self.prune(BYTES_MAX, ACTIONS_MAX);
        let parts = self.parts_path(id);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&parts);
        let file = file.map_err(|error| unusable(&parts, &error))?;
        // As long as this is held, the action is under way.
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|error| unusable(&parts, &error.into()))?;
        let keeping = Keeping { folder: self.clone(), id, account, parts: BufWriter::new(file), bytes: 0 };
        keeping.write_account()?;
        Ok(keeping)
    }

    /// Ids of the actions that are kept, the newest first: they are UUIDs of version 7.
    pub fn ids(&self) -> Vec<Uuid> {
        let names = std::fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let id = |name: std::ffi::OsString| name.to_str()?.strip_suffix(".json")?.parse().ok();
        let mut ids: Vec<Uuid> = names.filter_map(id).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids
    }

    /// The account of an action; `None` where there is none, or none that can be read.
    pub fn account(&self, id: Uuid) -> Option<Account> {
        let file = File::open(self.account_path(id)).ok()?;
        let mut bytes = Vec::new();
        file.take(ACCOUNT_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let mut account: Account = serde_json::from_slice(&bytes).ok()?;
        if !account.complete && !self.is_under_way(id) {
            // Its program was ended: what had come by then is counted now.
            self.parts(id).ok()?.for_each(|stored| {
                if let Ok((agent, part)) = stored {
                    account.note(&agent, &part, account.created_at);
                }
            });
            account.end(account.created_at);
            // Where it cannot be written it is counted again the next time.
            let _ = self.write_account(id, &account);
        }
        Some(account)
    }

    /// The parts of an action's answers, in the order in which they came: agent and part.
    pub fn parts(&self, id: Uuid) -> Result<impl Iterator<Item = Result<(String, Part), Error>> + use<>, Error> {
        let path = self.parts_path(id);
        let mut file = BufReader::new(File::open(&path).map_err(|error| unusable(&path, &error))?);
        Ok(std::iter::from_fn(move || {
            let mut line = Vec::new();
            match file.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
                Ok(0) => None,
                // What a crash left torn has no end.
                Ok(_) if line.last() != Some(&b'\n') => None,
                Ok(_) => {
                    let stored = serde_json::from_slice::<StoredPart>(&line);
                    Some(
                        stored
                            .map(|stored| (stored.agent.clone(), stored.into()))
                            .map_err(|error| damaged(&path, &error)),
                    )
                }
                Err(error) => Some(Err(unusable(&path, &error))),
            }
        }))
    }

    fn is_under_way(&self, id: Uuid) -> bool {
        let Ok(file) = File::open(self.parts_path(id)) else { return false };
        flock(&file, FlockOperation::NonBlockingLockShared).is_err()
    }

    fn write_account(&self, id: Uuid, account: &Account) -> io::Result<()> {
        let bytes = serde_json::to_vec(account).map_err(io::Error::other)?;
        write_whole(&self.account_path(id), &bytes, 0o600)
    }

    fn account_path(&self, id: Uuid) -> PathBuf {
        self.path.join(format!("{id}.json"))
    }

    fn parts_path(&self, id: Uuid) -> PathBuf {
        self.path.join(format!("{id}.parts"))
    }

    fn forget(&self, id: Uuid) {
        // A file that cannot be removed now is tried again next time.
        let _ = std::fs::remove_file(self.parts_path(id));
        let _ = std::fs::remove_file(self.account_path(id));
    }

    /// Makes room for one more action; what is under way stays.
    fn prune(&self, bytes_max: u64, actions_max: usize) {
        let size = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let (mut bytes, mut count) = (0, 1);
        for id in self.ids() {
            bytes += size(self.account_path(id)) + size(self.parts_path(id));
            count += 1;
            if (bytes > bytes_max || count > actions_max) && !self.is_under_way(id) {
                self.forget(id);
            }
        }
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::usage(format!("`{}` is damaged: {error}", path.display()))
}

/// An action whose answers are being kept.
pub struct Keeping {
    folder: Folder,
    id: Uuid,
    account: Account,
    parts: BufWriter<File>,
    bytes: u64,
}

impl Keeping {
    /// Keeps a part.
    pub fn part(&mut self, agent: &str, part: &Part) -> Result<(), Error> {
        let stored = StoredPart {
            position: 0,
            run: 0,
            agent: agent.to_owned(),
            statement: part.statement.clone(),
            signature: part.signature.clone(),
            body: part.body.clone(),
        };
        let mut line = serde_json::to_vec(&stored).map_err(|error| Error::internal(error.to_string()))?;
        line.push(b'\n');
        self.bytes += line.len() as u64;
        if self.bytes > ACTION_BYTES_MAX {
            return Err(Error::usage(format!("they are more than {} MB", ACTION_BYTES_MAX >> 20)));
        }
        self.account.note(agent, part, Timestamp::now());
        self.parts.write_all(&line).map_err(|error| unusable(&self.folder.parts_path(self.id), &error))
    }

    /// Ends the account.
    pub fn finish(mut self) -> Result<(), Error> {
        self.account.end(Timestamp::now());
        self.parts.flush().map_err(|error| unusable(&self.folder.parts_path(self.id), &error))?;
        self.write_account()
    }

    /// Forgets what was kept: answers that lack a part are none.
    pub fn discard(self) {
        self.folder.forget(self.id);
    }

    fn write_account(&self) -> Result<(), Error> {
        let written = self.folder.write_account(self.id, &self.account);
        written.map_err(|error| unusable(&self.folder.account_path(self.id), &error))
    }
}

#[cfg(test)]
mod tests {
    use canvass_protocol::action::Window;
    use canvass_protocol::answer::{Outcome, ScanRecord, Writer, agent_id};
    use canvass_protocol::limits::{Cut, Limits};
    use canvass_protocol::reason::Code;
    use canvass_protocol::target::Status;
    use ed25519_dalek::SigningKey;
    use jiff::SignedDuration;

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder::new(home.path().join("answers"));
        (home, folder)
    }

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_bytes(&[seed; 32])
    }

    fn endpoint(seed: u8) -> Endpoint {
        let now = Timestamp::UNIX_EPOCH;
        let facts = Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "0".into(),
            started_at: now,
            ..Facts::of(agent_id(&hex::encode(key(seed).verifying_key().as_bytes())).unwrap(), format!("web-{seed}"))
        };
        let words = ServerWords { status: Status::Online, heartbeat_at: now, public_ip: None };
        Endpoint { host: facts.name.clone(), facts: facts.into(), words, standing: Standing::default() }
    }

    fn account(asked: &[u8]) -> Account {
        let now = Timestamp::now();
        let window = Window { from: now, until: now + SignedDuration::from_mins(5) };
        let scan = serde_json::from_str(r#"{"table":"users","columns":["name"]}"#).unwrap();
        let (id, limits) = (Uuid::now_v7(), Limits::default());
        let action = Action::new("local:x".into(), id, "SELECT 1".into(), window, limits, vec![scan]);
        let payload = String::from_utf8(action.to_bytes()).unwrap();
        let envelope = Envelope { payload, signatures: vec![] };
        let asked = asked.iter().map(|seed| endpoint(*seed)).collect();
        Account::new("this machine".into(), envelope, "AB".into(), asked).unwrap()
    }

    fn answer(account: &Account, seed: u8, outcome: Outcome) -> Part {
        let cut = (seed == 2).then_some(Cut::Rows);
        let record = ScanRecord { asked: true, rows: 3, cut, ..ScanRecord::default() };
        let key = key(seed);
        let writer = Writer::new(&key, "local:x".into(), account.envelope.hash(), "0".repeat(32));
        writer.finish(outcome, vec![record], Limits::default(), None, Timestamp::now())
    }

    fn states(account: &Account) -> Vec<(&str, u64, Option<&str>)> {
        let commands = account.commands.iter();
        commands.map(|command| (command.state.as_str(), command.rows, command.cut.as_deref())).collect()
    }

    #[test]
    fn an_account_is_as_what_came() {
        let (_home, folder) = folder();
        let account = account(&[1, 2, 3, 4]);
        let id = account.action().unwrap().id;
        let parts = [(1, Outcome::Answered), (2, Outcome::Answered), (3, Outcome::failed(Code::Scan, "why"))]
            .map(|(seed, outcome)| (endpoint(seed).facts.id.clone(), answer(&account, seed, outcome)));
        let mut keeping = folder.begin(account).unwrap();
        parts.iter().for_each(|(agent, part)| keeping.part(agent, part).unwrap());
        let under_way = folder.account(id).unwrap();
        assert!(!under_way.complete, "whoever asks meanwhile sees that it is under way");
        assert_eq!(states(&under_way), [("waiting", 0, None); 4]);
        keeping.finish().unwrap();
        let done = folder.account(id).unwrap();
        let cut = Some("limit_rows");
        let expected = [("answered", 3, None), ("answered", 3, cut), ("failed", 0, None), ("cancelled", 0, None)];
        assert_eq!((states(&done).as_slice(), done.complete), (expected.as_slice(), true));
        assert_eq!((done.summary().unwrap().state(), done.summary().unwrap().rows), ("complete", 6));
        let read: Vec<(String, Part)> = folder.parts(id).unwrap().map(Result::unwrap).collect();
        assert_eq!(read, parts);
        assert_eq!(done.asked.into_iter().map(Endpoint::from).collect::<Vec<_>>(), [1, 2, 3, 4].map(endpoint));
    }

    #[test]
    fn what_a_killed_program_left_is_counted_by_the_next() {
        let (_home, folder) = folder();
        let account = account(&[1, 2]);
        let (id, part) = (account.action().unwrap().id, answer(&account, 1, Outcome::Answered));
        let mut keeping = folder.begin(account).unwrap();
        keeping.part(&endpoint(1).facts.id, &part).unwrap();
        drop(keeping);
        let path = folder.parts_path(id);
        let torn = [std::fs::read(&path).unwrap(), b"{\"position\":0,\"agent\":".to_vec()].concat();
        std::fs::write(&path, torn).unwrap();
        for _ in 0..2 {
            let account = folder.account(id).unwrap();
            assert_eq!(states(&account), [("answered", 3, None), ("cancelled", 0, None)]);
            assert!(account.complete);
        }
    }

    #[test]
    fn the_oldest_make_room_by_count_and_by_bytes() {
        let (_home, folder) = folder();
        let mut ids = Vec::new();
        for _ in 0..5 {
            let account = account(&[1]);
            ids.push(account.action().unwrap().id);
            folder.begin(account).unwrap().finish().unwrap();
        }
        ids.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(folder.ids(), ids);
        let bytes: u64 = std::fs::metadata(folder.account_path(ids[0])).unwrap().len();
        let held = folder.begin(account(&[1])).unwrap();
        let held_id = held.id;
        folder.prune(u64::MAX, 4);
        assert_eq!(folder.ids(), [&[held_id], &ids[..2]].concat(), "and one more fits");
        folder.prune(bytes / 2, 100);
        assert_eq!(folder.ids(), [held_id], "what is under way stays");
        held.discard();
        assert!(folder.ids().is_empty());
        assert!(folder.account(held_id).is_none() && folder.parts(held_id).is_err());
    }

    #[test]
    fn what_is_damaged_is_said() {
        let (_home, folder) = folder();
        let account = account(&[1]);
        let id = account.action().unwrap().id;
        folder.begin(account).unwrap().finish().unwrap();
        std::fs::write(folder.parts_path(id), "nonsense\n").unwrap();
        let error = folder.parts(id).unwrap().next().unwrap().unwrap_err();
        assert!(error.message.contains("is damaged"), "{error:?}");
        std::fs::write(folder.account_path(id), "nonsense").unwrap();
        assert!(folder.account(id).is_none());
    }
}
