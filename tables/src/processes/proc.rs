//! What several tables read from `/proc`, odd files included: nothing here panics on what a host holds.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use canvass_protocol::answer::Trouble;
use procfs_core::FromRead;
use procfs_core::process::Stat;

use crate::host::{Host, reason};

/// Linux counts process times in hundredths of a second on every architecture that Rust runs on, whatever the kernel's
/// own tick is.
pub(crate) const TICKS_PER_SECOND: u64 = 100;

/// The processes of a host in ascending order.
pub(crate) fn pids(host: &Host) -> Result<Vec<u32>, Trouble> {
    let path = Path::new("/proc");
    let entries = host.entries(path).map_err(|error| trouble(path, &error))?;
    let mut pids: Vec<u32> = entries.iter().filter_map(|entry| number(entry.name.to_str()?)).collect();
    pids.sort_unstable();
    Ok(pids)
}

/// A process's own file, e.g. `/proc/1/stat`.
pub(crate) fn path_of(pid: u32, file: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{file}"))
}

/// Reads a process's `stat`; `None` where the process ended meanwhile.
pub(crate) fn stat(host: &Host, pid: u32) -> Result<Option<Stat>, Trouble> {
    let Some(text) = text(host, pid, "stat")? else { return Ok(None) };
    let malformed =
        || Trouble::new(Some(&path_of(pid, "stat").display().to_string()), "not in the form of a `stat` file");
    parse_stat(&text).map(Some).ok_or_else(malformed)
}

/// Reads a file of a process as text; `None` where the process ended meanwhile.
pub(crate) fn text(host: &Host, pid: u32, file: &str) -> Result<Option<String>, Trouble> {
    let path = path_of(pid, file);
    match host.read_text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if gone(&error) && host.metadata(&path_of(pid, "")).is_err() => Ok(None),
        Err(error) => Err(trouble(&path, &error)),
    }
}

/// The first bytes of a file whose length the process decides; `None` where the process ended meanwhile.
pub(crate) fn start_of(host: &Host, pid: u32, file: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, Trouble> {
    let path = path_of(pid, file);
    let read = host.open_file(&path).and_then(|file| {
        let mut bytes = Vec::new();
        if let Some(file) = file {
            file.take(bytes_max).read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if gone(&error) && host.metadata(&path_of(pid, "")).is_err() => Ok(None),
        Err(error) => Err(trouble(&path, &error)),
    }
}

/// Whether what a link of a process's leads to has lost the name that the kernel tells, which says ` (deleted)` behind it. Other
/// hard links of it may be left; and a file may really be called so.
pub(crate) fn is_removed(host: &Host, pid: u32, link: &Path, target: &str) -> bool {
    if !host.is_live() {
        return true;
    }
    let Ok(behind) = host.metadata_behind(link) else { return true };
    let named = || host.metadata_behind(&path_of(pid, &format!("root{target}")));
    behind.links == 0 || named().map_or(true, |named| named.id() != behind.id())
}

/// The same of a file that a kernel, or a fixture, may not have.
pub(crate) fn optional(host: &Host, pid: u32, file: &str) -> Result<Option<String>, Trouble> {
    let path = path_of(pid, file);
    match host.read_text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(trouble(&path, &error)),
    }
}

/// When the host started, in nanoseconds since 1970, to the second.
pub(crate) fn boot_ns(host: &Host) -> Result<i64, Trouble> {
    let path = Path::new("/proc/stat");
    let text = host.read_text(path).map_err(|error| trouble(path, &error))?;
    boot_ns_in(&text).ok_or_else(|| Trouble::new(Some("/proc/stat"), "no `btime` in it"))
}

/// The boot time in the text of `/proc/stat`, in nanoseconds since 1970.
pub(crate) fn boot_ns_in(stat: &str) -> Option<i64> {
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<i64>().ok())?;
    seconds.checked_mul(1_000_000_000)
}

/// The value of a `Key:  value` line.
pub(crate) fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim)
}

/// Bytes of a `Key:  123 kB` line.
pub(crate) fn kilobytes(text: &str, key: &str) -> Option<u64> {
    value(text, key)?.strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A decimal number without a sign, as the kernel names processes and descriptors.
pub(crate) fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// Whether the error says that there is no such thing, or no longer.
pub(crate) fn gone(error: &io::Error) -> bool {
    const NO_SUCH_PROCESS: i32 = rustix::io::Errno::SRCH.raw_os_error();
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(NO_SUCH_PROCESS)
}

/// What to say of a file that cannot be read.
pub(crate) fn trouble(path: &Path, error: &io::Error) -> Trouble {
    Trouble::new(Some(&path.display().to_string()), reason(error))
}

/// Parses `stat`, whose second field is a name in parentheses that may hold spaces and parentheses of its own.
fn parse_stat(text: &str) -> Option<Stat> {
    let text = text.trim();
    let (open, close) = (text.find('(')?, text.rfind(')')?);
    // The parser slices at these places without a look.
    let sound = open < close && text[..open].ends_with(' ') && text[close..].starts_with(") ");
    sound.then(|| Stat::from_read(text.as_bytes()).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str = "1 1 1 34817 -1 4194560 1 2 3 4 250 50 7 8 20 0 3 0 1000 47353856 3925 18446744073709551615 \
        1 1 0 0 0 0 0 4096 1256 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0";

    #[test]
    fn names_may_hold_anything() {
        for name in ["nginx", "a b", "x) S 1 (y", "", ")", "((", "né\u{fffd}"] {
            let stat = parse_stat(&format!("42 ({name}) S {REST}\n")).unwrap();
            assert_eq!((stat.pid, stat.comm.as_str(), stat.state, stat.starttime), (42, name, 'S', 1000));
        }
    }

    #[test]
    fn odd_files_are_no_stat() {
        let odd = [
            "",
            "(",
            ")",
            "()",
            "(a) S",
            "1 (a)",
            "1 (a) ",
            ")1 (",
            "1 )(",
            "é(a) S 1",
            "1 (a)é 1",
            "1 (a) S 1 2",
            " (a) S 1",
        ];
        for text in odd {
            assert!(parse_stat(text).is_none(), "{text:?}");
        }
        assert!(parse_stat(&format!("99999999999 (a) S {REST}")).is_none());
    }

    #[test]
    fn numbers_have_no_sign() {
        assert_eq!(number("17"), Some(17));
        for text in ["", "+1", "-1", "1a", "self", "4294967296"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }

    #[test]
    fn values_are_found_by_their_whole_key() {
        let text = "Uid:\t1\t2\nUids: 3\nVmRSS:\t   16 kB\nVmLck: x kB\n";
        assert_eq!(value(text, "Uid"), Some("1\t2"));
        assert_eq!(value(text, "Gid"), None);
        assert_eq!(kilobytes(text, "VmRSS"), Some(16384));
        assert_eq!(kilobytes(text, "VmLck"), None);
    }
}
