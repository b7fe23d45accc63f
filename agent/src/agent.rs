//! One agent: an identity, a policy, a journal, and a host to scan.

mod facts;
mod looked;
mod memory;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{OnceLock, PoisonError, RwLock};

use canvass_protocol::action::ActionHash;
use canvass_protocol::answer::{Outcome, Part, ScanRecord, Writer};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits::{self, Limits};
use canvass_protocol::login::Withdrawal;
use canvass_protocol::openpgp::{Fingerprint, Revocation};
use canvass_protocol::reason::{Code, Reason};
use canvass_protocol::signed::Signed;
use canvass_protocol::target::{Facts, FactsError, Mode};
use canvass_tables::host::{Host, HostError, HostSpec};
use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::cage::{Cage, CageError, Frame, Job, Ran, Report, Scans};
use crate::folder::{Folder, FolderError};
use crate::guard::{self, Accepted, Guard, Refusal};
use crate::identity::{Identity, IdentityError};
use crate::journal::{Journal, JournalRefusal, Run};
use crate::policy::{Policy, PolicyError, PolicyInForce};

#[cfg(test)]
pub(crate) use facts::features;
pub use looked::Looked;
#[cfg(test)]
pub(crate) use looked::tests::by_nobody as looked_at_by_nobody;
pub use memory::open_identity;

/// What is said of an envelope that nobody of the keyring has signed, whatever it lacks.
const NO_SIGNATURE: &str = "no signature counts";
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
    /// The policy file; where it never existed every certificate of the keyring has weight 1.
    pub policy: PathBuf,
    /// Whether it has to be there, since somebody named it.
    pub policy_named: bool,
    /// A folder of certificates (`*.asc`, `*.pgp`), or several.
    pub keyrings: Vec<PathBuf>,
    /// Files beside these that no scan may read: they hold secrets of the agent's.
    pub secrets: Vec<PathBuf>,
    /// Whether it is asked by nobody but the user whose machine, or fixture, it is: what may hold secrets needs no entry of its own
    /// in the policy then.
    pub own: bool,
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
    Io { path: PathBuf, error: io::Error },
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Journal(#[from] JournalRefusal),
    #[error(transparent)]
    Host(#[from] HostError),
    /// What it would say of itself nobody would take.
    #[error("this agent cannot say what it is: {0}; its name comes from `--name`, its tags from the configuration")]
    Facts(#[from] FactsError),
}

/// What may run: the journal knows that it begins.
pub struct Admitted {
    hash: ActionHash,
    accepted: Accepted,
    /// Paths that policy forbids.
    forbidden: Vec<String>,
    /// Policy asks for a cage that lacks nothing.
    whole_cage: bool,
}

/// An agent, ready to be handed envelopes.
pub struct Agent {
    identity: Identity,
    journal: Box<dyn Journal>,
    policy: PolicyInForce,
    own: bool,
    host: HostSpec,
    facts: RwLock<Facts>,
    fleet: String,
    /// What the policy said of the fleet when the agent was opened, where it could be read.
    fleet_named: Option<Option<String>>,
    scans: Box<dyn Scans>,
    program: PathBuf,
    /// What scans' processes were found to lack, once somebody asked.
    cage: OnceLock<Report>,
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
        let host = memory::absolute(config.host)?;
        let own = |paths: &[PathBuf]| -> Vec<String> {
            let is_machine = host == HostSpec::Machine;
            paths.iter().filter(|_| is_machine).map(|path| memory::own_folder(path)).collect()
        };
        let forbidden = [own(&config.keyrings), own(&config.secrets)].concat();
        let folder = match &config.storage {
            Storage::Folder(path) => Some(Folder::open(path)?),
            Storage::Memory | Storage::Given(_) => None,
        };
        let policy = PolicyInForce::new(config.policy, config.keyrings).remembering(folder, config.policy_named);
        let fleet_named = policy.get().as_ref().as_ref().ok().map(|policy| policy.fleet.clone());
        let named = config.fleet.or_else(|| fleet_named.clone().flatten());
        let memory = memory::open(&config.storage, &host, named.is_none())?;
        let fleet = named.unwrap_or_else(|| format!("local:{}", memory.identity.id()));
        let facts = facts::of(&Host::open(&host)?, &memory.identity, config.name, config.mode, config.tags);
        facts.check()?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(|error| IdentityError::Random(error.to_string()))?;
        Ok(Agent {
            identity: memory.identity,
            journal: memory.journal,
            policy,
            host,
            facts: RwLock::new(facts),
            fleet,
            fleet_named,
            scans: Box::new(Cage(config.program.clone())),
            program: config.program,
            cage: OnceLock::new(),
            own: config.own,
            clock: Box::new(Timestamp::now),
            forbidden: memory.forbidden.into_iter().chain(forbidden).collect(),
            notices: memory.notices,
            seed,
            runs: AtomicU64::new(0),
        })
    }

    /// The same agent, whose accepted scans somebody else runs, and who lives by another clock.
    pub fn with(self, scans: Box<dyn Scans>, clock: Clock) -> Agent {
        Agent { scans, clock, ..self }
    }

    /// What the cage of this agent's scans lacks, as a process that goes into it finds out the first time; from then on the
    /// agent's features say so.
    pub fn cage(&self) -> &Report {
        self.cage.get_or_init(|| {
            let report = Report::of(&self.program).unwrap_or_else(|error| Report::unknown(&error));
            let mut facts = self.facts.write().unwrap_or_else(PoisonError::into_inner);
            facts.features.extend(report.features());
            facts.features.sort_unstable();
            report
        })
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
        facts.os_version = facts::short(about.os_version.as_deref());
        facts.kernel = facts::short(about.kernel.as_deref());
        facts.addresses = facts::told(&about.addresses);
    }

    fn facts(&self) -> Facts {
        let mut facts = self.facts.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Ok(policy) = &*self.policy.known() {
            facts.revoked_keys.clone_from(&policy.revoked_keys);
        }
        facts
    }

    /// Takes a revocation from anyone and returns what it newly revokes of the keyring; else why it cannot be taken.
    pub fn revoke(&self, armored: &str) -> Result<Vec<Revocation>, String> {
        self.policy.revoke(armored.as_bytes())
    }

    /// A withdrawal that anybody of the keyring signed, and who did; else why it is not heeded.
    pub fn check_withdrawal(
        &self,
        envelope: &Envelope,
        now: Timestamp,
    ) -> Result<(Withdrawal, BTreeSet<Fingerprint>), String> {
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
        Ok((withdrawal, verdict.signers))
    }

    /// Looks at an envelope before it is queued: its size, its signatures, and then its form. Returns what was found, else the
    /// refusal.
    pub fn look_at(&self, envelope: &Envelope, now: Timestamp) -> Result<Looked, Part> {
        let shared = self.policy.get();
        let looked_at = match &*shared {
            Err(error) => Err(self.unreadable(error)),
            Ok(policy) => guard::verify(&policy.keyring, envelope, now).and_then(|signers| {
                let until = guard::parse(envelope, &self.fleet)?.answers_until();
                Ok(Looked::new(until, signers, shared.clone(), now))
            }),
        };
        looked_at.map_err(|refusal| self.refusal(envelope.hash(), &refusal, now))
    }

    /// Guards: what may run is noted in the journal; else the signed refusal. Whoever has looked at the envelope says what was
    /// found, which spares verifying it again where that still holds.
    pub fn admit(&self, envelope: &Envelope, looked: Option<&Looked>, now: Timestamp) -> Result<Admitted, Part> {
        let hash = envelope.hash();
        let shared = self.policy.get();
        let admitted = match &*shared {
            Err(error) => Err(self.unreadable(error)),
            Ok(policy) if self.has_other_fleet(policy) => Err(Refusal::FleetChanged),
            Ok(policy) => {
                let cage = policy.require_cage.then(|| self.cage());
                let facts = self.facts();
                let guard = Guard {
                    policy,
                    fleet: &self.fleet,
                    facts: &facts,
                    journal: self.journal.as_ref(),
                    cage,
                    own: self.own,
                    now,
                };
                let forbidden = policy.forbidden_paths.clone();
                let accepted = match looked.and_then(|looked| looked.signers(&shared, now)) {
                    Some(signers) => guard.admit_signed(envelope, signers),
                    None => guard.admit(envelope),
                };
                accepted.map(|accepted| Admitted { hash, accepted, forbidden, whole_cage: policy.require_cage })
            }
        };
        admitted.map_err(|refusal| self.refusal(hash, &refusal, now))
    }

    /// Scans and answers: hands each signed part to `out`, the final record last. An error of `out` stops the scans, and is
    /// returned; then the action counts as interrupted. `stop`, once set, ends the scans early; what was found is kept and
    /// marked.
    ///
    /// The journal is told that the action ended by [`Agent::answered`], once the answer is where it belongs.
    pub fn run(
        &self,
        admitted: Admitted,
        stop: &AtomicBool,
        out: &mut dyn FnMut(Part) -> io::Result<()>,
    ) -> io::Result<()> {
        let Admitted { hash, accepted, forbidden, whole_cage } = admitted;
        let Accepted { action, permits, limits, threads, scans_at_once, begun } = accepted;
        let mut writer = self.writer(hash);
        let forbidden: Vec<String> = self.forbidden.iter().cloned().chain(forbidden).collect();
        let scans_count = permits.len();
        let jobs = (0..).zip(action.scans).zip(permits).filter_map(|((index, scan), permit)| {
            let withheld = permit?.withheld;
            let (host, forbidden) = (self.host.clone(), forbidden.clone());
            Some((index, Job { host, scan, limits, threads, withheld, forbidden, whole_cage }))
        });
        let mut taken = Ok(());
        let ran = self.scans.run(jobs.collect(), scans_at_once, stop, &mut |frame| match out(
            writer.frame(frame.scan, frame.rows, frame.body)
        ) {
            Ok(()) => Ok(()),
            Err(error) => {
                let told = io::Error::new(error.kind(), error.to_string());
                taken = Err(error);
                Err(told)
            }
        });
        let (outcome, scans, last) = conclude(ran, scans_count);
        if let Some(frame) = last {
            writer.last_frame(frame.scan, frame.rows, frame.body);
        }
        let handed = taken.and_then(|()| out(writer.finish(outcome, scans, limits, Some(self.facts()), self.now())));
        begun.release();
        handed
    }

    /// Notes that the answer to an action is where it belongs: it has run, and is not begun again.
    pub fn answered(&self, hash: ActionHash) {
        // Where this fails the action counts as interrupted from now on, which only refuses.
        let _ = self.journal.end(Run::of(hash), self.now());
    }

    /// The last word of an action whose answer was lost before it was handed over.
    pub fn lost(&self, hash: ActionHash, error: &io::Error, now: Timestamp) -> Part {
        let reason = format!("the answer could not be kept until the server had it: {}", error.kind());
        let outcome = Outcome::failed(Code::Storage, bounded(reason));
        self.writer(hash).finish(outcome, Vec::new(), Limits::default(), Some(self.facts()), now)
    }

    /// The answer to an action that is not even looked at.
    pub fn refuse(&self, hash: ActionHash, reason: Reason, now: Timestamp) -> Part {
        self.writer(hash).finish(Outcome::Refused(reason), Vec::new(), Limits::default(), None, now)
    }

    /// Guards, scans and answers at once: hands each signed part to `out`, as [`Agent::run`] does, and notes the end.
    ///
    /// An envelope that cannot be parsed is answered under the hash of its own bytes: it has no action's.
    pub fn handle(&self, envelope: &[u8], stop: &AtomicBool, out: &mut dyn FnMut(Part) -> io::Result<()>) {
        self.handle_at(envelope, stop, out, self.now());
    }

    /// As [`Agent::handle`], by a clock that is passed in.
    pub fn handle_at(
        &self,
        envelope: &[u8],
        stop: &AtomicBool,
        out: &mut dyn FnMut(Part) -> io::Result<()>,
        now: Timestamp,
    ) {
        let admitted = match Envelope::parse(envelope) {
            Ok(envelope) => self.admit(&envelope, None, now),
            Err(error) => Err(self.refusal(ActionHash::of(envelope), &Refusal::Size(error), now)),
        };
        // Whoever does not take it has nothing more to be told.
        match admitted {
            Ok(admitted) => {
                let hash = admitted.hash;
                if self.run(admitted, stop, out).is_ok() {
                    self.answered(hash);
                }
            }
            Err(refusal) => drop(out(refusal)),
        }
    }

    /// Whether the policy speaks of another fleet than the one that the agent was opened for.
    fn has_other_fleet(&self, policy: &Policy) -> bool {
        match (&self.fleet_named, &policy.fleet) {
            (Some(was), is) => was != is,
            (None, is) => is.as_ref().is_some_and(|is| *is != self.fleet),
        }
    }

    fn writer(&self, hash: ActionHash) -> Writer<'_> {
        Writer::new(self.identity.key(), self.fleet.clone(), hash, self.nonce(hash))
    }

    fn refusal(&self, hash: ActionHash, refusal: &Refusal, now: Timestamp) -> Part {
        let (outcome, facts) = match refusal {
            Refusal::Journal(JournalRefusal::Interrupted) => (Outcome::Interrupted, Some(self.facts())),
            refusal => (Outcome::refused(refusal.code(), bounded(self.words(refusal))), None),
        };
        self.writer(hash).finish(outcome, Vec::new(), Limits::default(), facts, now)
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
            Refusal::Journal(JournalRefusal::Unwritable(reason)) if !self.is_heard_here() => {
                tracing::error!(reason, "the journal cannot be kept, and actions are refused");
                "the journal cannot be kept".into()
            }
            // One reason for all: who asks must not learn whose certificates are in the keyring.
            Refusal::Signatures { .. } if !self.is_heard_here() => {
                tracing::info!(reason = refusal.to_string(), "an action is refused");
                NO_SIGNATURE.into()
            }
            refusal => refusal.to_string(),
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
