//! The idle class of disk access: served when nobody else wants the disk.

use std::io;

/// The calling thread and, as they inherit it, those that it starts later; `linux/ioprio.h` has the numbers.
const WHO_PROCESS: libc::c_int = 1;
const CLASS_IDLE: libc::c_int = 3;
const CLASS_SHIFT: libc::c_int = 13;

/// Puts the calling thread behind everybody else at the disk.
///
/// A system that knows no classes, or forbids them, has none to give up: that is no error.
pub fn idle() -> io::Result<()> {
    match set(WHO_PROCESS, 0, CLASS_IDLE << CLASS_SHIFT) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => Ok(()),
        other => other,
    }
}

#[expect(unsafe_code, reason = "neither rustix nor nix has this call; it takes three numbers and touches no memory")]
fn set(which: libc::c_int, who: libc::c_int, priority: libc::c_int) -> io::Result<()> {
    // SAFETY: `ioprio_set` reads three integers and writes nothing of this process's memory.
    match unsafe { libc::syscall(libc::SYS_ioprio_set, which, who, priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
