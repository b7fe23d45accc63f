//! Control groups: what a scan holds in memory as the kernel counts it, files that it read included, where the agent was given
//! a group to divide (cgroup v2; `Delegate=memory` in its systemd unit).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// What systemd marks a group with that it hands over: as it says so to everybody, and to root.
const DELEGATED: &[&str] = &["user.delegate", "trusted.delegate"];
/// The group of the agent itself: one that is divided holds no processes.
const OWN: &str = "agent";
const SCAN: &str = "scan-";

/// This process's group; a process has one.
static GROUPS: OnceLock<Option<Groups>> = OnceLock::new();

/// A group that is divided among scans.
#[derive(Debug)]
struct Groups {
    folder: PathBuf,
    made: AtomicU64,
}

/// One scan's group, which is removed when this is dropped.
#[derive(Debug)]
pub struct Group(PathBuf);

/// Divides the group that this process was given from now on; false where it was given none, or none whose memory is bounded.
pub fn divide() -> io::Result<bool> {
    let own = match own_folder() {
        Some(folder) => Groups::divide(&folder)?,
        None => None,
    };
    Ok(GROUPS.get_or_init(|| own).is_some())
}

/// A group for a scan that may hold so many bytes; `None` where there are none.
pub fn of_scan(memory_bytes: u64) -> Option<Group> {
    let groups = GROUPS.get()?.as_ref()?;
    let made = groups.make(memory_bytes);
    made.inspect_err(|error| tracing::warn!(%error, "a scan goes without a control group")).ok()
}

/// Where this process's group is mounted.
fn own_folder() -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mounted = mounts.lines().find(|line| line.contains(" - cgroup2 "))?.split_ascii_whitespace().nth(4)?;
    Some(Path::new(mounted).join(own))
}

impl Groups {
    fn divide(folder: &Path) -> io::Result<Option<Groups>> {
        let controllers = fs::read_to_string(folder.join("cgroup.controllers"))?;
        if !is_delegated(folder) || !controllers.split_ascii_whitespace().any(|name| name == "memory") {
            return Ok(None);
        }
        for entry in fs::read_dir(folder)?.flatten() {
            // Of a run that ended before its scans did; one that still has processes stays.
            if entry.file_name().to_string_lossy().starts_with(SCAN) {
                let _ = fs::remove_dir(entry.path());
            }
        }
        let own = folder.join(OWN);
        if !own.exists() {
            fs::create_dir(&own)?;
        }
        fs::write(own.join("cgroup.procs"), std::process::id().to_string())?;
        fs::write(folder.join("cgroup.subtree_control"), "+memory")?;
        Ok(Some(Groups { folder: folder.to_owned(), made: AtomicU64::new(0) }))
    }

    fn make(&self, memory_bytes: u64) -> io::Result<Group> {
        let folder = self.folder.join(format!("{SCAN}{}", self.made.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&folder)?;
        let group = Group(folder);
        fs::write(group.0.join("memory.max"), memory_bytes.to_string())?;
        // Not every kernel swaps, or counts it.
        let _ = fs::write(group.0.join("memory.swap.max"), "0");
        Ok(group)
    }
}

impl Group {
    /// Takes in a process that has just been started.
    pub fn take(&self, process: u32) -> io::Result<()> {
        fs::write(self.0.join("cgroup.procs"), process.to_string())
    }

    /// Whether the kernel ended a process of it for want of memory.
    pub fn ran_out_of_memory(&self) -> bool {
        let events = fs::read_to_string(self.0.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count.trim() != "0"))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Where a process cannot be ended, its group stays for the next start of the agent.
        let _ = fs::remove_dir(&self.0);
    }
}

fn is_delegated(folder: &Path) -> bool {
    let mut value = [0; 8];
    DELEGATED.iter().any(|name| {
        let read = rustix::fs::getxattr(folder, *name, &mut value);
        read.is_ok_and(|length| value[..length].starts_with(b"1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like a control group; it is none, so nothing is bounded by it.
    fn group(controllers: &str, delegated: bool) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cgroup.controllers"), controllers).unwrap();
        if delegated {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(folder.path(), "user.delegate", b"1", flags).unwrap();
        }
        folder
    }

    #[test]
    fn only_what_was_handed_over_is_divided() {
        for (controllers, delegated, divided) in
            [("cpu memory pids\n", true, true), ("cpu memory pids\n", false, false), ("cpu pids\n", true, false)]
        {
            let folder = group(controllers, delegated);
            let groups = Groups::divide(folder.path()).unwrap();
            assert_eq!(groups.is_some(), divided, "{controllers} {delegated}");
            assert_eq!(folder.path().join(OWN).exists(), divided);
        }
    }

    #[test]
    fn a_scan_s_group_has_its_memory_and_its_process() {
        let folder = group("memory\n", true);
        let groups = Groups::divide(folder.path()).unwrap().unwrap();
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(read("agent/cgroup.procs"), std::process::id().to_string());
        assert_eq!(read("cgroup.subtree_control"), "+memory");
        let (first, second) = (groups.make(1 << 20).unwrap(), groups.make(2 << 20).unwrap());
        second.take(42).unwrap();
        assert_eq!((read("scan-0/memory.max"), read("scan-1/memory.max")), ("1048576".into(), "2097152".into()));
        assert_eq!(read("scan-1/cgroup.procs"), "42");
        assert!(!second.ran_out_of_memory());
        for (events, ran_out) in [("oom 1\noom_kill 0\n", false), ("oom 1\noom_kill 1\n", true)] {
            fs::write(folder.path().join("scan-1/memory.events"), events).unwrap();
            assert_eq!(second.ran_out_of_memory(), ran_out, "{events}");
        }
        drop((first, second));
    }
}
