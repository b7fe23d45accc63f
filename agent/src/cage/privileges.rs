//! Whose rights a scan has: an unprivileged user's, and the few capabilities that its module needs.

use std::io;

use canvass_tables::module::Need;
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set, remove_capability_from_bounding_set,
    set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::Lack;

/// The user that a package makes for scans.
const USER: &str = "canvass-scan";
/// Whom scans run as where there is no such user: beyond what systems, their containers and directories give to anybody.
const NUMBER: u32 = 2_011_320_117;
/// Where a container maps no number so high: who is nobody, by the kernel's own word.
const NOBODY: u32 = 65_534;
/// The kernel's capabilities have numbers below this.
const CAPABILITIES_MAX: u32 = 64;

/// Keeps of this process's rights what a scan with these needs has to have. Root becomes somebody else; whoever is not root stays
/// who they are, with no more capabilities than root would have kept.
pub fn drop_to(needs: &[Need]) -> io::Result<Option<Lack>> {
    let wanted = wanted(needs);
    let held = capabilities(None)?;
    let kept = held.permitted & wanted;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        drop_from_bounding_set(wanted)?;
    }
    let lack = if geteuid().is_root() { become_unprivileged()? } else { None };
    clear_ambient_capability_set().or_else(|error| if error == Errno::INVAL { Ok(()) } else { Err(error) })?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() })?;
    Ok(lack)
}

/// Reading what is there, whomever it belongs to, and what the module asks for.
fn wanted(needs: &[Need]) -> CapabilitySet {
    needs.iter().fold(CapabilitySet::DAC_READ_SEARCH, |wanted, need| {
        wanted
            | match need {
                Need::OtherProcesses => CapabilitySet::SYS_PTRACE,
                Need::NetworkAdmin => CapabilitySet::NET_ADMIN,
                // Its sockets are open already.
                Need::Icmp | Need::Netlink | Need::Connect => CapabilitySet::empty(),
            }
    })
}

fn drop_from_bounding_set(wanted: CapabilitySet) -> io::Result<()> {
    let all = (0..CAPABILITIES_MAX).map(|number| CapabilitySet::from_bits_retain(1 << number));
    for capability in all.filter(|capability| !wanted.contains(*capability)) {
        match remove_capability_from_bounding_set(capability) {
            // Above the last one that this kernel has there is nothing to remove.
            Err(Errno::INVAL) => return Ok(()),
            removed => removed?,
        }
    }
    Ok(())
}

/// Gives up root for the first of those whom this system has; capabilities stay for whoever sets them next.
fn become_unprivileged() -> io::Result<Option<Lack>> {
    set_keep_capabilities(true)?;
    let own = own_user().into_iter();
    for (user, group) in own.chain([(NUMBER, NUMBER), (NOBODY, NOBODY)]) {
        match become_user(Uid::from_raw(user), Gid::from_raw(group)) {
            Ok(()) => return Ok(None),
            // This number means nothing in here.
            Err(Errno::INVAL) => {}
            Err(Errno::PERM) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Some(Lack::user("no other user can be taken on here, so scans run as root with few capabilities".into())))
}

fn become_user(user: Uid, group: Gid) -> Result<(), Errno> {
    set_thread_res_gid(group, group, group)?;
    match set_thread_groups(&[]) {
        // A user namespace may forbid it for ever.
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    set_thread_res_uid(user, user, user)
}

/// The numbers of the package's user.
fn own_user() -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let user = (fields.next()? == USER).then(|| fields.nth(1)?.parse().ok())??;
        Some((user, fields.next()?.parse().ok()?)).filter(|(user, _)| *user != 0)
    })
}
