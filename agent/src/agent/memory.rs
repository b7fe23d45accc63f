//! What an agent keeps between runs: who it is, and what it ran.

use std::path::Path;

use canvass_protocol::limits;
use canvass_tables::host::HostSpec;
use jiff::Timestamp;

use super::{AgentError, Storage};
use crate::folder::Folder;
use crate::identity::{Identity, Origin};
use crate::journal::{self, FileJournal, Journal, MemoryJournal};

/// Holds whatever tells one machine from its clones.
const MACHINE_ID: &str = "/etc/machine-id";
/// Where the kernel shows memory and ports as files: never entered, whatever the policy.
const FORBIDDEN_ALWAYS: [&str; 4] = ["/dev/mem", "/dev/kmem", "/dev/port", "/proc/kcore"];

/// Opens the identity of an agent's folder as the agent would, and says what there is to say of it.
pub fn open_identity(folder: &Path) -> Result<(Identity, Vec<String>), AgentError> {
    let memory = open(&Storage::Folder(folder.to_owned()), &HostSpec::Machine, false)?;
    Ok((memory.identity, memory.notices))
}

/// What an agent keeps between runs, and what there is to say of it.
pub(super) struct Memory {
    pub identity: Identity,
    pub journal: Box<dyn Journal>,
    pub forbidden: Vec<String>,
    pub notices: Vec<String>,
}

pub(super) fn open(storage: &Storage, host: &HostSpec, local: bool) -> Result<Memory, AgentError> {
    let mut forbidden: Vec<String> = Vec::new();
    if *host == HostSpec::Machine {
        forbidden.extend(FORBIDDEN_ALWAYS.map(str::to_owned));
    }
    let in_memory = |identity, forbidden| {
        let journal = Box::new(MemoryJournal::default());
        Ok(Memory { identity, journal, forbidden, notices: Vec::new() })
    };
    let path = match storage {
        Storage::Folder(path) => path,
        Storage::Memory => return in_memory(Identity::draw()?, forbidden),
        Storage::Given(key) => return in_memory(Identity::of(key.as_ref().clone()), forbidden),
    };
    let folder = Folder::open(path)?;
    let lock = folder.lock()?;
    let machine_id =
        std::fs::read_to_string(MACHINE_ID).ok().map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
    let (identity, origin) = Identity::open(&folder, &lock, machine_id.as_deref())?;
    let mut notices = Vec::new();
    if let Origin::Cloned { aside } = &origin {
        folder.set_aside(journal::FILE, &format!("journal-{}", &aside[..8]))?;
        notices.push(format!("the identity {aside} was made on another machine; it was set aside and a new one made"));
    }
    // Where desk and agent are one machine they have one clock.
    let skew_s = if local { 0 } else { limits::CLOCK_SKEW_S };
    let (journal, lost) = FileJournal::open(&folder, &lock, identity.id(), &origin, skew_s, Timestamp::now())?;
    notices.extend(lost);
    if *host == HostSpec::Machine {
        forbidden.push(folder.path().to_string_lossy().into_owned());
    }
    Ok(Memory { identity, journal: Box::new(journal), forbidden, notices })
}

/// A folder as a scan may meet it; one that does not exist yet is known by its spelling.
pub(super) fn own_folder(path: &Path) -> String {
    let real = path.canonicalize().or_else(|_| std::path::absolute(path));
    real.as_deref().unwrap_or(path).to_string_lossy().into_owned()
}

/// A scan's process works in the root folder, so a relative path would mean another one there.
pub(super) fn absolute(host: HostSpec) -> Result<HostSpec, AgentError> {
    match host {
        HostSpec::Machine => Ok(HostSpec::Machine),
        HostSpec::Fixture(path) => match path.canonicalize() {
            Ok(path) => Ok(HostSpec::Fixture(path)),
            Err(error) => Err(AgentError::Io { path, error }),
        },
    }
}
