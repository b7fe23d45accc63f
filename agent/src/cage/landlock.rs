//! Which files a scan may open, and that it changes none: Landlock.

use std::io;

use canvass_tables::module::Need;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};

use rustix::fs::FileType;

use super::Lack;
use super::profile::{Profile, Readable};

/// The newest set of rights that is known here; a kernel with an older one takes what it has of it.
const NEWEST: ABI = ABI::V10;

/// Confines this process to reading what the scan names.
pub fn confine(profile: &Profile) -> io::Result<Option<Lack>> {
    if profile.has(Need::OtherProcesses) {
        return Ok(None);
    }
    let mut handled = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(Scope::from_all(NEWEST)))
        .map_err(io::Error::other)?;
    if !profile.has(Need::Connect) {
        handled = handled.handle_access(AccessNet::from_all(NEWEST)).map_err(io::Error::other)?;
    }
    let mut rules = handled.create().map_err(io::Error::other)?;
    for Readable { path, files } in profile.readable() {
        // What is not there cannot be read either.
        let Ok(opened) = PathFd::new(&path) else { continue };
        let is_folder =
            rustix::fs::fstat(&opened).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let access: BitFlags<AccessFs> = match (is_folder, files) {
            (true, true) => AccessFs::ReadFile | AccessFs::ReadDir,
            (true, false) => AccessFs::ReadDir.into(),
            (false, _) => AccessFs::ReadFile.into(),
        };
        rules = rules.add_rule(PathBeneath::new(opened, access)).map_err(io::Error::other)?;
    }
    let status = rules.restrict_self().map_err(io::Error::other)?;
    Ok((status.ruleset == RulesetStatus::NotEnforced).then(|| {
        Lack::landlock("the kernel has no Landlock, so a scan may open any file that its user may read".into())
    }))
}
