//! Which system calls a scan may make: what reading needs, and what its module asks for.
//!
//! Two filters, of which the kernel obeys the stricter. One ends the process at whatever is not listed. The other answers calls
//! that libraries try before they fall back to older ones as a kernel that has never heard of them would.

use std::collections::BTreeMap;
use std::io;

use canvass_tables::module::Need;
use libc::c_long;
use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen as Length, SeccompCmpOp as Op, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Lack;
use super::profile::Profile;

/// What has to hold of one argument, of which the lower 32 bits count.
#[derive(Clone, Copy)]
enum Argument {
    Is(u8, u64),
    /// Of these bits, only those are set.
    Bits(u8, u64, u64),
}

/// A call, and of what arguments it may be made: one of these cases, or any where there are none.
type Call = (c_long, Vec<Argument>);

/// What opens a file otherwise than to read it.
const WRITING: i32 = libc::O_ACCMODE | libc::O_CREAT | libc::O_TRUNC | libc::O_APPEND | TEMPORARY;
/// `O_TMPFILE` without the bit of `O_DIRECTORY` that is part of it.
const TEMPORARY: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
/// `PR_SET_VMA` and `PR_GET_AUXV`, which the C library's headers of some targets lack: an allocator names its memory, and the
/// program's own auxiliary vector is read.
const PR_SET_VMA: u64 = 0x5356_4d41;
const PR_GET_AUXV: u64 = 0x4155_5856;

/// Memory, threads, time and the process itself.
const PROCESS: &[c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
];

/// Reading, and writing to what is open for it: the answer alone is.
const READING: &[c_long] = &[
    libc::SYS_close,
    libc::SYS_fadvise64,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_read,
    libc::SYS_readahead,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Older forms of the same, which only this machine's kind has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[c_long] = &[
    libc::SYS_getdents,
    libc::SYS_getrlimit,
    libc::SYS_gettimeofday,
    libc::SYS_lstat,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_stat,
    libc::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[c_long] = &[];

/// What libraries try, and do without: answered as if the kernel had no such call.
const PROBED: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_close_range,
    libc::SYS_copy_file_range,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_ioctl,
    libc::SYS_membarrier,
    libc::SYS_openat2,
    libc::SYS_sendfile,
    libc::SYS_splice,
];

/// What speaks over a socket.
const SOCKET: &[c_long] = &[
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
];

/// Confines all threads of this process, those to come included, to what a scan of this profile needs.
pub fn install(profile: &Profile) -> io::Result<Option<Lack>> {
    let Ok(machine) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Some(Lack::seccomp("this kind of processor has no list of system calls here".into())));
    };
    let (allowed, probed) = (allowed(profile), probed(profile));
    let every = allowed.into_iter().chain(probed.iter().map(|call| (*call, Vec::new())));
    let strict = program(every, SeccompAction::KillProcess, SeccompAction::Allow, machine)?;
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let soft = program(probed.iter().map(|call| (*call, Vec::new())), SeccompAction::Allow, unknown, machine)?;
    // The strict one last: after it no filter can be set.
    for program in [soft, strict] {
        match apply_filter_all_threads(&program) {
            Ok(()) => {}
            Err(Error::Seccomp(error) | Error::Prctl(error)) if is_missing(&error) => {
                return Ok(Some(Lack::seccomp(format!("the kernel takes no filter of system calls: {error}"))));
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
    Ok(None)
}

/// Whether a kernel was built without filters.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

fn program(
    calls: impl Iterator<Item = Call>,
    otherwise: SeccompAction,
    listed: SeccompAction,
    machine: TargetArch,
) -> io::Result<BpfProgram> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for (call, cases) in calls {
        let cases = cases.into_iter().map(rule).collect::<io::Result<Vec<_>>>()?;
        rules.entry(call).or_default().extend(cases);
    }
    let filter = SeccompFilter::new(rules, otherwise, listed, machine).map_err(io::Error::other)?;
    filter.try_into().map_err(io::Error::other)
}

fn rule(argument: Argument) -> io::Result<SeccompRule> {
    let (place, op, value) = match argument {
        Argument::Is(place, value) => (place, Op::Eq, value),
        Argument::Bits(place, mask, value) => (place, Op::MaskedEq(mask), value),
    };
    let condition = SeccompCondition::new(place, Length::Dword, op, value).map_err(io::Error::other)?;
    SeccompRule::new(vec![condition]).map_err(io::Error::other)
}

fn allowed(profile: &Profile) -> Vec<Call> {
    let plain = [PROCESS, READING, OLDER].into_iter().flatten().map(|call| (*call, Vec::new()));
    let mut allowed: Vec<Call> = plain.chain(bounded()).collect();
    if profile.resolves_below() {
        allowed.push((libc::SYS_openat2, Vec::new()));
    }
    for need in profile.needs() {
        allowed.extend(of_need(*need));
    }
    allowed
}

fn probed(profile: &Profile) -> Vec<c_long> {
    let allowed = allowed(profile);
    PROBED.iter().copied().filter(|probed| !allowed.iter().any(|(call, _)| call == probed)).collect()
}

/// What is harmless with some arguments only.
fn bounded() -> Vec<Call> {
    let (writing, executable) = (bits(WRITING), bits(libc::PROT_EXEC));
    let own = std::process::id().into();
    let commands = [libc::F_DUPFD_CLOEXEC, libc::F_GETFD, libc::F_GETFL, libc::F_SETFD];
    vec![
        (libc::SYS_openat, vec![Argument::Bits(2, writing, 0)]),
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, vec![Argument::Bits(1, writing, 0)]),
        (libc::SYS_mmap, vec![Argument::Bits(2, executable, 0)]),
        (libc::SYS_mprotect, vec![Argument::Bits(2, executable, 0)]),
        // A thread of this process; a process of its own has not this flag.
        (libc::SYS_clone, vec![Argument::Bits(0, bits(libc::CLONE_THREAD), bits(libc::CLONE_THREAD))]),
        (libc::SYS_fcntl, commands.into_iter().map(|command| Argument::Is(1, bits(command))).collect()),
        (
            libc::SYS_prctl,
            vec![Argument::Is(0, bits(libc::PR_SET_NAME)), Argument::Is(0, PR_SET_VMA), Argument::Is(0, PR_GET_AUXV)],
        ),
        // Its own limits are read; with a third argument they are set, of whomever.
        (libc::SYS_prlimit64, vec![Argument::Is(2, 0)]),
        // How a process that gives up ends itself.
        (libc::SYS_tgkill, vec![Argument::Is(0, own)]),
    ]
}

fn of_need(need: Need) -> Vec<Call> {
    let speaking = SOCKET.iter().map(|call| (*call, Vec::new()));
    let socket = |family: i32| (libc::SYS_socket, vec![Argument::Is(0, bits(family))]);
    match need {
        Need::OtherProcesses => Vec::new(),
        Need::Icmp => speaking.collect(),
        Need::Netlink | Need::NetworkAdmin => {
            speaking.chain([socket(libc::AF_NETLINK), (libc::SYS_bind, Vec::new())]).collect()
        }
        Need::Connect => {
            let nonblocking =
                (libc::SYS_ioctl, vec![Argument::Is(1, u64::from(u32::try_from(libc::FIONBIO).unwrap_or(0)))]);
            let more = [libc::SYS_bind, libc::SYS_connect, libc::SYS_shutdown].map(|call| (call, Vec::new()));
            let families = [socket(libc::AF_INET), socket(libc::AF_INET6)];
            speaking.chain(families).chain(more).chain([nonblocking]).collect()
        }
    }
}

/// A number of the C library's as the kernel is handed it.
fn bits(number: i32) -> u64 {
    number.cast_unsigned().into()
}
