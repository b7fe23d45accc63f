//! What every scan's process gives up before it reads its job, and its limits once it has read it.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::RawFd;

use canvass_protocol::limits::Limits;
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use super::io_class;

/// Behind whatever the endpoint does for its user.
const NICENESS: i32 = 10;
/// What the program itself and the allocator's slack need beside the scan's own memory.
const MEMORY_BASE_BYTES: u64 = 64 << 20;
/// What one thread's stack and arena need, which count whether touched or not.
const MEMORY_THREAD_BYTES: u64 = 4 << 20;
/// Descriptors at once: a walk holds a few for each of its threads, and whoever has more leaks them.
const DESCRIPTORS_MAX: u64 = 1024;
/// How long after the scan's own CPU limit the kernel ends it, in seconds.
const CPU_GRACE_S: u64 = 2;

/// Gives up inherited descriptors, new privileges, core dumps, written files, many descriptors, life without the parent,
/// and its turn at disk and processor. Threads inherit all of it, so no thread is started before.
pub fn enter() -> io::Result<()> {
    close_inherited()?;
    rustix::thread::set_no_new_privs(true)?;
    end_with_parent()?;
    rustix::process::chdir("/")?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, 0, 0)?;
    limit(Resource::Nofile, DESCRIPTORS_MAX, DESCRIPTORS_MAX)?;
    io_class::idle()?;
    // It may be nicer already, and then stays so.
    if rustix::process::getpriority_process(None)? < NICENESS {
        rustix::process::setpriority_process(None, NICENESS)?;
    }
    Ok(())
}

/// Ends when the parent does. The kernel forgets it where a process becomes another user's.
pub fn end_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Takes on the limits of a scan on which so many threads work, as a backstop to the engine's own.
pub fn bound(limits: &Limits, threads: NonZeroUsize) -> io::Result<()> {
    let memory = memory_bytes(limits, threads);
    limit(Resource::Data, memory, memory)?;
    let cpu_s = (limits.cpu_ms / 1000).saturating_add(CPU_GRACE_S);
    limit(Resource::Cpu, cpu_s, cpu_s.saturating_add(1))
}

/// What a scan on which so many threads work may hold in memory.
pub fn memory_bytes(limits: &Limits, threads: NonZeroUsize) -> u64 {
    let threads_bytes = MEMORY_THREAD_BYTES.saturating_mul(threads.get() as u64);
    limits.memory_bytes.saturating_add(MEMORY_BASE_BYTES).saturating_add(threads_bytes)
}

/// Lowers a limit; never raises one that the system set lower.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let now = getrlimit(resource);
    let least = |wanted: u64, present: Option<u64>| Some(present.map_or(wanted, |present| present.min(wanted)));
    let maximum = least(hard, now.maximum);
    Ok(setrlimit(resource, Rlimit { current: least(soft, now.current), maximum })?)
}

fn close_inherited() -> io::Result<()> {
    let mut inherited: Vec<RawFd> = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        inherited.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    for descriptor in inherited.into_iter().filter(|descriptor| *descriptor > 2) {
        // The listing's own descriptor is among them and gone already.
        let _ = nix::unistd::close(descriptor);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_grows_with_the_threads_that_are_allowed() {
        let memory = |bytes, threads| {
            let limits = Limits { memory_bytes: bytes, ..Limits::default() };
            memory_bytes(&limits, NonZeroUsize::new(threads).unwrap())
        };
        assert_eq!(memory(10 << 20, 1), (10 + 64 + 4) << 20);
        assert_eq!(memory(10 << 20, 9) - memory(10 << 20, 1), 8 * (4 << 20));
        assert_eq!(memory(u64::MAX, usize::MAX), u64::MAX);
    }
}
