//! What a scan that was taken over may attempt. Most are system calls without sensible arguments: a filter of calls judges before
//! the kernel looks at them, and a call that it lets through fails with the kernel's own error, which is said.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;

use canvass_tables::module::Sockets;
use libc::c_long;

/// Calls by name, of which each is a way out, with its first arguments.
const CALLS: &[(&str, c_long, [c_long; 3])] = &[
    ("accept4", libc::SYS_accept4, [0; 3]),
    ("add_key", libc::SYS_add_key, [0; 3]),
    ("bpf", libc::SYS_bpf, [0; 3]),
    ("capset", libc::SYS_capset, [0; 3]),
    ("chroot", libc::SYS_chroot, [0; 3]),
    ("clone without a thread's flag", libc::SYS_clone, [libc::SIGCHLD as c_long, 0, 0]),
    ("delete_module", libc::SYS_delete_module, [0; 3]),
    ("execve", libc::SYS_execve, [0; 3]),
    ("execveat", libc::SYS_execveat, [0; 3]),
    ("fchmod", libc::SYS_fchmod, [1, 0o777, 0]),
    ("fchmodat", libc::SYS_fchmodat, [0; 3]),
    ("fchownat", libc::SYS_fchownat, [0; 3]),
    ("finit_module", libc::SYS_finit_module, [0; 3]),
    ("fsetxattr", libc::SYS_fsetxattr, [0; 3]),
    ("fsopen", libc::SYS_fsopen, [0; 3]),
    ("ftruncate", libc::SYS_ftruncate, [1, 0, 0]),
    ("init_module", libc::SYS_init_module, [0; 3]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0]),
    ("kexec_load", libc::SYS_kexec_load, [0; 3]),
    ("keyctl", libc::SYS_keyctl, [0; 3]),
    ("kill its parent", libc::SYS_kill, [-1, 0, 0]),
    ("linkat", libc::SYS_linkat, [0; 3]),
    ("listen", libc::SYS_listen, [0; 3]),
    ("memfd_create", libc::SYS_memfd_create, [0; 3]),
    ("mkdirat", libc::SYS_mkdirat, [0; 3]),
    ("mknodat", libc::SYS_mknodat, [0; 3]),
    ("mmap of what may be executed", libc::SYS_mmap, [0, 4096, libc::PROT_EXEC as c_long]),
    ("mount", libc::SYS_mount, [0; 3]),
    ("move_mount", libc::SYS_move_mount, [0; 3]),
    ("mprotect to execute", libc::SYS_mprotect, [0, 4096, libc::PROT_EXEC as c_long]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [0; 3]),
    ("open_tree", libc::SYS_open_tree, [0; 3]),
    ("perf_event_open", libc::SYS_perf_event_open, [0; 3]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [0; 3]),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal, [0; 3]),
    ("pivot_root", libc::SYS_pivot_root, [0; 3]),
    ("prctl to be traced by anybody", libc::SYS_prctl, [libc::PR_SET_PTRACER as c_long, -1, 0]),
    ("prctl to dump", libc::SYS_prctl, [libc::PR_SET_DUMPABLE as c_long, 1, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [0; 3]),
    ("process_vm_writev", libc::SYS_process_vm_writev, [0; 3]),
    ("ptrace", libc::SYS_ptrace, [libc::PTRACE_ATTACH as c_long, 0, 0]),
    ("quotactl", libc::SYS_quotactl, [0; 3]),
    ("reboot", libc::SYS_reboot, [0; 3]),
    ("renameat2", libc::SYS_renameat2, [0; 3]),
    ("seccomp", libc::SYS_seccomp, [0; 3]),
    ("setns", libc::SYS_setns, [0; 3]),
    ("setpriority", libc::SYS_setpriority, [0; 3]),
    ("setresuid", libc::SYS_setresuid, [0; 3]),
    ("settimeofday", libc::SYS_settimeofday, [0; 3]),
    ("setxattr", libc::SYS_setxattr, [0; 3]),
    ("socketpair", libc::SYS_socketpair, [0; 3]),
    ("swapon", libc::SYS_swapon, [0; 3]),
    ("symlinkat", libc::SYS_symlinkat, [0; 3]),
    ("tgkill another process", libc::SYS_tgkill, [1, 1, 0]),
    ("truncate", libc::SYS_truncate, [0; 3]),
    ("umount2", libc::SYS_umount2, [0; 3]),
    ("unlinkat", libc::SYS_unlinkat, [0; 3]),
    ("unshare", libc::SYS_unshare, [libc::CLONE_NEWUSER as c_long, 0, 0]),
    ("userfaultfd", libc::SYS_userfaultfd, [0; 3]),
    ("utimensat", libc::SYS_utimensat, [0; 3]),
    // What libraries try: answered as by a kernel that has no such call.
    ("clone3", libc::SYS_clone3, [0; 3]),
    ("ioctl", libc::SYS_ioctl, [0, libc::TIOCSTI as c_long, 0]),
    ("openat2", libc::SYS_openat2, [0; 3]),
    // Families of sockets.
    ("socket of packets", libc::SYS_socket, [libc::AF_PACKET as c_long, libc::SOCK_RAW as c_long, 0]),
    ("socket of vsock", libc::SYS_socket, [libc::AF_VSOCK as c_long, libc::SOCK_STREAM as c_long, 0]),
    ("socket of unix", libc::SYS_socket, [libc::AF_UNIX as c_long, libc::SOCK_STREAM as c_long, 0]),
    ("socket of netlink", libc::SYS_socket, [libc::AF_NETLINK as c_long, libc::SOCK_RAW as c_long, 0]),
    ("socket of inet", libc::SYS_socket, [libc::AF_INET as c_long, libc::SOCK_STREAM as c_long, 0]),
    ("raw socket of inet", libc::SYS_socket, [libc::AF_INET as c_long, libc::SOCK_RAW as c_long, 1]),
];

/// Attempts what is named and says what became of it: `done: …`, or the kernel's error.
pub fn attempt(name: &str, sockets: &Sockets) -> String {
    let (what, of) = name.split_once(' ').unwrap_or((name, ""));
    let done = match (CALLS.iter().find(|(call, ..)| *call == name), what) {
        (Some((_, call, arguments)), _) => plain(*call, *arguments).map(|returned| returned.to_string()),
        (None, "list") => list(),
        (None, "panic") => panic!("a parser's index is out of bounds"),
        (None, "read") => read(of),
        (None, "names") => std::fs::read_dir(of).map(|names| names.count().to_string()),
        (None, "write") => std::fs::File::options().write(true).open(of).map(|_| of.to_owned()),
        (None, "append") => std::fs::File::options().append(true).open(of).map(|_| of.to_owned()),
        (None, "create") => std::fs::File::create(of).map(|_| of.to_owned()),
        (None, "program") => std::process::Command::new(of).status().map(|status| status.to_string()),
        (None, "connect") => connect(of),
        (None, "link") => std::fs::read_link(of).map(|target| target.display().to_string()),
        (None, "icmp") => Ok(format!("{} {}", sockets.icmp.is_some(), sockets.icmp_v6.is_some())),
        (None, "datagram") => UdpSocket::bind("127.0.0.1:0").map(|socket| socket.as_raw_fd().to_string()),
        (None, "descriptors") => descriptors(),
        (None, "environment") => Ok(std::env::vars_os().count().to_string()),
        (None, other) => Err(io::Error::other(format!("no attempt is called `{other}`"))),
    };
    match done {
        Ok(what) => format!("done: {what}"),
        Err(error) => error.to_string(),
    }
}

fn list() -> io::Result<String> {
    Ok(CALLS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join("\n"))
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(64 << 10).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn connect(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"hello")?;
    Ok(address.to_owned())
}

/// What this process holds open, beside the listing itself.
fn descriptors() -> io::Result<String> {
    let mut open: Vec<String> = std::fs::read_dir("/proc/self/fd")?
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    open.sort();
    Ok(open.join(" "))
}

#[expect(unsafe_code, reason = "what is attempted has no safe form: that is why it is forbidden")]
fn plain(call: c_long, [first, second, third]: [c_long; 3]) -> io::Result<c_long> {
    // SAFETY: the arguments are numbers and null pointers, which the kernel refuses or, of a filtered call, never looks at.
    // `mmap` and `mprotect` are asked for memory that this program does not use.
    match unsafe { libc::syscall(call, first, second, third, 0, 0, 0) } {
        -1 => Err(io::Error::last_os_error()),
        returned => Ok(returned),
    }
}
