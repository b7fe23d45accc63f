//! One agent: an identity, a policy, a journal, and a host to scan.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::{Outcome, Part, ScanRecord, Writer};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::features;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::login::Withdrawal;
use canvass_protocol::members::Members;
use canvass_protocol::reason::Reason;
use canvass_protocol::signed::Signed;
use canvass_protocol::target::{Facts, Mode};
use canvass_tables::TABLES;
use canvass_tables::host::{Host, HostError, HostSpec};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::cage::{Cage, CageError, Frame, Job, Ran, Scans};
use crate::folder::{Folder, FolderError};
use crate::guard::{Accepted, Guard, Refusal};
use crate::identity::{Identity, IdentityError, Origin};
use crate::journal::{self, FileJournal, Journal, JournalRefusal, MemoryJournal};
use crate::policy::{PolicyError, PolicyInForce};

/// Holds whatever tells one machine from its clones.
const MACHINE_ID: &str = "/etc/machine-id";
/// Where the kernel shows memory and ports as files: never entered, whatever the policy.
const FORBIDDEN_ALWAYS: [&str; 4] = ["/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"];
/// Of a refusal's reason; signatures that do not count may have much to say.
const REASON_BYTES_MAX: usize = 2 * limits::TROUBLE_TEXT_BYTES_MAX;

/// How to open an agent.
pub struct Config {
    /// Its fleet's name; where `None`, the one that the policy names, else `local:<agent id>`.
    pub fleet: Option<String>,
    pub host: HostSpec,
    /// The agent's name; the host's where `None`.
    pub name: Option<String>,
    pub mode: Mode,
    /// Tags beside those that a fixture host has of its own.
    pub tags: BTreeMap<String, String>,
    pub storage: Storage,
    /// The policy file; where it does not exist every certificate of the keyring has weight 1.
    pub policy: PathBuf,
    /// A folder of certificates (`*.asc`, `*.pgp`), or several.
    pub keyrings: Vec<PathBuf>,
    /// The program that runs a scan's process when its first argument is [`crate::cage::ARGUMENT`].
    pub program: PathBuf,
}

/// Where identity and journal live.
#[derive(Debug, Clone)]
pub enum Storage {
    /// A folder of the agent's own, mode 0700.
    Folder(PathBuf),
    /// Nowhere: a new identity and an empty journal each time, for fixtures.
    Memory,
    /// Nowhere, with this secret key and an empty journal.
    Given(Box<SigningKey>),
}

/// Where an agent takes the time from.
pub type Clock = Box<dyn Fn() -> Timestamp + Send + Sync>;

/// Why an agent cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("`{path}`: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Journal(#[from] JournalRefusal),
    #[error(transparent)]
    Host(#[from] HostError),
}

/// An agent, ready to be handed envelopes.
pub struct Agent {
    identity: Identity,
    journal: Box<dyn Journal>,
    policy: PolicyInForce,
    host: HostSpec,
    facts: RwLock<Facts>,
    fleet: String,
    scans: Box<dyn Scans>,
    clock: Clock,
    /// Paths of the agent's own.
    forbidden: Vec<String>,
    /// What was worth a word when identity and journal were opened.
    notices: Vec<String>,
    /// Drawn at opening; the nonces of runs follow from it.
    seed: [u8; 32],
    runs: AtomicU64,
}

impl Agent {
    /// Opens identity and journal, and looks at host and policy. A policy that cannot be read is no error here: the agent
    /// refuses every action then.
    pub fn open(config: Config) -> Result<Agent, AgentError> {
        let host = absolute(config.host)?;
        let keyrings: Vec<String> = if host == HostSpec::Machine {
            config.keyrings.iter().map(|keyring| own_folder(keyring)).collect()
        } else {
            Vec::new()
        };
        let policy = PolicyInForce::new(config.policy, config.keyrings);
        let named = policy.get().as_ref().as_ref().ok().and_then(|policy| policy.fleet.clone());
        let named = config.fleet.or(named);
        let memory = open_memory(&config.storage, &host, named.is_none())?;
        let fleet = named.unwrap_or_else(|| format!("local:{}", memory.identity.id()));
        let facts = facts(&Host::open(&host)?, &memory.identity, config.name, config.mode, config.tags);
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| IdentityError::Random(error.to_string()))?;
        Ok(Agent {
            identity: memory.identity,
            journal: memory.journal,
            policy,
            host,
            facts: RwLock::new(facts),
            fleet,
            scans: Box::new(Cage(config.program)),
            clock: Box::new(Timestamp::now),
            forbidden: memory.forbidden.into_iter().chain(keyrings).collect(),
            notices: memory.notices,
            seed,
            runs: AtomicU64::new(0),
        })
    }

    /// The same agent, whose accepted scans somebody else runs, and who lives by another clock.
    pub fn with(self, scans: Box<dyn Scans>, clock: Clock) -> Agent {
        Agent { scans, clock, ..self }
    }

    /// The time by the agent's own clock.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// The SHA-256 of the agent's public key, hexadecimal.
    pub fn id(&self) -> &str {
        self.identity.id()
    }

    pub fn fleet(&self) -> &str {
        &self.fleet
    }

    /// What whoever runs the agent should know: an identity set aside, a journal lost, a policy or key that was skipped.
    pub fn troubles(&self) -> Vec<String> {
        let mut troubles = self.notices.clone();
        match &*self.policy.get() {
            Ok(policy) => troubles.extend(policy.troubles.iter().cloned()),
            Err(error) => troubles.push(format!("{error}; every action is refused")),
        }
        troubles
    }

    /// What the agent states about itself, signed.
    pub fn heartbeat(&self, now: Timestamp) -> Signed {
        let digest = match &*self.policy.get() {
            Ok(policy) => policy.sha256,
            Err(error) => Sha256::digest(error.to_string()).into(),
        };
        Heartbeat::sign(self.identity.key(), self.fleet.clone(), self.facts(), hex::encode(digest), now)
    }

    /// How many actions may run at once, where the policy says so.
    pub fn concurrency(&self) -> Option<NonZeroUsize> {
        self.policy.get().as_ref().as_ref().ok().and_then(|policy| policy.concurrency)
    }

    /// The agent's key, for proofs to a server.
    pub fn key(&self) -> &SigningKey {
        self.identity.key()
    }

    /// Looks again at what may have changed on the host since it was last looked at: its addresses, its kernel.
    pub fn look_again(&self) {
        // What cannot be looked at is as it was.
        let Ok(host) = Host::open(&self.host) else { return };
        let about = host.about();
        let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
        facts.os_version.clone_from(&about.os_version);
        facts.kernel.clone_from(&about.kernel);
        facts.addresses.clone_from(&about.addresses);
    }

    fn facts(&self) -> Facts {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A withdrawal that anybody of the keyring signed; else why it is not heeded.
    pub fn check_withdrawal(&self, envelope: &Envelope, now: Timestamp) -> Result<Withdrawal, String> {
        let policy = self.policy.get();
        let policy = policy.as_ref().as_ref().map_err(ToString::to_string)?;
        let verdict = policy.keyring.verify(envelope.payload.as_bytes(), &envelope.signatures, now);
        if verdict.signers.is_empty() {
            return Err(format!("no signature counts: {}", verdict.rejected.join("; ")));
        }
        let withdrawal = Withdrawal::parse(envelope.payload.as_bytes()).map_err(|error| error.to_string())?;
        if withdrawal.fleet != self.fleet {
            return Err(format!("it is of fleet `{}`", withdrawal.fleet));
        }
        Ok(withdrawal)
    }

    /// The answer to an action that is not even looked at.
    pub fn refuse(&self, hash: ActionHash, reason: Reason, now: Timestamp) -> Part {
        let writer = Writer::new(self.identity.key(), self.fleet.clone(), hash, self.nonce(hash));
        writer.finish(Outcome::Refused(reason), Vec::new(), Limits::default(), None, now)
    }

    /// Guards, scans and answers: hands each signed part to `out`, the final record last. An error of `out` stops the scans.
    /// `stop`, once set, ends the scans early; what was found is kept and marked.
    ///
    /// An envelope that cannot be parsed is answered under the hash of its own bytes: it has no action's.
    pub fn handle(&self, envelope: &[u8], stop: &AtomicBool, out: &mut dyn FnMut(Part) -> std::io::Result<()>) {
        self.handle_at(envelope, stop, out, self.now());
    }

    /// As [`Agent::handle`], by a clock that is passed in.
    pub fn handle_at(
        &self,
        envelope: &[u8],
        stop: &AtomicBool,
        out: &mut dyn FnMut(Part) -> std::io::Result<()>,
        now: Timestamp,
    ) {
        let policy = self.policy.get();
        let envelope = Envelope::parse(envelope).map_err(|error| (error, ActionHash::of(envelope)));
        let hash = envelope.as_ref().map_or_else(|(_, hash)| *hash, Envelope::hash);
        let writer = Writer::new(self.identity.key(), self.fleet.clone(), hash, self.nonce(hash));
        let admitted = match (envelope, &*policy) {
            (Err((error, _)), _) => Err(Refusal::Size(error)),
            (Ok(_), Err(error)) => Err(self.unreadable(error)),
            (Ok(envelope), Ok(policy)) => {
                let facts = self.facts();
                let guard = Guard { policy, fleet: &self.fleet, facts: &facts, journal: self.journal.as_ref(), now };
                guard.admit(&envelope).map(|accepted| (accepted, policy.forbidden_paths.clone()))
            }
        };
        match admitted {
            Ok((accepted, forbidden)) => self.run(accepted, forbidden, writer, stop, out),
            Err(refusal) => {
                let (outcome, facts) = match &refusal {
                    Refusal::Journal(JournalRefusal::Interrupted) => (Outcome::Interrupted, Some(self.facts())),
                    refusal => (Outcome::refused(refusal.code(), bounded(self.words(refusal))), None),
                };
                // Whoever does not take it has nothing more to be told.
                let _ = out(writer.finish(outcome, Vec::new(), Limits::default(), facts, now));
            }
        }
    }

    /// Whether whoever hears the answer is on this machine; nobody else is told where its files lie.
    fn is_heard_here(&self) -> bool {
        self.fleet.starts_with("local:") || self.host != HostSpec::Machine
    }

    fn unreadable(&self, error: &PolicyError) -> Refusal {
        Refusal::PolicyUnreadable { reason: self.is_heard_here().then(|| error.to_string()) }
    }

    fn words(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Journal(JournalRefusal::Unwritable(_)) if !self.is_heard_here() => {
                "the journal cannot be kept".into()
            }
            refusal => refusal.to_string(),
        }
    }

    fn run(
        &self,
        accepted: Accepted,
        forbidden: Vec<String>,
        mut writer: Writer<'_>,
        stop: &AtomicBool,
        out: &mut dyn FnMut(Part) -> std::io::Result<()>,
    ) {
        let Accepted { action, permits, limits, threads, scans_at_once, begun } = accepted;
        let forbidden: Vec<String> = self.forbidden.iter().cloned().chain(forbidden).collect();
        let scans_count = permits.len();
        let jobs = (0..).zip(action.scans).zip(permits).filter_map(|((index, scan), permit)| {
            let withheld = permit?.withheld;
            let (host, forbidden) = (self.host.clone(), forbidden.clone());
            Some((index, Job { host, scan, limits, threads, withheld, forbidden }))
        });
        let mut taken = true;
        let ran = self.scans.run(jobs.collect(), scans_at_once, stop, &mut |frame| {
            let handed = out(writer.frame(frame.scan, frame.rows, frame.body));
            taken &= handed.is_ok();
            handed
        });
        let (outcome, scans, last) = conclude(ran, scans_count);
        let now = self.now();
        // Where this fails the action counts as interrupted from now on, which only refuses.
        let _ = self.journal.end(begun, now);
        if taken {
            if let Some(frame) = last {
                writer.last_frame(frame.scan, frame.rows, frame.body);
            }
            let _ = out(writer.finish(outcome, scans, limits, Some(self.facts()), now));
        }
    }

    /// A fresh number for a run, as nobody else can foresee it: 32 hexadecimal digits.
    fn nonce(&self, hash: ActionHash) -> String {
        let count = self.runs.fetch_add(1, Ordering::Relaxed);
        let nonce =
            Sha256::new().chain_update(self.seed).chain_update(count.to_be_bytes()).chain_update(hash.0).finalize();
        hex::encode(&nonce[..16])
    }
}

/// Opens the identity of an agent's folder as the agent would, and says what there is to say of it.
pub fn open_identity(folder: &Path) -> Result<(Identity, Vec<String>), AgentError> {
    let memory = open_memory(&Storage::Folder(folder.to_owned()), &HostSpec::Machine, false)?;
    Ok((memory.identity, memory.notices))
}

/// What an agent keeps between runs, and what there is to say of it.
struct Memory {
    identity: Identity,
    journal: Box<dyn Journal>,
    forbidden: Vec<String>,
    notices: Vec<String>,
}

fn open_memory(storage: &Storage, host: &HostSpec, local: bool) -> Result<Memory, AgentError> {
    let mut forbidden: Vec<String> = Vec::new();
    if *host == HostSpec::Machine {
        forbidden.extend(FORBIDDEN_ALWAYS.map(str::to_owned));
    }
    let in_memory = |identity, forbidden| {
        let journal = Box::new(MemoryJournal::default());
        Ok(Memory { identity, journal, forbidden, notices: Vec::new() })
    };
    let path = match storage {
        Storage::Folder(path) => path,
        Storage::Memory => return in_memory(Identity::draw()?, forbidden),
        Storage::Given(key) => return in_memory(Identity::of(key.as_ref().clone()), forbidden),
    };
    let folder = Folder::open(path)?;
    let lock = folder.lock()?;
    let machine_id =
        std::fs::read_to_string(MACHINE_ID).ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    let (identity, origin) = Identity::open(&folder, &lock, machine_id.as_deref())?;
    let mut notices = Vec::new();
    if let Origin::Cloned { aside } = &origin {
        folder.set_aside(journal::FILE, &format!("journal-{}", &aside[..8]))?;
        notices.push(format!("the identity {aside} was made on another machine; it was set aside and a new one made"));
    }
    // Where desk and agent are one machine they have one clock.
    let skew_s = if local { 0 } else { limits::CLOCK_SKEW_S };
    let new = origin != Origin::Kept;
    let (journal, lost) = FileJournal::open(&folder, &lock, identity.id(), new, skew_s, Timestamp::now())?;
    notices.extend(lost);
    if *host == HostSpec::Machine {
        forbidden.push(folder.path().to_string_lossy().into_owned());
    }
    Ok(Memory { identity, journal: Box::new(journal), forbidden, notices })
}

/// A folder as a scan may meet it; one that does not exist yet is known by its spelling.
fn own_folder(path: &Path) -> String {
    let real = path.canonicalize().or_else(|_| std::path::absolute(path));
    real.as_deref().unwrap_or(path).to_string_lossy().into_owned()
}

/// A scan's process works in the root folder, so a relative path would mean another one there.
fn absolute(host: HostSpec) -> Result<HostSpec, AgentError> {
    match host {
        HostSpec::Machine => Ok(HostSpec::Machine),
        HostSpec::Fixture(path) => match path.canonicalize() {
            Ok(path) => Ok(HostSpec::Fixture(path)),
            Err(error) => Err(AgentError::Io { path, error }),
        },
    }
}

fn facts(host: &Host, identity: &Identity, name: Option<String>, mode: Mode, tags: BTreeMap<String, String>) -> Facts {
    let mut about = host.about().clone();
    about.tags.extend(tags);
    Facts {
        id: identity.id().to_owned(),
        name: name.unwrap_or(about.name),
        mode,
        os: about.os,
        arch: about.arch,
        os_version: about.os_version,
        kernel: about.kernel,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        tags: about.tags,
        addresses: about.addresses,
        features: features(),
        started_at: Timestamp::now(),
        more: Members::default(),
    }
}

/// What an agent of this version can do.
pub(crate) fn features() -> Vec<String> {
    let mut features: Vec<String> = TABLES.iter().map(|table| features::table(table.info().name)).collect();
    features.sort_unstable();
    features
}

/// The outcome of a run, its records, one a scan, and what rows are still to be said.
fn conclude(ran: Result<Ran, CageError>, scans_count: usize) -> (Outcome, Vec<ScanRecord>, Option<Frame>) {
    match ran {
        Ok(Ran { mut records, last }) => {
            let scans = (0..).take(scans_count).map(|index| records.remove(&index).unwrap_or_default()).collect();
            (Outcome::Answered, scans, last)
        }
        Err(error) => (Outcome::failed(error.code(), bounded(error.to_string())), Vec::new(), None),
    }
}

fn bounded(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    reason
}
