//! Which processes hold which sockets, as their descriptors tell.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::rc::Rc;

use super::sockets::Socket;
use crate::engine::Collector;
use crate::host::{Host, Listing, READ_FLAGS};
use crate::processes::{container, proc, program};

/// What is told of a process that holds a socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Holder {
    pub(super) name: Option<String>,
    pub(super) path: Option<String>,
    pub(super) container: Option<String>,
}

/// Which columns of [`Holder`] are wanted; each costs a look at each process that holds one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wanted {
    pub name: bool,
    pub path: bool,
    pub container: bool,
}

/// Descriptors of sockets that are kept, in sixteen bytes each.
const HELD_MAX: usize = 1_000_000;

/// The processes that hold sockets.
#[derive(Default)]
pub(super) struct Holders {
    /// Inodes and processes, ascending.
    held: Vec<(u64, u32)>,
    /// How many processes may not be looked at.
    unseen: usize,
    wanted: Wanted,
    known: BTreeMap<u32, Rc<Holder>>,
    /// Whether some socket that somebody has to hold is held by nobody who was seen.
    lacking: bool,
}

impl Holders {
    /// Looks at the descriptors of these processes, each once.
    pub(super) fn find(
        collector: &mut Collector<'_, Socket>,
        pids: &[u32],
        wanted: Wanted,
    ) -> ControlFlow<(), Holders> {
        let host = collector.host;
        let mut holders = Holders { wanted, ..Holders::default() };
        let mut listing = Listing::default();
        for pid in pids {
            collector.go_on()?;
            if holders.look(host, *pid, &mut listing).is_err() {
                holders.unseen += 1;
            }
            if holders.held.len() >= HELD_MAX {
                let reason = format!("more than {HELD_MAX} descriptors of sockets, so some sockets show no pid");
                collector.trouble(Some("/proc"), reason);
                break;
            }
        }
        holders.held.sort_unstable();
        // A process may hold a socket by several descriptors.
        holders.held.dedup();
        ControlFlow::Continue(holders)
    }

    /// Notes the sockets that a process holds; an error where it may not be looked at.
    fn look(&mut self, host: &Host, pid: u32, listing: &mut Listing) -> Result<(), ()> {
        let folder = match host.open_path(&proc::path_of(pid, "fd"), READ_FLAGS | rustix::fs::OFlags::DIRECTORY) {
            Ok(folder) => folder,
            Err(error) if proc::gone(&error) => return Ok(()),
            Err(_) => return Err(()),
        };
        let mut target = [MaybeUninit::uninit(); TARGET_BYTES];
        let listed = host.for_each_entry(&folder, listing, &mut |name, _| {
            if let Ok((target, _)) = rustix::fs::readlinkat_raw(&folder, name, &mut target)
                && let Some(inode) = inode(target)
            {
                self.held.push((inode, pid));
            }
            if self.held.len() < HELD_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        match listed {
            Err(error) if !proc::gone(&error) => Err(()),
            _ => Ok(()),
        }
    }

    /// Writes into a socket who holds it.
    pub(super) fn fill(&mut self, host: &Host, socket: &mut Socket) {
        let Some(inode) = socket.inode else { return };
        let start = self.held.partition_point(|(held, _)| *held < inode);
        let of_it = self.held.iter().skip(start).take_while(|(held, _)| *held == inode);
        socket.pids = of_it.map(|(_, pid)| *pid).collect();
        self.lacking |= socket.pids.is_empty();
        if let Some(&pid) = socket.pids.first() {
            let wanted = self.wanted;
            let holder = self.known.entry(pid).or_insert_with(|| Rc::new(holder(host, pid, wanted)));
            socket.holder = Some(Rc::clone(holder));
        }
    }

    /// What kept some sockets from showing who holds them.
    pub(super) fn trouble(&self) -> Option<String> {
        let unseen = self.unseen;
        (unseen > 0 && self.lacking)
            .then(|| format!("the descriptors of {unseen} processes cannot be read, so some sockets show no pid"))
    }
}

/// `socket:[` and a number; what is longer is something else.
const TARGET_BYTES: usize = 40;

fn inode(target: &[u8]) -> Option<u64> {
    let digits = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    let is_number = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| std::str::from_utf8(digits).ok()?.parse().ok())?
}

/// What is known of a process; one that ended meanwhile is known by its number alone.
fn holder(host: &Host, pid: u32, wanted: Wanted) -> Holder {
    let name = || proc::stat(host, pid).ok().flatten().map(|stat| stat.comm);
    let path = || program::path(host, pid).ok().flatten().map(|(path, _)| path);
    let cgroup = || proc::text(host, pid, "cgroup").ok().flatten();
    Holder {
        name: wanted.name.then(name).flatten(),
        path: wanted.path.then(path).flatten(),
        container: wanted.container.then(cgroup).flatten().and_then(|text| container::id(&text)),
    }
}

/// The network namespace of a process, or of `self`; an error where it may not be looked at.
pub(super) fn net_namespace(host: &Host, process: &str) -> Result<Option<u64>, ()> {
    let link = format!("/proc/{process}/ns/net");
    match host.read_link(link.as_ref()) {
        Ok(target) => {
            Ok(target.to_str().and_then(|target| target.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()))
        }
        Err(error) if proc::gone(&error) => Ok(None),
        Err(_) => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::inode;

    #[test]
    fn targets_of_descriptors() {
        assert_eq!(inode(b"socket:[18001]"), Some(18001));
        let odd =
            ["", "socket:[]", "socket:[+1]", "socket:[1", "pipe:[1]", "/socket:[1]", "socket:[99999999999999999999]"];
        odd.into_iter().for_each(|target| assert_eq!(inode(target.as_bytes()), None, "{target}"));
    }
}
