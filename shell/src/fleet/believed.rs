//! Who is in the fleet, in agents' own signed words: what an agent says of itself is verified once, and the server is asked
//! only for what is new.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

use canvass_protocol::api::{Inventory, Listed};
use canvass_protocol::heartbeat::Heartbeat;
use canvass_protocol::signed::{Signed, SignedError};
use canvass_protocol::target::{Facts, ServerWords};

/// A server's mark is three numbers.
const MARK_BYTES_MAX: usize = 128;

/// The agents whose own word verified, with the server's words of them.
pub struct Believed {
    fleet: String,
    /// By id.
    agents: HashMap<String, (Arc<Facts>, ServerWords)>,
    mark: Option<String>,
}

impl Believed {
    pub fn new(fleet: String) -> Believed {
        Believed { fleet, agents: HashMap::new(), mark: None }
    }

    /// Since when the server is asked what is new; `None` before it has said anything.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    pub fn agents(&self) -> impl Iterator<Item = &(Arc<Facts>, ServerWords)> {
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
        for (Listed { words, heartbeat }, opened) in listed.into_iter().zip(opened) {
            match opened {
                Ok(facts) => drop(self.agents.insert(facts.id.clone(), (facts, words))),
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

    fn open(&self, listed: &[Listed]) -> Vec<Result<Arc<Facts>, SignedError>> {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let share = listed.len().div_ceil(cores).max(1);
        let open = |part: &[Listed]| part.iter().map(|one| self.facts(&one.heartbeat)).collect::<Vec<_>>();
        thread::scope(|scope| {
            let threads: Vec<_> = listed.chunks(share).map(|part| scope.spawn(move || open(part))).collect();
            threads.into_iter().flat_map(|one| one.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        })
    }

    /// What an agent says of itself. Where that is what it was already believed to be, nothing is left to verify: a heartbeat
    /// is newer than the last one by the server's word alone.
    fn facts(&self, heartbeat: &Signed) -> Result<Arc<Facts>, SignedError> {
        let said = Heartbeat::read(heartbeat)?;
        match self.agents.get(&said.facts.id) {
            Some((known, _)) if **known == said.facts => Ok(known.clone()),
            _ => Heartbeat::open(heartbeat, &self.fleet).map(|heartbeat| heartbeat.facts.into()),
        }
    }
}

/// Whether a mark is one that can be sent back in an address.
fn is_mark(mark: &str) -> bool {
    mark.len() <= MARK_BYTES_MAX && mark.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use canvass_protocol::members::Members;
    use canvass_protocol::target::{Mode, Status};
    use ed25519_dalek::SigningKey;
    use jiff::Timestamp;

    use super::*;

    fn listed(seed: u8, name: &str) -> Listed {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let now = Timestamp::UNIX_EPOCH;
        let facts = Facts {
            id: canvass_protocol::answer::agent_id(&hex::encode(key.verifying_key().as_bytes())).unwrap(),
            name: name.into(),
            mode: Mode::Daemon,
            os: "linux".into(),
            arch: "x86_64".into(),
            os_version: None,
            kernel: None,
            version: "0".into(),
            tags: BTreeMap::new(),
            addresses: vec![],
            features: Vec::new(),
            started_at: now,
            more: Members::default(),
        };
        let heartbeat = Heartbeat::sign(&key, "acme".into(), facts, String::new(), now);
        Listed { heartbeat, words: ServerWords { status: Status::Online, heartbeat_at: now, public_ip: None } }
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
        (believed.agents().map(|(facts, _)| facts.name.clone()).collect(), errors)
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn what_is_new_is_added_to_what_is_known() {
        let mut believed = Believed::new("acme".into());
        assert_eq!(believed.mark(), None);
        let all: Vec<Listed> = (1..=9).map(|seed| listed(seed, &format!("web-{seed}"))).collect();
        let (known, errors) = take(&mut believed, all, "one", None);
        assert_eq!((known.len(), errors, believed.mark()), (9, 0, Some("one")));
        let (known, _) = take(&mut believed, vec![listed(1, "db-1"), listed(10, "db-2")], "two", Some("one"));
        assert_eq!((known.len(), known.contains("web-1"), known.contains("db-1")), (10, false, true));
        let mut silent = listed(2, "web-2");
        silent.words.status = Status::Offline;
        take(&mut believed, vec![silent], "three", Some("two"));
        assert_eq!(believed.agents().filter(|(_, words)| words.status == Status::Offline).count(), 1);
        // A server that has begun anew, or another one, lists everybody; so does what is new since something else.
        assert_eq!(take(&mut believed, vec![listed(3, "web-3")], "0", None), (names(&["web-3"]), 0));
        assert_eq!(take(&mut believed, vec![listed(4, "web-4")], "1", Some("two")), (names(&["web-4"]), 0));
    }

    #[test]
    fn the_same_words_are_believed_once_verified() {
        let mut believed = Believed::new("acme".into());
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
        let mut believed = Believed::new("acme".into());
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
        assert_eq!(take(&mut Believed::new("other".into()), vec![listed(3, "web-3")], "one", None), (names(&[]), 1));
    }
}
