//! What one scan may do: what its module declares, and the places that it names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use canvass_tables::bound;
use canvass_tables::host::HostSpec;
use canvass_tables::module::{Need, Sockets};
use canvass_tables::table::Table;

use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};

use super::Job;

/// Read whatever a scan is of: what the machine is called and runs, its accounts, its mounts, the process's own descriptors.
/// Where a file of these is not there, it is not.
const ALWAYS: &[&str] = &["/etc/group", "/etc/os-release", "/etc/passwd", "/proc", "/sys", "/usr/lib/os-release"];
/// Read to look up names, beside what every scan reads; whoever may speak to other machines enters no folder of users or services.
const NAMES: &[&str] = &["/etc/hosts", "/etc/resolv.conf"];
/// File systems that the kernel makes up: their entries come and go, so a folder in them is not told entry by entry.
const MADE_UP: &[&str] = &["/dev", "/proc", "/sys"];
/// Entries of folders around forbidden ones; with more the kernel is not asked to tell them apart, and the engine alone does.
const ENTRIES_MAX: usize = 10_000;

/// What one scan may do.
pub struct Profile {
    needs: &'static [Need],
    /// A fixture's root, below which its paths are resolved.
    fixture: Option<PathBuf>,
    /// Where the scan looks; `None` where that may be anywhere.
    places: Option<Vec<PathBuf>>,
    forbidden: Vec<PathBuf>,
}

/// A place that a scan may open.
#[derive(Debug, PartialEq, Eq)]
pub struct Readable {
    pub path: PathBuf,
    /// Its files too, and those of all folders below; else folders alone are listed.
    pub files: bool,
}

impl Profile {
    pub fn of(job: &Job, table: &dyn Table) -> Profile {
        let fixture = match &job.host {
            HostSpec::Machine => None,
            HostSpec::Fixture(folder) => Some(folder.clone()),
        };
        let forbidden = job.forbidden.iter().map(|path| real(Path::new(path)));
        Profile {
            needs: table.info().module.needs,
            fixture,
            places: places(job, table),
            forbidden: forbidden.collect(),
        }
    }

    /// The least that any scan may do: read, anywhere.
    pub fn least() -> Profile {
        Profile { needs: &[], fixture: None, places: None, forbidden: Vec::new() }
    }

    pub fn needs(&self) -> &'static [Need] {
        self.needs
    }

    pub fn has(&self, need: Need) -> bool {
        self.needs.contains(&need)
    }

    /// Opens what the scan may not open itself; what this kernel does not give to this user is not there.
    pub fn sockets(&self) -> Sockets {
        let open = |family, protocol| {
            let wanted = self.has(Need::Icmp);
            wanted.then(|| socket_with(family, SocketType::RAW, SocketFlags::CLOEXEC, Some(protocol)).ok()).flatten()
        };
        Sockets { icmp: open(AddressFamily::INET, ipproto::ICMP), icmp_v6: open(AddressFamily::INET6, ipproto::ICMPV6) }
    }

    /// Opens by `openat2`, whose flags no filter of calls can see: a fixture's paths stay below its root by it.
    pub fn resolves_below(&self) -> bool {
        self.fixture.is_some()
    }

    /// What may be read. What is forbidden is left out where that can be told.
    pub fn readable(&self) -> Vec<Readable> {
        let whole = |path: &Path| Readable { path: path.to_owned(), files: true };
        if let Some(folder) = &self.fixture {
            return vec![whole(folder)];
        }
        let anywhere = [PathBuf::from("/")];
        let places = self.places.as_deref().unwrap_or(&anywhere);
        let mounted = if self.forbidden.is_empty() { String::new() } else { mounted() };
        let foreign = canvass_tables::not_entered(&mounted);
        let mut readable = Vec::new();
        for place in places {
            let mut around = Vec::new();
            match self.around_forbidden(&real(place), &foreign, &mut around) {
                true => readable.append(&mut around),
                false => readable.push(whole(place)),
            }
        }
        readable.extend(ALWAYS.iter().map(|path| whole(Path::new(path))));
        readable
    }

    /// Lists a place without what is forbidden in it; whether there was room. What is mounted in it from elsewhere, and no scan
    /// enters by itself, is not touched: nobody may be there to answer.
    fn around_forbidden(&self, place: &Path, foreign: &HashSet<PathBuf>, readable: &mut Vec<Readable>) -> bool {
        if self.forbidden.iter().any(|forbidden| place.starts_with(forbidden)) {
            return true;
        }
        let holds_forbidden = self.forbidden.iter().any(|forbidden| forbidden.starts_with(place));
        let is_made_up = MADE_UP.iter().any(|folder| place.starts_with(folder));
        let files = !holds_forbidden || is_made_up;
        readable.push(Readable { path: place.to_owned(), files });
        if files {
            return true;
        }
        let Ok(entries) = std::fs::read_dir(place) else { return true };
        entries.flatten().all(|entry| {
            // A link leads to a place that is told by itself.
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            let path = entry.path();
            is_link
                || foreign.contains(&path)
                || readable.len() < ENTRIES_MAX && self.around_forbidden(&path, foreign, readable)
        })
    }
}

/// A path without links; as it is spelled where it does not exist.
#[expect(clippy::disallowed_methods, reason = "it is of the machine itself, never of a fixture")]
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn mounted() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Where a scan's bounds say that it looks; `None` where it may look anywhere, or follows links out of there.
fn places(job: &Job, table: &dyn Table) -> Option<Vec<PathBuf>> {
    if table.info().module.needs.contains(&Need::Connect) {
        return Some(NAMES.iter().map(PathBuf::from).collect());
    }
    if job.scan.options.follow {
        return None;
    }
    let column = table.info().bound?.keys.column()?;
    let roots = bound::places_with(job.scan.filter.as_ref(), column, &job.scan.sets)?;
    let all_paths = roots.iter().all(|root| root.path().starts_with('/'));
    all_paths.then(|| roots.iter().map(|root| PathBuf::from(root.path())).collect())
}
