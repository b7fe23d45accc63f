//! What this desk has seen before: which fleet is behind a server's address, and which agent has a name.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use canvass_planner::error::Error;
use canvass_protocol::limits;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::config::{private_folder, write_whole};
use crate::error::unusable;

/// Hundreds of thousands of agents fit.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Agents that are remembered, of all fleets: with the longest names that there are the file is as long as it may be.
const AGENTS_MAX: usize = 100_000;

// A letter of a name may need six in JSON; around it are its id and a dozen more.
const _: () = assert!(AGENTS_MAX as u64 * (6 * limits::HOST_NAME_BYTES_MAX as u64 + 100) < FILE_BYTES_MAX);

/// An agent as it is listed now.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    pub name: &'a str,
    pub id: &'a str,
    /// When it was certified under this name, where it was.
    pub certified_at: Option<Timestamp>,
}

/// The pins of one user.
pub struct Pins {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Fleet by server's address.
    #[serde(default)]
    servers: BTreeMap<String, String>,
    /// Agent's id by fleet and name.
    #[serde(default)]
    agents: BTreeMap<String, BTreeMap<String, String>>,
}

impl Pins {
    pub fn open(path: PathBuf) -> Result<Pins, Error> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        let known = match std::fs::File::open(&path) {
            Ok(file) => {
                file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(|error| unusable(&path, &error))?;
                serde_json::from_slice(&bytes)
                    .map_err(|error| Error::usage(format!("`{}` is damaged: {error}", path.display())))?
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(unusable(&path, &error)),
        };
        Ok(Pins { path, known: Mutex::new(known) })
    }

    /// Notes which fleet a server is for, and refuses another one than before.
    pub fn check_server(&self, server: &str, fleet: &str) -> Result<(), Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.servers.get(server) {
            Some(pinned) if pinned == fleet => Ok(()),
            Some(pinned) => Err(Error::unreachable(format!(
                "`{server}` was the server of fleet `{pinned}` and now says that it is of `{fleet}`"
            ))
            .hint(format!("if that has changed, remove its line from `{}`", self.path.display()))),
            None => {
                known.servers.insert(server.to_owned(), fleet.to_owned());
                self.write(&known)
            }
        }
    }

    /// The names under which agents are shown, and how many of them this desk cannot remember any more. Whoever had a name first
    /// keeps it, and others are told apart by their id; but whom an administrator certified under a name has it before all who
    /// are not. Nobody has two: whoever calls itself something else now gives its former name up.
    pub fn names(&self, fleet: &str, claims: &[Claim<'_>]) -> Result<(Vec<String>, usize), Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = AGENTS_MAX.saturating_sub(known.agents.values().map(BTreeMap::len).sum());
        let pinned = known.agents.entry(fleet.to_owned()).or_default();
        let before = pinned.clone();
        let called: HashMap<&str, &str> = claims.iter().map(|claim| (claim.id, claim.name)).collect();
        pinned.retain(|name, id| called.get(id.as_str()).is_none_or(|called| *called == name.as_str()));
        let mut claimants: BTreeMap<&str, Vec<&Claim<'_>>> = BTreeMap::new();
        claims.iter().for_each(|claim| claimants.entry(claim.name).or_default().push(claim));
        for (name, claimants) in claimants {
            let owner = pinned.get(name).map(String::as_str);
            let next = owner_of(owner, &claimants).filter(|next| Some(*next) != owner).map(str::to_owned);
            let is_new = owner.is_none();
            let Some(next) = next.filter(|_| !is_new || room > 0) else { continue };
            room -= usize::from(is_new);
            pinned.insert(name.to_owned(), next);
        }
        let names =
            claims.iter().map(|claim| shown(claim.name, claim.id, pinned.get(claim.name).map_or("", String::as_str)));
        let names: Vec<String> = names.collect();
        let unknown = claims.iter().filter(|claim| !pinned.contains_key(claim.name)).count();
        let forgotten = if room == 0 { unknown } else { 0 };
        if *pinned != before {
            self.write(&known)?;
        }
        Ok((names, forgotten))
    }

    /// Agents that have a name here and are not among those that the server lists: name and id of each.
    pub fn missing(&self, fleet: &str, listed: &HashSet<&str>) -> Vec<(String, String)> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let pinned = known.agents.get(fleet).into_iter().flatten();
        let missing = pinned.filter(|(_, id)| !listed.contains(id.as_str()));
        missing.map(|(name, id)| (name.clone(), id.clone())).collect()
    }

    /// Forgets an agent; whether it was known.
    pub fn forget(&self, fleet: &str, id: &str) -> Result<bool, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pinned) = known.agents.get_mut(fleet) else { return Ok(false) };
        let before = pinned.len();
        pinned.retain(|_, pinned| pinned != id);
        let was_known = pinned.len() < before;
        if was_known {
            self.write(&known)?;
        }
        Ok(was_known)
    }

    /// As [`Pins::names`], of one agent under a name that it had before, which it does not get a claim to by that.
    pub fn name(&self, fleet: &str, name: &str, id: &str) -> String {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = known.agents.get(fleet).and_then(|pinned| pinned.get(name));
        shown(name, id, owner.map_or(id, String::as_str))
    }

    fn write(&self, known: &Known) -> Result<(), Error> {
        let bytes = serde_json::to_vec_pretty(known).map_err(|error| Error::internal(error.to_string()))?;
        let folder = self.path.parent().unwrap_or(&self.path);
        private_folder(folder)
            .and_then(|()| write_whole(&self.path, &bytes, 0o600))
            .map_err(|error| unusable(&self.path, &error))
    }
}

/// Who of these has a name from now on. Where several are new and nobody says which of them it is, none of them has it; and
/// whoever had it and is not listed any more keeps it, but from one who is certified: else a server could put another into its
/// place.
fn owner_of<'a>(owner: Option<&'a str>, claimants: &[&Claim<'a>]) -> Option<&'a str> {
    let certified = claimants.iter().filter_map(|claim| Some((claim.certified_at?, claim.id)));
    let first = certified.clone().min().map(|(_, id)| id);
    match owner {
        Some(owner) if first.is_none() || certified.clone().any(|(_, id)| id == owner) => Some(owner),
        Some(_) => first,
        None => first.or(match claimants {
            [only] => Some(only.id),
            _ => None,
        }),
    }
}

fn shown(name: &str, id: &str, owner: &str) -> String {
    if owner == id { name.to_owned() } else { format!("{name}#{}", id.get(..8).unwrap_or(id)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Agents by their names, the first letter of their ids, and when they were certified.
    type Listed<'a> = &'a [(&'a str, &'a str, Option<i64>)];

    /// One listing after the other, and how those listed are shown.
    type Story<'a> = &'a [(Listed<'a>, &'a [&'a str])];

    fn names(pins: &Pins, listed: Listed<'_>) -> Vec<String> {
        let ids: Vec<String> = listed.iter().map(|(_, id, _)| id.repeat(64)).collect();
        let claims: Vec<Claim<'_>> = listed
            .iter()
            .zip(&ids)
            .map(|((name, _, at), id)| Claim {
                name,
                id,
                certified_at: at.map(|at| Timestamp::from_second(at).unwrap()),
            })
            .collect();
        pins.names("acme", &claims).unwrap().0
    }

    #[test]
    fn names_belong_to_who_had_them_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/pins.json");
        let pins = Pins::open(path.clone()).unwrap();
        assert_eq!(names(&pins, &[("web-1", "b", None)]), ["web-1"]);
        let pins = Pins::open(path.clone()).unwrap();
        let both = [("web-1", "a", None), ("web-1", "b", None)];
        assert_eq!(names(&pins, &both), ["web-1#aaaaaaaa", "web-1"]);
        let other = "a".repeat(64);
        let claim = Claim { name: "web-1", id: &other, certified_at: None };
        assert_eq!(pins.names("other", &[claim]).unwrap().0, ["web-1"]);
        let name = |name: &str, id: &str| pins.name("acme", name, &id.repeat(64));
        assert_eq!(
            [name("web-1", "b"), name("web-1", "a"), name("db-1", "a"), name("db-1", "b")],
            ["web-1", "web-1#aaaaaaaa", "db-1", "db-1"]
        );
        pins.check_server("https://s", "acme").unwrap();
        let again = Pins::open(path).unwrap();
        again.check_server("https://s", "acme").unwrap();
        let error = again.check_server("https://s", "evil").unwrap_err();
        assert!(error.message.contains("was the server of fleet `acme`"), "{error}");
    }

    /// What is listed one after the other, and who is shown how.
    #[test]
    fn nobody_has_two_names_and_who_is_certified_comes_first() {
        let stories: &[Story<'_>] = &[
            // Whoever takes one name after the other has but the last of them.
            &[
                (&[("db-1", "a", None)], &["db-1"]),
                (&[("db-2", "a", None)], &["db-2"]),
                (&[("db-2", "a", None), ("db-1", "b", None)], &["db-2", "db-1"]),
                (&[("db-1", "a", None), ("db-1", "b", None)], &["db-1#aaaaaaaa", "db-1"]),
            ],
            // Of two that are new neither is the one, whatever they say of when they started.
            &[
                (&[("db-1", "a", None), ("db-1", "b", None)], &["db-1#aaaaaaaa", "db-1#bbbbbbbb"]),
                (&[("db-1", "a", None), ("db-1", "b", Some(2))], &["db-1#aaaaaaaa", "db-1"]),
                (&[("db-1", "a", Some(1)), ("db-1", "b", Some(2))], &["db-1#aaaaaaaa", "db-1"]),
            ],
            &[(&[("db-1", "a", Some(2)), ("db-1", "b", Some(1))], &["db-1#aaaaaaaa", "db-1"])],
            // A second one is accepted by a certificate.
            &[
                (&[("db-1", "a", None)], &["db-1"]),
                (&[("db-1", "a", None), ("db-1", "b", Some(1))], &["db-1#aaaaaaaa", "db-1"]),
            ],
            // Another in the place of one that is not listed any more is not taken for it.
            &[
                (&[("db-1", "a", Some(1))], &["db-1"]),
                (&[("db-1", "b", None)], &["db-1#bbbbbbbb"]),
                (&[("db-1", "b", Some(2))], &["db-1"]),
            ],
        ];
        for story in stories {
            let folder = tempfile::tempdir().unwrap();
            let pins = Pins::open(folder.path().join("pins.json")).unwrap();
            for (listed, expected) in *story {
                assert_eq!(names(&pins, listed), *expected, "{listed:?} of {story:?}");
            }
        }
    }

    #[test]
    fn who_is_not_listed_any_more_is_missing_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let pins = Pins::open(folder.path().join("pins.json")).unwrap();
        names(&pins, &[("web-1", "a", None), ("db-1", "b", None)]);
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        assert!(pins.missing("acme", &HashSet::from([a.as_str(), b.as_str()])).is_empty());
        assert_eq!(pins.missing("acme", &HashSet::from([a.as_str()])), [("db-1".to_owned(), b.clone())]);
        assert!(pins.missing("other", &HashSet::new()).is_empty());
        assert!(pins.forget("acme", &b).unwrap() && !pins.forget("acme", &b).unwrap());
        assert!(pins.missing("acme", &HashSet::from([a.as_str()])).is_empty());
    }

    /// A server that invents agents does not make the file so long that it cannot be read.
    #[test]
    fn the_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pins.json");
        let pins = Pins::open(path.clone()).unwrap();
        let names: Vec<String> = (0..AGENTS_MAX + 7).map(|number| format!("{number:x>255}")).collect();
        let ids: Vec<String> = (0..AGENTS_MAX + 7).map(|number| format!("{number:064x}")).collect();
        let claims: Vec<Claim<'_>> =
            names.iter().zip(&ids).map(|(name, id)| Claim { name, id, certified_at: None }).collect();
        let (shown, forgotten) = pins.names("acme", &claims).unwrap();
        let with_id = shown.iter().filter(|name| name.contains('#')).count();
        assert_eq!((forgotten, with_id), (7, 7));
        assert!(std::fs::metadata(&path).unwrap().len() < FILE_BYTES_MAX);
        Pins::open(path).unwrap();
    }
}
