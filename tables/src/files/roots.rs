//! From what a filter says of `path` to what is walked: no row twice, no root within another walked again.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use canvass_protocol::filter::{Filter, Is};
use canvass_protocol::value::Value;

use crate::bound::{Root, is_under};

/// A search root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Start {
    pub path: String,
    /// What lies below it belongs to it.
    pub under: bool,
    /// Of the outermost root, 0.
    pub depth: i64,
}

/// Search roots in the order in which they are walked.
#[derive(Default)]
pub(super) struct Starts {
    /// Those that lie in no other.
    pub outer: Vec<Start>,
    /// Those that do: walked afterwards, as far as they were not reached (through a link, or on another file system).
    pub inner: Vec<Start>,
    /// Paths that no row is spelled as.
    pub odd: Vec<String>,
}

pub(super) fn starts(roots: Vec<Root>) -> Starts {
    let mut starts = Starts::default();
    let mut all: BTreeMap<String, bool> = BTreeMap::new();
    for root in roots {
        if is_normal(root.path()) {
            *all.entry(root.path().to_owned()).or_default() |= matches!(root, Root::Under(_));
        } else {
            starts.odd.push(root.path().to_owned());
        }
    }
    // With `/` before all else, a folder comes before what lies in it and after nothing that does not hold it.
    let mut all: Vec<(String, bool)> = all.into_iter().collect();
    all.sort_by_cached_key(|(path, _)| path.trim_end_matches('/').replace('/', "\0"));
    for (path, under) in all {
        match starts.outer.last() {
            Some(outer) if outer.under && is_under(&path, &outer.path) => {
                let depth = steps(&path) - steps(&outer.path);
                starts.inner.push(Start { path, under, depth });
            }
            _ => starts.outer.push(Start { path, under, depth: 0 }),
        }
    }
    starts
}

/// What walks from further out have met of the inner roots.
pub(super) struct Met {
    /// By path; the walk need not look where there are none.
    roots: Option<Mutex<BTreeMap<Vec<u8>, State>>>,
}

#[derive(Clone, Copy, Default)]
pub(super) struct State {
    /// Its own row was given.
    pub seen: bool,
    /// So was all that lies below it.
    pub entered: bool,
}

impl Met {
    pub fn new(inner: &[Start]) -> Met {
        let states = || inner.iter().map(|start| (start.path.clone().into_bytes(), State::default())).collect();
        Met { roots: (!inner.is_empty()).then(|| Mutex::new(states())) }
    }

    pub fn is_empty(&self) -> bool {
        self.roots.is_none()
    }

    /// Notes that a row was given.
    pub fn see(&self, path: &[u8]) {
        if let Some(state) = self.states().as_mut().and_then(|states| states.get_mut(path)) {
            state.seen = true;
        }
    }

    /// Notes that a folder was entered.
    pub fn enter(&self, path: &[u8]) {
        if let Some(state) = self.states().as_mut().and_then(|states| states.get_mut(path)) {
            state.entered = true;
        }
    }

    pub fn state(&self, path: &str) -> State {
        self.states().and_then(|states| states.get(path.as_bytes()).copied()).unwrap_or_default()
    }

    fn states(&self) -> Option<MutexGuard<'_, BTreeMap<Vec<u8>, State>>> {
        self.roots.as_ref().map(|roots| roots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether a path is spelled as rows are.
fn is_normal(path: &str) -> bool {
    let mut parts = path.split('/');
    path == "/" || (parts.next() == Some("") && parts.all(|part| !matches!(part, "" | "." | "..")))
}

/// Folders between `/` and a normal path.
fn steps(path: &str) -> i64 {
    i64::try_from(path.split('/').filter(|part| !part.is_empty()).count()).unwrap_or(i64::MAX)
}

/// The greatest depth that can pass; `None` where there is no such limit.
pub(super) fn depth_max(filter: &Filter) -> Option<i64> {
    match filter {
        Filter::All(parts) => parts.iter().filter_map(depth_max).min(),
        Filter::Any(parts) => {
            let all = parts.iter().map(depth_max).collect::<Option<Vec<_>>>()?;
            Some(all.into_iter().max().unwrap_or(-1))
        }
        Filter::Test(test) if test.column == "depth" => match &test.is {
            Is::Equal(Value::Integer(depth)) | Is::LessOrEqual(Value::Integer(depth)) => Some(*depth),
            Is::Less(Value::Integer(depth)) => Some(depth.saturating_sub(1)),
            _ => None,
        },
        Filter::Not(_) | Filter::Test(_) => None,
    }
}
