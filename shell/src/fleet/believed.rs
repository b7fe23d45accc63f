//! Who is in the fleet, in agents' own signed words: what an agent says of itself is verified once, and the server is asked
//! only for what is new.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use canvass_planner::fleet::Standing;
use canvass_protocol::api::{Inventory, Listed};
use canvass_protocol::envelope::Envelope;
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::limits;
use canvass_protocol::login::Approval;
use canvass_protocol::signed::SignedError;
use canvass_protocol::target::{Facts, ServerWords};
use jiff::Timestamp;

use crate::key::Certificates;

/// A server's mark is three numbers.
const MARK_BYTES_MAX: usize = 128;

/// The agents whose own word verified, with the server's words of them.
pub struct Believed {
    fleet: String,
    certificates: Certificates,
    /// By id.
    agents: HashMap<String, Agent>,
    mark: Option<String>,
}

/// An agent that is believed.
#[derive(Debug, Clone)]
pub struct Agent {
    pub facts: Arc<Facts>,
    pub words: ServerWords,
    pub standing: Standing,
    /// When it was certified under its name, where it was.
    pub certified_at: Option<Timestamp>,
    /// What was verified then.
    approval: Option<Envelope>,
}

impl Believed {
    /// Believes approvals that are signed with these certificates.
    pub fn new(fleet: String, certificates: Certificates) -> Believed {
        Believed { fleet, certificates, agents: HashMap::new(), mark: None }
    }

    /// Since when the server is asked what is new; `None` before it has said anything.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }

    /// Takes over what the server lists; returns why some of it is not believed. Verifies on all cores.
    pub fn take(&mut self, inventory: Inventory) -> Vec<SignedError> {
        let Inventory { agents: listed, mark, since } = inventory;
        let opened = self.open(&listed);
        // What is not new since the last time is everybody.
        if since.is_none() || since != self.mark {
            self.agents.clear();
        }
        self.mark = mark.filter(|mark| is_mark(mark));
        let mut errors = Vec::new();
        for (Listed { heartbeat, .. }, opened) in listed.into_iter().zip(opened) {
            match opened {
                Ok(agent) => drop(self.agents.insert(agent.facts.id.clone(), agent)),
                Err(error) => {
                    // Nobody's older word stands in for one that is not believed.
                    if let Ok(Heartbeat { facts, .. }) = Heartbeat::read(&heartbeat) {
                        self.agents.remove(&facts.id);
                    }
                    errors.push(error);
                }
            }
        }
        if !errors.is_empty() {
            // Everybody is listed the next time, and it is said again for as long as it lasts.
            self.mark = None;
        }
        errors
    }

    fn open(&self, listed: &[Listed]) -> Vec<Result<Agent, SignedError>> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = listed.len().div_ceil(cores).max(1);
        let open = |part: &[Listed]| part.iter().map(|one| self.agent(one)).collect::<Vec<_>>();
        thread::scope(|scope| {
            let threads: Vec<_> = listed.chunks(share).map(|part| scope.spawn(move || open(part))).collect();
            threads.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    /// What an agent says of itself. Where that is what it was already believed to be, nothing is left to verify: a heartbeat
    /// is newer than the last one by the server's word alone.
    fn agent(&self, listed: &Listed) -> Result<Agent, SignedError> {
        let said = Heartbeat::read(&listed.heartbeat)?;
        let known = self.agents.get(&said.facts.id);
        let same = known.filter(|known| {
            *known.facts == said.facts && known.standing.policy_sha256.as_ref() == Some(&said.policy_sha256)
        });
        let (facts, policy_sha256) = match same {
            Some(known) => (known.facts.clone(), said.policy_sha256),
            None => {
                let Heartbeat { facts, policy_sha256, .. } = Heartbeat::open(&listed.heartbeat, &self.fleet)?;
                (facts.into(), policy_sha256)
            }
        };
        let (certified_by, certified_at) = match (same, &listed.approval) {
            (Some(known), approval) if known.approval == *approval => {
                (known.standing.certified_by.clone(), known.certified_at)
            }
            (_, Some(approval)) => self.certified(approval, &facts).unzip(),
            (_, None) => (None, None),
        };
        let standing = Standing { certified_by, policy_sha256: Some(policy_sha256) };
        Ok(Agent { facts, words: listed.words.clone(), standing, certified_at, approval: listed.approval.clone() })
    }

    /// Who certified an agent under the name that it has now, and when; nobody whom this desk does not know.
    fn certified(&self, approval: &Envelope, facts: &Facts) -> Option<(String, Timestamp)> {
        if approval.check_sizes().is_err() || approval.payload.len() > limits::WORD_BYTES_MAX {
            return None;
        }
        let signers = self.certificates.verify(approval.payload.as_bytes(), &approval.signatures);
        let (name, _) = signers.known.into_iter().next()?;
        let said = Approval::parse(approval.payload.as_bytes()).ok()?;
        let is_it = said.fleet == self.fleet && said.id == facts.id && said.name == facts.name;
        is_it.then_some((name, said.at))
    }
}

/// Whether a mark is one that can be sent back in an address.
fn is_mark(mark: &str) -> bool {
    mark.len() <= MARK_BYTES_MAX && mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use canvass_protocol::target::Status;
    use ed25519_dalek::SigningKey;
    use jiff::Timestamp;

    use super::*;
    use crate::config::Places;
    use crate::key::{Passphrases, Store};
    use crate::session::Signing;

    fn listed(seed: u8, name: &str) -> Listed {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let now = Timestamp::UNIX_EPOCH;
        let facts = Facts {
            os: "linux".into(),
            arch: "x86_64".into(),
            version: "0".into(),
            started_at: now,
            ..Facts::of(canvass_protocol::answer::agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap(), name)
        };
        let heartbeat = Heartbeat::sign(&key, "acme".into(), facts, String::new(), now);
        let words = ServerWords { status: Status::Online, heartbeat_at: now, public_ip: None };
        Listed { heartbeat, words, approval: None }
    }

    /// One that knows nobody's certificate.
    fn knows_nobody(fleet: &str) -> Believed {
        let nowhere = Places::below(std::path::Path::new("/nonexistent"));
        Believed::new(fleet.into(), Certificates::of(&Store::new(&nowhere)))
    }

    /// Has it take a listing; the names believed then, and how many were not.
    fn take(
        believed: &mut Believed,
        agents: Vec<Listed>,
        mark: &str,
        since: Option<&str>,
    ) -> (BTreeSet<String>, usize) {
        let (mark, since) = (Some(mark.to_owned()), since.map(str::to_owned));
        let errors = believed.take(Inventory { agents, mark, since }).len();
        (believed.agents().map(|agent| agent.facts.name.clone()).collect(), errors)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_new_is_added_to_what_is_known() {
        let mut believed = knows_nobody("acme");
        assert_eq!(believed.mark(), None);
        let all: Vec<Listed> = (1..=9).map(|seed| listed(seed, &format!("web-{seed}"))).collect();
        let (known, errors) = take(&mut believed, all, "one", None);
        assert_eq!((known.len(), errors, believed.mark()), (9, 0, Some("one")));
        let (known, _) = take(&mut believed, vec![listed(1, "db-1"), listed(10, "db-2")], "two", Some("one"));
        assert_eq!((known.len(), known.contains("web-1"), known.contains("db-1")), (10, false, true));
        let mut silent = listed(2, "web-2");
        silent.words.status = Status::Offline;
        take(&mut believed, vec![silent], "three", Some("two"));
        assert_eq!(believed.agents().filter(|agent| agent.words.status == Status::Offline).count(), 1);
        // A server that has begun anew, or another one, lists everybody; so does what is new since something else.
        assert_eq!(take(&mut believed, vec![listed(3, "web-3")], "0", None), (names(&["web-3"]), 0));
        assert_eq!(take(&mut believed, vec![listed(4, "web-4")], "1", Some("two")), (names(&["web-4"]), 0));
    }

    #[test]
    fn the_same_words_are_believed_once_verified() {
        let mut believed = knows_nobody("acme");
        let unsigned = |name: &str| {
            let mut listed = listed(1, name);
            listed.heartbeat.signature = "0".repeat(128);
            listed
        };
        assert_eq!(take(&mut believed, vec![unsigned("web-1")], "one", None), (names(&[]), 1));
        assert_eq!(take(&mut believed, vec![listed(1, "web-1")], "one", None), (names(&["web-1"]), 0));
        assert_eq!(take(&mut believed, vec![unsigned("web-1")], "two", Some("one")), (names(&["web-1"]), 0));
        assert_eq!(take(&mut believed, vec![unsigned("web-2")], "three", Some("two")), (names(&[]), 1));
    }

    #[test]
    fn what_does_not_verify_is_not_believed() {
        let mut believed = knows_nobody("acme");
        let mut forged = listed(1, "web-1");
        forged.heartbeat.statement = listed(2, "web-2").heartbeat.statement;
        let mut altered = listed(2, "web-2");
        altered.heartbeat.statement = altered.heartbeat.statement.replace("web-2", "web-9");
        assert_eq!(take(&mut believed, vec![forged, listed(3, "web-3"), altered], "one", None), (names(&["web-3"]), 2));
        assert_eq!(believed.mark(), None, "everybody is listed the next time");
        // Where an agent's word is new and not believed, its older one is not taken for it.
        take(&mut believed, vec![listed(3, "web-3"), listed(4, "web-4")], "two", None);
        let mut altered = listed(3, "web-3");
        altered.heartbeat.statement = altered.heartbeat.statement.replace("web-3", "web-9");
        assert_eq!(take(&mut believed, vec![altered], "three", Some("two")), (names(&["web-4"]), 1));
        take(&mut believed, Vec::new(), "1&since=2", None);
        assert_eq!(believed.mark(), None);
        assert_eq!(take(&mut knows_nobody("other"), vec![listed(3, "web-3")], "one", None), (names(&[]), 1));
    }

    /// An approval counts for the agent, the name and the fleet that it is of, by somebody whom the desk knows.
    #[test]
    fn who_is_certified_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        let store = Store::new(&places);
        for name in ["alice", "bob"] {
            store.make(name, None).unwrap();
        }
        let certificates = Certificates::of(&store);
        store.make("mallory", None).unwrap();
        let sign = |by: &str, approval: Approval| {
            let signing = Signing::new(Some(by.to_owned()), Store::new(&places), Passphrases::default(), false);
            signing.envelope(approval.to_bytes()).unwrap()
        };
        let mut believed = Believed::new("acme".into(), certificates);
        let agent = |approval| Listed { approval, ..listed(1, "web-1") };
        let id = Heartbeat::read(&agent(None).heartbeat).unwrap().facts.id;
        let at = Timestamp::from_second(1_800_000_000).unwrap();
        let approval = |fleet: &str, id: &str, name: &str| Approval::new(fleet.into(), id.into(), name.into(), at);
        let good = approval("acme", &id, "web-1");
        let mut altered = sign("alice", approval("acme", &id, "web-2"));
        altered.payload = String::from_utf8(good.to_bytes()).unwrap();
        for (envelope, by) in [
            (sign("alice", good.clone()), Some("alice")),
            (sign("bob", good.clone()), Some("bob")),
            (sign("mallory", good), None),
            (altered, None),
            (sign("alice", approval("acme", &id, "web-2")), None),
            (sign("alice", approval("other", &id, "web-1")), None),
            (sign("alice", approval("acme", &"0".repeat(64), "web-1")), None),
        ] {
            for round in ["as news", "as before"] {
                take(&mut believed, vec![agent(Some(envelope.clone()))], "one", None);
                let one = believed.agents().next().unwrap();
                let certified_at = by.map(|_| at);
                assert_eq!((one.standing.certified_by.as_deref(), one.certified_at), (by, certified_at), "{round}");
            }
        }
        take(&mut believed, vec![agent(None)], "one", None);
        assert_eq!(believed.agents().next().unwrap().standing.certified_by, None);
        // Under another name it is not the one that was certified.
        let renamed = Listed { approval: Some(sign("alice", approval("acme", &id, "web-1"))), ..listed(1, "web-9") };
        take(&mut believed, vec![renamed], "one", None);
        assert_eq!(believed.agents().next().unwrap().standing.certified_by, None);
    }

    #[test]
    fn the_digest_of_a_policy_is_the_agents_own_word() {
        let mut believed = knows_nobody("acme");
        take(&mut believed, vec![listed(1, "web-1")], "one", None);
        let digest = |believed: &Believed| believed.agents().next().unwrap().standing.policy_sha256.clone();
        assert_eq!(digest(&believed), Some(String::new()));
        let mut altered = listed(1, "web-1");
        let statement = altered.heartbeat.statement.replace("\"policy_sha256\":\"\"", "\"policy_sha256\":\"00\"");
        assert_ne!(statement, altered.heartbeat.statement);
        altered.heartbeat.statement = statement;
        assert_eq!(take(&mut believed, vec![altered], "two", Some("one")), (names(&[]), 1));
    }
}
